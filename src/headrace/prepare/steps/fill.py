"""Missing values: filled, or marked."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from headrace.errors import OptionError, PrepareError, SchemaError, UnknownColumnError
from headrace.prepare.numbers.operations import Affine, Fill, Operation
from headrace.prepare.numbers.programs import is_machine_number, run_program
from headrace.prepare.statistics import (
    Counts,
    CountsState,
    GroupSums,
    GroupSumsState,
    Moments,
    Statistic,
    Values,
)
from headrace.prepare.statistics.group_sums import group_keys
from headrace.prepare.step import Found, PrepareStep
from headrace.prepare.steps.scale import check_finite, floats_schema, infinite_error

if TYPE_CHECKING:
    import polars as pl

_STRATEGIES = ("mean", "median", "mode", "constant", "forward")


@dataclass(frozen=True)
class FillMissing(PrepareStep):
    """Put values where some are missing (null or NaN).

    - "mean" and "median" of the numbers of the fit: whole numbers become floats, floats keep their type.
      Infinity in the fit is an error.
    - "mode": the value that occurs most often, the smallest of several; for any type, which is kept.
    - "constant": `value`, for every column whose type can hold it, which is kept.
    - "forward": the last value before, in the order of the rows; for any type, which is kept. As a row group
      is prepared by itself, one that begins with a missing value is refused: the value before it lies
      elsewhere.

    A column without values cannot be filled by a statistic, and the fit says so.

    With `by`, a mean is that of the samples that share the values of these columns; missing ones are a value
    too. A group that the fit has not seen, or not a value of, gets the mean of all.

    Learned: `fill_`, by column; `groups_`, the means of the groups; for a median `rank_error_`, 0 unless the
    values took more memory than the fit had and a sketch took their place.

    Attributes:
        strategy: One of these.
        value: What "constant" fills in.
        by: The column or columns that tell groups apart, for "mean"; none of them is filled.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [1.0, float("nan"), 4.0], "city": ["a", "a", "b"]})
        >>> pipe = hr.Pipeline([hr.FillMissing("median")]).fit(ds)
        >>> pipe.transform({"x": None, "city": "a"})
        {'x': 2.5, 'city': 'a'}
        >>> pipe = hr.Pipeline([hr.FillMissing("mean", by="city")]).fit(ds)
        >>> pipe.transform({"x": None, "city": "a"})
        {'x': 1.0, 'city': 'a'}
    """

    strategy: Literal["mean", "median", "mode", "constant", "forward"] = "mean"
    value: Any = None
    by: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.strategy not in _STRATEGIES:
            known = ", ".join(f'"{name}"' for name in _STRATEGIES)
            raise OptionError(f"`strategy` must be one of {known}, got {self.strategy!r}")
        if self.strategy == "constant" and (self.value is None or self.value != self.value):
            raise OptionError(
                f'`FillMissing("constant")` needs a `value` that is not missing, got {self.value!r}'
            )
        if self.by is not None and self.strategy != "mean":
            raise OptionError(f'`by` goes with "mean" alone, got {self.by!r} for "{self.strategy}"')
        if self.strategy != "constant" and self.value is not None:
            raise OptionError(f'`value` goes with "constant" alone, got {self.value!r} for "{self.strategy}"')

    def treats(self, dtype: pl.DataType) -> bool:
        """Numbers have a mean and a median; a constant fills columns of its kind; all else any column."""
        if self.strategy == "constant":
            return _is_of_kind(self.value, dtype)
        return dtype.is_numeric() or (self.strategy in ("mode", "forward") and not dtype.is_nested())

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for what the strategy needs of each column."""
        match self.strategy:
            case "mean" if self.by is not None:
                return [GroupSums(self._by, name) for name in self.names]
            case "mean":
                return [Moments(name) for name in self.names]
            case "median":
                return [statistic for name in self.names for statistic in (Moments(name), Values(name))]
            case "mode":
                return [Counts(name) for name in self.names]
            case _:
                return ()

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep what is filled in."""
        if self.strategy == "forward":
            return {}
        learned: dict[str, Any] = {
            "fill_": {name: self._found(name, schema[name], found) for name in self.names}
        }
        if self.by is not None:
            learned["made_floats_"] = [name for name in self.names if self._makes_float(schema[name])]
            learned["groups_"] = {name: _means(name, found[GroupSums(self._by, name)]) for name in self.names}
        if self.strategy == "median":
            learned["rank_error_"] = {name: found[Values(name)].rank_error for name in self.names}
        return learned

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Whole numbers become floats where a mean or a median is filled in."""
        return floats_schema(schema, [name for name in self.names if self._makes_float(schema[name])])

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation] | None:
        """Fill each value."""
        if (
            self.strategy == "forward"
            or self.by is not None
            or not (is_machine_number(dtype) or self._makes_float(dtype))
        ):
            return None
        value = self.fill_[column]
        if self._makes_float(dtype):
            return [Affine(), Fill(value)]
        return [Fill(_rounded(value, dtype) if dtype.is_float() else value)]

    @property
    def makes_floats(self) -> bool:
        """Means of groups that are filled into whole numbers make floats of them."""
        return bool(self.learned.get("made_floats_"))

    @property
    def rewrites(self) -> tuple[str, ...]:
        """The columns that become floats, where there are such."""
        return tuple(self.learned.get("made_floats_") or self.names)

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that tell groups apart are looked at too."""
        return (*self.names, *self._by)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Fill the columns."""
        import polars as pl

        made: list[pl.Series] = []
        for name in self.names:
            dtype = frame.schema[name]
            operations = self.operations(name, dtype)
            if operations is not None:
                made.append(
                    run_program(frame[name], operations, pl.Float64() if len(operations) > 1 else dtype)
                )
            elif self.strategy == "forward":
                made.append(_forward(frame[name]))
            elif self.by is not None:
                made.append(self._by_group(frame, name))
            else:
                made.append(
                    frame.select(pl.col(name).fill_null(pl.lit(self.fill_[name]).cast(dtype))).to_series()
                )
        return frame.with_columns(made)

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count the missing values."""
        return {name: {"missing": int(_is_missing(frame[name]).sum())} for name in self.names}

    def resolve(self, schema: pl.Schema) -> tuple[str, ...]:
        """Leave out the columns that tell groups apart."""
        missing = [name for name in self._by if name not in schema]
        if missing:
            raise UnknownColumnError.from_names(missing, schema.names(), "FillMissing, `by`:")
        return tuple(name for name in super().resolve(schema) if name not in self._by)

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """The columns that tell groups apart are needed as well."""
        step, needed = super().narrowed(wanted)
        return step, needed if step is None else needed | set(self._by)

    @property
    def _by(self) -> tuple[str, ...]:
        return () if self.by is None else (self.by,) if isinstance(self.by, str) else tuple(self.by)

    def _by_group(self, frame: pl.DataFrame, name: str) -> pl.Series:
        """Fill from the group of each sample, or from all."""
        import polars as pl

        dtype = frame.schema[name] if frame.schema[name].is_float() else pl.Float64()
        means = group_keys(frame.select(self._by)).join(
            self.groups_[name], on=self._by, how="left", nulls_equal=True, maintain_order="left"
        )[name]
        known = run_program(frame[name], (), dtype)
        filled = pl.coalesce(known, means.cast(dtype), pl.lit(self.fill_[name]).cast(dtype))
        return frame.select(filled.alias(name)).to_series()

    def _makes_float(self, dtype: pl.DataType) -> bool:
        return self.strategy in ("mean", "median") and not dtype.is_float()

    def _found(self, name: str, dtype: pl.DataType, found: Found) -> Any:
        import polars as pl

        if self.strategy == "constant":
            return _checked(name, self.value, dtype)
        if self.strategy == "mode":
            counts: CountsState = found[Counts(name)]
            if not counts.table.height:
                raise _empty_error(name, self.strategy)
            most = counts.table["count"].max()
            values = counts.table.filter(pl.col("count") == most)["value"]
            # Python's own moments and durations end at microseconds.
            return (values.to_physical() if getattr(dtype, "time_unit", "") == "ns" else values).min()
        if self.by is not None:
            return _overall(name, found[GroupSums(self._by, name)])
        moments = found[Moments(name)]
        check_finite(name, moments)
        if not moments.count:
            raise _empty_error(name, self.strategy)
        return moments.mean if self.strategy == "mean" else found[Values(name)].quantiles((0.5,))[0]


@dataclass(frozen=True)
class MissingIndicator(PrepareStep):
    """Add a column `<name>_missing` for each column, which tells where it is null or NaN, as Boolean.

    The new columns come last, in the order of those that they tell of. Place the step before the one that
    fills.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [1.0, float("nan")]})
        >>> pipe = hr.Pipeline([hr.MissingIndicator(), hr.FillMissing("mean", columns="x")]).fit(ds)
        >>> pipe.transform({"x": None})
        {'x': 1.0, 'x_missing': True}
    """

    def treats(self, dtype: pl.DataType) -> bool:
        """Any column can miss values."""
        return True

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Learn nothing; look whether the new names are free."""
        for name in self.names:
            if _marker(name) in schema:
                raise OptionError(
                    f"a column `{_marker(name)}` is there already; rename it, or leave out `{name}`"
                )
        return {}

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Add the new columns."""
        import polars as pl

        return pl.Schema({**schema, **{_marker(name): pl.Boolean() for name in self.names}})

    def outputs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Add the new columns."""
        return (*names, *(_marker(name) for name in self.names))

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """Tell only of columns whose new column is wanted."""
        kept = [name for name in self.names if _marker(name) in wanted]
        others = wanted - {_marker(name) for name in kept}
        return (self.with_learned({"columns_": kept}) if kept else None), others | set(kept)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Add the new columns."""
        return frame.with_columns([_is_missing(frame[name]).alias(_marker(name)) for name in self.names])


def _marker(name: str) -> str:
    return f"{name}_missing"


def _is_missing(series: pl.Series) -> pl.Series:
    return series.is_null() | (
        series.is_nan().fill_null(True) if series.dtype.is_float() else series.is_null()
    )


def _overall(name: str, state: GroupSumsState) -> float:
    """The mean of all groups together."""
    if state.infinities:
        raise infinite_error(name, state.infinities)
    table = state.table.over(())
    if not table.counts.sum():
        raise _empty_error(name, "mean")
    return float(table.means[0])


def _means(name: str, state: GroupSumsState) -> pl.DataFrame:
    """The groups with their means, under the name of the column; without those of which no value is known."""
    import polars as pl

    return state.table.groups.with_columns(pl.Series(name, state.table.means)).filter(
        pl.col(name).is_not_nan()
    )


def _forward(series: pl.Series) -> pl.Series:
    filled = series.fill_nan(None) if series.dtype.is_float() else series
    filled = filled.fill_null(strategy="forward")
    if filled.null_count():
        raise PrepareError(
            f"column `{series.name}`: a row group (or row) begins with a missing value, and the value before "
            'it, which `FillMissing("forward")` would carry on, lies in another one; fill it by another '
            "strategy, or write the data in row groups that begin with a value"
        )
    return filled


def _is_of_kind(value: Any, dtype: pl.DataType) -> bool:
    """Tell whether a column can hold a value as it is meant."""
    import polars as pl

    kinds: list[tuple[type | tuple[type, ...], bool]] = [
        (bool, dtype == pl.Boolean),
        ((int, float), dtype.is_numeric()),
        (bytes, dtype == pl.Binary),
        (str, dtype in (pl.String(), pl.Categorical()) or isinstance(dtype, pl.Enum)),
        (datetime.datetime, dtype == pl.Datetime),
        (datetime.date, dtype == pl.Date),
        (datetime.time, dtype == pl.Time),
        (datetime.timedelta, dtype == pl.Duration),
    ]
    return next((fits for kind, fits in kinds if isinstance(value, kind)), False)


def _checked(name: str, value: Any, dtype: pl.DataType) -> Any:
    """Return a constant as the column's type has it.

    Raises:
        SchemaError: The type cannot hold it.
    """
    if not dtype.is_integer():
        return float(value) if dtype.is_float() else value
    if value != int(value):
        raise SchemaError(
            f"column `{name}`: {dtype} cannot hold {value!r}; fill in a whole number, or cast it before"
        )
    bits = int("".join(letter for letter in str(dtype) if letter.isdigit()))
    low, high = (
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if dtype.is_signed_integer() else (0, (1 << bits) - 1)
    )
    if not low <= value <= high:
        raise SchemaError(
            f"column `{name}`: {dtype} holds {low} to {high}, which {value!r} is not; cast it before"
        )
    return int(value)


def _rounded(value: float, dtype: pl.DataType) -> float:
    """Round to the column's type, so that a value is the same whether it is written in between or not."""
    with np.errstate(over="ignore"):
        rounded = float(np.dtype(str(dtype).lower()).type(value))
    return rounded if math.isfinite(rounded) else value


def _empty_error(name: str, strategy: str) -> PrepareError:
    return PrepareError(
        f"column `{name}`: all values are missing, so there is no {strategy} to fill in; drop the column, or "
        "fill in a constant"
    )
