"""Codes of 64 bits, compiled: pairs that differ in few bits, and the votes that make a code."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from headrace.planning.bit_kernels import count_bits

Codes = NDArray[np.uint64]
Places = NDArray[np.int64]

CROWDED = 1_000  # codes of a group; beyond, all pairs would take too long
NEIGHBOURS = 64  # of a crowded group: the first ones, and those right before each code

_BITS = 64

_CODES = types.Array(types.uint64, 1, "C", readonly=True)
_PLACES = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.Array(types.int64, 1, "C")
_OUT_CODES = types.Array(types.uint64, 1, "C")


@njit(types.boolean(types.uint64, _CODES), nogil=True, cache=True, inline="always")
def _differs(difference: Any, masks: Any) -> Any:
    for mask in masks:  # noqa: SIM110  compiled
        if not difference & mask:
            return False
    return True


@njit(types.int64(_CODES, _PLACES, _CODES, types.int64, _OUT, _OUT), nogil=True, cache=True)
def _link(codes: Any, begins: Any, unequal: Any, distance: Any, firsts: Any, seconds: Any) -> Any:
    found = 0
    for group in range(begins.size - 1):
        begin, end = begins[group], begins[group + 1]
        is_crowded = end - begin > CROWDED
        for second in range(begin + 1, end):
            first = begin
            while first < second:
                if is_crowded and first == begin + NEIGHBOURS:
                    first = max(first, second - NEIGHBOURS)
                difference = codes[first] ^ codes[second]
                if count_bits(difference) <= distance and _differs(difference, unequal):
                    if found < firsts.size:
                        firsts[found], seconds[found] = first, second
                    found += 1
                first += 1
    return found


@njit(types.void(_CODES, _PLACES, _OUT_CODES), nogil=True, cache=True)
def _vote(hashes: Any, offsets: Any, out: Any) -> None:
    votes = np.empty(_BITS, np.int64)
    for place in range(out.size):
        votes[:] = 0
        begin, end = offsets[place], offsets[place + 1]
        for member in range(begin, end):
            for bit in range(_BITS):
                votes[bit] += np.int64((hashes[member] >> np.uint64(bit)) & np.uint64(1))
        code = np.uint64(0)
        for bit in range(_BITS):
            if 2 * votes[bit] > end - begin:
                code |= np.uint64(1) << np.uint64(bit)
        out[place] = code


def link(codes: Codes, begins: Places, unequal: Codes, distance: int) -> tuple[Places, Places]:
    """Find the pairs within groups of codes that differ in few bits; releases the GIL.

    Of a group of more than `CROWDED` codes, each is compared with the first `NEIGHBOURS` of the group and
    with that many right before it.

    Args:
        codes: Group behind group.
        begins: Where each group begins, then where the last one ends; int64 of shape [groups + 1].
        unequal: Bits of which a pair must differ in one at least, for each of these masks.
        distance: In how many bits a pair may differ.

    Returns:
        The place of the first and of the second code of each pair, both int64 of shape [pairs].
    """
    room = max(len(codes) // 4, 1024)
    while True:
        firsts, seconds = np.empty(room, np.int64), np.empty(room, np.int64)
        found = _link(codes, begins, unequal, distance, firsts, seconds)
        if found <= room:
            return firsts[:found], seconds[:found]
        room = found


def link_reference(codes: Codes, begins: Places, unequal: Codes, distance: int) -> tuple[Places, Places]:
    """Do what `link` does, in plain NumPy."""
    pairs = [np.zeros((0, 2), np.int64)]
    for begin, end in pairwise(begins):
        places = np.arange(begin, end)
        seconds, firsts = np.tril_indices(len(places), -1)
        if len(places) > CROWDED:
            is_near = (firsts < NEIGHBOURS) | (seconds - firsts <= NEIGHBOURS)
            seconds, firsts = seconds[is_near], firsts[is_near]
        difference = codes[places[firsts]] ^ codes[places[seconds]]
        is_found = np.bitwise_count(difference) <= distance
        for mask in unequal:
            is_found &= difference & mask != 0
        pairs.append(np.stack([places[firsts], places[seconds]], axis=1)[is_found])
    joined = np.concatenate(pairs)
    return joined[:, 0], joined[:, 1]


def vote(hashes: Codes, offsets: Places) -> Codes:
    """Make a code of each list of hashes: a bit is set if it is set in more than half of them.

    Releases the GIL.

    Args:
        hashes: List behind list.
        offsets: Where each list begins, then where the last one ends; int64 of shape [lists + 1].
    """
    out = np.empty(len(offsets) - 1, np.uint64)
    _vote(hashes, offsets, out)
    return out


def vote_reference(hashes: Codes, offsets: Places) -> Codes:
    """Do what `vote` does, in plain Python."""
    codes: list[int] = []
    for begin, end in pairwise(offsets):
        members = [int(word) for word in hashes[begin:end]]
        bits = [2 * sum(word >> bit & 1 for word in members) > len(members) for bit in range(_BITS)]
        codes.append(sum(1 << bit for bit, is_set in enumerate(bits) if is_set))
    return np.array(codes, np.uint64)
