"""Exact sums of floats and whole numbers: the same bits for any partitioning and any order.

A float is a whole number times a power of two, so a sum of floats can be kept as one (large) whole
number of the smallest float's size, and a sum of squares as one of that size squared. Whole numbers
add up without rounding, so it does not matter which part is added first. Within a row group the number lies
in chunks that kernels add to; between row groups it is an `int`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.prepare.statistics.sum_kernels import SUM_UNIT, add_floats, add_whole

Floats = NDArray[np.float64]
SQUARE_UNIT = 2 * SUM_UNIT
"""A sum of squares counts units of 2**-2148."""

# The largest float64 takes 2098 bits above its unit, and its square 4196; the rest is room for carries.
_SUM_CHUNKS = 70
_SQUARE_CHUNKS = 136
_BLOCK = 1 << 25  # values, each with up to eight pieces of at most 2**33, cannot overflow a chunk of 63 bits


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
        weight: How many values the sums stand for: the count, or the sum of the weights in units of 2**-1074;
            then both sums count units that are smaller by this.
    """

    count: int
    nans: int
    infinities: int
    low: float | int | None
    high: float | int | None
    total: int
    squares: int
    weight: int

    def merge(self, other: Sums) -> Sums:
        """Return the sums of both parts."""
        lows = [low for low in (self.low, other.low) if low is not None]
        highs = [high for high in (self.high, other.high) if high is not None]
        return Sums(
            self.count + other.count,
            self.nans + other.nans,
            self.infinities + other.infinities,
            min(lows, default=None),
            max(highs, default=None),
            self.total + other.total,
            self.squares + other.squares,
            self.weight + other.weight,
        )


def sum_up(values: NDArray[Any]) -> Sums:
    """Sum numbers and their squares without rounding; releases the GIL.

    Args:
        values: Floats, whole numbers or truth values, of shape [n].

    Example:
        >>> sums = sum_up(np.array([0.1, 1e300, -1e300]))
        >>> sums.total / 2**SUM_UNIT
        0.1
    """
    return _sum_floats(values) if values.dtype.kind == "f" else _sum_whole(values)


def total_of(values: Floats) -> int:
    """Sum finite floats without rounding, in units of 2**-1074."""
    total = np.zeros(_SUM_CHUNKS, np.int64)
    number = 0
    for begin in range(0, len(values), _BLOCK):
        add_floats(fixed(values[begin : begin + _BLOCK]), total, np.zeros(0, np.int64))
        number += drain(total)
    return number


def _sum_floats(values: NDArray[Any]) -> Sums:
    if values.dtype.itemsize not in (4, 8):
        values = values.astype(np.float64)
    total, squares = np.zeros(_SUM_CHUNKS, np.int64), np.zeros(_SQUARE_CHUNKS, np.int64)
    count, nans, infinities, sums = 0, 0, 0, [0, 0]
    ends: list[int] = []
    for begin in range(0, len(values), _BLOCK):
        found = add_floats(fixed(values[begin : begin + _BLOCK]), total, squares)
        count, nans, infinities = count + found[0], nans + found[1], infinities + found[2]
        ends += found[3:] if found[0] else ()
        sums = [sums[0] + drain(total), sums[1] + drain(squares)]
    low, high = (_float_of(min(ends)), _float_of(max(ends))) if ends else (None, None)
    return Sums(count, nans, infinities, low, high, *sums, weight=count)


def _float_of(key: int) -> float:
    """Turn bits that sort like floats into the float; zero has no sign."""
    word = np.int64(key if key >= 0 else key ^ 0x7FFFFFFFFFFFFFFF)
    return float(word.view(np.float64)) + 0.0


def _sum_whole(values: NDArray[Any]) -> Sums:
    if not len(values):
        return Sums(0, 0, 0, None, None, 0, 0, 0)
    low, high = int(values.min()), int(values.max())
    if values.dtype.itemsize < 4:
        values = values.astype(np.int32)
    total = squares = 0
    for begin in range(0, len(values), _BLOCK):
        sums = np.zeros(8, np.int64)
        add_whole(fixed(values[begin : begin + _BLOCK]), values.dtype.kind == "i", sums)
        halves: list[int] = sums.tolist()
        total += halves[0] + (halves[1] << 32)
        lower, both, upper = (halves[place] + (halves[place + 1] << 32) for place in (2, 4, 6))
        squares += lower + (both << 33) + (upper << 64)
    return Sums(len(values), 0, 0, low, high, total << SUM_UNIT, squares << SQUARE_UNIT, len(values))


def fixed(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values as kernels take them: adjacent and read-only, so that one compilation serves all."""
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


def drain(chunks: NDArray[np.int64]) -> int:
    """Read a number off its chunks, and set them to zero."""
    number = sum(chunk << (32 * place) for place, chunk in enumerate(chunks.tolist()) if chunk)
    chunks[:] = 0
    return number


def mean(total: int, weight: int) -> float:
    """Return the mean, rounded once.

    Example:
        >>> mean(sum_up(np.array([1.0, 2.0, 4.0])).total, 3)
        2.3333333333333335
    """
    return divide(total, weight << SUM_UNIT)


def variance(total: int, squares: int, weight: int, ddof: int = 0) -> float:
    """Return the mean squared distance from the mean, rounded once; NaN for too few values.

    Args:
        total: The sum.
        squares: The sum of squares.
        weight: How many values they stand for.
        ddof: What is taken off that, in the weight's unit.

    Example:
        >>> sums = sum_up(np.array([1e9 + 1, 1e9 + 2, 1e9 + 3]))
        >>> variance(sums.total, sums.squares, 3)
        0.6666666666666666
    """
    if weight <= ddof:
        return float("nan")
    return divide(squares * weight - total * total, (weight * (weight - ddof)) << SQUARE_UNIT)


def divide(number: int, by: int) -> float:
    """Return the quotient, rounded once; infinite where it is too large."""
    try:
        return number / by  # Python rounds the quotient of whole numbers correctly
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")
