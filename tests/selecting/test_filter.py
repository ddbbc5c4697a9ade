"""Filters choose the samples that Polars would, whatever statistics say and wherever they run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from predicate_cases import frames, predicates

import headrace as hr

many = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def write(path: Path, frame: pl.DataFrame, rows: int, **options: Any) -> str:
    pq.write_table(frame.to_arrow(), path, row_group_size=rows, **options)
    return str(path)


def matches(frame: pl.DataFrame, *predicates: pl.Expr) -> list[int]:
    """The oracle: Polars over the whole frame."""
    return frame.with_row_index("place").filter(*predicates)["place"].to_list()


@many
@given(st.data())
def test_a_filter_is_that_of_polars(data: st.DataObject) -> None:
    """With and without statistics, from files and from memory, the ids are those that Polars keeps."""
    frame, rows = data.draw(frames())
    predicate = data.draw(predicates(frame.columns))
    try:
        expected = matches(frame, predicate)
    except pl.exceptions.PolarsError:
        assume(False)
    with tempfile.TemporaryDirectory() as folder:
        for statistics in (True, False):
            path = write(Path(folder) / "part.parquet", frame, rows, write_statistics=statistics)
            found = hr.open(path).filter(predicate, executor=hr.Serial())
            assert found.sample_ids.tolist() == expected, (statistics, str(predicate))
    assert hr.from_polars(frame).filter(predicate).sample_ids.tolist() == expected


@pytest.fixture
def numbers(tmp_path: Path) -> hr.Dataset:
    """1,000 samples in ten row groups of two shards."""
    frame = pl.DataFrame({"x": range(1000), "y": np.arange(1000) % 7, "text": ["odd", "even"] * 500})
    write(tmp_path / "a.parquet", frame[:500], 100)
    write(tmp_path / "b.parquet", frame[500:], 100)
    return hr.open(tmp_path)


def test_several_predicates_must_all_be_true(numbers: hr.Dataset) -> None:
    """Predicates come one by one, as a list, and over several columns at once."""
    wanted = matches(numbers.to_polars(), pl.col("x") > 10, pl.col("y") == 3)

    assert numbers.filter(pl.col("x") > 10, pl.col("y") == 3).sample_ids.tolist() == wanted
    assert numbers.filter([pl.col("x") > 10, pl.col("y") == 3]).sample_ids.tolist() == wanted
    assert numbers.filter(pl.col("x") > 10).filter(pl.col("y") == 3).sample_ids.tolist() == wanted
    both = pl.all_horizontal(pl.col("x", "y") > 5)
    assert numbers.filter(both).sample_ids.tolist() == matches(numbers.to_polars(), both)
    assert len(numbers.filter(pl.lit(value=True))) == 1000
    assert len(numbers.filter(pl.lit(value=False))) == 0


def test_order_and_repeats_of_a_list_stay(numbers: hr.Dataset) -> None:
    """What a filter leaves of listed ids comes in their order, as often as before."""
    listed = numbers.rows([700, 3, 3, 999, 250, 3])

    assert listed.filter(pl.col("x") < 800).sample_ids.tolist() == [700, 3, 3, 250, 3]


def test_derived_columns_can_be_filtered_by(numbers: hr.Dataset) -> None:
    """Predicates see the columns as the verbs before have made them, functions included."""
    derived = numbers.with_columns(x=pl.col("x") % 10).rename({"y": "x2"})
    mapped = derived.map(lambda frame: frame.with_columns(z=pl.col("x") + pl.col("x2")))
    swapped = numbers.rename({"x": "y", "y": "x"})

    assert len(derived.filter(pl.col("x") == 4)) == 100
    assert len(derived.filter(pl.col("x2") > 6)) == 0
    expected = matches(mapped.to_polars(), pl.col("z") == 9)
    assert mapped.filter(pl.col("z") == 9).sample_ids.tolist() == expected
    assert swapped.filter(pl.col("y") == 999).sample_ids.tolist() == [999]


@pytest.mark.parametrize(
    "executor", [hr.Serial(), hr.Threads(3), hr.Processes(2)], ids=lambda it: type(it).__name__
)
def test_any_executor_gives_the_same_data_set(numbers: hr.Dataset, executor: Any) -> None:
    """The fingerprint of a filtered data set does not depend on where the scan ran."""
    predicate = (pl.col("y") == 3) | (pl.col("text") == "odd")
    found = numbers.filter(predicate, executor=executor)

    assert found.sample_ids.tolist() == matches(numbers.to_polars(), predicate)
    assert found.fingerprint == numbers.rows(found.sample_ids).fingerprint


def test_a_packed_data_set_is_filtered_by_its_columns(numbers: hr.Dataset) -> None:
    """A filter may come after `pack`, and sees the columns before it."""
    packed = numbers.pack(xy=["x", "y"]).filter(pl.col("text") == "even", pl.col("x") < 6)

    assert packed.take(packed.sample_ids)["xy"].tolist() == [[1, 1], [3, 3], [5, 5]]


@pytest.mark.parametrize(
    "predicate",
    [
        pl.col("x") > pl.col("x").mean(),
        pl.col("x").shift(1) == 3,
        pl.col("x").is_duplicated(),
        (pl.col("x") > pl.col("x").max().over("y")),
    ],
    ids=str,
)
def test_a_predicate_over_several_rows_is_refused(numbers: hr.Dataset, predicate: pl.Expr) -> None:
    """It would see one row group instead of the data set; the part at fault is named."""
    with pytest.raises(hr.OptionError, match="must look at one row at a time"):
        numbers.filter(predicate)


def test_what_is_no_predicate_is_refused(numbers: hr.Dataset) -> None:
    """A value, a number, a foreign column and a wrong type each have an error of their own."""
    with pytest.raises(hr.OptionError, match="at least one predicate"):
        numbers.filter()
    with pytest.raises(hr.OptionError, match="got True"):
        numbers.filter(True)  # type: ignore[arg-type]
    with pytest.raises(hr.OptionError, match="gives Int64"):
        numbers.filter(pl.col("x") + 1)
    with pytest.raises(hr.OptionError, match="asks 2 questions"):
        numbers.filter(pl.col("x", "y") > 5)
    with pytest.raises(hr.UnknownColumnError, match="did you mean `text`"):
        numbers.filter(pl.col("texts") == "odd")
    with pytest.raises(hr.SchemaError, match="does not fit the columns' types"):
        numbers.filter(pl.col("x").str.contains("a"))


def test_a_failing_predicate_names_the_row_group(numbers: hr.Dataset) -> None:
    """What goes wrong on the values of one row group says where."""
    with pytest.raises(hr.PrepareError, match=r"a\.parquet, row group 0"):
        numbers.filter(pl.col("text").cast(pl.Int64) == 3)


def test_drop_nulls() -> None:
    """Null in one of the columns drops a sample; NaN does not."""
    frame = pl.DataFrame({"a": [1.0, None, float("nan"), 4.0], "b": ["x", "y", None, "z"], "c": [None] * 4})
    ds = hr.from_polars(frame)

    assert ds.drop_nulls("a").sample_ids.tolist() == [0, 2, 3]
    assert ds.drop_nulls(["a", "b"]).sample_ids.tolist() == [0, 3]
    assert ds.drop_nulls().sample_ids.tolist() == []
    with pytest.raises(hr.UnknownColumnError):
        ds.drop_nulls(["d"])


def test_progress_is_told(numbers: hr.Dataset) -> None:
    """A function hears of each row group that is read, and a filter that reads none stays silent."""
    heard: list[tuple[int, int]] = []
    numbers.filter(pl.col("text") == "odd", progress=lambda done, total: heard.append((done, total)))

    assert heard == [(done, 10) for done in range(1, 11)]
    heard.clear()
    numbers.filter(pl.col("x") < 0, progress=lambda done, total: heard.append((done, total)))
    assert heard == []


def test_infinite_literals_are_understood(numbers: hr.Dataset) -> None:
    """Infinities and NaN, which Polars' JSON does not tell apart, are compared as they are."""
    assert len(numbers.filter(pl.col("x") < float("inf"))) == 1000
    assert len(numbers.filter(pl.col("x") < -float("inf"))) == 0
    assert len(numbers.filter(pl.col("x").eq(float("nan")))) == 0
    assert numbers.with_columns(z=pl.lit(float("inf"))).head(1)["z"].to_list() == [float("inf")]


def test_a_bar_without_a_terminal_writes_nothing(
    numbers: hr.Dataset, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A long scan draws where standard error is a terminal, and is silent elsewhere."""
    monkeypatch.setattr("headrace.execution.reporting.PATIENCE_SECONDS", 0.0)

    assert len(numbers.filter(pl.col("text") == "odd")) == 500
    assert capfd.readouterr() == ("", "")


def test_a_mix_is_filtered_part_by_part(numbers: hr.Dataset) -> None:
    """What is left of each part goes on taking turns."""
    mixed = hr.mix({"low": numbers.slice(0, 300), "high": numbers.slice(700)}, weights={"low": 2, "high": 1})
    left = mixed.filter(pl.col("y") == 3)
    low = matches(numbers.slice(0, 300).to_polars(), pl.col("y") == 3)
    high = matches(numbers.slice(700).to_polars(), pl.col("y") == 3)
    batch = next(iter(left.loader(6, output="numpy")))

    assert len(left) == len(low) + len(high)
    assert int((batch["x"] < 300).sum()) == 4
