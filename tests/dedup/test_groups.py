"""Equal keys: the same links as a dictionary finds, however much memory there is and whoever looks."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.dedup.exact.group_kernels import link_records, split_records
from headrace.dedup.exact.groups import match_keys
from headrace.dedup.exact.records import Layout, Records
from headrace.dedup.method import Edges, MatchOptions, Signed
from headrace.dedup.preference import Preference
from headrace.dedup.report.deciding import decide_pairs, edge_table

LITTLE = 1000  # bytes, less than anything takes: records are moved a thousand at a time


def signed(keys: Any, ranks: Any, at_once: int = 700) -> list[Signed]:
    """Keys with their ranks, some at a time."""
    parts = [slice(begin, begin + at_once) for begin in range(0, len(keys), at_once)]
    return [Signed(ranks[part], {"keys": keys[part]}) for part in parts]


def some_keys(count: int, distinct: int, seed: int = 0) -> Any:
    """Keys, each as often as chance has it; some differ in the first word alone, some in the second."""
    draws = np.random.default_rng(seed)
    words = draws.integers(0, 2**64, (distinct, 2), dtype=np.uint64)
    words[1::5, 0], words[2::5, 1] = words[0, 0], words[0, 1]
    return words[draws.integers(0, distinct, count)]


def expected(keys: Any, ranks: Any) -> set[tuple[int, int]]:
    """Links by a dictionary."""
    best: dict[tuple[int, int], int] = {}
    named = [(tuple(key), rank) for key, rank in zip(keys.tolist(), ranks.tolist(), strict=True)]
    for key, rank in named:
        best[key] = min(best.get(key, rank), rank)
    return {(rank, best[key]) for key, rank in named if rank != best[key]}


def links(edges: Edges) -> set[tuple[int, int]]:
    found = list(zip(edges.losers.tolist(), edges.winners.tolist(), strict=True))
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize(
    "executor", [None, hr.Serial(), hr.Threads(3), hr.Processes(2)], ids=lambda it: type(it).__name__
)
@pytest.mark.parametrize("memory_limit", [LITTLE, 200_000, 1 << 30])
def test_links_are_those_of_a_dictionary(memory_limit: int, executor: Any) -> None:
    """Whatever the memory, the executor, the order of coming and the signs of the ranks."""
    keys = some_keys(20_000, 9_000)
    options = MatchOptions(executor, memory_limit)
    for ranks in (np.arange(20_000), -np.random.default_rng(1).permutation(20_000)):
        edges = match_keys(signed(keys, ranks), 20_000, options)
        turned = match_keys(signed(keys[::-1], ranks[::-1], 20_000), 20_000, options)

        assert links(edges) == links(turned) == expected(keys, ranks)
        assert edges.is_same.all()
        assert edges.is_exact.all()
        assert (edges.scores == 1).all()


def test_no_samples_and_one_key() -> None:
    """Nothing gives nothing, and samples that are all equal are linked to one, in little memory too."""
    nothing = match_keys([], 0, MatchOptions())
    same = match_keys(
        signed(np.ones((9000, 2), np.uint64), np.arange(9000)), 9000, MatchOptions(None, LITTLE)
    )

    assert len(nothing.losers) == 0
    assert links(same) == {(rank, 0) for rank in range(1, 9000)}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=60), st.integers(0, 6), st.randoms()
)
def test_kernels_equal_plain_python(pairs: list[tuple[int, int]], bits: int, random: Any) -> None:
    """Records are partitioned by the first bits, and linked as plain Python does."""
    spread = [(first << 61 | second, second << 3) for first, second in pairs]
    keys = np.array(spread, np.uint64).reshape(-1, 2)
    ranks = np.array(random.sample(range(-200, 200), len(pairs)), np.int64)
    cut = len(pairs) // 3
    packed, offsets = split_records([(keys[:cut], ranks[:cut]), (keys[cut:], ranks[cut:])], bits)

    prefixes = [first >> (64 - bits) for first, _ in spread]
    order = sorted(range(len(pairs)), key=lambda row: prefixes[row])
    assert packed[:, 2].astype(np.int64).tolist() == [int(ranks[row]) for row in order]
    assert packed[:, :2].tolist() == [list(spread[row]) for row in order]
    assert np.diff(offsets).tolist() == [prefixes.count(number) for number in range(1 << bits)]

    losers, winners = link_records(packed)
    assert set(zip(losers.tolist(), winners.tolist(), strict=True)) == expected(keys, ranks)


def test_records_come_back_whole_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit they lie in a file that no folder lists, each in the partition of its key."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    keys, ranks = some_keys(30_000, 20_000), np.arange(30_000)
    with Records(Layout.plan(30_000, LITTLE, 2)) as records:
        for begin in range(0, 30_000, 999):
            records.add(keys[begin : begin + 999], ranks[begin : begin + 999])
        records.finish()
        assert records.spilled_bytes > 20 * 30_000
        assert list(tmp_path.iterdir()) == []
        parts = [records.partition(number) for number in range(records.partitions)]

    order = np.concatenate([part[:, 2] for part in parts]).astype(np.int64)
    assert sorted(order.tolist()) == ranks.tolist()
    assert (np.concatenate([part[:, :2] for part in parts]) == keys[order]).all()
    assert sum(len(np.unique(part[:, :2], axis=0)) for part in parts) == len(np.unique(keys, axis=0))


def test_memory_stays_below_the_limit() -> None:
    """What lies in memory, what is written at once and what is worked on have a third each."""
    for bound in (10**6, 10**9, 10**10):
        for limit in (10**7, 10**9, 10**11):
            layout = Layout.plan(bound, limit, workers=8)
            held = bound if layout.held is None else layout.held
            assert held * 24 <= limit / 3
            assert bound >> layout.bits <= max(limit / 3 / 8 / 64, 1024) or layout.bits == 20
            assert layout.held is None or layout.at_once * 2 <= layout.held < bound


def texts(count: int) -> pl.DataFrame:
    draws = np.random.default_rng(3)
    numbers = draws.integers(0, count // 2, count)
    column = pl.Series([None if number % 50 == 0 else f"text {number}" for number in numbers])
    return pl.DataFrame({"text": column, "number": np.arange(count)})


@pytest.mark.parametrize("keep", ["first", "last"])
@pytest.mark.parametrize("memory_limit", ["4kB", None])
def test_what_stays_is_what_polars_keeps(keep: Any, memory_limit: str | None) -> None:
    """The same samples as `unique` of Polars with the order kept; those with a null stay all."""
    frame = texts(12_000)
    report = hr.find_duplicates(
        hr.from_polars(frame), on="text", keep=keep, memory_limit=memory_limit, progress=False
    )

    known = frame.filter(pl.col("text").is_not_null()).unique("text", keep=keep)["number"]
    kept = pl.concat([known, frame.filter(pl.col("text").is_null())["number"]]).sort()
    assert report.selection.ids.tolist() == kept.to_list()


def test_a_full_disk_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names what was being done, and what to do."""

    def fail(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    ds = hr.from_polars(texts(12_000))
    with pytest.raises(
        OSError, match=r"writing .* bytes of keys to a temporary file in .* failed: No space"
    ) as it:
        hr.find_duplicates(ds, on="text", memory_limit=LITTLE, progress=False)
    assert it.value.errno == errno.ENOSPC
    assert "memory_limit" in str(it.value)


def test_a_search_does_not_read_columns_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint of columns in memory takes longer than the search; it is made when it is needed."""

    def fail(_: Any) -> str:
        raise AssertionError("the columns are read for their fingerprint")

    monkeypatch.setattr("headrace.sources.memory.identify", fail)
    report = hr.find_duplicates(hr.from_polars(texts(100)), on="text", progress=False)
    assert report.pairs.height > 0
    with pytest.raises(AssertionError, match="fingerprint"):
        report.save(tmp_path / "report.parquet")


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(10, 40), st.integers(0, 9), max_size=20))
def test_links_that_need_no_decision_are_taken_as_they_are(pairs: dict[int, int]) -> None:
    """Samples with one link each, to samples that stay, go for those."""
    losers, winners = np.array(list(pairs), np.int64), np.array(list(pairs.values()), np.int64)
    decided = decide_pairs(edge_table(Edges.of_equal(losers, winners), Preference(), "bloom"), "first")

    assert decided.rows() == [(loser, pairs[loser], 1.0, "exact") for loser in sorted(pairs)]
