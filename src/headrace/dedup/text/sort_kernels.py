"""Sorting numbers that are spread evenly, such as hashes: to about their places, then a short walk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, njit, types, uint64
from numpy.typing import NDArray

WORDS = types.Array(types.uint64, 1, "C", readonly=True)
OUT_WORDS = types.Array(types.uint64, 1, "C")
COUNTS = types.Array(types.int64, 1, "C")
_HALF = np.uint64(32)


@njit(int64(uint64, uint64, int64), nogil=True, cache=True, inline="always")
def _bucket(value: Any, skip: Any, count: Any) -> Any:
    """Scale a number's upper half, behind some bits that all have in common, to one of `count` buckets."""
    return int64((((value << skip) >> _HALF) * uint64(count)) >> _HALF)


@njit(types.void(WORDS, int64, uint64, COUNTS, OUT_WORDS, int64), nogil=True, cache=True)
def sort_spread(values: Any, count: Any, skip: Any, counts: Any, out: Any, begin: Any) -> None:
    """Sort the first numbers of an array into another one.

    It takes time in proportion to `count`, as long as the numbers are spread evenly or repeated.

    Args:
        values: uint64 of shape [count or more].
        count: How many to sort, below 2**32.
        skip: How many upper bits all of them have in common.
        counts: Room for counting, int64 of shape [count + 1 or more].
        out: Where they are written.
        begin: From where on.
    """
    for bucket in range(count + 1):
        counts[bucket] = 0
    for place in range(count):
        counts[_bucket(values[place], skip, count) + 1] += 1
    for bucket in range(count):
        counts[bucket + 1] += counts[bucket]
    for place in range(count):
        bucket = _bucket(values[place], skip, count)
        out[begin + counts[bucket]] = values[place]
        counts[bucket] += 1
    for place in range(begin + 1, begin + count):
        value, gap = out[place], place
        while gap > begin and out[gap - 1] > value:
            out[gap] = out[gap - 1]
            gap -= 1
        out[gap] = value


def sorted_spread(values: NDArray[np.uint64], skip: int = 0) -> NDArray[np.uint64]:
    """Sort numbers whose first `skip` bits are equal; releases the GIL."""
    out = np.empty_like(values)
    sort_spread(values, len(values), np.uint64(skip), np.empty(len(values) + 1, np.int64), out, 0)
    return out
