"""The forms in which samples come to a pipeline: frames of Polars and pandas, dicts of arrays, one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from headrace.errors import OptionError, SchemaError

if TYPE_CHECKING:
    import polars as pl

Apply = Callable[["pl.DataFrame"], "pl.DataFrame"]


def apply_to(data: Any, apply: Apply, schema: Mapping[str, Any]) -> Any:
    """Send samples of any form through a function of frames, and return them in the form that they came in.

    Args:
        data: A frame of Polars or pandas, a dict of arrays, or a dict of one row's values.
        apply: What to do.
        schema: Names and types that the values are expected to have.

    Raises:
        OptionError: The data has none of these forms.
        SchemaError: A value does not fit its column's type.
    """
    import polars as pl

    if isinstance(data, pl.DataFrame):
        return apply(_typed(data, schema))
    if isinstance(data, pl.LazyFrame):
        raise OptionError(
            "a lazy frame has no samples yet; `collect` it before, or use `Pipeline.step` on its batches"
        )
    if type(data).__module__.partition(".")[0] == "pandas":
        return _apply_to_pandas(data, apply, schema)
    if not isinstance(data, Mapping):
        raise OptionError(
            "samples come as a data set, a frame of Polars or pandas, a dict of arrays or a dict of one "
            f"row's values, got {type(data).__name__}"
        )
    columns = cast("Mapping[str, Any]", data)
    if not columns:
        raise OptionError("at least one column is needed, got an empty dict")
    is_row = [_is_one(value, schema.get(name)) for name, value in columns.items()]
    if all(is_row):
        values = {name: _alone(value) for name, value in columns.items()}
        return apply(_frame(values, schema)).row(0, named=True)
    if any(is_row):
        single = next(name for name, one in zip(columns, is_row, strict=True) if one)
        raise OptionError(
            f"either all columns hold one value or all hold arrays, but only `{single}` holds one value"
        )
    result = apply(_frame(columns, schema))
    return {column.name: _to_array(column) for column in result.iter_columns()}


def _apply_to_pandas(data: Any, apply: Apply, schema: Mapping[str, Any]) -> Any:
    import polars as pl

    try:
        frame = pl.from_pandas(data.reset_index(drop=True), include_index=False)
    except (pl.exceptions.PolarsError, pa.ArrowException, TypeError, ValueError) as error:
        raise SchemaError(f"a column of the frame holds values of several types: {error}") from error
    result = apply(_typed(frame, schema)).to_pandas()
    result.index = data.index
    return result


def _is_one(value: Any, dtype: Any) -> bool:
    """Tell one sample's value from an array of many; a column of lists has a list for each sample."""
    import polars as pl

    if isinstance(value, (str, bytes)) or (not isinstance(value, pl.Series) and np.ndim(value) == 0):
        return True
    if dtype is not None and dtype.is_nested():
        inner = value[0] if len(value) else None
        return not isinstance(inner, (list, tuple, np.ndarray, pl.Series, Mapping))
    return False


def _frame(columns: Mapping[str, Any], schema: Mapping[str, Any]) -> pl.DataFrame:
    import polars as pl

    series: list[pl.Series] = []
    for name, values in columns.items():
        dtype = schema.get(name)
        try:
            given = values if isinstance(values, pl.Series) else pl.Series(name, _plain(values), strict=True)
            series.append(given.alias(name) if dtype is None else _cast(given.alias(name), dtype))
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
            raise _misfit(name, dtype, error) from error
    try:
        return pl.DataFrame(series)
    except pl.exceptions.PolarsError as error:
        lengths = {it.name: len(it) for it in series}
        raise OptionError(f"all columns must be equally long, got {lengths}") from error


def _alone(value: Any) -> Any:
    """An array of one value; Polars takes NumPy's times in arrays alone."""
    return np.array([value]) if isinstance(value, (np.datetime64, np.timedelta64)) else [value]


def _plain(values: Any) -> Any:
    """Python's values of an array of objects, which texts and values with None lie in."""
    is_objects = isinstance(values, np.ndarray) and cast("np.ndarray[Any, Any]", values).dtype.hasobject
    return values.tolist() if is_objects else values


def _typed(frame: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Bring columns to the types of the fit; numbers of another type stay as they are."""
    import polars as pl

    changed: list[pl.Series] = []
    for column in frame.iter_columns():
        dtype = schema.get(column.name)
        if dtype is not None and column.dtype != dtype:
            try:
                changed.append(_cast(column, dtype))
            except pl.exceptions.PolarsError as error:
                raise _misfit(column.name, dtype, error) from error
    return frame.with_columns(changed)


def _cast(column: pl.Series, dtype: Any) -> pl.Series:
    import polars as pl

    zones = [it.time_zone is None for it in (column.dtype, dtype) if isinstance(it, pl.Datetime)]
    if len(set(zones)) > 1:
        raise pl.exceptions.SchemaError(
            f"it holds {column.dtype}, and which moments are meant without a time zone cannot be told"
        )
    if column.dtype == dtype or (column.dtype.is_numeric() and dtype.is_numeric()):
        return column
    if column.dtype == pl.Null or column.dtype.is_nested() or dtype.is_nested():
        return column.cast(dtype, strict=True)
    if column.dtype.is_numeric() != dtype.is_numeric() and not dtype.is_temporal():
        raise pl.exceptions.SchemaError(f"it holds {column.dtype}")
    return column.cast(dtype, strict=True)


def _misfit(name: str, dtype: Any, error: Exception) -> SchemaError:
    return SchemaError(f"column `{name}` must hold {dtype}, as in the data that was fitted to: {error}")


def _to_array(column: pl.Series) -> Any:
    return column.to_numpy()
