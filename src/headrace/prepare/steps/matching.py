"""Values that a user writes down, held against the types of columns."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from headrace.errors import OptionError

if TYPE_CHECKING:
    import polars as pl

Kind = str
"""What values are compared with: one of the keys below."""

_KINDS: dict[Kind, tuple[type, ...]] = {
    "truth value": (bool,),
    "number": (int, float),
    "text": (str,),
    "date": (datetime.date,),  # which a moment is, too
    "time of day": (datetime.time,),
    "duration": (datetime.timedelta,),
    "bytes": (bytes,),
}


class UnfitError(ValueError):
    """A value that a column of some type cannot hold."""


def is_missing(value: Any) -> bool:
    """Tell whether a value is None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def kind_of(values: Iterable[Any], what: str) -> Kind | None:
    """Return the kind of values; None if all of them are missing.

    Raises:
        OptionError: They are of several kinds, or of none.
    """
    found: Kind | None = None
    for value in values:
        if is_missing(value):
            continue
        kind = next((kind for kind, types in _KINDS.items() if isinstance(value, types)), None)
        if kind is None:
            raise OptionError(
                f"{what}: a value must be a text, a number, a truth value or a time, got {value!r}"
            )
        if found not in (None, kind):
            raise OptionError(f"{what}: values must be of one kind, got a {found} and the {kind} {value!r}")
        found = kind
    return found


def kind_of_type(dtype: pl.DataType) -> Kind | None:
    """Return the kind of a column's values; None if they are compared with nothing."""
    import polars as pl

    if dtype == pl.Boolean:
        return "truth value"
    if dtype.is_integer() or dtype.is_float():
        return "number"
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        return "text"
    if isinstance(dtype, (pl.Time, pl.Duration)):
        return "time of day" if dtype == pl.Time else "duration"
    if dtype.is_temporal():
        return "date"
    return "bytes" if dtype == pl.Binary else None


def fit_value(value: Any, dtype: pl.DataType) -> Any:
    """Return a value as a column of this type would hold it; floats are rounded to the column's.

    Raises:
        UnfitError: No value of the column can be equal to it.
    """
    import polars as pl

    if is_missing(value):
        return None
    if kind_of((value,), "a value") != kind_of_type(dtype):
        raise UnfitError(f"{value!r} is none of type {dtype}")
    is_fraction = isinstance(value, float) and not value.is_integer()
    plain = int(value) if isinstance(value, float) and dtype.is_integer() and not is_fraction else value
    try:
        series = pl.Series([plain], dtype=dtype, strict=True)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise UnfitError(f"{value!r} is none of type {dtype}") from error
    held = series[0]
    is_rounded = isinstance(value, float) and dtype.is_float() and math.isinf(held) == math.isinf(value)
    if series.dtype != dtype or (held != value and not is_rounded):
        raise UnfitError(f"{value!r} is none of type {dtype}")
    return held


def plain_values(series: pl.Series) -> pl.Series:
    """Return a column whose missing values are null and whose categories are text."""
    import polars as pl

    if series.dtype.is_float():
        return series.fill_nan(None)
    is_category = isinstance(series.dtype, (pl.Categorical, pl.Enum))
    return series.cast(pl.String) if is_category else series


def one_line(error: BaseException) -> str:
    """Return an error's message without line breaks."""
    return " ".join(str(error).split())
