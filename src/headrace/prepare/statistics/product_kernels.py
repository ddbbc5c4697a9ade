"""The compiled kernels of exact products and of projections, with a NumPy oracle beside each.

Projections add and multiply in a fixed order. Products of whole numbers add in any order that the compiler
likes, since none of their sums is rounded. They are compiled here rather than left to BLAS, whose threads
wait for each other where the processor is busy, as it is when threads read row groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_MATRIX = types.Array(types.float64, 2, "C")
_CONSTANT = types.Array(types.float64, 2, "C", readonly=True)
_FLAGS = types.Array(types.uint8, 1, "C")

PRODUCT_ROWS = 512
"""How many products are summed as floats before the sum becomes a whole number."""

ROUND = 1.5 * 2.0**52
"""A float64 of this size has no digits below 1: to add it rounds to a whole number."""


@njit(types.boolean(_MATRIX, types.float64, _MATRIX, _FLAGS), nogil=True, cache=True, boundscheck=False)
def _peel(rest: Any, unit: Any, out: Any, used: Any) -> Any:
    rounder, scale = ROUND * unit, 1.0 / unit
    left = False
    for column in range(rest.shape[0]):
        for row in range(rest.shape[1]):
            value = rest[column, row]
            part = (value + rounder) - rounder
            rest[column, row] = value - part
            left |= value != part
            out[column, row] = part * scale
            used[row] |= part != 0
    return left


def peel(rest: Numbers, unit: float, out: Numbers, used: NDArray[np.uint8]) -> bool:
    """Take the whole multiples of a unit off numbers, to the nearest; releases the GIL.

    Args:
        rest: Of shape [columns, rows], all below 2**51 units; what is left stays.
        unit: A power of two.
        out: Receives how many units were taken off, in the shape of `rest`.
        used: Of shape [rows]; becomes 1 where any were.

    Returns:
        Whether anything is left.
    """
    return bool(_peel(rest, unit, out, used))


def peel_reference(rest: Numbers, unit: float, out: Numbers, used: NDArray[np.uint8]) -> bool:
    """Do what `peel` does, in plain NumPy."""
    np.rint(rest / unit, out=out)
    rest -= out * unit
    used |= (out != 0).any(axis=0)
    return bool(rest.any())


@njit(
    types.void(_MATRIX, _MATRIX, types.Array(types.int64, 2, "C"), types.boolean),
    nogil=True,
    cache=True,
    boundscheck=False,
    fastmath={"reassoc", "contract", "nsz"},
)
def _add_products(left: Any, right: Any, sums: Any, is_half: Any) -> None:
    for begin in range(0, left.shape[1], PRODUCT_ROWS):
        end = min(begin + PRODUCT_ROWS, left.shape[1])
        for i in range(0, left.shape[0], 4):
            a0, a1, a2, a3 = (
                left[i][begin:end],
                left[i + 1][begin:end],
                left[i + 2][begin:end],
                left[i + 3][begin:end],
            )
            for j in range(i if is_half else 0, right.shape[0], 2):
                b0, b1 = right[j][begin:end], right[j + 1][begin:end]
                s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = 0.0
                for row in range(a0.size):
                    x, y = b0[row], b1[row]
                    s0 += a0[row] * x
                    s1 += a1[row] * x
                    s2 += a2[row] * x
                    s3 += a3[row] * x
                    t0 += a0[row] * y
                    t1 += a1[row] * y
                    t2 += a2[row] * y
                    t3 += a3[row] * y
                sums[i, j] += np.int64(s0)
                sums[i + 1, j] += np.int64(s1)
                sums[i + 2, j] += np.int64(s2)
                sums[i + 3, j] += np.int64(s3)
                sums[i, j + 1] += np.int64(t0)
                sums[i + 1, j + 1] += np.int64(t1)
                sums[i + 2, j + 1] += np.int64(t2)
                sums[i + 3, j + 1] += np.int64(t3)


def add_products(left: Numbers, right: Numbers, sums: NDArray[np.int64], is_half: bool) -> None:
    """Add left @ right.T to sums, without rounding; releases the GIL.

    Args:
        left: Whole numbers up to 2**22, of shape [columns, rows], the columns a multiple of 4.
        right: The same.
        sums: Of shape [columns, columns].
        is_half: Whether only the numbers on the diagonal and above it are asked for.
    """
    _add_products(left, right, sums, is_half)


def add_products_reference(left: Numbers, right: Numbers, sums: NDArray[np.int64], is_half: bool) -> None:
    """Do what `add_products` does, in plain NumPy, and add all numbers."""
    sums += left.astype(np.int64) @ right.astype(np.int64).T


@njit(types.void(_CONSTANT, _CONSTANT, _MATRIX), nogil=True, cache=True, boundscheck=False)
def _project(values: Any, weights: Any, out: Any) -> None:
    size = values.shape[1]
    for k in range(0, weights.shape[0], 2):
        for row in range(size):
            out[k, row] = 0.0
            out[k + 1, row] = 0.0
        for j in range(0, weights.shape[1], 4):
            a0, a1, a2, a3 = weights[k, j], weights[k, j + 1], weights[k, j + 2], weights[k, j + 3]
            b0, b1, b2, b3 = (
                weights[k + 1, j],
                weights[k + 1, j + 1],
                weights[k + 1, j + 2],
                weights[k + 1, j + 3],
            )
            for row in range(size):
                x0, x1, x2, x3 = values[j, row], values[j + 1, row], values[j + 2, row], values[j + 3, row]
                out[k, row] = (((out[k, row] + x0 * a0) + x1 * a1) + x2 * a2) + x3 * a3
                out[k + 1, row] = (((out[k + 1, row] + x0 * b0) + x1 * b1) + x2 * b2) + x3 * b3


def project(values: Numbers, weights: Numbers, out: Numbers) -> None:
    """Compute weights @ values, where each sum runs in the order of the columns; releases the GIL.

    So a row gives the same bits alone as among others, which no BLAS promises.

    Args:
        values: Of shape [columns, rows], the columns a multiple of 4 (fill up with zeros).
        weights: Of shape [outputs, columns], the outputs a multiple of 2.
        out: Of shape [outputs, rows].
    """
    _project(values, weights, out)


def project_reference(values: Numbers, weights: Numbers, out: Numbers) -> None:
    """Do what `project` does, in plain NumPy."""
    out[:] = 0
    for column in range(weights.shape[1]):
        out += weights[:, column, None] * values[column]
