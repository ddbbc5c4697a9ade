"""Whole numbers that lie close together are counted and found by a table, others by hash: with one result."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistics_data import merged

from headrace.prepare.numbers.memory import known_rows
from headrace.prepare.statistics import Counts, CountsState, known_numbers
from headrace.prepare.steps.categories import Cutoff
from headrace.prepare.steps.lookup import Lookup

some = settings(max_examples=80, deadline=None, derandomize=True)

TYPES: dict[str, Any] = {
    kind: getattr(pl, kind)
    for kind in ("Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64")
}
# Beyond 1,024 counters and four a value a hash table counts, beyond 8,192 places and sixteen a word it finds.
SPANS = (0, 3, 255, 1022, 1023, 1024, 1025, 8190, 8191, 8192, 8193, 1 << 40, 1 << 63, (1 << 64) - 1)


def ends(kind: str) -> tuple[int, int]:
    info = np.iinfo(kind.lower())
    return int(info.min), int(info.max)


@st.composite
def columns(draw: st.DrawFn) -> pl.Series:
    """A column whose values lie within some span, which begins anywhere that the type has."""
    kind = draw(st.sampled_from(sorted(TYPES)))
    least, most = ends(kind)
    span = min(draw(st.sampled_from(SPANS)), most - least)
    low = draw(st.sampled_from([least, most - span, max(least, -(span // 2)), max(least, 0)]))
    low = min(low, most - span)
    inside = st.integers(low, low + span) | st.sampled_from([low, low + span])
    values = [low, low + span, *draw(st.lists(st.none() | inside, max_size=20))]
    return pl.Series("x", draw(st.permutations(values))[draw(st.integers(0, 3)) :], dtype=TYPES[kind])


@some
@given(columns(), st.lists(st.integers(0, 20), max_size=3), st.integers(0, 9))
def test_counting(column: pl.Series, cuts: list[int], seed: int) -> None:
    """Python's counter is the oracle, for any span, part and order."""
    state = merged(Counts("x"), column.to_frame(), cuts, seed)
    expected = Counter(value for value in column.to_list() if value is not None)

    assert state.table.rows() == sorted(expected.items())
    assert state.table.schema == {"value": column.dtype, "count": pl.Int64()}
    assert state.nulls == column.null_count()


@some
@given(columns(), columns())
def test_finding(vocabulary: pl.Series, column: pl.Series) -> None:
    """A dict is the oracle; values below, above and in between are not there."""
    known = vocabulary.drop_nulls().unique(maintain_order=True)
    places = {value: place for place, value in enumerate(known.to_list())}
    asked = pl.concat([column, vocabulary.cast(column.dtype, strict=False)])
    if (known.dtype == pl.UInt64) != (column.dtype == pl.UInt64):
        asked = vocabulary
    expected = [len(places) + 1 if it is None else places.get(it, len(places)) for it in asked.to_list()]

    assert Lookup.of(known).find(asked).tolist() == expected


@pytest.mark.parametrize("kind", sorted(TYPES))
@pytest.mark.parametrize("count", [2, 5000])
def test_on_both_sides_of_the_switch(kind: str, count: int) -> None:
    """The span up to which there is a table depends on how many values there are."""
    least, most = ends(kind)
    for span in (4 * count - 1, 4 * count, 16 * count - 1, 16 * count, 8191, 8192):
        values = np.linspace(0, min(span, most - least), count).astype(np.uint64).tolist()
        distinct = sorted({least + int(value) for value in values})
        column = pl.Series("x", distinct * 2, dtype=TYPES[kind])
        lookup = Lookup.of(pl.Series(distinct, dtype=TYPES[kind]))

        assert Counts("x").of(column.to_frame()).table.rows() == [(value, 2) for value in distinct]
        assert lookup.find(column).tolist() == [*range(len(distinct))] * 2


@pytest.mark.parametrize("dtype", [pl.Date, pl.Datetime("us"), pl.Boolean, pl.Float64])
def test_words_of_other_types(dtype: Any) -> None:
    """Dates, times, truth values and floats are found by their words."""
    known = pl.Series([1, 0] if dtype == pl.Boolean else [5, 3, 4]).cast(dtype)
    asked = pl.concat([known.clear(2), known, known.cast(pl.Int64).head(1).cast(dtype)])

    assert Lookup.of(known).find(asked).tolist() == [len(known) + 1] * 2 + [*range(len(known)), 0]


@some
@given(st.data(), st.sampled_from([*TYPES, "Float32", "Float64", "Boolean", "String"]), st.integers(0, 9))
def test_what_is_null(data: st.DataObject, kind: str, offset: int) -> None:
    """Polars tells the same of any slice of a column, which need not begin with a byte of the bitmap."""
    flags = data.draw(st.lists(st.booleans(), min_size=10, max_size=90))
    dtype = getattr(pl, kind)
    whole = pl.Series("x", [1 if flag else None for flag in flags]).cast(dtype)
    for column in (whole[offset:], whole[offset : offset + 8], pl.concat([whole, whole])[offset:]):
        assert known_rows(column).tolist() == column.is_not_null().to_list()
        if kind != "String":
            found, expected = known_numbers(column), column.drop_nulls().to_numpy()
            assert found.dtype == expected.dtype
            assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("max_size", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("min_count", [None, 1, 2, 3])
def test_of_equally_frequent_ones_the_smaller_are_chosen(min_count: int | None, max_size: int) -> None:
    """Sorting all of them says the same; one beyond the size tells that some were left out."""
    values = [7, 7, 7, -2, -2, 30, 30, 5, 5, 1, 2]
    state: CountsState = Counts("x").of(pl.DataFrame({"x": values}))
    ranked = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    expected = [item for item in ranked if item[1] >= (min_count or 1)][:max_size]
    kept, is_cut = Cutoff(min_count or 1, max_size).keep(state)

    assert state.frequent(min_count, max_size).rows() == expected
    assert kept.to_list() == sorted(value for value, _ in expected)
    assert is_cut == (len(expected) < len(ranked))
