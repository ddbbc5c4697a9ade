"""Missing values: filled, or marked."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from headrace.errors import OptionError, PrepareError, SchemaError
from headrace.prepare.operations import Affine, Fill, Operation
from headrace.prepare.programs import is_machine_number, run_program
from headrace.prepare.scale import check_finite, floats_schema
from headrace.prepare.statistics import Counts, CountsState, Moments, Statistic, Values
from headrace.prepare.step import Found, PrepareStep

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

    Learned: `fill_`, by column.

    Attributes:
        strategy: One of these.
        value: What "constant" fills in.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [1.0, float("nan"), 4.0]})
        >>> pipe = hr.Pipeline([hr.FillMissing("median")]).fit(ds)
        >>> pipe.transform({"x": None})
        {'x': 2.5}
    """

    strategy: Literal["mean", "median", "mode", "constant", "forward"] = "mean"
    value: Any = None

    def __post_init__(self) -> None:
        if self.strategy not in _STRATEGIES:
            known = ", ".join(f'"{name}"' for name in _STRATEGIES)
            raise OptionError(f"`strategy` must be one of {known}, got {self.strategy!r}")
        if self.strategy == "constant" and (self.value is None or self.value != self.value):
            raise OptionError(
                f'`FillMissing("constant")` needs a `value` that is not missing, got {self.value!r}'
            )
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
        return {"fill_": {name: self._found(name, schema[name], found) for name in self.names}}

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Whole numbers become floats where a mean or a median is filled in."""
        return floats_schema(schema, [name for name in self.names if self._makes_float(schema[name])])

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation] | None:
        """Fill each value."""
        if self.strategy == "forward" or not (is_machine_number(dtype) or self._makes_float(dtype)):
            return None
        value = self.fill_[column]
        if self._makes_float(dtype):
            return [Affine(), Fill(value)]
        return [Fill(_rounded(value, dtype) if dtype.is_float() else value)]

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
            else:
                made.append(
                    frame.select(pl.col(name).fill_null(pl.lit(self.fill_[name]).cast(dtype))).to_series()
                )
        return frame.with_columns(made)

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count the missing values."""
        return {name: {"missing": int(_is_missing(frame[name]).sum())} for name in self.names}

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
            return counts.table.filter(pl.col("count") == most)["value"].min()
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
