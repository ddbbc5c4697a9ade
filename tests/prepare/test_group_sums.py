"""Sums by group: exact, and the same for any partition."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistics_data import fractions_of, merged, numbers_of_every_kind, reread

import headrace as hr
from headrace.prepare.statistics import GroupSums, GroupTable

some = settings(max_examples=40, deadline=None, derandomize=True)
KINDS = {
    kind: values[:500]
    for kind, values in numbers_of_every_kind(500).items()
    if kind not in ("ends", "cancelling", "float16")
}
ASKED = GroupSums(("city", "fold"), "y")


def frame_of(values: Any) -> pl.DataFrame:
    draw = np.random.default_rng(2)
    cities = draw.choice(["Bern", "Chur", "a city of more than twelve letters", ""], len(values))
    city = pl.Series(cities).set(pl.Series(draw.random(len(values)) < 0.2), None)
    return pl.DataFrame({"city": city, "fold": draw.integers(0, 3, len(values)), "y": values})


def same(table: GroupTable, other: GroupTable) -> bool:
    """Whether two tables have equal groups and bits."""
    pairs = [(table.sums, other.sums), (table.squares, other.squares)]
    return (
        table.groups.equals(other.groups)
        and (table.counts == other.counts).all()
        and all((a.limbs == b.limbs).all() and a.place == b.place for a, b in pairs)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_groups_are_those_of_fractions(kind: str) -> None:
    """Count, mean and variance of each group and of all others, rounded once; null is a group."""
    frame = frame_of(KINDS[kind])
    table = ASKED.of(frame).table
    others = table.others("fold")

    assert table.groups.rows() == sorted(
        set(frame.select("city", "fold").rows()), key=lambda key: (key[0] is None, key)
    )
    for number, (city, fold) in enumerate(table.groups.rows()):
        mine = frame.filter(pl.col("city").eq_missing(pl.lit(city)))
        inside = fractions_of(mine.filter(pl.col("fold") == fold)["y"].to_numpy())
        outside = fractions_of(mine.filter(pl.col("fold") != fold)["y"].to_numpy())
        assert (table.counts[number], others.counts[number]) == (len(inside), len(outside))
        assert table.means[number] == float(sum(inside) / len(inside))
        assert others.means[number] == float(sum(outside) / len(outside))
        mean = sum(inside) / Fraction(len(inside))
        variance = sum((value - mean) ** 2 for value in inside) / len(inside)
        assert table.variances()[number] == (float(variance) if variance < 2**1024 else np.inf)


@pytest.mark.parametrize("kind", KINDS)
def test_any_partition_gives_the_same_groups(kind: str) -> None:
    """Bit for bit, written and read on the way."""
    frame = frame_of(KINDS[kind])
    whole = ASKED.of(frame)

    for cuts in ([1], [3, 100, 101, 490], list(range(0, 500, 9))):
        state = merged(ASKED, frame, cuts, seed=len(cuts))
        assert same(state.table, whole.table)
        assert state.infinities == whole.infinities == np.isinf(KINDS[kind]).sum()
    assert same(reread(ASKED, whole).table, whole.table)


@some
@given(
    st.lists(
        st.tuples(st.sampled_from([None, 0.0, -0.0, 1.5, float("nan")]), st.integers(-9, 9)), max_size=40
    ),
    st.lists(st.integers(0, 40), max_size=4),
)
def test_groups_of_floats(rows: list[tuple[float | None, int]], cuts: list[int]) -> None:
    """NaN is with null, and zero with negative zero."""
    frame = pl.DataFrame(rows, schema={"key": pl.Float64, "y": pl.Int64}, orient="row")
    table = merged(GroupSums(("key",), "y"), frame, cuts).table
    sums: dict[float | None, list[int]] = {}
    for key, value in rows:
        sums.setdefault(None if key is None or np.isnan(key) else key + 0.0, []).append(value)

    assert dict(zip(table.groups["key"].to_list(), table.counts.tolist(), strict=True)) == {
        key: len(values) for key, values in sums.items()
    }
    for key, mean in zip(table.groups["key"].to_list(), table.means.tolist(), strict=True):
        assert mean == float(Fraction(sum(sums[key]), len(sums[key])))


def test_coarser_groups_and_groups_without_values() -> None:
    """Sums over fewer columns, over none; a group that knows nothing counts 0 and has no mean."""
    frame = pl.DataFrame(
        {
            "city": pl.Series(["a", "a", "b", "b", None], dtype=pl.Categorical),
            "fold": [0, 1, 0, 0, 1],
            "y": [1, 4, None, None, True],
        },
        strict=False,
    )
    table = ASKED.of(frame).table
    by_city, everything = table.over(["city"]), table.over(())

    assert table.counts.tolist() == [1, 1, 0, 1]
    assert np.array_equal(table.means, [1.0, 4.0, np.nan, 1.0], equal_nan=True)
    assert by_city.groups["city"].to_list() == ["a", "b", None]
    assert by_city.counts.tolist() == [2, 0, 1]
    assert (everything.counts.tolist(), everything.means.tolist()) == ([3], [2.0])
    assert np.isnan(table.variances(1)).all()
    assert table.over(["fold"]).others("fold").means.tolist() == [2.5, 1.0]


def test_no_rows_and_wrong_names() -> None:
    """A part without rows changes nothing; groups need a column to tell them apart."""
    frame = frame_of(np.array([1.0, 2.0]))
    empty = ASKED.of(frame[:0])

    assert len(empty.table.counts) == 0
    assert same(empty.merge(ASKED.of(frame)).table, ASKED.of(frame).table)
    assert same(reread(ASKED, empty).merge(ASKED.of(frame)).table, ASKED.of(frame).table)
    for by in ((), ("a", "a")):
        with pytest.raises(hr.OptionError, match="at least one column"):
            GroupSums(by, "y")
