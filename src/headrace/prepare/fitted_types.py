"""Numbers brought to the types that a pipeline was fitted to, so that the same number has the same result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headrace.errors import SchemaError
from headrace.prepare.numbers.operations import Affine
from headrace.prepare.numbers.programs import is_machine_number, run_program

if TYPE_CHECKING:
    import polars as pl


def as_fitted(frame: pl.DataFrame, columns: Sequence[tuple[str, Any]]) -> pl.DataFrame:
    """Bring columns of numbers to their types in the fit; other columns stay as they are.

    One row's values come as Python's floats, a column of whole numbers with missing ones as floats in pandas
    and NumPy. A float is rounded to the float of the fit, NaN is a missing whole number.

    Args:
        frame: Samples.
        columns: Names and types of the fit.

    Raises:
        SchemaError: A number with a fraction, or an infinite one, is in a column of whole numbers.
    """
    schema = frame.schema
    changed = [
        _fitted(frame[name], dtype)
        for name, dtype in columns
        if name in schema and schema[name] != dtype and schema[name].is_numeric()
    ]
    return frame.with_columns(changed) if changed else frame


def _fitted(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    import polars as pl

    if dtype.is_float():
        return run_program(series, [Affine()], dtype) if is_machine_number(dtype) else series.cast(dtype)
    series = series.fill_nan(None) if series.dtype.is_float() else series
    if series.dtype.is_float() and dtype.is_integer():
        broken = series.filter((series % 1 != 0) | series.is_infinite())
        if len(broken):
            raise SchemaError(
                f"column `{series.name}` must hold {dtype}, as in the data that was fitted to, "
                f"got {broken[0]}; round it before, or fit to floats"
            )
    try:
        return series if series.dtype.is_decimal() and dtype.is_integer() else series.cast(dtype)
    except pl.exceptions.PolarsError:
        return series  # numbers beyond the type are treated as well
