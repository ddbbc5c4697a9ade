"""Finding values by rank, compiled: counting keys by their leading bits.

A key is a value's bits, turned into a whole number that sorts like the value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_TOP = np.uint64(1 << 63)


@njit(nogil=True, cache=True, boundscheck=False, inline="always")
def _key(word: Any, flipped: Any, is_signed: Any) -> Any:
    """Return the key of a word.

    Args:
        word: A value's bits as a whole number of the same width.
        flipped: The bits below the sign, which run backwards in floats below zero; 0 for whole numbers.
        is_signed: Whether values can be negative.
    """
    wide = np.int64(word)
    wide ^= (wide >> np.int64(63)) & flipped
    return np.uint64(wide) ^ _TOP if is_signed else np.uint64(wide)


@njit(nogil=True, cache=True, boundscheck=False)
def find_ends(words: Any, flipped: Any, is_signed: Any) -> Any:
    """Return the lowest and the highest key."""
    low, high = ~np.uint64(0), np.uint64(0)
    for place in range(words.size):
        key = _key(words[place], flipped, is_signed)
        low, high = min(low, key), max(high, key)
    return low, high


@njit(nogil=True, cache=True, boundscheck=False)
def count_keys(words: Any, flipped: Any, is_signed: Any, low: Any, shift: Any, counts: Any) -> None:
    """Count keys by (key - low) >> shift."""
    for place in range(words.size):
        counts[(_key(words[place], flipped, is_signed) - low) >> shift] += 1


@njit(nogil=True, cache=True, boundscheck=False)
def gather_words(words: Any, flipped: Any, is_signed: Any, low: Any, shift: Any, slots: Any, out: Any) -> None:
    """Copy the words whose bin has a slot to that slot's next place.

    Args:
        words: Values' bits.
        flipped: As in `_key`.
        is_signed: As in `_key`.
        low: The lowest key.
        shift: A bin is (key - low) >> shift.
        slots: For each bin the place where its next word goes, counted up; the place behind all of them if it is not
            wanted, where words are thrown away.
        out: Where words go, and one place more.
    """
    nowhere = out.size - 1
    for place in range(words.size):
        word = words[place]
        number = (_key(word, flipped, is_signed) - low) >> shift
        goes = slots[number]
        out[goes] = word
        slots[number] = goes + (goes < nowhere)


@njit(nogil=True, cache=True, boundscheck=False)
def are_finite(words: Any) -> Any:
    """Tell whether no float, given by its bits as a whole number of its width, is NaN or infinite."""
    bits = 8 * words.itemsize
    exponent = np.int64(0x7FF << 52) if bits == 64 else np.int64(0x7F800000) if bits == 32 else np.int64(0x7C00)
    sizes = (np.int64(1) << np.int64(bits - 1)) - np.int64(1)
    largest = np.int64(0)
    for place in range(words.size):
        largest = max(largest, np.int64(words[place]) & sizes)
    return largest < exponent
