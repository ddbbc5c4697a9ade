"""Steps that bring numbers to a common scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import OptionError, PrepareError
from headrace.prepare.numbers.operations import Affine, Limit, Operation
from headrace.prepare.statistics import Moments, MomentsState, Statistic, Values
from headrace.prepare.step import Found, PrepareStep

if TYPE_CHECKING:
    import polars as pl

_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class NumberStep(PrepareStep):
    """What steps that turn each number into a new one have in common."""

    def treats(self, dtype: pl.DataType) -> bool:
        """Numbers are treated."""
        return dtype.is_numeric()

    @property
    def makes_floats(self) -> bool:
        """What comes out are new numbers."""
        return True

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Treated columns are floats."""
        return floats_schema(schema, self.names)


@dataclass(frozen=True)
class StandardScaler(NumberStep):
    """Subtract the mean and divide by the standard deviation.

    As in scikit-learn, a column that is constant up to rounding (var <= n eps var + (n mean eps)^2) gets the
    scale 1. Missing values (null, NaN) have no part in the fit and stay missing; a column without values
    learns NaN and becomes null. Mean and variance are exact and rounded once, whatever the row groups, so
    that they can differ from scikit-learn's in the last digit. Infinity in a fit is an error.

    Learned: `mean_`, `var_`, `scale_` and `n_seen_`, each by column.

    Attributes:
        ddof: What is taken off the number of values in the variance.
        with_mean: Whether the mean is subtracted.
        with_std: Whether it is divided by the standard deviation.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [1.0, 2.0, 4.0]})
        >>> pipe = hr.Pipeline([hr.StandardScaler()]).fit(ds)
        >>> round(pipe.transform({"x": 4.0})["x"], 4)
        1.3363
    """

    ddof: int = 0
    with_mean: bool = True
    with_std: bool = True

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for the moments of each column."""
        return [Moments(name) for name in self.names]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep means and scales."""
        moments: dict[str, MomentsState] = {name: found[Moments(name)] for name in self.names}
        for name, state in moments.items():
            check_finite(name, state)
        variances = {name: state.variance(self.ddof) for name, state in moments.items()}
        return {
            "mean_": {name: state.mean for name, state in moments.items()},
            "var_": variances,
            "scale_": {name: _scale(name, moments[name], variance) for name, variance in variances.items()},
            "n_seen_": {name: state.count for name, state in moments.items()},
        }

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation]:
        """Scale each value."""
        return [Affine(self._shift(column), self._divisor(column))]

    def inverse_operations(self, column: str) -> Sequence[Operation]:
        """Scale back."""
        return [Affine(factor=self._divisor(column), offset=self._shift(column))]

    def _shift(self, column: str) -> float:
        return self.mean_[column] if self.with_mean else 0.0

    def _divisor(self, column: str) -> float:
        return self.scale_[column] if self.with_std else 1.0


