"""Outliers: limits beyond which a value is one, and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from headrace.errors import OptionError
from headrace.prepare.numbers.operations import Limit, Operation
from headrace.prepare.numbers.programs import is_machine_number, run_program
from headrace.prepare.statistics import Moments, Statistic, Values
from headrace.prepare.statistics.limits import (
    DEFAULTS,
    OPEN,
    Limits,
    check_method,
    check_reach,
    limits_of_moments,
    limits_of_values,
)
from headrace.prepare.step import Found, PrepareStep
from headrace.prepare.steps.scale import check_pair, count_beyond

if TYPE_CHECKING:
    import polars as pl

Method = Literal["quantile", "iqr", "zscore", "mad", "limits"]


@dataclass(frozen=True)
class ClipOutliers(PrepareStep):
    """Bring outliers to the nearest limit, or make them null; a column keeps its type.

    - "quantile": below the first or above the second quantile of `limits`, exact and linearly interpolated.
    - "iqr": further than `limits` times the distance between the quartiles from the nearer quartile.
    - "zscore": further than `limits` standard deviations (ddof 0) from the mean.
    - "mad": further from the median than `limits` times the median distance from it, times 1.4826, which
      makes that a standard deviation where values are normally distributed.
    - "limits": beyond `limits`, given as (low, high) for all columns or by column; None leaves an end open.

    Missing values (null, NaN) stay missing. They and infinite values have no part in the fit; infinite values
    are outliers. A column without finite values has no outliers. In a column of whole numbers or of float32,
    limits are rounded inwards, so that what is clipped lies within them.

    Learned: `limits_`, by column the lowest and the highest value that stays; `rank_error_`, 0 unless the
    values took more memory than the fit had, and a sketch took their place.

    Attributes:
        method: What an outlier is.
        limits: The method's number or numbers; by default (0.01, 0.99), 1.5, 3 and 3.5.
        action: "clip" brings outliers to the nearest limit, "null" makes them null.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [1, 2, 3, 4, 100]})
        >>> pipe = hr.Pipeline([hr.ClipOutliers("iqr")]).fit(ds)
        >>> pipe.steps[0].limits_, pipe.transform({"x": 100})
        ({'x': [-1.0, 7.0]}, {'x': 7})
    """

    method: Method = "quantile"
    limits: Any = None
    action: Literal["clip", "null"] = "clip"

    def __post_init__(self) -> None:
        check_method(self.method)
        if self.action not in ("clip", "null"):
            raise OptionError(f'`action` must be "clip" or "null", got {self.action!r}')
        if self.method != "limits":
            _check(self.method, self._setting)
        elif isinstance(self.limits, Mapping):
            for pair in cast("Mapping[str, Any]", self.limits).values():
                _pair(pair)
        else:
            _pair(self.limits)

    def treats(self, dtype: pl.DataType) -> bool:
        """Numbers are treated."""
        return dtype.is_numeric()

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for moments or values, as the method needs."""
        if self.method == "limits":
            return ()
        return [Moments(name) if self.method == "zscore" else Values(name) for name in self.names]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep the limits."""
        limits = {name: self._limits(name, found) for name in self.names}
        for name, (low, high) in limits.items():
            least, most = _range(schema[name])
            if low > most or high < least:
                raise OptionError(
                    f"column `{name}`: no {schema[name]} lies within the limits ({low}, {high})"
                )
        learned: dict[str, Any] = {"limits_": {name: list(pair) for name, pair in limits.items()}}
        if self.method in ("quantile", "iqr", "mad"):
            learned["rank_error_"] = {name: found[Values(name)].rank_error for name in self.names}
        return learned

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation] | None:
        """Limit each value."""
        if not is_machine_number(dtype):
            return None
        return [self._limit(column, dtype)]

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Limit the columns; those of types beyond machine numbers become Float64 in between."""
        made: list[pl.Series] = []
        for name in self.names:
            dtype = frame.schema[name]
            operations = self.operations(name, dtype)
            if operations is None:
                limited = run_program(frame[name], [self._limit(name, dtype)], _float64())
                changed = limited.is_null() | (limited != frame[name].cast(_float64()))
                made.append(frame[name].zip_with(~changed, limited.cast(dtype)))
            else:
                made.append(run_program(frame[name], operations, dtype))
        return frame.with_columns(made)

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count the outliers."""
        return count_beyond(frame, self.limits_)

    @property
    def _setting(self) -> Any:
        return DEFAULTS[self.method] if self.limits is None else self.limits

    def _limits(self, name: str, found: Found) -> Limits:
        if self.method == "limits":
            if not isinstance(self.limits, Mapping):
                return _pair(self.limits)
            by_column = cast("Mapping[str, Any]", self.limits)
            if name not in by_column:
                raise OptionError(f"`limits` must name every column, but lacks `{name}`")
            return _pair(by_column[name])
        if self.method == "zscore":
            return limits_of_moments(found[Moments(name)], self._setting)
        return limits_of_values(found[Values(name)], self.method, self._setting)

    def _limit(self, column: str, dtype: pl.DataType) -> Limit:
        low, high = self.limits_[column]
        to_null = self.action == "null"
        if str(dtype) in ("Float32", "Float16"):
            return Limit(*_inwards(low, high, np.dtype(str(dtype).lower())), to_null)
        if not dtype.is_integer() or not is_machine_number(dtype):
            return Limit(low, high, to_null)
        least, most = _range(dtype)
        low, high = max(low, least), min(high, most)
        first, last = math.ceil(low), math.floor(high)
        if first > last and not to_null:  # no whole number lies within: the nearest ones stay
            first, last = last, first
        return Limit(first, last, to_null)


def _check(method: str, setting: Any) -> None:
    if method == "quantile":
        low, high = check_pair("limits", setting)
        if not 0 <= low <= high <= 1:
            raise OptionError(f"quantiles must rise between 0 and 1, got {setting!r}")
    else:
        check_reach(method, setting)


def _pair(limits: Any) -> Limits:
    try:
        given = [end if it is None else _exact(it) for it, end in zip(limits, OPEN, strict=True)]
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"`limits` must be a pair of numbers, such as (0, 100), got {limits!r}") from None
    if not given[0] <= given[1]:
        raise OptionError(f"of two `limits` the lower one must come first, got {limits!r}")
    return given[0], given[1]


def _exact(limit: Any) -> float:
    """A limit as a float, or as the whole number that no float is equal to."""
    return limit if isinstance(limit, int) and float(limit) != limit else float(limit)


def _inwards(low: float, high: float, dtype: np.dtype[Any]) -> Limits:
    """Round limits to a narrower float, so that exactly the same of its values lie within."""
    with np.errstate(over="ignore"):
        first, last = dtype.type(low), dtype.type(high)
    if float(first) < low:
        first = np.nextafter(first, dtype.type(np.inf))
    if float(last) > high:
        last = np.nextafter(last, dtype.type(-np.inf))
    return float(first), float(last)


def _range(dtype: pl.DataType) -> tuple[float, float]:
    """The least and the largest value of a type of whole numbers; of others infinities."""
    if not dtype.is_integer() or not is_machine_number(dtype):
        return OPEN
    info = np.iinfo(str(dtype).lower())
    return int(info.min), int(info.max)


def _float64() -> Any:
    import polars as pl

    return pl.Float64()
