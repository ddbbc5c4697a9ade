"""Finding values by rank, compiled: counting keys by their leading bits.

A key is a value's bits, turned into a whole number that sorts like the value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_TOP = np.uint64(1 << 63)


@njit(nogil=True, cache=True, boundscheck=False)
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
def count_keys(words: Any, layout: Any, counts: Any) -> None:
    """Count keys by bin, (key - low) >> shift.

    Args:
        words: Values' bits.
        layout: What `_key` takes beside the word, low and shift.
        counts: Int64, one of each bin.
    """
    flipped, is_signed, low, shift = layout
    for place in range(words.size):
        counts[(_key(words[place], flipped, is_signed) - low) >> shift] += 1


@njit(nogil=True, cache=True, boundscheck=False)
def gather_words(words: Any, layout: Any, slots: Any, out: Any) -> None:
    """Copy the words whose bin is wanted.

    Args:
        words: Values' bits.
        layout: As for `count_keys`.
        slots: For each bin the place where its next word goes, counted up; for one that is not wanted the
            last place, where words are thrown away.
        out: Where words go.
    """
    flipped, is_signed, low, shift = layout
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
    exponent = (
        np.int64(0x7FF << 52) if bits == 64 else np.int64(0x7F800000) if bits == 32 else np.int64(0x7C00)
    )
    sizes = (np.int64(1) << np.int64(bits - 1)) - np.int64(1)
    largest = np.int64(0)
    for place in range(words.size):
        largest = max(largest, np.int64(words[place]) & sizes)
    return largest < exponent