@dataclass(frozen=True)
class MinMaxScaler(NumberStep):
    """Bring the range of a column to another one.

    As in scikit-learn, a column whose range is below 10 eps keeps it (the range counts as 1). Values that the
    fit has not seen can leave the range unless they are clipped. Missing values (null, NaN) have no part in
    the fit and stay missing; infinity in a fit is an error.

    Learned, each by column: `data_min_`, `data_max_`, `scale_` and `clip_`.

    Attributes:
        feature_range: The range that comes out.
        clip: Whether values beyond are brought to its ends. None clips columns that were float32 or float16
            when they were fitted, in which rounding alone can leave the range, and no others.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [1.0, 2.0, 5.0]})
        >>> pipe = hr.Pipeline([hr.MinMaxScaler()]).fit(ds)
        >>> pipe.transform({"x": 2.0}), pipe.transform({"x": 9.0})
        ({'x': 0.25}, {'x': 2.0})
    """

    feature_range: tuple[float, float] = (0.0, 1.0)
    clip: bool | None = None

    def __post_init__(self) -> None:
        low, high = check_pair("feature_range", self.feature_range)
        if not (low < high and math.isfinite(high - low)):
            raise OptionError(f"`feature_range` must be two rising numbers, got {self.feature_range!r}")

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for the extremes of each column."""
        return [Moments(name) for name in self.names]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep the extremes."""
        ends = {name: _ends(name, found[Moments(name)]) for name in self.names}
        for name, (least, most) in ends.items():
            if math.isinf(most - least):
                raise large_error(name, "range")
        low, high = self.feature_range
        return {
            "data_min_": {name: least for name, (least, _) in ends.items()},
            "data_max_": {name: most for name, (_, most) in ends.items()},
            "scale_": {name: (high - low) / _range(most - least) for name, (least, most) in ends.items()},
            "clip_": {name: self._clips(schema[name]) for name in self.names},
        }

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation]:
        """Scale each value; the least one becomes the range's lower end exactly."""
        low, high = self.feature_range
        scaled = Affine(self.data_min_[column], self._divisor(column), high - low, low)
        return [scaled, Limit(low, high)] if self.clip_[column] else [scaled]

    def inverse_operations(self, column: str) -> Sequence[Operation]:
        """Scale back."""
        low, high = self.feature_range
        return [Affine(low, high - low, self._divisor(column), self.data_min_[column])]

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count values beyond those of the fit."""
        return count_beyond(frame, {it: (self.data_min_[it], self.data_max_[it]) for it in self.names})

    def _divisor(self, column: str) -> float:
        return _range(self.data_max_[column] - self.data_min_[column])

    def _clips(self, dtype: pl.DataType) -> bool:
        return self.clip if self.clip is not None else str(dtype) in ("Float32", "Float16")


@dataclass(frozen=True)
class MaxAbsScaler(NumberStep):
    """Divide by the largest absolute value, so that zeros stay zeros.

    As in scikit-learn, a column of values below 10 eps is divided by 1. Missing values (null, NaN) have no
    part in the fit and stay missing; infinity in a fit is an error.

    Learned: `max_abs_` and `scale_`, by column.

    Example:
        >>> import headrace as hr
        >>> pipe = hr.Pipeline([hr.MaxAbsScaler()]).fit(hr.from_arrays({"x": [-4.0, 2.0]}))
        >>> pipe.transform({"x": 2.0})
        {'x': 0.5}
    """

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for the extremes of each column."""
        return [Moments(name) for name in self.names]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep the largest absolute values."""
        ends = {name: _ends(name, found[Moments(name)]) for name in self.names}
        largest = {name: max(abs(least), abs(most)) for name, (least, most) in ends.items()}
        return {"max_abs_": largest, "scale_": {name: _range(size) for name, size in largest.items()}}

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation]:
        """Scale each value."""
        return [Affine(divisor=self.scale_[column])]

    def inverse_operations(self, column: str) -> Sequence[Operation]:
        """Scale back."""
        return [Affine(factor=self.scale_[column])]


@dataclass(frozen=True)
class RobustScaler(NumberStep):
    """Subtract the median and divide by the distance between two quantiles, which outliers do not move.

    Quantiles are exact and linearly interpolated, as in scikit-learn; a distance below 10 eps counts as 1.
    Missing values (null, NaN) have no part in the fit and stay missing; infinity in a fit is an error.

    Learned: `center_`, `scale_` and `rank_error_`, by column; the latter is 0 unless the values took more
    memory than the fit had, and a sketch took their place.

    Attributes:
        quantile_range: The two quantiles, in per cent.
        with_centering: Whether the median is subtracted.
        with_scaling: Whether it is divided by the distance.

    Example:
        >>> import headrace as hr
        >>> pipe = hr.Pipeline([hr.RobustScaler()]).fit(hr.from_arrays({"x": [1.0, 2.0, 3.0, 4.0]}))
        >>> pipe.transform({"x": 4.0})
        {'x': 1.0}
    """

    quantile_range: tuple[float, float] = (25.0, 75.0)
    with_centering: bool = True
    with_scaling: bool = True

    def __post_init__(self) -> None:
        low, high = check_pair("quantile_range", self.quantile_range)
        if not 0 <= low < high <= 100:
            raise OptionError(f"`quantile_range` must rise between 0 and 100, got {self.quantile_range!r}")

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for the values of each column."""
        return [statistic for name in self.names for statistic in (Moments(name), Values(name))]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep medians and distances."""
        levels = tuple(share / 100 for share in self.quantile_range)
        centers: dict[str, float] = {}
        scales: dict[str, float] = {}
        for name in self.names:
            check_finite(name, found[Moments(name)])
            low, centers[name], high = found[Values(name)].quantiles((levels[0], 0.5, levels[1]))
            scales[name] = _range(high - low)
        errors = {name: found[Values(name)].rank_error for name in self.names}
        return {"center_": centers, "scale_": scales, "rank_error_": errors}

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation]:
        """Scale each value."""
        return [Affine(self._shift(column), self._divisor(column))]

    def inverse_operations(self, column: str) -> Sequence[Operation]:
        """Scale back."""
        return [Affine(factor=self._divisor(column), offset=self._shift(column))]

    def _shift(self, column: str) -> float:
        return self.center_[column] if self.with_centering else 0.0

    def _divisor(self, column: str) -> float:
        return self.scale_[column] if self.with_scaling else 1.0


def _ends(name: str, state: MomentsState) -> tuple[float, float]:
    check_finite(name, state)
    low, high = state.sums.low, state.sums.high
    return (math.nan, math.nan) if low is None or high is None else (float(low), float(high))


def _range(size: float) -> float:
    """A range to divide by: 1 for one that is nothing but rounding."""
    return 1.0 if size < 10 * _EPSILON else size


def check_pair(option: str, pair: Any) -> tuple[float, float]:
    """Return two numbers, or refuse what is none.

    Raises:
        OptionError: The message names the option and shows the value.
    """
    try:
        low, high = pair
        return float(low), float(high)
    except (TypeError, ValueError):
        raise OptionError(f"`{option}` must be a pair of numbers, such as (0, 1), got {pair!r}") from None


def _scale(name: str, state: MomentsState, variance: float) -> float:
    if math.isinf(variance):
        raise large_error(name, "variance")
    return 1.0 if is_constant(state.count, state.mean, variance) else math.sqrt(variance)


def is_constant(count: int, mean: float, variance: float) -> bool:
    """Tell whether values differ by no more than rounding, as scikit-learn tells."""
    rounding = count * mean * _EPSILON
    return variance <= count * _EPSILON * variance + rounding * rounding


def check_finite(name: str, state: MomentsState) -> None:
    """Refuse infinities, of which no mean and no range can be told.

    Raises:
        PrepareError: The column holds some.
    """
    if state.sums.infinities:
        raise infinite_error(name, state.sums.infinities)


def infinite_error(name: str, count: int) -> PrepareError:
    """Word the error about infinite values of a column."""
    return PrepareError(
        f"column `{name}`: {count} values are infinite, and none can be fitted to; clip them or make "
        "them null before"
    )


def large_error(name: str, what: str) -> PrepareError:
    """Word the error about a column of values whose variance or range is beyond float64."""
    return PrepareError(
        f"column `{name}`: float64 cannot hold the {what} of values so large; divide or clip them before"
    )


def floats_schema(schema: pl.Schema, names: Sequence[str]) -> pl.Schema:
    """Return a schema in which these columns are floats."""
    import polars as pl

    return pl.Schema({name: pl.Float64() if name in names else dtype for name, dtype in schema.items()})


def count_beyond(frame: pl.DataFrame, limits: Mapping[str, Sequence[float]]) -> dict[str, dict[str, int]]:
    """Count the values of columns that lie beyond a lowest and a highest one; none where these are NaN."""
    import polars as pl

    counts: dict[str, dict[str, int]] = {}
    for name, (low, high) in limits.items():
        values = frame[name].cast(pl.Float64).fill_nan(None)
        beyond = 0 if math.isnan(low) else int(((values < low) | (values > high)).sum())
        counts[name] = {"out_of_range": beyond}
    return counts
