"""Codes that differ in few bits: all pairs are found, once each, whatever order, memory and threads."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from distance_data import CodeSignatures, near_codes, near_pairs, some
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.dedup.codes.distances import MOST_DISTANCE, groupings, match_codes
from headrace.dedup.codes.kernels import link, link_reference, vote, vote_reference
from headrace.dedup.method import Edges, MatchOptions

SMALL = 20_000  # bytes: codes go to files and are matched part by part


def links(edges: Edges) -> dict[tuple[int, int], float]:
    """Scores by pair; fails where a pair is found twice."""
    pairs = list(zip(edges.losers.tolist(), edges.winners.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    return dict(zip(pairs, edges.scores.tolist(), strict=True))


def expected(codes: np.ndarray, ranks: np.ndarray, distance: int) -> dict[tuple[int, int], float]:
    """Equal codes linked to the one of smallest rank, and those to each other where they are near."""
    firsts: dict[int, int] = {}
    for place in np.argsort(ranks):
        firsts.setdefault(int(codes[place]), int(place))
    found = {
        (int(ranks[place]), int(ranks[firsts[int(code)]])): 1.0
        for place, code in enumerate(codes)
        if firsts[int(code)] != place
    }
    for one, other in combinations(firsts.values(), 2):
        differing = int(np.bitwise_count(codes[one] ^ codes[other]))
        if differing <= distance:
            low, high = sorted((int(ranks[one]), int(ranks[other])))
            found[high, low] = 1 - differing / 64
    return found


@pytest.mark.parametrize("distance", range(MOST_DISTANCE + 1))
def test_all_near_codes_are_found(distance: int) -> None:
    """Every pair that a comparison of all with all finds, in memory and in parts from files."""
    codes = np.unique(np.concatenate([near_codes(600, flips, 10 * distance + flips) for flips in range(3)]))
    codes = np.random.default_rng(distance).permutation(codes)

    for options in (
        MatchOptions(),
        MatchOptions(hr.Serial(), SMALL),
        MatchOptions(hr.Threads(3), 10 * SMALL),
    ):
        edges = match_codes(CodeSignatures(codes), distance, options)
        assert set(links(edges)) == near_pairs(codes, distance)
        assert not edges.is_same.any()
        assert not edges.is_exact.any()


@some
@given(st.integers(0, 300), st.integers(0, 4), st.integers(0, 6), st.integers(0, 10**6), st.booleans())
def test_equal_codes_hang_on_the_preferred_one(
    count: int, flips: int, distance: int, seed: int, small: bool
) -> None:
    """Ranks in any order: repeats link to the smallest rank alone, and that one to others."""
    codes = near_codes(count, flips, seed)
    ranks = np.random.default_rng(seed).permutation(count) - count // 2
    options = MatchOptions(hr.Threads(2), 2_000 if small else 1 << 30)

    edges = match_codes(CodeSignatures(codes, ranks, size=37), distance, options)

    found = links(edges)
    assert found == pytest.approx(expected(codes, ranks, distance))
    assert (edges.winners < edges.losers).all()
    same = {pair for pair, score in found.items() if score == 1}
    marked = zip(edges.losers[edges.is_same].tolist(), edges.winners[edges.is_same].tolist(), strict=True)
    assert set(marked) == same


@pytest.mark.parametrize("limit", [1 << 30, SMALL])
def test_samples_told_by_equality_do_not_meet_codes(limit: int) -> None:
    """Their codes are of no account; their keys are."""
    codes = np.zeros(1_000, np.uint64)
    keys = {place: place // 3 for place in range(0, 1_000, 2)}

    edges = match_codes(CodeSignatures(codes, keys=keys), 3, MatchOptions(memory_limit=limit))

    is_exact = edges.is_exact
    firsts = {key: min(place for place in keys if keys[place] == key) for key in set(keys.values())}
    assert {(place, firsts[key]) for place, key in keys.items() if firsts[key] != place} == set(
        zip(edges.losers[is_exact].tolist(), edges.winners[is_exact].tolist(), strict=True)
    )
    assert sorted(edges.losers[~is_exact].tolist()) == list(range(3, 1_000, 2))
    assert set(edges.winners[~is_exact].tolist()) == {1}


def test_a_crowded_group_is_told() -> None:
    """More than 1,000 codes that are equal in some bits: a warning, and neighbours are still found."""
    random = np.random.default_rng(0)
    low = np.sort(random.permutation(1 << 20)[:1_500]).astype(np.uint64)  # equal but for 20 bits

    with pytest.warns(UserWarning, match="hold more than 1,000 codes"):
        edges = match_codes(CodeSignatures(low), 1, MatchOptions())

    found = set(links(edges))
    every = near_pairs(low, 1)
    near = {(second, first) for second, first in every if first < 64 or second - first <= 64}
    assert near <= found <= every


@pytest.mark.parametrize("distance", range(1, MOST_DISTANCE + 1))
@pytest.mark.parametrize("count", [10, 10**7, 10**9])
def test_groupings_are_complete(count: int, distance: int) -> None:
    """Codes that differ in so many bits meet in exactly one grouping."""
    random = np.random.default_rng(distance)
    chosen = groupings(count, distance)
    blocks = len(chosen[0].blocks)

    assert len(chosen) == comb(distance + blocks, blocks)
    assert all(sum(mask.bit_length() for _, mask in grouping.blocks) <= 32 for grouping in chosen)
    for _ in range(5):
        code = np.zeros(1, np.uint64)
        for bit in random.choice(64, distance, replace=False):
            code |= np.uint64(1) << np.uint64(bit)
        meetings = [
            grouping
            for grouping in chosen
            if grouping.keys(code)[0] == 0 and all(int(code[0]) & mask for mask in grouping.unequal)
        ]
        assert len(meetings) == 1


def test_more_codes_are_grouped_by_more_bits() -> None:
    """Groups of random codes stay below what counts as crowded."""
    for count in (10**5, 10**7, 10**8):
        for distance in (1, 3, 6):
            bits = min(
                sum(mask.bit_length() for _, mask in grouping.blocks)
                for grouping in groupings(count, distance)
            )
            assert count / 2**bits < 500


@some
@given(st.lists(st.integers(0, 40), max_size=8), st.integers(0, 12), st.integers(0, 3), st.integers(0, 99))
def test_link_is_its_plain_twin(sizes: list[int], distance: int, masks: int, seed: int) -> None:
    """The compiled loop finds the pairs of the plain one."""
    codes = near_codes(sum(sizes), 2, seed)
    begins = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    unequal = np.array([0xFF << 8 * number for number in range(masks)], np.uint64)

    found, plain = (each(codes, begins, unequal, distance) for each in (link, link_reference))

    assert set(zip(*map(np.ndarray.tolist, found), strict=True)) == set(
        zip(*map(np.ndarray.tolist, plain), strict=True)
    )


@pytest.mark.parametrize("count", [999, 1_000, 1_001, 1_100])
def test_link_of_a_crowded_group_is_its_plain_twin(count: int) -> None:
    """Beyond 1,000 codes both compare the same pairs, many more than there is room for at first."""
    codes = np.arange(count, dtype=np.uint64)
    begins = np.array([0, count])

    found, plain = (each(codes, begins, np.zeros(0, np.uint64), 64) for each in (link, link_reference))

    pairs = [set(zip(*map(np.ndarray.tolist, each), strict=True)) for each in (found, plain)]
    assert pairs[0] == pairs[1]
    assert (len(pairs[0]) == comb(count, 2)) == (count <= 1_000)


@some
@given(st.lists(st.integers(0, 6), max_size=12), st.integers(0, 99))
def test_votes_are_their_plain_twin(sizes: list[int], seed: int) -> None:
    """The compiled votes make the codes of the plain ones; an even vote sets no bit."""
    hashes = np.random.default_rng(seed).integers(0, 2**64, sum(sizes), dtype=np.uint64)
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    assert vote(hashes, offsets).tolist() == vote_reference(hashes, offsets).tolist()


@pytest.mark.parametrize("distance", [-1, 11, 1.5, "3", True])
@pytest.mark.parametrize("method", [hr.SimHash, hr.ImageHash])
def test_a_distance_that_cannot_be_is_refused(method: type, distance: object) -> None:
    with pytest.raises(hr.OptionError, match="distance"):
        method(distance=distance)
