"""Limits beyond which a value is an outlier, fitted to the samples that take part.

Null, NaN and infinite values have no part in a fit. Quantiles, medians and with them all methods but
the z-score are exact, and hold one column in memory; the z-score's mean and deviation are merged row
group by row group, in the order of the manifest, so that they are the same on any executor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import MemoryLimitError, OptionError, SchemaError, UnknownColumnError
from headrace.execution.executors import Threads
from headrace.execution.recipe import Recipe
from headrace.manifest import RowGroup
from headrace.prepare.columns import Select
from headrace.selecting.base import Selectable
from headrace.selecting.progress import follow
from headrace.selecting.scan import ScanOptions
from headrace.sources.budget import parse_bytes

if TYPE_CHECKING:
    import polars as pl

Method = Literal["quantile", "iqr", "zscore", "mad", "limits"]
Limits = tuple[float, float]
Values = NDArray[Any]

DEFAULTS: Mapping[str, Any] = {"quantile": (0.01, 0.99), "iqr": 1.5, "zscore": 3.0, "mad": 3.5}
_MAD_TO_DEVIATION = 1.482602218505602  # of a normal distribution: 1 / its third quartile


def fit_limits(
    ds: Selectable, columns: Sequence[str], method: Method, limits: Any, options: ScanOptions
) -> dict[str, Limits]:
    """Find the lowest and the highest value of each column that is no outlier.

    Raises:
        OptionError: An argument cannot be right.
        SchemaError: A column holds no numbers, or is not there.
        MemoryLimitError: A column takes more memory than reading the data may.
    """
    schema = ds.schema
    missing = [name for name in columns if name not in schema.names]
    if missing:
        raise UnknownColumnError.from_names(missing, schema.names, "the data set")
    for name in columns:
        kind = schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise SchemaError(f"outliers are told among numbers, but column `{name}` is {kind}")
    if method == "limits":
        return _given(columns, limits)
    if method not in DEFAULTS:
        known = ", ".join(f'"{name}"' for name in (*DEFAULTS, "limits"))
        raise OptionError(f"`method` must be one of {known}, got {method!r}")
    setting = _checked(method, DEFAULTS[method] if limits is None else limits)
    return {name: _fit(ds, name, method, setting, options) for name in columns}


def inliers(limits: Mapping[str, Limits], schema: pa.Schema) -> list[pl.Expr]:
    """Write the predicates that keep what lies within limits, and what is missing."""
    import polars as pl

    predicates: list[pl.Expr] = []
    for name, (low, high) in limits.items():
        column = pl.col(name)
        within = column.is_between(pl.lit(low, dtype=pl.Float64), pl.lit(high, dtype=pl.Float64))
        missing = column.is_null()
        if pa.types.is_floating(schema.field(name).type):
            missing |= column.is_nan()
        predicates.append(missing | within)
    return predicates


def _given(columns: Sequence[str], limits: Any) -> dict[str, Limits]:
    """Read limits that the user gives, for all columns or by column."""
    by_column = (
        cast("Mapping[str, Any]", limits) if isinstance(limits, Mapping) else dict.fromkeys(columns, limits)
    )
    lacking = [name for name in columns if name not in by_column]
    if lacking:
        raise OptionError(f"`limits` must name every column, but lacks `{lacking[0]}`")
    return {name: _pair(by_column[name], (-math.inf, math.inf)) for name in columns}


def _pair(limits: Any, open_ends: Limits) -> Limits:
    try:
        low, high = (
            end if given is None else float(given) for given, end in zip(limits, open_ends, strict=True)
        )
    except (TypeError, ValueError):
        raise OptionError(f"`limits` must be a pair of numbers, such as (0, 100), got {limits!r}") from None
    if not low <= high:
        raise OptionError(f"of two `limits` the lower one must come first, got {limits!r}")
    return low, high


def _checked(method: str, setting: Any) -> Any:
    if method == "quantile":
        low, high = _pair(setting, (0.0, 1.0))
        if low < 0 or high > 1:
            raise OptionError(f"quantiles must lie between 0 and 1, got {setting!r}")
        return low, high
    if isinstance(setting, bool) or not isinstance(setting, (int, float)) or not 0 <= setting < math.inf:
        raise OptionError(f'`limits` of method "{method}" must be a number of at least 0, got {setting!r}')
    return float(setting)


def _fit(ds: Selectable, column: str, method: str, setting: Any, options: ScanOptions) -> Limits:
    if method == "zscore":
        moments = Moments()
        for part in _scanned(ds, MomentsOf(_alone(ds.recipe, column)), options):
            moments = moments.merged(part)
        reach = setting * moments.deviation
        return (moments.mean - reach, moments.mean + reach) if moments.count else (-math.inf, math.inf)
    values = _collected(ds, column, options)
    if not len(values):
        return -math.inf, math.inf
    if method == "quantile":
        low, high = quantiles(values, setting)
        return low, high
    if method == "iqr":
        first, third = quantiles(values, (0.25, 0.75))
        return first - setting * (third - first), third + setting * (third - first)
    (median,) = quantiles(values, (0.5,))
    (spread,) = quantiles(np.abs(values.astype(np.float64) - median), (0.5,))
    reach = setting * spread * _MAD_TO_DEVIATION
    return median - reach, median + reach


def quantiles(values: Values, levels: Sequence[float]) -> list[float]:
    """Find quantiles, interpolated between neighbours; puts the values into another order.

    Example:
        >>> quantiles(np.array([4, 1, 3, 2]), (0.5, 1.0))
        [2.5, 4.0]
    """
    places = [(len(values) - 1) * level for level in levels]
    wanted = sorted({side for place in places for side in (math.floor(place), math.ceil(place))})
    values.partition(wanted)
    ends = [(float(values[math.floor(place)]), float(values[math.ceil(place)])) for place in places]
    return [low + (high - low) * (place % 1) for (low, high), place in zip(ends, places, strict=True)]


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and sum of squared distances from the mean, which can be merged."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @staticmethod
    def of(values: Values) -> Moments:
        """Sum up some values."""
        if not len(values):
            return Moments()
        wide = values.astype(np.float64)
        mean = float(wide.mean())
        return Moments(len(wide), mean, float(np.square(wide - mean).sum()))

    def merged(self, other: Moments) -> Moments:
        """Sum up both parts' values (Chan, Golub, LeVeque, 1979)."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        squares = self.squares + other.squares + apart * apart * (self.count * other.count / count)
        return Moments(count, mean, squares)

    @property
    def deviation(self) -> float:
        """The standard deviation of the values themselves, not of what they were drawn from."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one row group; None for all."""

    row_group: RowGroup
    rows: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class ValuesOf:
    """Reads the finite values of a recipe's only column."""

    recipe: Recipe

    def __call__(self, part: Part) -> Values:
        """Return them as a fresh array."""
        column = self.recipe.frame(part.row_group).column(0)
        if part.rows is not None:
            column = column.take(pa.array(part.rows))
        values = column.drop_null().to_numpy(zero_copy_only=False)
        return values[np.isfinite(values)]


