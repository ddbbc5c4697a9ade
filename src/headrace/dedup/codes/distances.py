"""Codes of 64 bits that differ in few of them, found by the blocks of bits in which they are equal.

Two codes that differ in d bits are equal in at least k of any d + k blocks of bits. So for every k of the
blocks, codes are grouped by the bits of these, and compared within the groups alone. With k = 1 it is the
pigeonhole, with d + 1 groupings; more blocks make for more groupings of smaller groups (Manku, Jain and
Das Sarma, Detecting near-duplicates for web crawling, WWW 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise, product
from math import ceil, comb

import numpy as np
from numpy.typing import NDArray

from headrace.dedup.codes.kernels import CROWDED, NEIGHBOURS, link
from headrace.dedup.exact.groups import match_keys
from headrace.dedup.growing import GrowingArrays
from headrace.dedup.method import Edges, MatchOptions, Ranks, Rows, Signature, Signatures, Signed
from headrace.errors import OptionError, check_whole, warn_caller

Codes = NDArray[np.uint64]
Keys = NDArray[np.uint64]
Places = NDArray[np.int64]

BITS = 64
MOST_DISTANCE = 10

_LOCAL_BITS = 32  # of a sort word, for the place of a code; the rest is for the bits that it is grouped by
_GROUP_SIZE = 250  # codes of a group if codes were random: well below what counts as crowded
_MOST_BLOCKS = 6  # compared at a time
_SORT_COST = 60  # what it takes to sort a code, in comparisons of two codes
_BYTES_PER_CODE = 48  # that grouping takes for each code, beside the code
_MOST_PARTS = 1 << 10  # all codes are read for each, so that a tiny limit would take hours
_CHUNK = 1 << 20
_SCATTER = np.uint64(0x9E3779B97F4A7C15)


def check_distance(distance: int) -> None:
    """Refuse what is no number of bits.

    Raises:
        OptionError: It does not lie in 0..10, beyond which unlike samples have like codes.
    """
    if check_whole("distance", distance, least=0) > MOST_DISTANCE:
        raise OptionError(f"`distance` must lie in 0..{MOST_DISTANCE} of 64 bits, got {distance}")


def signature_of(rows: Rows | None, codes: Codes, is_exact: NDArray[np.bool_], keys: Keys) -> Signature:
    """Lay out codes for `match_codes`.

    Args:
        rows: Which rows they are about; None for all.
        codes: uint64 of shape [n].
        is_exact: Which of the samples have no code that says anything and are told by equality; bool [n].
        keys: 128-bit keys of these, uint64 of shape [exact ones, 2].
    """
    return Signature(rows, {"codes": codes, "is_exact": is_exact, "keys": keys})


def match_codes(signatures: Signatures, distance: int, options: MatchOptions) -> Edges:
    """Link samples whose codes differ in at most so many bits; the score is the share of equal bits.

    Samples of equal code are linked to the preferred one of them, and only that one to others. Samples
    that are told by equality are linked by their keys.
    """
    with GrowingArrays(options.memory_limit // 2) as arrays:
        for signed in signatures:
            is_exact = signed.arrays["is_exact"]
            arrays.append(
                {
                    "codes": signed.arrays["codes"][~is_exact],
                    "ranks": signed.ranks[~is_exact],
                    "keyed": signed.ranks[is_exact],
                    "keys": signed.arrays["keys"],
                }
            )
        found = arrays.finish()
        if not found:
            return Edges.concat([])
        exact = match_keys([Signed(found["keyed"], {"keys": found["keys"]})], len(found["keyed"]), options)
        same, codes, ranks = _collapse(found["codes"], found["ranks"], options.memory_limit)
        similar = [] if distance == 0 else [_link_similar(codes, ranks, distance, options)]
        return Edges.concat([exact, same, *similar])


def _collapse(codes: Codes, ranks: Ranks, limit: int) -> tuple[Edges, Codes, Ranks]:
    """Link samples of equal code, and return the codes without repeats and the preferred sample of each."""
    parts = _parts(len(codes), limit)
    edges: list[Edges] = []
    is_first = np.zeros(len(codes), np.bool_)
    for part in range(parts):
        places = _places(codes, None, part, parts)
        order = places[np.argsort(codes[places])]
        ordered = codes[order]
        begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(order) else order
        here = ranks[order]
        first = np.minimum.reduceat(here, begins) if len(order) else here
        winners = np.repeat(first, np.diff(np.append(begins, len(order))))
        is_loser = here != winners
        is_first[order[~is_loser]] = True
        edges.append(Edges.of_same(here[is_loser], winners[is_loser]))
    kept = 0
    for begin in range(0, len(codes), _CHUNK):  # to the front, over what was read already
        here = begin + np.flatnonzero(is_first[begin : begin + _CHUNK])
        codes[kept : kept + len(here)], ranks[kept : kept + len(here)] = codes[here], ranks[here]
        kept += len(here)
    return Edges.concat(edges), codes[:kept], ranks[:kept]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which bits codes are grouped by.

    Attributes:
        blocks: Shift and mask of each block of bits in which the codes of a group are equal.
        unequal: Bits of the blocks that come before, of which a pair differs in each: one that is equal
            in them was found by an earlier grouping.
    """

    blocks: tuple[tuple[int, int], ...]
    unequal: tuple[int, ...]

    def keys(self, codes: Codes) -> Codes:
        """Return the bits that codes are grouped by, uint64 of shape [codes]."""
        keys = np.zeros(len(codes), np.uint64)
        for shift, mask in self.blocks:
            keys <<= np.uint64(mask.bit_length())
            keys |= (codes >> np.uint64(shift)) & np.uint64(mask)
        return keys


