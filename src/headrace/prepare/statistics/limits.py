"""Limits beyond which a value is an outlier, by what is known of all values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from headrace.errors import OptionError
from headrace.prepare.statistics.kll import SketchState
from headrace.prepare.statistics.moments import MomentsState
from headrace.prepare.statistics.values import ValuesState

Limits = tuple[float, float]

OPEN: Limits = (-math.inf, math.inf)
DEFAULTS: Mapping[str, Any] = {"quantile": (0.01, 0.99), "iqr": 1.5, "zscore": 3.0, "mad": 3.5}
_MAD_TO_DEVIATION = 1.482602218505602  # of a normal distribution: 1 / its third quartile


def check_method(method: Any) -> None:
    """Refuse what is no method.

    Raises:
        OptionError: The message lists those that there are.
    """
    if method not in (*DEFAULTS, "limits"):
        known = ", ".join(f'"{name}"' for name in (*DEFAULTS, "limits"))
        raise OptionError(f"`method` must be one of {known}, got {method!r}")


def check_reach(method: str, setting: Any) -> None:
    """Refuse what is no number of distances or deviations.

    Raises:
        OptionError: The message names the method.
    """
    if isinstance(setting, bool) or not isinstance(setting, (int, float)) or not 0 <= setting < math.inf:
        raise OptionError(f'`limits` of method "{method}" must be a number of at least 0, got {setting!r}')


def limits_of_moments(moments: MomentsState | None, deviations: float) -> Limits:
    """Return the mean less and plus so many standard deviations; open ends if there are no values."""
    if moments is None or not moments.count:
        return OPEN
    reach = deviations * math.sqrt(moments.variance())
    return moments.mean - reach, moments.mean + reach


def limits_of_values(values: ValuesState | SketchState, method: str, setting: Any) -> Limits:
    """Return limits by "quantile", "iqr" or "mad"; open ends if there are no values."""
    if not values.count:
        return OPEN
    if method == "quantile":
        low, high = values.quantiles((float(setting[0]), float(setting[1])))
        return low, high
    if method == "iqr":
        first, third = values.quantiles((0.25, 0.75))
        return first - setting * (third - first), third + setting * (third - first)
    (median,) = values.quantiles((0.5,))
    reach = setting * values.median_deviation(median) * _MAD_TO_DEVIATION
    return median - reach, median + reach