@dataclass(frozen=True, slots=True)
class MomentsOf:
    """Sums up the finite values of a recipe's only column."""

    recipe: Recipe

    def __call__(self, part: Part) -> Moments:
        """Return the moments of a row group."""
        return Moments.of(ValuesOf(self.recipe)(part))


def _alone(recipe: Recipe, column: str) -> Recipe:
    return replace(recipe, steps=(*recipe.steps, Select((column,))), pack=None, keep_arrow=False)


def _collected(ds: Selectable, column: str, options: ScanOptions) -> Values:
    """Read a whole column."""
    limit: int = getattr(ds.recipe.source, "memory_limit", None) or parse_bytes(None)
    kept: list[Values] = []
    nbytes = 0
    for values in _scanned(ds, ValuesOf(_alone(ds.recipe, column)), options):
        kept.append(values)
        nbytes += 2 * values.nbytes  # the parts, and all of them in one array
        if nbytes > limit:
            raise MemoryLimitError(
                f"column `{column}`: its exact quantiles take more than the limit of {limit:,} bytes; use "
                '"zscore", give the limits, or fit them to a sample by `outlier_limits`'
            )
    return np.concatenate(kept) if kept else np.zeros(0)


def _scanned(ds: Selectable, function: Any, options: ScanOptions) -> Iterator[Any]:
    selection, starts = ds.selection.by_id, ds.manifest.starts
    counts = selection.counts(starts)
    numbers = np.flatnonzero(counts).tolist()
    before = np.concatenate([[0], np.cumsum(counts)])

    def parts() -> Iterator[Part]:
        for number in numbers:
            row_group = ds.manifest[number]
            ids = selection.at(np.arange(before[number], before[number + 1]))
            is_whole = len(ids) == row_group.rows and selection.listed is None
            yield Part(row_group, None if is_whole else ids - row_group.first)

    executor = options.executor or Threads()
    return follow(executor.map(function, parts()), len(numbers), options.progress)
