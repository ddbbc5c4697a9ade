"""Steps that take time apart: parts of dates, and places on a circle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, SchemaError
from headrace.prepare.steps.adding import AddingStep, Made

if TYPE_CHECKING:
    import polars as pl

Numbers = NDArray[np.float64]

_OF_DATES = ("year", "quarter", "month", "week", "day", "weekday", "ordinal_day")
_OF_TIMES = ("hour", "minute", "second", "microsecond")


@dataclass(frozen=True)
class DateParts(AddingStep):
    """Add the parts of dates and times as whole numbers (Int32), in columns named `<name>_<part>`.

    Null stays null. Times with a zone are taken apart as a clock there shows them. Weeks are those of ISO
    8601, weekdays count from 1 (Monday) to 7, `ordinal_day` counts from 1 within the year.

    Attributes:
        parts: Of "year", "quarter", "month", "week", "day", "weekday", "ordinal_day", "hour", "minute",
            "second" and "microsecond"; None for year, month, day, weekday and hour as far as a column has
            them.

    Example:
        >>> import datetime, headrace as hr, polars as pl
        >>> ds = hr.from_polars(pl.DataFrame({"day": [datetime.date(2013, 1, 31)]}))
        >>> hr.Pipeline([hr.DateParts(["month", "weekday"])]).fit(ds).transform(ds).select(
        ...     ["day_month", "day_weekday"]
        ... ).head(1).row(0)
        (1, 4)
    """

    parts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.parts is None:
            return
        wrong = [part for part in self.parts if part not in _OF_DATES + _OF_TIMES]
        if isinstance(self.parts, str) or wrong or not self.parts or len(set(self.parts)) != len(self.parts):
            raise OptionError(
                f"`parts` must be a list of {', '.join(_OF_DATES + _OF_TIMES)}, got {self.parts!r}"
            )
        object.__setattr__(self, "parts", tuple(self.parts))

    def treats(self, dtype: pl.DataType) -> bool:
        """Dates, times of day, and both together."""
        return bool(_parts_of(dtype))

    def makes(self, schema: pl.Schema) -> Made:
        """One column for each part of each column."""
        usual = ("year", "month", "day", "weekday", "hour")
        made: list[tuple[str, tuple[str]]] = []
        for name in self.names:
            there = _parts_of(schema[name])
            for part in self.parts or [part for part in usual if part in there]:
                if part not in there:
                    raise SchemaError(
                        f"DateParts: column `{name}` of type {schema[name]} has no {part}; it has {there}"
                    )
                made.append((f"{name}_{part}", (name,)))
        return made

    def compute(self, frame: pl.DataFrame) -> Sequence[pl.Series]:
        """Take the dates apart."""
        import polars as pl

        made: list[pl.Series] = []
        for name in self.made_:
            (column,) = self.inputs_[name]
            part = getattr(frame[column].dt, name[len(column) + 1 :])()
            made.append(part.cast(pl.Int32).alias(name))
        return made


def _parts_of(dtype: pl.DataType) -> tuple[str, ...]:
    import polars as pl

    if dtype == pl.Datetime:
        return _OF_DATES + _OF_TIMES
    return _OF_DATES if dtype == pl.Date else _OF_TIMES if dtype == pl.Time else ()


@dataclass(frozen=True)
class Cyclic(AddingStep):
    """Put numbers on a circle: columns `<name>_sin` and `<name>_cos`, so that December comes next to January.

    sin and cos of 2 pi x / period, to about one unit in the last place, by the additions and products of
    the standard alone: one row gets the same bits as many, on every machine. Quarters of the period are
    exact. Missing values (null, NaN) and infinities, which have no place on the circle, give null.

    Events: "infinite".

    Attributes:
        period: After how much the values begin anew; more than 0.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"month": [3, 12]})
        >>> hr.Pipeline([hr.Cyclic(period=12)]).fit(ds).transform({"month": 3})
        {'month': 3, 'month_sin': 1.0, 'month_cos': 0.0}
    """

    period: float

    def __post_init__(self) -> None:
        is_number = isinstance(self.period, (int, float)) and not isinstance(self.period, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not is_number or not math.isfinite(self.period) or self.period <= 0:
            raise OptionError(f"`period` must be a finite number above 0, got {self.period!r}")

    @property
    def makes_floats(self) -> bool:
        """Places on the circle are new numbers."""
        return True

    def treats(self, dtype: pl.DataType) -> bool:
        """Numbers are treated."""
        return dtype.is_numeric()

    def makes(self, schema: pl.Schema) -> Made:
        """Two columns for each."""
        return [(f"{name}_{part}", (name,)) for name in self.names for part in ("sin", "cos")]

    def compute(self, frame: pl.DataFrame) -> Sequence[pl.Series]:
        """Compute both places of each column once."""
        import polars as pl

        made: list[pl.Series] = []
        for column in self.names:
            parts = dict(zip(("sin", "cos"), self._places(frame[column]), strict=True))
            for part, values in parts.items():
                if (name := f"{column}_{part}") in self.made_:
                    made.append(pl.Series(name, values, pl.Float64).fill_nan(None))
        return made

    def _places(self, series: pl.Series) -> tuple[Numbers, Numbers]:
        import polars as pl

        with np.errstate(all="ignore"):
            turns = np.fmod(series.cast(pl.Float64).to_numpy(), float(self.period)) / float(self.period)
            return sin_cos(turns)

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count what has no place on the circle."""
        floats = [name for name in self.names if frame.schema[name].is_float()]
        return {name: {"infinite": int(frame[name].is_infinite().sum())} for name in floats}


_TERMS = 9  # of the series, whose first term left out is below 1e-19 for an eighth of a turn
_SIN = [float(Fraction((-1) ** k, math.factorial(2 * k + 1))) for k in range(_TERMS)]
_COS = [float(Fraction((-1) ** k, math.factorial(2 * k))) for k in range(_TERMS)]


def sin_cos(turns: Numbers) -> tuple[Numbers, Numbers]:
    """Return sine and cosine of angles in turns between -1 and 1; NaN for NaN and infinities.

    A library's sine may round differently with the length of an array and with the machine. Here each is a
    Taylor series about the nearest quarter of a turn, of operations that the standard rounds.
    """
    quarter = np.rint(turns * 4)
    angle = (turns - quarter / 4) * (2 * math.pi)  # the difference is exact, by Sterbenz
    square = angle * angle
    sin, cos = np.full_like(angle, _SIN[-1]), np.full_like(angle, _COS[-1])
    for place in reversed(range(_TERMS - 1)):
        sin = sin * square + _SIN[place]
        cos = cos * square + _COS[place]
    sin = sin * angle
    turned = np.where(np.isnan(quarter), 0, quarter).astype(np.int64) % 4
    sines = np.choose(turned, [sin, cos, -sin, -cos])
    cosines = np.choose(turned, [cos, -sin, -cos, sin])
    return sines + 0.0, cosines + 0.0  # no minus zero
