"""Exact sums, compiled: floats as whole numbers in chunks of 32 bits.

A number is spread over 64-bit chunks that stand for 32 bits each (R. M. Neal, "Fast exact summation using
small and large superaccumulators", 2015), so that 2**28 pieces of at most 2**33 fit before any chunk has to
be carried. Floats of a block go there together: the bits of `value + anchor` are those of the anchor plus the
value in units of the anchor's last place, so that a plain sum of whole numbers, which a processor does
several at a time, is a sum of floats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

SUM_UNIT = 1074
"""A sum counts units of 2**-1074, the smallest positive float64."""
BLOCK = 1024
_SIZE_BITS = np.int64(0x7FFFFFFFFFFFFFFF)
_INFINITE = np.int64(0x7FF0000000000000)
_LARGEST = np.int64((1023 + 400) << 52)  # the bits of 2.0**400: up to it, and down to its inverse,
_SMALLEST = np.uint64((1023 - 400) << 52)  # no piece of a square is rounded


@njit(nogil=True, cache=True, boundscheck=False)
def add_piece(chunks: Any, size: Any, shift: Any, sign: Any) -> None:
    """Add or subtract size * 2**shift, where the size has up to 64 bits."""
    place, rest = shift >> 5, np.uint64(shift & 31)
    mask = np.uint64(0xFFFFFFFF)
    low = (size & mask) << rest
    high = (size >> np.uint64(32)) << rest
    middle = (low >> np.uint64(32)) + (high & mask)
    chunks[place] += sign * np.int64(low & mask)
    chunks[place + 1] += sign * np.int64(middle)
    chunks[place + 2] += sign * np.int64(high >> np.uint64(32))


@njit(nogil=True, cache=True, boundscheck=False)
def size_and_sign(number: Any) -> Any:
    """Take a whole number with a sign apart, the lowest of all too."""
    size = np.uint64(number)
    return (~size + np.uint64(1), np.int64(-1)) if number < 0 else (size, np.int64(1))


@njit(nogil=True, cache=True, boundscheck=False)
def _add_square(chunks: Any, size: Any, shift: Any) -> None:
    """Add (size * 2**shift)**2."""
    low, high = size & np.uint64(0xFFFFFFFF), size >> np.uint64(32)
    add_piece(chunks, low * low, 2 * shift, 1)
    add_piece(chunks, high * high, 2 * shift + 64, 1)
    add_piece(chunks, low * high, 2 * shift + 33, 1)


@njit(nogil=True, cache=True, boundscheck=False)
def float_parts(value: Any) -> Any:
    """Take a finite float apart: size, shift in units of 2**-1074, sign."""
    word = np.float64(value).view(np.uint64)
    shift = np.int64((word >> np.uint64(52)) & np.uint64(0x7FF))
    size = word & np.uint64(0xFFFFFFFFFFFFF)
    if shift:
        size |= np.uint64(1) << np.uint64(52)
        shift -= 1
    return size, shift, (-1 if word >> np.uint64(63) else 1)


@njit(nogil=True, cache=True, boundscheck=False)
def _add_singly(chunks: Any, values: Any, offset: Any) -> None:
    for place in range(values.size):
        size, shift, sign = float_parts(values[place])
        add_piece(chunks, size, shift + offset, sign)


@njit(nogil=True, cache=True, boundscheck=False)
def _add_squares_singly(chunks: Any, values: Any) -> None:
    for place in range(values.size):
        size, shift, _ = float_parts(values[place])
        _add_square(chunks, size, shift)


@njit(nogil=True, cache=True, boundscheck=False)
def _add_signed(chunks: Any, number: Any, shift: Any) -> None:
    size, sign = size_and_sign(number)
    add_piece(chunks, size, shift, sign)


@njit(nogil=True, cache=True, boundscheck=False)
def _add_block(chunks: Any, values: Any, exponent: Any, offset: Any) -> None:
    """Add up to 1024 floats below 2**exponent, whose lowest bits are above 2**-1074.

    Three anchors, 51 bits apart, take the upper, middle and lower part of each value. If any value has bits
    left then, all are added one by one.
    """
    first, second, third = (
        np.ldexp(1.5, exponent + 2),
        np.ldexp(1.5, exponent - 49),
        np.ldexp(1.5, exponent - 100),
    )
    zero = np.uint64(0)  # unsigned numbers may wrap around; what overflows with a sign is undefined
    upper, middle, lower, left = zero, zero, zero, zero
    for place in range(values.size):
        rest = np.float64(values[place])
        moved = np.float64(rest + first)
        upper += moved.view(np.uint64)
        rest = rest - (moved - first)
        moved = np.float64(rest + second)
        middle += moved.view(np.uint64)
        rest = rest - (moved - second)
        moved = np.float64(rest + third)
        lower += moved.view(np.uint64)
        rest = np.float64(rest - (moved - third))
        left |= rest.view(np.uint64) << np.uint64(1)  # without the sign of zero
    if left:
        _add_singly(chunks, values, offset)
        return
    count = np.uint64(values.size)
    base = exponent + SUM_UNIT + offset
    _add_signed(chunks, np.int64(upper - count * np.float64(first).view(np.uint64)), base - 50)
    _add_signed(chunks, np.int64(middle - count * np.float64(second).view(np.uint64)), base - 101)
    _add_signed(chunks, np.int64(lower - count * np.float64(third).view(np.uint64)), base - 152)


@njit(nogil=True, cache=True, boundscheck=False)
def _look_over(values: Any) -> Any:
    """Find the largest size and the smallest but zero, the extremes as keys, and the bits in use."""
    large, small, used = np.int64(0), np.uint64(0xFFFFFFFFFFFFFFFF), np.int64(0)
    low, high = _SIZE_BITS, -_SIZE_BITS
    for place in range(values.size):
        word = np.float64(values[place]).view(np.int64)
        size = word & _SIZE_BITS
        large, small = max(large, size), min(small, np.uint64(size - np.int64(1)))
        used |= word
        key = word ^ ((word >> np.int64(63)) & _SIZE_BITS)
        low, high = min(low, key), max(high, key)
    return large, small + np.uint64(1), low, high, used


@njit(nogil=True, cache=True, boundscheck=False)
def _load(values: Any, finite: Any) -> Any:
    """Copy the finite values; return how many there are, and how many NaN and infinities."""
    large = np.int64(0)
    for place in range(values.size):
        value = np.float64(values[place])
        finite[place] = value
        large = max(large, value.view(np.int64) & _SIZE_BITS)
    if large < _INFINITE:
        return values.size, 0, 0
    count, nans = 0, 0
    for place in range(values.size):
        value = np.float64(values[place])
        finite[count] = value
        nans += np.isnan(value)
        count += np.isfinite(value)
    return count, nans, values.size - count - nans


@njit(nogil=True, cache=True, boundscheck=False)
def _add_squares(squares: Any, values: Any, exponent: Any, is_short: Any, work: Any) -> None:
    """Add squares in pieces that are floats: one of numbers of up to 26 bits, three of others."""
    count = values.size
    if is_short:
        for place in range(count):
            value = np.float64(values[place])
            work[0, place] = value * value
        _add_block(squares, work[0, :count], 2 * exponent, SUM_UNIT)
        return
    for place in range(count):
        value = np.float64(values[place])
        word = (value.view(np.int64) + np.int64(0x4000000)) & np.int64(-0x8000000)
        upper = np.int64(word).view(np.float64)
        lower = value - upper
        work[0, place], work[1, place], work[2, place] = upper * upper, 2 * upper * lower, lower * lower
    _add_block(squares, work[0, :count], 2 * exponent + 1, SUM_UNIT)
    _add_block(squares, work[1, :count], 2 * exponent - 24, SUM_UNIT)
    _add_block(squares, work[2, :count], 2 * exponent - 51, SUM_UNIT)


@njit(nogil=True, cache=True, boundscheck=False)
def _add_finite(values: Any, total: Any, squares: Any, work: Any) -> Any:
    """Add a block of finite floats; return its extremes as keys."""
    large, small, low, high, used = _look_over(values)
    if large > _LARGEST or small < _SMALLEST:
        _add_singly(total, values, 0)
        if squares.size:
            _add_squares_singly(squares, values)
    elif large:
        exponent = (large >> np.int64(52)) - 1022
        _add_block(total, values, exponent, 0)
        if squares.size:
            _add_squares(squares, values, exponent, not used & np.int64(0x7FFFFFF), work)
    return low, high


@njit(nogil=True, cache=True, boundscheck=False)
def add_floats(values: Any, total: Any, squares: Any) -> Any:
    """Add finite floats, and their squares where there are chunks for them.

    Returns:
        How many are finite, NaN and infinite; the lowest and the highest finite one as keys, which are
        whole numbers that sort like them.
    """
    count, nans, infinities = 0, 0, 0
    lowest, highest = _SIZE_BITS, -_SIZE_BITS
    finite, work = np.empty(BLOCK, np.float64), np.empty((3, BLOCK), np.float64)
    for begin in range(0, values.size, BLOCK):
        known, some_nans, some_infinities = _load(values[begin : begin + BLOCK], finite)
        low, high = _add_finite(finite[:known], total, squares, work)
        count, nans, infinities = count + known, nans + some_nans, infinities + some_infinities
        lowest, highest = min(lowest, low), max(highest, high)
    return count, nans, infinities, lowest, highest


@njit(nogil=True, cache=True, boundscheck=False)
def add_whole(values: Any, is_signed: Any, sums: Any) -> None:
    """Add whole numbers and their squares, in halves of 32 bits.

    Args:
        values: Up to 2**25 of them.
        is_signed: Whether they can be negative.
        sums: What is added to, int64 of shape [8]: numbers by lower and upper half; squares of the lower
            half, products of both and squares of the upper half, each by lower and upper half in turn.
    """
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    low, high = np.int64(0), np.int64(0)
    low_0, low_1, both_0, both_1 = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
    high_0, high_1 = np.uint64(0), np.uint64(0)
    for place in range(values.size):
        size, sign = np.uint64(values[place]), np.int64(1)
        if is_signed:
            size, sign = size_and_sign(np.int64(values[place]))
        lower, upper = size & mask, size >> half
        low, high = low + sign * np.int64(lower), high + sign * np.int64(upper)
        square, product, top = lower * lower, lower * upper, upper * upper
        low_0, low_1 = low_0 + (square & mask), low_1 + (square >> half)
        both_0, both_1 = both_0 + (product & mask), both_1 + (product >> half)
        high_0, high_1 = high_0 + (top & mask), high_1 + (top >> half)
    found = (
        low,
        high,
        np.int64(low_0),
        np.int64(low_1),
        np.int64(both_0),
        np.int64(both_1),
        np.int64(high_0),
        np.int64(high_1),
    )
    for place in range(8):
        sums[place] += found[place]