def groupings(count: int, distance: int) -> tuple[Grouping, ...]:
    """Choose by what to group so many codes, so that two that differ in so few bits meet once.

    The number of blocks compared at a time is the one that takes least, among those that keep groups small.
    """
    choices = [blocks for blocks in range(1, _MOST_BLOCKS + 1) if _key_bits(blocks, distance) <= _LOCAL_BITS]
    sizes = {blocks: count / 2 ** _key_bits(blocks, distance) for blocks in choices}
    small = [blocks for blocks in choices if sizes[blocks] <= _GROUP_SIZE] or choices[-1:]
    best = min(small, key=lambda blocks: comb(distance + blocks, blocks) * (_SORT_COST + sizes[blocks] / 2))
    edges = np.linspace(0, BITS, distance + best + 1).astype(int).tolist()
    blocks = [(begin, (1 << end - begin) - 1) for begin, end in pairwise(edges)]
    return tuple(
        Grouping(
            tuple(blocks[number] for number in chosen),
            tuple(mask << shift for shift, mask in _left_out(blocks[: chosen[-1]], chosen)),
        )
        for chosen in combinations(range(len(blocks)), best)
    )


def _key_bits(blocks: int, distance: int) -> int:
    """Bits of the smallest key of so many blocks."""
    return BITS // (distance + blocks) * blocks


def _left_out(blocks: list[tuple[int, int]], chosen: tuple[int, ...]) -> list[tuple[int, int]]:
    return [block for number, block in enumerate(blocks) if number not in chosen]


@dataclass(frozen=True, eq=False)
class _Found:
    """Pairs of one grouping, and how many of its groups were crowded."""

    losers: Ranks
    winners: Ranks
    differing: NDArray[np.uint8]
    crowded: int


def _link_similar(codes: Codes, ranks: Ranks, distance: int, options: MatchOptions) -> Edges:
    """Link codes, none of them twice, that differ in at most so many bits."""
    parts = _parts(options.workers * len(codes), options.memory_limit)
    if parts == 1 and (np.diff(ranks) < 0).any():
        order = np.argsort(ranks)
        codes, ranks = codes[order], ranks[order]
    tasks = product(groupings(len(codes), distance), range(parts))
    find = partial(_find, codes, ranks, distance, parts)
    found = list(options.threads.map(find, tasks))
    crowded = sum(pairs.crowded for pairs in found)
    if crowded:
        warn_caller(
            f"{crowded:,} groups of codes that are equal in some bits hold more than {CROWDED:,} codes; "
            f"there each is compared with the first {NEIGHBOURS} and the {NEIGHBOURS} before it alone, so "
            "that some duplicates may stay unseen; a smaller `distance` makes the groups smaller"
        )
    differing = np.concatenate([pairs.differing for pairs in found])
    return Edges.of_similar(
        np.concatenate([pairs.losers for pairs in found]),
        np.concatenate([pairs.winners for pairs in found]),
        1 - differing / BITS,
    )


def _find(codes: Codes, ranks: Ranks, distance: int, parts: int, task: tuple[Grouping, int]) -> _Found:
    """Find the pairs of one grouping among the codes whose keys fall to one part."""
    grouping, part = task
    if parts > 1:
        places = _places(codes, grouping, part, parts)
        places = places[np.argsort(ranks[places])]
        codes, ranks = np.asarray(codes[places]), np.asarray(ranks[places])
    words = grouping.keys(codes) << np.uint64(_LOCAL_BITS)
    words |= np.arange(len(codes), dtype=np.uint64)
    words.sort()  # codes of a group come in the order of preference
    order = (words & np.uint64((1 << _LOCAL_BITS) - 1)).view(np.int64)
    words >>= np.uint64(_LOCAL_BITS)
    begins = np.concatenate([[0], np.flatnonzero(words[1:] != words[:-1]) + 1, [len(codes)]])
    ordered = codes[order]
    firsts, seconds = link(ordered, begins, np.array(grouping.unequal, np.uint64), distance)
    differing = np.bitwise_count(ordered[firsts] ^ ordered[seconds])
    crowded = int(np.count_nonzero(np.diff(begins) > CROWDED))
    return _Found(ranks[order[seconds]], ranks[order[firsts]], differing, crowded)


def _parts(count: int, limit: int) -> int:
    """Tell into how many parts so many codes are cut, so that those of one fit if that is sensible."""
    return min(max(ceil(_BYTES_PER_CODE * count / limit), 1), _MOST_PARTS)


def _places(codes: Codes, grouping: Grouping | None, part: int, parts: int) -> Places:
    """Return the places of the codes whose keys belong to one part of so many; equal keys go together."""
    if parts == 1:
        return np.arange(len(codes))
    found: list[Places] = []
    for begin in range(0, len(codes), _CHUNK):
        here = codes[begin : begin + _CHUNK]
        keys = here if grouping is None else grouping.keys(here)
        owners = ((keys * _SCATTER) >> np.uint64(33)) % np.uint64(parts)
        found.append(begin + np.flatnonzero(owners == part))
    return np.concatenate(found)
