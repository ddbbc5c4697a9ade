"""Exact sums of weighted numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.prepare.statistics.exact import SQUARE_UNIT, SUM_UNIT, Floats, Sums, total_of

_SAFE = 2.0**200  # sizes up to it, and down to its inverse, whose products are taken apart without rounding
_WHOLE = 2**53  # whole numbers up to it are floats


def sum_weighted(values: NDArray[Any], weights: Floats) -> Sums:
    """Sum weights, weighted numbers and their weighted squares without rounding.

    Samples of weight 0 take no part.

    Args:
        values: Floats, whole numbers or truth values, of shape [n].
        weights: Finite and not negative, of shape [n].

    Example:
        >>> sums = sum_weighted(np.array([1.0, 2.0, 4.0]), np.array([0.1, 0.2, 0.0]))
        >>> sums.count, sums.weight / 2**SUM_UNIT
        (2, 0.30000000000000004)
    """
    takes_part = weights > 0
    values, weights = values[takes_part], weights[takes_part]
    nans = infinities = 0
    if values.dtype.kind == "f":
        nans, infinities = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        is_known = np.isfinite(values)
        values, weights = values[is_known], weights[is_known]
    low, high = (values.min().item() + 0, values.max().item() + 0) if len(values) else (None, None)
    is_safe = _is_safe(values) & _is_safe(weights)
    total, squares = _sum_safe(values[is_safe].astype(np.float64), weights[is_safe])
    for value, weight in zip(values[~is_safe].tolist(), weights[~is_safe].tolist(), strict=True):
        size, units = _units(value), _units(weight)
        total, squares = total + size * units, squares + size * size * units
    return Sums(len(values), nans, infinities, low, high, total, squares, total_of(weights))


def _is_safe(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind in "iu":
        return (values <= _WHOLE) & (values >= (-_WHOLE if values.dtype.kind == "i" else 0))
    sizes = np.abs(values.astype(np.float64))
    return (sizes == 0) | ((sizes >= 1 / _SAFE) & (sizes <= _SAFE))


def _units(value: float) -> int:
    """Write a number as a whole number of units of 2**-1074."""
    above, below = value.as_integer_ratio()
    return (above << SUM_UNIT) // below


def _sum_safe(values: Floats, weights: Floats) -> tuple[int, int]:
    """Sum products as pieces that are floats."""
    total = sum(total_of(piece) for piece in _product(values, weights))
    squares = sum(total_of(piece) for part in _product(values, values) for piece in _product(part, weights))
    return total << SUM_UNIT, squares << SQUARE_UNIT


def _product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return the rounded product and what rounding took off (Dekker, 1971)."""
    product = a * b
    (a_upper, a_lower), (b_upper, b_lower) = _halves(a), _halves(b)
    rest = ((a_upper * b_upper - product) + a_upper * b_lower + a_lower * b_upper) + a_lower * b_lower
    return product, rest


def _halves(values: Floats) -> tuple[Floats, Floats]:
    """Return parts of up to 26 bits."""
    words = (values.view(np.int64) + 0x4000000) & -0x8000000
    upper = words.view(np.float64)
    return upper, values - upper
