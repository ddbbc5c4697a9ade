"""Tables of inverse distribution functions, built of float64 additions, products and quotients alone.

Those round the same way on every processor, which logarithms and powers of a machine's library do not. So a
table has the same bits everywhere, and with it every draw that is read from one.

A quantile table turns a word of 32 bits into a number. The lower half of the words is the lower side, the
upper half the upper one, mirrored. On each side m, from 0 to 2^31 - 1, counts from the far end of the tail
to the median, and stands for the tail probability (m + 1/2) / 2^32. The values of m between two powers of two
form a row of 128 cells, so that the tails are as fine as the middle. Within a cell the quantile is a straight
line.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError

Floats = NDArray[np.float64]
Table = NDArray[np.float32]

CELLS = 128  # in a row; a power of two
ROWS = 32  # on a side: m = 0, and one for each of the 31 bits that may lead
SIDE = CELLS * ROWS
LOG_CELLS = 4096

_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
_ROOT_OF_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
_ROOT_OF_TWO_PI = float.fromhex("0x1.40d931ff62706p+1")
_LEAST = -64.0  # the base-2 logarithm of what a beta table still tells from 0


def exp(x: Floats) -> Floats:
    """Compute e^x within 2 units in the last place, with the same bits on every machine.

    Args:
        x: Finite numbers of any shape, from -700 to 700.

    Example:
        >>> float(exp(np.array([0.5]))[0])
        1.6487212707001282
    """
    power = np.rint(x / (_LN2_HIGH + _LN2_LOW))
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    total = np.ones_like(rest)
    for degree in range(15, 0, -1):
        total = 1.0 + rest * total / degree
    return np.ldexp(total, power.astype(np.int64))


def log(x: Floats) -> Floats:
    """Compute the natural logarithm within 2 units in the last place, the same bits on every machine.

    Args:
        x: Positive finite numbers of any shape.

    Example:
        >>> float(log(np.array([10.0]))[0])
        2.302585092994046
    """
    share, power = np.frexp(x)
    low = share < _ROOT_OF_HALF
    share, power = np.where(low, share * 2.0, share), power - low
    ratio = (share - 1.0) / (share + 1.0)
    square, total = ratio * ratio, np.zeros_like(ratio)
    for odd in range(23, 1, -2):
        total = square * (1.0 / odd + total)
    return power * _LN2_HIGH + (power * _LN2_LOW + 2.0 * (ratio + ratio * total))


@functools.cache
def normal_table() -> Table:
    """Build the quantile table of the standard normal distribution, float32 of shape [2 * SIDE, 2].

    Its values reach from -6.34 to 6.34. Its distribution function is nowhere off by more than 2e-6, and the
    probability of a tail is true to a part in 10^5 as far as the table reaches.
    """
    upper = _bisect(lambda z, tail: _normal_tail(z) > tail, (0.0, 8.0))
    return _table(-upper, upper)


@functools.lru_cache(maxsize=64)
def beta_table(alpha: float, beta: float) -> Table:
    """Build the quantile table of a beta distribution, float32 of shape [2 * SIDE, 2].

    What is below 2^-60 may be 0, and what float32 cannot tell from 1 is 1. Rounding aside, its distribution
    function is off by less than 2e-5 where alpha and beta are 0.1 and more, and by less than 2e-4 where they
    are 0.01.

    Raises:
        OptionError: A parameter is not from 0.01 to 100.
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not 0.01 <= value <= 100:
            raise OptionError(f"`{name}` of a beta distribution must be from 0.01 to 100, not {value!r}")

    def from_zero(first: float, second: float) -> Floats:
        def too_low(place: Floats, tail: Floats) -> NDArray[np.bool_]:
            return _beta_share(first, second, exp(place * (_LN2_HIGH + _LN2_LOW))) < tail

        place = _bisect(too_low, (_LEAST, 0.0))
        return np.where(place > _LEAST, exp(place * (_LN2_HIGH + _LN2_LOW)), 0.0)

    return _table(from_zero(alpha, beta), 1.0 - from_zero(beta, alpha))


