"""Compiled draws for the elements of one sample, a block of memory at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from headrace.draws.kernels import philox_block
from headrace.draws.number_kernels import TABLE, quantile_of

BLOCK = 1024
"""Elements drawn at once; a multiple of 4, as four words come together."""

_WORDS = types.uint32[::1]


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
    for at in range(0, size, 4):
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
