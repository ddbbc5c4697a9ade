"""Large whole numbers by group, compiled: rows of 64-bit limbs that stand for 32 bits each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from headrace.prepare.statistics.sum_kernels import SUM_UNIT, add_piece, float_parts, size_and_sign


@njit(nogil=True, cache=True, boundscheck=False)
def take_apart(values: Any, sizes: Any, shifts: Any, signs: Any) -> Any:
    """Write finite floats as sign * size * 2**(shift - 1074), with sizes that are odd or 0.

    Returns:
        The lowest shift, and the highest shift plus the bits of the size; of those that are not 0.
    """
    low, high = 1 << 20, -1
    for place in range(values.size):
        size, shift, sign = float_parts(values[place])
        if size:
            lowest = np.float64(size & (~size + np.uint64(1))).view(np.int64)
            zeros = (lowest >> np.int64(52)) - 1023
            size, shift = size >> np.uint64(zeros), shift + zeros
            low, high = min(low, shift), max(high, shift + 53 - zeros)
        sizes[place], shifts[place], signs[place] = size, shift, sign
    return low, high


@njit(nogil=True, cache=True, boundscheck=False)
def take_whole_apart(values: Any, is_signed: Any, sizes: Any, shifts: Any, signs: Any) -> None:
    """Write whole numbers in the same way, with any sizes."""
    for place in range(values.size):
        size, sign = np.uint64(values[place]), np.int64(1)
        if is_signed:
            size, sign = size_and_sign(np.int64(values[place]))
        sizes[place], shifts[place], signs[place] = size, SUM_UNIT, sign


@njit(nogil=True, cache=True, boundscheck=False)
def add_by_group(numbers: Any, rows: Any, offsets: Any, sums: Any, squares: Any) -> None:
    """Add numbers and their squares to the limbs of their group.

    Args:
        numbers: Sizes, shifts above the lowest limb, those of the squares, and signs, each of shape [n].
        rows: Which numbers, group by group.
        offsets: Where groups begin in `rows`, and the end.
        sums: Limbs, int64 of shape [groups, limbs].
        squares: The same of the squares.
    """
    sizes, shifts, square_shifts, signs = numbers
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    for group in range(offsets.size - 1):
        row_sums, row_squares = sums[group], squares[group]
        for place in range(offsets[group], offsets[group + 1]):
            row = rows[place]
            size, shift = sizes[row], square_shifts[row]
            if not size:
                continue
            add_piece(row_sums, size, shifts[row], signs[row])
            low, high = size & mask, size >> half
            add_piece(row_squares, low * low, shift, 1)
            if high:
                add_piece(row_squares, high * high, shift + 64, 1)
                add_piece(row_squares, low * high, shift + 33, 1)


@njit(nogil=True, cache=True, boundscheck=False)
def add_rows(limbs: Any, rows: Any, offsets: Any, out: Any) -> None:
    """Add up rows of limbs by group."""
    for group in range(offsets.size - 1):
        for place in range(offsets[group], offsets[group + 1]):
            row = rows[place]
            for limb in range(limbs.shape[1]):
                out[group, limb] += limbs[row, limb]


@njit(nogil=True, cache=True, boundscheck=False)
def carry(limbs: Any) -> None:
    """Bring all limbs but the highest between 0 and 2**32, so that equal numbers have equal limbs."""
    for row in range(limbs.shape[0]):
        over = np.int64(0)
        for place in range(limbs.shape[1] - 1):
            number = limbs[row, place] + over
            over = number >> np.int64(32)
            limbs[row, place] = number & np.int64(0xFFFFFFFF)
        limbs[row, limbs.shape[1] - 1] += over
