"""Compiled draws for the elements of one sample, a block of memory at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from headrace.draws.kernels import philox_block
from headrace.draws.number_kernels import TABLE, quantile_of
from headrace.draws.philox import INCREMENTS, MULTIPLIERS, ROUNDS

BLOCK = 1024
"""Elements drawn at once; a multiple of 4, as four words come together."""

_LANES = 32  # counters that are turned into words side by side, which the compiler makes vectors of
_WORDS = types.uint32[::1]
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
_INCREMENT_0, _INCREMENT_1 = np.uint32(INCREMENTS[0]), np.uint32(INCREMENTS[1])
_HALF = np.uint64(32)


@njit(types.void(_WORDS, _WORDS, types.uint32, _WORDS), nogil=True, cache=True)
def _fill_many(key: Any, who: Any, block: Any, words: Any) -> None:
    """Draw words by many counters at once: a round goes over all of them before the next one."""
    lanes = np.empty((4, _LANES), np.uint32)
    a, b, c, d = lanes[0], lanes[1], lanes[2], lanes[3]
    for begin in range(0, words.size, 4 * _LANES):
        first = np.uint32(block + np.uint32(begin // 4))
        for lane in range(_LANES):
            a[lane], b[lane], c[lane], d[lane] = np.uint32(first + np.uint32(lane)), who[2], who[3], who[4]
        key_0, key_1 = np.uint32(key[0] ^ who[0]), np.uint32(key[1] ^ who[1])
        for _ in range(ROUNDS):
            for lane in range(_LANES):
                left, right = np.uint64(a[lane]) * _MULTIPLIER_0, np.uint64(c[lane]) * _MULTIPLIER_1
                a[lane] = np.uint32(np.uint32(right >> _HALF) ^ b[lane] ^ key_0)
                b[lane] = np.uint32(right)
                c[lane] = np.uint32(np.uint32(left >> _HALF) ^ d[lane] ^ key_1)
                d[lane] = np.uint32(left)
            key_0, key_1 = np.uint32(key_0 + _INCREMENT_0), np.uint32(key_1 + _INCREMENT_1)
        for lane in range(_LANES):
            at = begin + 4 * lane
            words[at], words[at + 1], words[at + 2], words[at + 3] = a[lane], b[lane], c[lane], d[lane]


@njit(types.void(_WORDS, _WORDS, types.int64, _WORDS), nogil=True, cache=True)
def fill_element_words(key: Any, who: Any, first: Any, words: Any) -> None:
    """Draw the words of the elements first, first + 1... of a sample.

    Args:
        key: Of the column, uint32 of shape [2].
        who: The sample, a row of `Draws.identity`.
        first: A multiple of 4.
        words: Filled.
    """
    key_0, key_1 = np.uint64(key[0] ^ who[0]), np.uint64(key[1] ^ who[1])
    epoch, low, high = np.uint64(who[2]), np.uint64(who[3]), np.uint64(who[4])
    size, block = words.size, np.uint64(first // 4)
    many = size // (4 * _LANES) * (4 * _LANES)
    if many > 0:
        _fill_many(key, who, np.uint32(block), words[:many])
    for at in range(many, size, 4):
        a, b, c, d = philox_block(key_0, key_1, block + np.uint64(at // 4), epoch, low, high)
        words[at] = np.uint32(a)
        if at + 3 < size:
            words[at + 1], words[at + 2], words[at + 3] = np.uint32(b), np.uint32(c), np.uint32(d)
        elif at + 2 < size:
            words[at + 1], words[at + 2] = np.uint32(b), np.uint32(c)
        elif at + 1 < size:
            words[at + 1] = np.uint32(b)


@njit(types.void(_WORDS, TABLE, types.float32[::1]), nogil=True, cache=True)
def fill_quantiles(words: Any, table: Any, numbers: Any) -> None:
    """Read a quantile table at each word."""
    for at in range(words.size):
        numbers[at] = quantile_of(words[at], table)
