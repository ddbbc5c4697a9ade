"""Which of several duplicates is kept: greedily in an order, held against a search by hand."""

from __future__ import annotations

import datetime
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dedup_data import NearNumbers, some, write_shards
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.dedup.method import Edges
from headrace.dedup.preference import Preference
from headrace.dedup.report.deciding import decide_pairs, edge_table
from headrace.dedup.report.edge_kernels import decide, join

Link = tuple[int, int, float, bool]  # loser, winner, score, whether they are the same
Graph = tuple[int, list[Link]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Samples in order of preference, and links: equal ones to their first, first ones to each other."""
    count = draw(st.integers(1, 12))
    owner = [draw(st.integers(0, sample)) for sample in range(count)]
    heads = sorted({head(owner, sample) for sample in range(count)})
    edges = [(sample, head(owner, sample), 1.0, True) for sample in range(count) if owner[sample] != sample]
    pairs = [(two, one) for one in heads for two in heads if one < two]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    edges += [(*pair, draw(st.sampled_from([0.8, 0.9, 1.0])), False) for pair in chosen]
    return count, draw(st.permutations(edges))


def head(owner: list[int], sample: int) -> int:
    while owner[sample] != sample:
        sample = owner[sample]
    return sample


def keep_greedily(count: int, edges: list[Link]) -> dict[int, tuple[int, float]]:
    """Walk down the preference: a sample goes for the most similar kept one, equal ones as their first."""
    gone: dict[int, tuple[int, float]] = {}
    for sample in range(count):
        links = [edge for edge in edges if edge[0] == sample]
        same = [winner for _, winner, _, is_same in links if is_same]
        if same:
            gone[sample] = gone.get(same[0], (same[0], 1.0))
            continue
        kept = [(-score, winner) for _, winner, score, _ in links if winner not in gone]
        if kept:
            score, winner = min(kept)
            gone[sample] = (winner, -score)
    return gone


def as_edges(edges: list[Link]) -> Edges:
    columns = list(zip(*edges, strict=True)) if edges else [[], [], [], []]
    losers, winners = (np.array(columns[place], np.int64) for place in (0, 1))
    is_same = np.array(columns[3], np.bool_)
    return Edges(losers, winners, np.array(columns[2], np.float64), is_same, is_same)


@some
@given(graph=graphs(), data=st.data())
def test_greedy_as_by_hand(graph: Graph, data: st.DataObject) -> None:
    """Random links of random samples, numbered in any order, decide as a walk in plain Python does."""
    count, edges = graph
    ids = np.array(data.draw(st.permutations(range(count))), np.int64)
    places = np.argsort(ids)
    table = edge_table(as_edges(edges), Preference("first", ids, places), "near")
    decided = decide_pairs(table, "first")

    expected = sorted(
        (int(ids[loser]), int(ids[winner]), score)
        for loser, (winner, score) in keep_greedily(count, edges).items()
    )
    assert decided.select("dropped_id", "kept_id", "score").rows() == expected

    none = decide_pairs(table, "none")
    linked = {sample for edge in edges for sample in edge[:2]}
    assert none["dropped_id"].to_list() == sorted(int(ids[sample]) for sample in linked)
    assert none["kept_id"].null_count() == none.height
    best = {sample: max(edge[2] for edge in edges if sample in edge[:2]) for sample in linked}
    assert dict(zip(none["dropped_id"], none["score"], strict=True)) == {
        int(ids[sample]): score for sample, score in best.items()
    }


@some
@given(graph=graphs())
def test_kernels_as_by_hand(graph: Graph) -> None:
    """The compiled walk names the link by which each sample goes; connected samples have one first sample."""
    count, edges = graph
    ordered = sorted(edges)
    laid = as_edges(ordered)
    deciding = decide(laid.losers, laid.winners, laid.scores, laid.is_same, count)

    gone = keep_greedily(count, edges)
    assert set(np.flatnonzero(deciding >= 0).tolist()) == set(gone)
    for sample in gone:
        loser, winner, score, is_same = ordered[deciding[sample]]
        assert loser == sample
        assert is_same or (winner, score) == gone[sample]

    component = list(range(count))
    for _ in range(count):
        for loser, winner, *_ in edges:
            component[loser] = component[winner] = min(component[loser], component[winner])
    assert join(laid.losers, laid.winners, count).tolist() == component


@some
@given(values=st.lists(st.integers(0, 40), max_size=30), keep=st.sampled_from(["first", "last"]))
def test_every_dropped_sample_has_a_kept_one(values: list[int], keep: Any) -> None:
    """Through the public function: what goes is near to what stays, and two that stay are not near."""
    ds = hr.from_arrays({"x": np.array(values, np.float64)})
    report = hr.find_duplicates(ds, method=NearNumbers(0.8), keep=keep)
    kept = report.selection.ids.tolist()

    for dropped, stays, score in report.pairs.rows():
        assert stays in kept
        assert dropped not in kept
        assert score == pytest.approx(1 - abs(values[dropped] - values[stays]) / 10)
        assert score >= 0.8
        assert (stays < dropped) == (keep == "first")
    alive = sorted(values[sample] for sample in kept)
    assert all(two - one > 2 for one, two in pairwise(alive))


DAY = datetime.date(2026, 1, 1)
PRIORITIES: dict[str, pa.Array] = {
    "whole": pa.array([3, 1, 3, None, 2, 3, None, -1]),
    "large": pa.array([2**63, 0, 2**64 - 1, 2**64 - 1, None, 5, 0, 1], pa.uint64()),
    "floats": pa.array([0.0, -0.0, math.nan, None, math.inf, math.inf, -math.inf, 0.0]),
    "zeros": pa.array([0.0, -0.0, -0.0, 0.0, -0.0, 0.0, -0.0, 0.0]),
    "missing": pa.array([math.nan, None, math.nan, None, math.nan, None, None, math.nan]),
    "nulls": pa.array([None] * 8, pa.int64()),
    "text": pa.array(["b", "a", "é", "", None, "é", "z", "b"]),
    "dates": pa.array([DAY, None, DAY + datetime.timedelta(1), DAY, None, None, DAY, DAY]),
    "times": pa.array([1, 5, None, 5, 2, 0, -7, 5], pa.timestamp("ms", tz="UTC")),
    "truth": pa.array([True, False, None, True, None, False, False, True]),
}


def order_of(values: list[Any], keep: str) -> list[int]:
    """Sample ids from the preferred one down, told in plain Python."""
    numbers = list(range(len(values)))
    if keep == "last":
        numbers.reverse()
    by_value: dict[Any, list[int]] = {}
    missing: list[int] = []
    for number in numbers:
        value = values[number]
        (missing if value is None or is_nan(value) else by_value.setdefault(value, [])).append(number)
    return [number for value in sorted(by_value, reverse=True) for number in by_value[value]] + missing


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


@pytest.mark.parametrize("keep", ["first", "last"])
@pytest.mark.parametrize("name", PRIORITIES)
def test_the_highest_value_is_kept(name: str, keep: Any, tmp_path: Path) -> None:
    """Of equal samples the one stays that comes first by a sort in Python; null and NaN come last."""
    values = PRIORITIES[name]
    ds = write_shards(tmp_path, {"x": ["a", "b"] * 4, "priority": values}, shards=2, row_group=3)
    order = order_of(values.to_pylist(), keep)

    pairs = hr.find_duplicates(ds, on="x", keep=keep, priority="priority").pairs
    expected: dict[int, int] = {}
    for parity in (0, 1):
        best, *others = [number for number in order if number % 2 == parity]
        expected |= dict.fromkeys(others, best)
    assert dict(pairs.select("dropped_id", "kept_id").rows()) == expected


def test_no_order_of_shards_changes_what_is_kept(tmp_path: Path) -> None:
    """With values that differ, the samples that stay are the same ones however shards are named."""
    x = np.random.default_rng(0).integers(0, 40, 200)
    write_shards(tmp_path, {"x": x, "quality": np.random.default_rng(1).permutation(200)}, shards=4)
    paths = sorted(tmp_path.glob("*.parquet"))
    kept = [
        set(hr.open(order).dedup("x", priority="quality", warn_above=None).to_polars()["quality"])
        for order in (paths, paths[::-1])
    ]

    assert kept[0] == kept[1]
    assert len(kept[0]) == len(set(x.tolist()))


def test_what_cannot_be_preferred_is_refused() -> None:
    """Words that are none, columns that are not there, values without an order."""
    ds = hr.from_arrow(
        pa.table({"x": [1, 1], "list": [[1], [2]], "kind": pa.array(["a", "b"]).dictionary_encode()})
    )
    with pytest.raises(hr.OptionError, match='`keep` must be "first", "last" or "none", got \'best\''):
        hr.find_duplicates(ds, keep="best")  # type: ignore[arg-type]
    with pytest.raises(hr.UnknownColumnError, match="no column `quality`"):
        hr.find_duplicates(ds, priority="quality")
    for name in ("list", "kind"):
        with pytest.raises(hr.SchemaError, match=f"values have an order, like numbers; `{name}` is"):
            hr.find_duplicates(ds, "x", priority=name)
