"""Records of keys and ranks, compiled: partitioned by the first bits of the key, and linked by equal keys.

A record is three words: the two of a key, and a rank. A kernel sees one partition at a time, which is small
enough for a core's cache, so that its hash table never waits for memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Ranks = NDArray[np.int64]
Packed = NDArray[np.uint64]
Pairs = tuple[Ranks, Ranks]

WORDS = 3

_KEYS = types.Array(types.uint64, 2, "C", readonly=True)
_RANKS = types.Array(types.int64, 1, "C", readonly=True)
_RECORDS = types.Array(types.uint64, 2, "C", readonly=True)
_OUT_RECORDS = types.Array(types.uint64, 2, "C")
_SLOTS = types.Array(types.int32, 1, "C")
_OUT = types.Array(types.int64, 1, "C")


@njit("uint64(uint64, uint64)", nogil=True, cache=True, inline="always")
def _prefix(word: Any, bits: Any) -> Any:
    # In two steps, since a shift by all 64 bits is undefined.
    return (word >> np.uint64(1)) >> (np.uint64(63) - bits)


@njit(types.void(_KEYS, types.uint64, _OUT), nogil=True, cache=True)
def _count(keys: Any, bits: Any, counts: Any) -> None:
    for row in range(keys.shape[0]):
        counts[_prefix(keys[row, 0], bits)] += 1


@njit(types.void(_KEYS, _RANKS, types.uint64, _OUT, _OUT_RECORDS), nogil=True, cache=True)
def _scatter(keys: Any, ranks: Any, bits: Any, places: Any, out: Any) -> None:
    for row in range(keys.shape[0]):
        partition = _prefix(keys[row, 0], bits)
        place = places[partition]
        places[partition] = place + 1
        out[place, 0], out[place, 1] = keys[row, 0], keys[row, 1]
        out[place, 2] = np.uint64(ranks[row])


@njit(types.int64(_RECORDS, types.int64, _SLOTS), nogil=True, cache=True, inline="always")
def _slot_of(records: Any, row: Any, slots: Any) -> Any:
    """Find the slot that holds a record of the same key, or the empty one where it belongs."""
    first, second = records[row, 0], records[row, 1]
    mask = np.uint64(slots.size - 1)
    # The partition's first bits are the same everywhere. Of two equal words, this is three times one.
    slot = (first + (second << np.uint64(1))) & mask
    while True:
        other = slots[slot]
        if other < 0 or (records[other, 0] == first and records[other, 1] == second):
            return np.int64(slot)
        slot = (slot + np.uint64(1)) & mask


@njit(types.int64(_RECORDS, _SLOTS, _OUT, _OUT), nogil=True, cache=True)
def _link(records: Any, slots: Any, losers: Any, winners: Any) -> Any:
    found = 0
    for row in range(records.shape[0]):
        slot = _slot_of(records, row, slots)
        other = slots[slot]
        if other < 0:
            slots[slot] = row
            continue
        mine, best = np.int64(records[row, 2]), np.int64(records[other, 2])
        if mine < best:
            slots[slot] = row
        losers[found], winners[found] = max(mine, best), slot
        found += 1
    for pair in range(found):  # only now is it known which one each key prefers
        winners[pair] = np.int64(records[slots[winners[pair]], 2])
    return found


def split_records(parts: Sequence[tuple[Keys, Ranks]], bits: int) -> tuple[Packed, Ranks]:
    """Lay records out by the first bits of their keys, and within a partition in the order of their coming.

    Args:
        parts: Keys, uint64 of shape [n, 2], and a rank for each.
        bits: There are 2**bits partitions.

    Returns:
        The records, uint64 of shape [all n, 3], and where each partition begins, then their number.
    """
    counts = np.zeros((1 << bits) + 1, np.int64)
    for keys, _ in parts:
        _count(keys, np.uint64(bits), counts[1:])
    offsets = np.cumsum(counts)
    out = np.empty((int(offsets[-1]), WORDS), np.uint64)
    places = offsets[:-1].copy()
    for keys, ranks in parts:
        _scatter(keys, ranks, np.uint64(bits), places, out)
    return out, offsets


def link_records(records: Packed) -> Pairs:
    """Link each record to the one of the same key with the smallest rank; releases the GIL.

    Args:
        records: Key and rank, uint64 of shape [n, 3].

    Returns:
        The ranks of the records that are not the smallest, and the smallest rank for each; in an order
        that depends on that of the records.
    """
    losers, winners = np.empty(len(records), np.int64), np.empty(len(records), np.int64)
    found = _link(records, _slots(len(records)), losers, winners)
    return losers[:found].copy(), winners[:found].copy()


def _slots(count: int) -> NDArray[np.int32]:
    """Make a table of a power of two slots, of which at most two thirds will be taken."""
    return np.full(1 << max(count + count // 2, 1).bit_length(), -1, np.int32)