@functools.lru_cache(maxsize=64)
def log_uniform_table(low: float, high: float) -> Floats:
    """Build values and slopes at low * (high / low)^t, t = 0, 1/4096, ..., float64 of shape [4097, 2].

    Raises:
        OptionError: The bounds are not positive and in order.
    """
    if not 0 < low <= high < float("inf"):
        raise OptionError(f"`low` and `high` must be positive and in order, not {low!r} and {high!r}")
    ends = log(np.array([low, high]))
    share = np.arange(LOG_CELLS + 1) / LOG_CELLS
    values = np.clip(exp(ends[0] + (ends[1] - ends[0]) * share), low, high)
    values[0], values[-1] = low, high
    return np.stack([values, np.diff(values, append=high)], axis=1)


def _tails() -> Floats:
    """The tail probability at the beginning of each cell of one side, and at the median."""
    powers = np.ldexp(1.0, np.arange(ROWS - 1))
    places = (powers[:, None] * (1.0 + np.arange(CELLS) / CELLS)).ravel()
    places = np.concatenate([np.zeros(CELLS), places, [np.ldexp(1.0, ROWS - 1)]])
    return np.minimum((places + 0.5) * 2.0**-32, 0.5)


def _table(lower: Floats, upper: Floats) -> Table:
    """Join the values at the cells' beginnings on both sides with the slopes of the lines between them."""
    values = np.stack([lower, upper]).astype(np.float32)
    return np.stack([values[:, :-1], np.diff(values)], axis=-1).reshape(2 * SIDE, 2)


def _bisect(too_low: Callable[[Floats, Floats], NDArray[np.bool_]], span: tuple[float, float]) -> Floats:
    """Find the last place before each tail probability is reached, to a part in 2^40 of the span."""
    tails = _tails()
    low, high = np.full_like(tails, span[0]), np.full_like(tails, span[1])
    for _ in range(40):
        middle = (low + high) * 0.5
        below = too_low(middle, tails)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def _normal_tail(z: Floats) -> Floats:
    """The probability of more than z >= 0: a series near the middle, a continued fraction beyond 3."""
    density = exp(z * z * -0.5) / _ROOT_OF_TWO_PI
    near, far = np.minimum(z, 3.0), np.maximum(z, 3.0)
    series, fraction = np.ones_like(z), far
    for term in range(60, 0, -1):
        series = 1.0 + series * (near * near) / (2 * term + 1)
        fraction = far + term / fraction
    return np.where(z < 3.0, 0.5 - density * near * series, density / fraction)


def _beta_share(alpha: float, beta: float, x: Floats) -> Floats:
    """The probability of less than x, by the continued fraction of the incomplete beta function."""
    scale = _log_gamma(alpha + beta) - _log_gamma(alpha) - _log_gamma(beta)
    mirrored = x > (alpha + 1.0) / (alpha + beta + 2.0)
    share = np.empty_like(x)
    for chosen, a, b, y in ((~mirrored, alpha, beta, x), (mirrored, beta, alpha, 1.0 - x)):
        part = np.maximum(y[chosen], 1e-300)
        rest = np.maximum(1.0 - part, 1e-300)
        share[chosen] = exp(np.maximum(a * log(part) + b * log(rest) + scale, -700.0)) / (
            a * _beta_fraction(a, b, part)
        )
    return np.where(mirrored, 1.0 - share, share)


def _beta_fraction(a: float, b: float, x: Floats) -> Floats:
    fraction = np.ones_like(x)
    for m in range(60, -1, -1):
        odd = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1))
        fraction = 1.0 + odd * x / fraction
        if m:
            even = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m))
            fraction = 1.0 + even * x / fraction
    return fraction


def _log_gamma(x: float) -> float:
    """Stirling's series, beyond 20; below it by the recurrence."""
    product = 1.0
    while x < 20.0:
        product, x = product * x, x + 1.0
    square, total = 1.0 / (x * x), 0.0
    for coefficient in (1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12):
        total = total * square + coefficient
    logs = log(np.array([x, product, _ROOT_OF_TWO_PI]))
    return float((x - 0.5) * logs[0] - x + logs[2] + total / x - logs[1])
