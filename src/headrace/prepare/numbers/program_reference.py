"""What the operations of a program compute, in plain NumPy: the oracle of the compiled kernel.

Logarithm, exponential and the normal distribution are made of the additions, products and quotients below,
and not taken from a library of the machine, so that a value has the same bits on every machine, and for one
row as for many. The logarithm and the exponential are right to about one unit in the last place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.prepare.numbers import program_functions as constants
from headrace.prepare.numbers.operations import (
    Affine,
    Bucket,
    Exp,
    Fill,
    Interpolate,
    Limit,
    Log,
    NormalQuantile,
    NormalShare,
    Operation,
    Pick,
    Power,
)

Numbers = NDArray[np.float64]


def run_reference(values: NDArray[Any], operations: Sequence[Operation]) -> Numbers:
    """Run a program in plain NumPy; missing values are NaN."""
    result: Numbers = values.astype(np.float64)
    with np.errstate(all="ignore"):
        for operation in operations:
            result = _refer(result, operation)
    return result


def _refer(x: Numbers, operation: Operation) -> Numbers:
    match operation:
        case Fill(value):
            result = np.where(np.isnan(x), value, x)
        case Limit(low, high, to_null):
            below, above = x < low, x > high
            inside = np.where(above, high, np.where(below, low, x))
            result = np.where(below | above, np.nan, x) if to_null else inside
        case Affine(shift, divisor, factor, offset):
            result = x - shift if shift else x
            result = result / divisor if divisor != 1 else result
            result = result * factor if factor != 1 else result
            result = result + offset if offset else result
        case Log(offset, _):
            result = log_sum(x, offset)
        case Exp(offset):
            result = exp_less_1(x) + offset
        case Power(lam, is_signed, inverse):
            result = (power_inverse if inverse else power)(x, lam, is_signed)
        case Interpolate(xs, ys):
            result = interpolate(x, np.asarray(xs), np.asarray(ys))
        case NormalQuantile():
            result = normal_quantile(x)
        case NormalShare():
            result = normal_share(x)
        case Bucket(edges):
            result = bucket(x, np.asarray(edges))
        case Pick(values, first, _):
            result = pick(x, np.asarray(values), first)
    return result


def log_sum(x: Numbers, offset: float) -> Numbers:
    """Compute log(x + offset), precise also where the sum is near 1; NaN unless it is positive."""
    total = x + offset
    part = total - x
    lost = (x - (total - part)) + (offset - part)
    mantissa, exponent = np.frexp(total)
    low = mantissa < constants.HALF_ROOT
    f = np.where(low, mantissa * 2, mantissa) - 1
    k = exponent.astype(np.float64) - low
    s = f / (2 + f)
    r = _horner(s * s, constants.LOG_TERMS) * (s * s)
    h = 0.5 * (f * f)
    result = k * constants.LN2_HIGH + (f - (h - (s * (h + r) + (k * constants.LN2_LOW + lost / total))))
    result = np.where(np.isposinf(total), total, result)
    return np.where(total > 0, result, np.nan)


def exp_less_1(x: Numbers) -> Numbers:
    """Compute exp(x) - 1, precise also where x is near 0."""
    bounded = np.where(
        x < constants.EXP_LOWEST,
        constants.EXP_LOWEST,
        np.where(x > constants.EXP_HIGHEST, constants.EXP_HIGHEST, x),
    )
    k = np.floor(bounded * constants.LN2_INVERSE + 0.5)
    r = (bounded - k * constants.LN2_HIGH) - k * constants.LN2_LOW
    p = r + r * r * _horner(r, constants.EXP_TERMS)
    half = np.ldexp(1.0, np.where(np.isnan(k), 0, k - 1).astype(np.int64))
    result = (half * p + (half - 0.5)) * 2
    return np.where(x > constants.EXP_HIGHEST, np.inf, result)


def normal_quantile(share: Numbers) -> Numbers:
    """Compute the standard normal distribution's quantiles; shares are kept away from 0 and 1."""
    p = np.where(share < constants.LEAST_SHARE, constants.LEAST_SHARE, share)
    p = np.where(p > 1 - constants.LEAST_SHARE, 1 - constants.LEAST_SHARE, p)
    q = p - 0.5
    r = 0.180625 - q * q
    middle = q * (_horner(r, constants.MIDDLE_ABOVE) / _horner(r, constants.MIDDLE_BELOW))
    t = np.sqrt(-log_sum(np.where(q < 0, p, 1 - p), 0.0)) - 1.6
    tail = _horner(t, constants.TAIL_ABOVE) / _horner(t, constants.TAIL_BELOW)
    return np.where(np.abs(q) <= 0.425, middle, np.where(q < 0, -tail, tail))


