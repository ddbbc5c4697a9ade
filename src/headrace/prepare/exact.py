"""Exact sums of floats and whole numbers: the same bits for any partitioning and any order.

A float is a whole number times a power of two, so a sum of floats can be kept as one (large) whole
number of the smallest float's size, and a sum of squares as one of that size squared. Whole numbers
add up without rounding, so it does not matter which part is added first. Within a row group the number is
spread over chunks of 32 bits (R. M. Neal, "Fast exact summation using small and large
superaccumulators", 2015); between row groups it is an `int`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

SUM_UNIT = 1074
"""A sum counts units of 2**-1074, the smallest positive float64."""
SQUARE_UNIT = 2 * SUM_UNIT
"""A sum of squares counts units of 2**-2148."""

# The largest float64 takes 2098 bits above its unit, and its square 4196; the rest is room for carries.
_SUM_CHUNKS = 70
_SQUARE_CHUNKS = 136
_BLOCK = 1 << 28  # values whose pieces of at most 2**33 cannot overflow a chunk of 63 bits


@dataclass(frozen=True, slots=True)
class Sums:
    """What one pass over numbers finds.

    Attributes:
        count: Finite values.
        nans: Values that are NaN.
        infinities: Values that are infinite.
        low: The smallest finite value; None if there is none.
        high: The largest finite value; None if there is none.
        total: Sum of the finite values, in units of 2**-1074.
        squares: Sum of their squares, in units of 2**-2148.
    """

    count: int
    nans: int
    infinities: int
    low: float | int | None
    high: float | int | None
    total: int
    squares: int


def sum_up(values: NDArray[Any]) -> Sums:
    """Sum numbers and their squares without rounding; releases the GIL.

    Args:
        values: Floats, whole numbers or truth values, of shape [n].

    Example:
        >>> sums = sum_up(np.array([0.1, 1e300, -1e300]))
        >>> sums.total / 2**SUM_UNIT
        0.1
    """
    if values.dtype.kind in "iub":
        return _sum_whole(values)
    wide = np.ascontiguousarray(values, np.float64)
    total, squares = np.zeros(_SUM_CHUNKS, np.int64), np.zeros(_SQUARE_CHUNKS, np.int64)
    count, nans, infinities, low, high = 0, 0, 0, np.inf, -np.inf
    sums: list[int] = [0, 0]
    for begin in range(0, len(wide), _BLOCK):
        found = _add_floats(wide[begin : begin + _BLOCK], total, squares)
        count, nans, infinities = count + found[0], nans + found[1], infinities + found[2]
        low, high = min(low, found[3]), max(high, found[4])
        sums = [sums[0] + _drain(total), sums[1] + _drain(squares)]
    ends = (low, high) if count else (None, None)
    return Sums(count, nans, infinities, *ends, *sums)


def _sum_whole(values: NDArray[Any]) -> Sums:
    if not len(values):
        return Sums(0, 0, 0, None, None, 0, 0)
    low, high = int(values.min()), int(values.max())
    sizes = np.ascontiguousarray(values)
    if values.dtype.kind == "i":
        sizes = sizes.astype(np.int64, copy=False).view(np.uint64)
    sizes = sizes.astype(np.uint64, copy=False)
    total, squares = np.zeros(_SUM_CHUNKS, np.int64), np.zeros(_SQUARE_CHUNKS, np.int64)
    sums: list[int] = [0, 0]
    for begin in range(0, len(sizes), _BLOCK):
        _add_whole(sizes[begin : begin + _BLOCK], values.dtype.kind == "i", total, squares)
        sums = [sums[0] + _drain(total), sums[1] + _drain(squares)]
    return Sums(len(values), 0, 0, low, high, *sums)


def _drain(chunks: NDArray[np.int64]) -> int:
    """Read a number off its chunks, and set them to zero."""
    number = sum(chunk << (32 * place) for place, chunk in enumerate(chunks.tolist()) if chunk)
    chunks[:] = 0
    return number


def mean(total: int, count: int) -> float:
    """Return the mean, rounded once.

    Example:
        >>> mean(sum_up(np.array([1.0, 2.0, 4.0])).total, 3)
        2.3333333333333335
    """
    return _divide(total, count << SUM_UNIT)


def variance(total: int, squares: int, count: int, ddof: int = 0) -> float:
    """Return the mean squared distance from the mean, rounded once; NaN for too few values.

    Example:
        >>> sums = sum_up(np.array([1e9 + 1, 1e9 + 2, 1e9 + 3]))
        >>> variance(sums.total, sums.squares, 3)
        0.6666666666666666
    """
    if count <= ddof:
        return float("nan")
    return _divide(squares * count - total * total, (count * (count - ddof)) << SQUARE_UNIT)


def _divide(number: int, by: int) -> float:
    try:
        return number / by  # Python rounds the quotient of whole numbers correctly
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


@njit(nogil=True, cache=True, boundscheck=False, inline="always")
def _add(chunks: Any, size: Any, shift: Any, sign: Any) -> None:
    """Add or subtract size * 2**shift, where the size has up to 64 bits."""
    place, rest = shift >> 5, np.uint64(shift & 31)
    mask = np.uint64(0xFFFFFFFF)
    low = (size & mask) << rest
    high = (size >> np.uint64(32)) << rest
    middle = (low >> np.uint64(32)) + (high & mask)
    chunks[place] += sign * np.int64(low & mask)
    chunks[place + 1] += sign * np.int64(middle)
    chunks[place + 2] += sign * np.int64(high >> np.uint64(32))


@njit(nogil=True, cache=True, boundscheck=False, inline="always")
def _add_square(chunks: Any, size: Any, shift: Any) -> None:
    """Add (size * 2**shift)**2."""
    low, high = size & np.uint64(0xFFFFFFFF), size >> np.uint64(32)
    if low:
        _add(chunks, low * low, 2 * shift, 1)
    if high:
        _add(chunks, high * high, 2 * shift + 64, 1)
        if low:
            _add(chunks, low * high, 2 * shift + 33, 1)


@njit(nogil=True, cache=True, boundscheck=False)
def _add_floats(values: Any, total: Any, squares: Any) -> Any:
    bits = values.view(np.uint64)
    count, nans, infinities = 0, 0, 0
    low, high = np.inf, -np.inf
    for place in range(values.size):
        word = bits[place]
        exponent = np.int64((word >> np.uint64(52)) & np.uint64(0x7FF))
        size = word & np.uint64(0xFFFFFFFFFFFFF)
        if exponent == 0x7FF:
            if size:
                nans += 1
            else:
                infinities += 1
            continue
        value = values[place]
        count += 1
        low, high = min(low, value), max(high, value)
        if exponent:
            size |= np.uint64(1) << np.uint64(52)
            exponent -= 1
        if not size & np.uint64(0x1FFFFF):  # of few digits, as those that were float32 before
            size >>= np.uint64(21)
            exponent += 21
        sign = -1 if word >> np.uint64(63) else 1
        _add(total, size, exponent, sign)
        _add_square(squares, size, exponent)
    return count, nans, infinities, low, high


@njit(nogil=True, cache=True, boundscheck=False)
def _add_whole(words: Any, is_signed: Any, total: Any, squares: Any) -> None:
    for place in range(words.size):
        size, sign = words[place], 1
        if is_signed and size >> np.uint64(63):
            size, sign = ~size + np.uint64(1), -1
        _add(total, size, 1074, sign)
        _add_square(squares, size, 1074)
