"""Compiled loops over the bits of an id set, 64 to a word.

`before[block]` is the number of set bits in front of each block of `BLOCK` words, and last the total.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

BLOCK = 64  # words: a table of one whole number for 4,096 ids takes 1.6 % beside the bits themselves

_ONE, _ALL = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
_EVEN, _PAIRS = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
_NIBBLES, _SUM = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)


_WORDS = types.Array(types.uint64, 1, "C", readonly=True)
_IDS = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.Array(types.int64, 1, "C")
_OUT_WORDS = types.Array(types.uint64, 1, "C")


@njit(types.int64(types.uint64), nogil=True, cache=True, inline="always")
def count_bits(word: Any) -> Any:
    """Count the bits of a word that are set."""
    word = word - ((word >> np.uint64(1)) & _EVEN)
    word = (word & _PAIRS) + ((word >> np.uint64(2)) & _PAIRS)
    word = (word + (word >> np.uint64(4))) & _NIBBLES
    return np.int64((word * _SUM) >> np.uint64(56))


@njit(types.void(_WORDS, _OUT), nogil=True, cache=True)
def count_blocks(words: Any, before: Any) -> None:
    """Fill `before`, int64 of shape [blocks + 1]."""
    total = 0
    for block in range(before.size - 1):
        before[block] = total
        for place in range(block * BLOCK, min((block + 1) * BLOCK, words.size)):
            total += count_bits(words[place])
    before[before.size - 1] = total


@njit(types.int64(_WORDS), nogil=True, cache=True)
def count_runs(words: Any) -> Any:
    """Count the runs of ids that follow each other."""
    runs, carry = 0, np.uint64(0)
    for word in words:
        runs += count_bits(word & ~((word << _ONE) | carry))
        carry = word >> np.uint64(63)
    return runs


@njit(types.void(_OUT_WORDS, _IDS), nogil=True, cache=True)
def set_ids(words: Any, ids: Any) -> None:
    """Set the bits of ids."""
    for place in ids:
        words[place >> 6] |= _ONE << np.uint64(place & 63)


@njit(types.void(_OUT_WORDS, _IDS, _IDS), nogil=True, cache=True)
def set_runs(words: Any, begins: Any, ends: Any) -> None:
    """Set the bits of runs, none of them empty."""
    for run in range(begins.size):
        first, last = begins[run] >> 6, (ends[run] - 1) >> 6
        head = _ALL << np.uint64(begins[run] & 63)
        tail = _ALL >> np.uint64(63 - ((ends[run] - 1) & 63))
        if first == last:
            words[first] |= head & tail
            continue
        words[first] |= head
        for place in range(first + 1, last):
            words[place] = _ALL
        words[last] |= tail


@njit(types.void(_WORDS, _OUT, _OUT), nogil=True, cache=True)
def find_runs(words: Any, begins: Any, ends: Any) -> None:
    """Write where each run begins and ends, as many as `count_runs` says."""
    begun, ended, carry = 0, 0, np.uint64(0)
    for place in range(words.size):
        word = words[place]
        shifted = (word << _ONE) | carry
        carry = word >> np.uint64(63)
        changed = word ^ shifted
        while changed:
            bit = count_bits((changed & (~changed + _ONE)) - _ONE)
            if (word >> np.uint64(bit)) & _ONE:
                begins[begun] = place * 64 + bit
                begun += 1
            else:
                ends[ended] = place * 64 + bit
                ended += 1
            changed &= changed - _ONE
    if ended < begun:
        ends[ended] = words.size * 64


@njit(types.void(_WORDS, _OUT), nogil=True, cache=True)
def find_ids(words: Any, out: Any) -> None:
    """Write the ids of all set bits."""
    filled = 0
    for place in range(words.size):
        word = words[place]
        while word:
            out[filled] = place * 64 + count_bits((word & (~word + _ONE)) - _ONE)
            filled += 1
            word &= word - _ONE


@njit(types.void(_WORDS, _IDS, _IDS, _OUT), nogil=True, cache=True)
def select(words: Any, before: Any, indices: Any, out: Any) -> None:
    """Write the id of the indices[i]-th set bit."""
    blocks, total = before.size - 1, before[before.size - 1]
    share = blocks / max(total, 1)
    for place in range(indices.size):
        index = indices[place]
        # Where bits are set evenly the first guess is nearly right; else the steps from there double.
        low, reach = min(np.int64(index * share), blocks - 1), 1
        while before[low] > index:
            low, reach = max(low - reach, 0), reach * 2
        high = min(low + reach, blocks)
        while before[high] <= index:
            low, reach = high, reach * 2
            high = min(low + reach, blocks)
        while high - low > 1:
            middle = (low + high) >> 1
            if before[middle] <= index:
                low = middle
            else:
                high = middle
        rest, position = index - before[low], low * BLOCK
        while True:
            here = count_bits(words[position])
            if rest < here:
                break
            rest -= here
            position += 1
        word, first = words[position], position * 64
        for half in (32, 16, 8):
            below = count_bits(word & ((_ONE << np.uint64(half)) - _ONE))
            if rest >= below:
                rest -= below
                word >>= np.uint64(half)
                first += half
        for _ in range(rest):
            word &= word - _ONE
        out[place] = first + count_bits((word & (~word + _ONE)) - _ONE)


@njit(types.void(_WORDS, _IDS, _IDS, _OUT), nogil=True, cache=True)
def rank(words: Any, before: Any, ids: Any, out: Any) -> None:
    """Write how many set bits lie below each id."""
    for place in range(ids.size):
        word = ids[place] >> 6
        block = word // BLOCK
        below = before[block]
        for position in range(block * BLOCK, word):
            below += count_bits(words[position])
        if word < words.size:
            below += count_bits(words[word] & ((_ONE << np.uint64(ids[place] & 63)) - _ONE))
        out[place] = below
