"""Counts of values: exact for every type, in memory and on disk; distinct values within their error."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistics_data import merged, reread

import headrace as hr
from headrace.prepare.statistics import Counts, CountsState, Distinct, merge_states

some = settings(max_examples=60, deadline=None, derandomize=True)
texts = st.text(max_size=14) | st.sampled_from(["", "a", "\0", "a\0", "twelve bytes", "thirteen bytes"])


def counts_of(values: Any, **options: Any) -> CountsState:
    return Counts("x").of(pl.DataFrame({"x": pl.Series(values, **options)}))


@some
@given(st.lists(st.none() | texts, max_size=60), st.lists(st.integers(0, 60), max_size=5), st.integers(0, 9))
def test_texts_are_counted(values: list[str | None], cuts: list[int], seed: int) -> None:
    """Python's counter is the oracle, for short and long texts, in any partition and order."""
    state = merged(Counts("x"), pl.DataFrame({"x": values}, schema={"x": pl.String}), cuts, seed)
    expected = Counter(value for value in values if value is not None)

    assert state.table.rows() == sorted(expected.items(), key=lambda item: item[0].encode())
    assert state.nulls == values.count(None)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([3, -1, 3, None, 2**62, -(2**62)], {}),
        ([255, 0, 255], {"dtype": pl.UInt8}),
        ([True, False, True, None], {}),
        ([date(2020, 1, 2), date(1969, 1, 1), None, date(2020, 1, 2)], {}),
        ([datetime(2020, 1, 2, 3, 4), None, datetime(1900, 1, 1)], {}),
        ([b"x", b"", b"x", b"a long run of bytes"], {}),
        ([Decimal("1.10"), Decimal("-2.00"), Decimal("1.10")], {}),
        (["b", "a", None, "b"], {"dtype": pl.Categorical}),
        (["b", "a", None, "b"], {"dtype": pl.Enum(["b", "a", "never"])}),
        ([1.5, -2.25, 1.5], {"dtype": pl.Float32}),
        ([None, None], {"dtype": pl.String}),
        ([], {"dtype": pl.Int32}),
    ],
)
def test_every_type_is_counted(values: list[Any], options: dict[str, Any]) -> None:
    """Values come back in their type, sorted; categories as strings."""
    series = pl.Series("x", values, **options)
    state = merged(Counts("x"), series.to_frame(), [1, 2])
    expected = Counter(value for value in series.to_list() if value is not None)
    is_category = isinstance(series.dtype, (pl.Categorical, pl.Enum))

    assert state.table.rows() == sorted(expected.items())
    assert state.table.schema == {"value": pl.String() if is_category else series.dtype, "count": pl.Int64()}
    assert state.nulls == series.null_count()


def test_nan_is_missing_and_zero_has_no_sign() -> None:
    """Floats that are equal are counted as one."""
    state = counts_of([0.0, -0.0, float("nan"), None, float("inf")])

    assert [(str(value), count) for value, count in state.table.rows()] == [("0.0", 2), ("inf", 1)]
    assert state.nulls == 2


def words(count: int, distinct: int, seed: int = 0) -> pl.DataFrame:
    numbers = np.random.default_rng(seed).integers(0, distinct, count)
    frame = pl.DataFrame({"x": pl.Series(numbers).cast(pl.String)})
    return frame.with_columns(long=pl.col("x") + " with more than twelve bytes")


def test_the_frequent_ones() -> None:
    """By count, then by value; the least count comes before the greatest number."""
    state = counts_of(list("aabbbcddd"))

    assert state.frequent().rows() == [("b", 3), ("d", 3), ("a", 2), ("c", 1)]
    assert state.frequent(min_count=2).rows() == [("b", 3), ("d", 3), ("a", 2)]
    assert state.frequent(max_size=1).rows() == [("b", 3)]
    assert state.frequent(min_count=3, max_size=9).rows() == [("b", 3), ("d", 3)]


@pytest.mark.parametrize("column", ["x", "long"])
def test_merging_many_parts_costs_no_more_than_their_sum(
    column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1,000 row groups no count is added up more than a few times."""
    from headrace.prepare.statistics import counts

    frame = words(200_000, 50_000)
    handled: list[int] = []
    add_up = counts.add_tables

    def counted(tables: Any) -> pl.DataFrame:
        tables = list(tables)
        handled.append(sum(table.height for table in tables))
        return add_up(tables)

    monkeypatch.setattr(counts, "add_tables", counted)
    asked = Counts(column)
    state, total = asked.of(frame[:0]), 0
    for begin in range(0, frame.height, 200):
        part = asked.of(frame[begin : begin + 200])
        total += part.parts[0].height
        state = state.merge(part)
    counted_once = frame[column].value_counts(name="count")
    expected = counted_once.select(value=column, count=pl.col("count").cast(pl.Int64))

    assert state.table.equals(expected.sort("value"))
    assert sum(handled) < 4 * total


def test_counts_beyond_the_limit_lie_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same counts, the same frequent ones, and no file left behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frame = pl.concat([words(100_000, 90_000), words(100_000, 90_000, seed=1)])
    for asked in (Counts("x"), Counts("long")):
        parts = [{asked: asked.of(frame[begin : begin + 20_000])} for begin in range(0, 200_000, 20_000)]
        whole = asked.of(frame)
        state: CountsState = merge_states(parts, 1 << 20)[asked]
        best, twice = whole.frequent(max_size=3), state.merge(whole).frequent(max_size=3)

        assert state.runs
        assert state.nbytes < whole.nbytes
        assert state.table.equals(whole.table)
        assert state.frequent(3, 500).equals(whole.frequent(3, 500))
        assert twice.equals(best.with_columns(pl.col("count") * 2))
        assert reread(asked, state).table.equals(whole.table)
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is raised, and the file goes."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    state = counts_of(np.arange(100_000))

    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None: ...

        def write_batch(self, _: object) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.ipc.new_file", lambda *_: Full())
    with pytest.raises(OSError, match="No space left"):
        state.reduced()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, 1, 100, 5_000, 200_000])
@pytest.mark.parametrize("kind", ["whole", "text", "float"])
def test_distinct_values_within_one_percent(count: int, kind: str) -> None:
    """The estimate, any partition of which has the same bits, is off by less than 1 %."""
    numbers = pl.Series("x", np.arange(count) * 7 - 100)
    values = {"whole": numbers, "text": numbers.cast(pl.String), "float": numbers / 3}[kind]
    frame = pl.concat([values, values.reverse()]).to_frame()
    state = Distinct("x").of(frame)
    parts = merged(Distinct("x"), frame, [count // 3, count, count + 17], seed=count)

    assert abs(state.estimate - count) <= 0.01 * count
    assert state.bounds[0] <= state.estimate <= state.bounds[1]
    assert (parts.registers == state.registers).all()
    assert parts.estimate == state.estimate


def test_distinct_values_of_another_version_are_refused() -> None:
    """Hashes of another version of Polars may differ, so its states are not merged with this one's."""
    meta, arrays = Distinct("x").of(pl.DataFrame({"x": ["a", None, "a"]})).pack()

    assert Distinct("x").unpack((meta, arrays)).nulls == 1
    with pytest.raises(hr.StateError, match=r"hashed by Polars 0\.1"):
        Distinct("x").unpack((meta | {"hashing": "Polars 0.1"}, arrays))