def normal_share(x: Numbers) -> Numbers:
    """Compute the share of the standard normal distribution below x, with an absolute error near 1e-16."""
    bounded = np.where(
        x < -constants.SERIES_END,
        -constants.SERIES_END,
        np.where(x > constants.SERIES_END, constants.SERIES_END, x),
    )
    square = bounded * bounded
    term = bounded
    total = bounded
    for n in range(1, constants.SERIES_TERMS):
        term = term * (square / (2 * n + 1))
        total = total + term
    return 0.5 + constants.DENSITY_AT_0 / (exp_less_1(0.5 * square) + 1) * total


def power(x: Numbers, lam: float, is_signed: bool) -> Numbers:
    """Compute the Yeo-Johnson (signed) or Box-Cox transform with a parameter lambda."""
    if not is_signed:
        return _raised(log_sum(x, 0.0), lam)
    above = _raised(log_sum(np.where(x < 0, 0.0, x), 1.0), lam)
    below = _raised(log_sum(np.where(x < 0, -x, 0.0), 1.0), 2 - lam)
    return np.where(x < 0, -below, above)


def power_inverse(y: Numbers, lam: float, is_signed: bool) -> Numbers:
    """Take a power transform back; NaN where no value has that transform."""
    if not is_signed:
        return exp_less_1(_lowered(y, lam)) + 1
    above = exp_less_1(_lowered(np.where(y < 0, 0.0, y), lam))
    below = exp_less_1(_lowered(np.where(y < 0, -y, 0.0), 2 - lam))
    return np.where(y < 0, -below, above)


def interpolate(x: Numbers, xs: Numbers, ys: Numbers) -> Numbers:
    """Read a piecewise linear curve; where points share an x, the middle of the first and last one's y."""
    first = np.searchsorted(xs, x, "left")
    last = np.searchsorted(xs, x, "right") - 1
    j = np.clip(last, 0, max(len(xs) - 2, 0))
    k = np.minimum(j + 1, len(xs) - 1)
    width = xs[k] - xs[j]
    between = ys[j] + (x - xs[j]) / np.where(width > 0, width, 1.0) * (ys[k] - ys[j])
    at_point = 0.5 * (ys[np.minimum(first, len(ys) - 1)] + ys[np.maximum(last, 0)])
    result = np.where(first <= last, at_point, between)
    result = np.where(x >= xs[-1], ys[-1], result)
    return np.where(np.isnan(x), np.nan, np.where(x <= xs[0], ys[0], result))


def bucket(x: Numbers, edges: Numbers) -> Numbers:
    """Count the edges that are not above x."""
    return np.where(np.isnan(x), np.nan, np.searchsorted(edges, x, "right").astype(np.float64))


def pick(x: Numbers, values: Numbers, first: float) -> Numbers:
    """Look up whole numbers in a list that begins at `first`; NaN for what it has not."""
    place = x - first
    is_there = (place >= 0) & (place < len(values)) & (place == np.floor(place))
    return np.where(is_there, values[np.where(is_there, place, 0).astype(np.int64)], np.nan)


def _raised(logarithm: Numbers, lam: float) -> Numbers:
    return exp_less_1(logarithm * lam) / lam if lam else logarithm


def _lowered(y: Numbers, lam: float) -> Numbers:
    return log_sum(y * lam, 1.0) / lam if lam else y


def _horner(x: Any, terms: tuple[float, ...]) -> Any:
    result: Any = terms[0]
    for term in terms[1:]:
        result = result * x + term
    return result
