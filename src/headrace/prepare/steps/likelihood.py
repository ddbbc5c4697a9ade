"""The parameter of a power transform that makes values most like a normal distribution."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from headrace.prepare.numbers.operations import Affine, Exp, Log, Operation, Power
from headrace.prepare.numbers.programs import run_values
from headrace.prepare.statistics import exact

Numbers = NDArray[np.float64]
_GOLDEN = (3 - math.sqrt(5)) / 2
_TOLERANCE = 1.5e-8  # about the root of the precision: a minimum cannot be told more sharply from its values
_MOST_STEPS = 200
# Exponents of x**lambda = exp(exponent) that are searched: below, all results are one but for rounding.
_COLLAPSE, _OVERFLOW = -25.0, 300.0


def fit_lambda(values: Numbers, is_signed: bool) -> float:
    """Find the lambda of the largest likelihood, of Yeo-Johnson (signed) or Box-Cox.

    Sums are exact, and the transform is that of the kernel, so that the result depends on no order of the
    values and on no machine.

    Args:
        values: At least two different finite numbers; positive ones unless signed.
        is_signed: Whether it is the transform of Yeo and Johnson.
    """
    ordered = np.sort(values)
    logs = _run(np.abs(ordered) if is_signed else ordered, [Log(1.0 if is_signed else 0.0)])
    mixed = is_signed and ordered[0] < 0 <= ordered[-1]
    negative = is_signed and ordered[-1] < 0
    weight = _sum(np.where(ordered < 0, -logs, logs) if is_signed else logs)
    lowest, highest = float(logs.min()), float(logs.max())

    def loss(lam: float) -> float:
        power = 2 - lam if negative else lam
        if not mixed and not _COLLAPSE <= max(power * lowest, power * highest) <= _OVERFLOW:
            return math.inf
        if mixed:
            log_variance = _log_variance(_run(ordered, [Power(lam, is_signed)]))
        else:
            log_variance = _log_variance_of_power(logs, power)
        return len(ordered) / 2 * log_variance - (lam - 1) * weight

    near = min(1.0, -_COLLAPSE / (2 * max(abs(lowest), abs(highest), 1.0)))
    return minimum(loss, 1 - 3 * near if negative else -2 * near, 2.0 * near)


def _log_variance_of_power(logs: Numbers, lam: float) -> float:
    """The logarithm of the variance of (exp(lam * logs) - 1) / lam, without cancellation or overflow."""
    if abs(lam) * float(np.abs(logs).max()) < 1:
        return _log_variance(_run(logs, [Affine(factor=lam), Exp(), Affine(divisor=lam)]) if lam else logs)
    top = max(lam * float(logs.min()), lam * float(logs.max()))
    return _log_variance(_run(logs, [Affine(factor=lam), Affine(shift=top), Exp()])) + 2 * (
        top - math.log(abs(lam))
    )


def _run(values: Numbers, operations: list[Operation]) -> Numbers:
    return run_values(values, operations)


def _sum(values: Numbers) -> float:
    return exact.mean(exact.sum_up(values).total, 1)


def _log_variance(values: Numbers) -> float:
    sums = exact.sum_up(values)
    if sums.infinities:
        return math.inf
    variance = exact.variance(sums.total, sums.squares, sums.count)
    return math.log(variance) if variance > 0 else math.inf


def minimum(function: Callable[[float], float], first: float, second: float) -> float:
    """Find a minimum near two points (R. P. Brent, Algorithms for minimization without derivatives, 1973).

    Example:
        >>> round(minimum(lambda x: (x - 3) ** 2, -2.0, 2.0), 6)
        3.0
    """
    low, best, high = _bracket(function, first, second)
    second_best = third_best = best
    value = second_value = third_value = function(best)
    step = before = 0.0
    for _ in range(_MOST_STEPS):
        middle = (low + high) / 2
        least = _TOLERANCE * abs(best) + 1e-11
        if abs(best - middle) <= 2 * least - (high - low) / 2:
            break
        p, q = _parabola(best, second_best, third_best, (value, second_value, third_value))
        before, last = step, before
        if abs(p) < abs(q * last / 2) and q * (low - best) < p < q * (high - best):
            step = p / q
            if best + step - low < 2 * least or high - best - step < 2 * least:
                step = math.copysign(least, middle - best)
        else:
            before = (high if best < middle else low) - best
            step = _GOLDEN * before
        tried = best + (step if abs(step) >= least else math.copysign(least, step))
        found = function(tried)
        if found <= value:
            low, high = (best, high) if tried >= best else (low, best)
            third_best, second_best, best = second_best, best, tried
            third_value, second_value, value = second_value, value, found
            continue
        low, high = (tried, high) if tried < best else (low, tried)
        if found <= second_value or second_best == best:
            third_best, second_best, third_value, second_value = second_best, tried, second_value, found
        elif found <= third_value or third_best in (best, second_best):
            third_best, third_value = tried, found
    return best


def _parabola(x: float, w: float, v: float, values: tuple[float, float, float]) -> tuple[float, float]:
    """The step from x to the lowest point of the parabola through three points, as a fraction with q >= 0."""
    r = (x - w) * (values[0] - values[2])
    q = (x - v) * (values[0] - values[1])
    p = (x - v) * q - (x - w) * r
    q = 2 * (q - r)
    return (-p, q) if q > 0 else (p, -q)


def _bracket(function: Callable[[float], float], first: float, second: float) -> tuple[float, float, float]:
    """Walk downhill until it goes up again; return three points, the lowest of them in the middle."""
    ends = (first, function(first)), (second, function(second))
    (a, _), (b, low) = sorted(ends, key=lambda end: -end[1])
    for _ in range(_MOST_STEPS):
        c = b + (b - a) * (1 - _GOLDEN) / _GOLDEN
        value = function(c)
        if not value < low:
            return min(a, c), b, max(a, c)
        a, b, low = b, c, value
    return min(a, b), b, max(a, b)
