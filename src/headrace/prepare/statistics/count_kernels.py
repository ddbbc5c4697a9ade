"""Counting words of 16 bytes, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, boundscheck=False)
def longest(views: Any) -> Any:
    """Return the length of the longest string.

    Args:
        views: Arrow's views of strings, uint64 of shape [n, 2]: 32 bits of length, then up to 12 bytes or
            where they lie.
    """
    most = np.uint64(0)
    for place in range(views.shape[0]):
        most = max(most, views[place, 0] & np.uint64(0xFFFFFFFF))
    return most


@njit(nogil=True, cache=True, boundscheck=False)
def count_words(words: Any, weights: Any, slots: Any, firsts: Any, counts: Any) -> Any:
    """Count words.

    Args:
        words: Uint64 of shape [n, 2].
        weights: How often each word occurs, int64 of shape [n]; of shape [0] for once.
        slots: A hash table, int32; its size is a power of two above n, and each entry is -1.
        firsts: Takes for each distinct word the place where it occurs first, int64 of shape [n].
        counts: Takes for each distinct word how often it occurs, int64 of shape [n].

    Returns:
        How many distinct words there are.
    """
    found, mask = 0, np.uint64(slots.size - 1)
    for place in range(words.shape[0]):
        first, second = words[place, 0], words[place, 1]
        mixed = (first ^ (second * np.uint64(0x9E3779B185EBCA87))) * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0x165667B19E3779F9)
        slot = (mixed ^ (mixed >> np.uint64(32))) & mask
        weight = weights[place] if weights.size else 1
        while True:
            number = slots[slot]
            if number < 0:
                slots[slot], firsts[found], counts[found] = found, place, weight
                found += 1
                break
            other = firsts[number]
            if words[other, 0] == first and words[other, 1] == second:
                counts[number] += weight
                break
            slot = (slot + np.uint64(1)) & mask
    return found


@njit(nogil=True, cache=True, boundscheck=False)
def count_near(words: Any, low: Any, weights: Any, counts: Any) -> None:
    """Count words that lie close together.

    Args:
        words: Uint64.
        low: The lowest of them, uint64.
        weights: How often each occurs, int64 of the same length; of shape [0] for once.
        counts: For each word from the lowest on how often it occurs, int64, all 0 before.
    """
    if weights.size:
        for place in range(words.size):
            counts[words[place] - low] += weights[place]
    else:
        for place in range(words.size):
            counts[words[place] - low] += 1
