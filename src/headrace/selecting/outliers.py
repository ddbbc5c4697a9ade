"""Limits beyond which a value is an outlier, fitted to the samples that take part.

Null, NaN and infinite values have no part in a fit. All methods are exact, and give the same limits whatever
the row groups and the executor. The z-score holds one row group in memory at a time, the others one column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import pyarrow as pa

from headrace.errors import MemoryLimitError, OptionError, SchemaError, UnknownColumnError
from headrace.execution.executors import Threads
from headrace.execution.progress import follow
from headrace.execution.recipe import Recipe
from headrace.prepare.columns import Select
from headrace.prepare.statistics import (
    Moments,
    Statistic,
    Values,
    ValuesState,
    merge_states,
)
from headrace.prepare.statistics.limits import (
    DEFAULTS,
    OPEN,
    Limits,
    check_method,
    check_reach,
    limits_of_moments,
    limits_of_values,
)
from headrace.selecting.base import Selectable
from headrace.selecting.parts import Part, parts_of, read_part
from headrace.selecting.scan import ScanOptions
from headrace.sources.budget import parse_bytes

if TYPE_CHECKING:
    import polars as pl

Method = Literal["quantile", "iqr", "zscore", "mad", "limits"]


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
    check_method(method)
    if method == "limits":
        return _given(columns, limits)
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
    return {name: _pair(by_column[name], OPEN) for name in columns}


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
    check_reach(method, setting)
    return float(setting)


def _fit(ds: Selectable, column: str, method: str, setting: Any, options: ScanOptions) -> Limits:
    if method == "zscore":
        states = merge_states(_scanned(ds, Moments(column), options))
        return limits_of_moments(states.get(Moments(column)), setting)
    return limits_of_values(_collected(ds, column, options), method, setting)


@dataclass(frozen=True, slots=True)
class StateOf:
    """Asks a statistic of a recipe's only column."""

    recipe: Recipe
    statistic: Statistic

    def __call__(self, part: Part) -> dict[Statistic, Any]:
        """Return the state of a row group."""
        return {self.statistic: self.statistic.of(read_part(self.recipe, part))}


def _collected(ds: Selectable, column: str, options: ScanOptions) -> ValuesState:
    """Read a whole column."""
    limit: int = getattr(ds.recipe.source, "memory_limit", None) or parse_bytes(None)
    asked = Values(column)
    kept = ValuesState(())
    nbytes = 0
    for states in _scanned(ds, asked, options):
        part: ValuesState = states[asked]
        kept = ValuesState((*kept.parts, *part.parts))
        nbytes += 2 * part.nbytes  # the values, and their distances from the median
        if nbytes > limit:
            raise MemoryLimitError(
                f"column `{column}`: its exact quantiles take more than the limit of {limit:,} bytes; use "
                '"zscore", give the limits, or fit them to a sample by `outlier_limits`'
            )
    return kept


def _scanned(ds: Selectable, statistic: Statistic, options: ScanOptions) -> Iterator[dict[Statistic, Any]]:
    (column,) = statistic.reads
    recipe = replace(ds.recipe, steps=(*ds.recipe.steps, Select((column,))))
    parts = list(parts_of(ds))
    executor = options.executor or Threads()
    return follow(executor.map(StateOf(recipe, statistic), parts), len(parts), options.progress)
