"""What the operations of a program compute for one value, compiled.

Logarithm, exponential and the normal distribution are made of the additions, products and quotients below,
and not taken from a library of the machine, so that a value has the same bits on every machine, and for one
row as for many. The logarithm and the exponential are right to about one unit in the last place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

# log(2) in two parts, the first with zeros at its end, so that its product with an exponent is exact.
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
# log(1 + f) = f - f**2 / 2 + s * (f**2 / 2 + sum of 2 / (2 n + 1) * s**(2 n)), where s = f / (2 + f)
LOG_TERMS = tuple(2 / (2 * n + 1) for n in range(11, 0, -1))
# exp(r) - 1 = r + r**2 * sum of r**n / (n + 2)!
EXP_TERMS = tuple(1 / math.factorial(n + 2) for n in range(12, -1, -1))
EXP_LOWEST, EXP_HIGHEST = -100.0, 709.782712893384
LN2_INVERSE = 1 / math.log(2)
HALF_ROOT = 0.7071067811865476
_SMALLEST_NORMAL = 2.2250738585072014e-308

# The quantile function of the normal distribution (M. J. Wichura, Algorithm AS 241, 1988), coefficients
# from the highest power down: for the middle, |p - 1/2| <= 0.425, and for the tails down to exp(-25).
MIDDLE_ABOVE = (
    2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
    13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.3871328727963666080,
)  # fmt: skip
MIDDLE_BELOW = (
    5226.4952788528545610, 28729.085735721942674, 39307.895800092710610, 21213.794301586595867,
    5394.1960214247511077, 687.18700749205790830, 42.313330701600911252, 1.0,
)  # fmt: skip
TAIL_ABOVE = (
    7.74545014278341407640e-4, 0.0227238449892691845833, 0.241780725177450611770, 1.27045825245236838258,
    3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734,
)  # fmt: skip
TAIL_BELOW = (
    1.05075007164441684324e-9, 5.47593808499534494600e-4, 0.0151986665636164571966, 0.148103976427480074590,
    0.689767334985100004550, 1.67638483018380384940, 2.05319162663775882187, 1.0,
)  # fmt: skip
LEAST_SHARE = (
    1e-7 - 2.220446049250313e-16
)  # shares are kept this far from 0 and 1, whose quantiles are infinite
SERIES_TERMS, SERIES_END = 160, 8.3  # of the normal distribution, which is 1 in float64 beyond that end
DENSITY_AT_0 = 0.3989422804014327


compiled = njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")


@compiled
def _horner(x: Any, terms: Any) -> Any:
    result = terms[0]
    for place in range(1, len(terms)):
        result = result * x + terms[place]
    return result


@compiled
def log_sum(x: Any, offset: Any) -> Any:
    """Compute log(x + offset), precise also where the sum is near 1; NaN unless it is positive."""
    total = x + offset
    if not total > 0:
        return np.nan
    if total == np.inf:
        return total
    part = total - x
    lost = (x - (total - part)) + (offset - part)
    scaled, k = total, -1022
    if total < _SMALLEST_NORMAL:
        scaled, k = total * 18014398509481984.0, -1022 - 54
    bits = np.float64(scaled).view(np.int64)
    k += bits >> 52
    mantissa = np.int64((bits & 0xFFFFFFFFFFFFF) | (1022 << 52)).view(np.float64)
    if mantissa < HALF_ROOT:
        mantissa, k = mantissa * 2, k - 1
    f = mantissa - 1
    s = f / (2 + f)
    r = _horner(s * s, LOG_TERMS) * (s * s)
    h = 0.5 * (f * f)
    return k * LN2_HIGH + (f - (h - (s * (h + r) + (k * LN2_LOW + lost / total))))


@compiled
def exp_less_1(x: Any) -> Any:
    """Compute exp(x) - 1, precise also where x is near 0."""
    if math.isnan(x):
        return x
    if x > EXP_HIGHEST:
        return np.inf
    bounded = EXP_LOWEST if x < EXP_LOWEST else x
    k = math.floor(bounded * LN2_INVERSE + 0.5)
    r = (bounded - k * LN2_HIGH) - k * LN2_LOW
    p = r + r * r * _horner(r, EXP_TERMS)
    half = np.int64((np.int64(k) + 1022) << 52).view(np.float64)
    return (half * p + (half - 0.5)) * 2


@compiled
def normal_quantile(share: Any) -> Any:
    """Compute a quantile of the standard normal distribution; shares are kept away from 0 and 1."""
    p = LEAST_SHARE if share < LEAST_SHARE else share
    p = 1 - LEAST_SHARE if p > 1 - LEAST_SHARE else p
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * (_horner(r, MIDDLE_ABOVE) / _horner(r, MIDDLE_BELOW))
    t = math.sqrt(-log_sum(p if q < 0 else 1 - p, 0.0)) - 1.6
    tail = _horner(t, TAIL_ABOVE) / _horner(t, TAIL_BELOW)
    return -tail if q < 0 else tail


@compiled
def normal_share(x: Any) -> Any:
    """Compute the share of the standard normal distribution below x, to about 1e-15."""
    bounded = -SERIES_END if x < -SERIES_END else x
    bounded = SERIES_END if bounded > SERIES_END else bounded
    square = bounded * bounded
    term = total = bounded
    for n in range(1, SERIES_TERMS):
        term = term * (square / (2 * n + 1))
        total = total + term
    return 0.5 + DENSITY_AT_0 / (exp_less_1(0.5 * square) + 1) * total


@compiled
def _raised(logarithm: Any, lam: Any) -> Any:
    return exp_less_1(logarithm * lam) / lam if lam != 0 else logarithm


@compiled
def _lowered(y: Any, lam: Any) -> Any:
    return log_sum(y * lam, 1.0) / lam if lam != 0 else y


@compiled
def power(x: Any, lam: Any, is_signed: Any) -> Any:
    """Compute the Yeo-Johnson (signed) or Box-Cox transform."""
    if not is_signed:
        return _raised(log_sum(x, 0.0), lam)
    return -_raised(log_sum(-x, 1.0), 2 - lam) if x < 0 else _raised(log_sum(x, 1.0), lam)


@compiled
def power_inverse(y: Any, lam: Any, is_signed: Any) -> Any:
    """Take a power transform back; NaN where no value has that transform."""
    if not is_signed:
        return exp_less_1(_lowered(y, lam)) + 1
    return -exp_less_1(_lowered(-y, 2 - lam)) if y < 0 else exp_less_1(_lowered(y, lam))


@compiled
def count_below(edges: Any, x: Any, with_equal: Any) -> Any:
    """Count the edges below x, or not above it."""
    low, high = 0, edges.size
    while low < high:
        middle = (low + high) >> 1
        if edges[middle] < x or (with_equal and edges[middle] == x):
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def interpolate(x: Any, xs: Any, ys: Any) -> Any:
    """Read a piecewise linear curve; where points share an x, the middle of the first and last one's y."""
    if math.isnan(x):
        return x
    if x <= xs[0]:
        return ys[0]
    if x >= xs[-1]:
        return ys[-1]
    j = count_below(xs, x, True) - 1
    if xs[j] == x:
        return 0.5 * (ys[count_below(xs, x, False)] + ys[j])
    return ys[j] + (x - xs[j]) / (xs[j + 1] - xs[j]) * (ys[j + 1] - ys[j])


@compiled
def pick(x: Any, values: Any, first: Any) -> Any:
    """Look up a whole number in a list that begins at `first`; NaN for what it has not."""
    place = x - first
    if not (place >= 0 and place < values.size and place == math.floor(place)):
        return np.nan
    return values[np.int64(place)]
