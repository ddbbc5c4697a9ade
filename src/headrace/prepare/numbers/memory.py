"""A column's own memory as NumPy arrays: without the queries that a frame library makes of small calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headrace.prepare.numbers.memory_kernels import drop_hidden
from headrace.prepare.statistics.exact import fixed

if TYPE_CHECKING:
    import polars as pl


def known_rows(series: pl.Series) -> NDArray[np.bool_]:
    """Tell which values are not null, bool of shape [n]."""
    import polars as pl

    if not series.null_count():
        return np.ones(len(series), np.bool_)
    if series.dtype == pl.Null:
        return np.zeros(len(series), np.bool_)
    array: Any = series.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    bits = np.frombuffer(array.buffers()[0], np.uint8)
    end = array.offset + len(array)
    return np.unpackbits(bits, count=end, bitorder="little")[array.offset :].view(np.bool_)


def all_numbers(series: pl.Series) -> NDArray[Any]:
    """Return a column of machine numbers in its own dtype, without a copy; under a null lies anything."""
    array: Any = series.rechunk().to_arrow()
    dtype = np.dtype(array.type.to_pandas_dtype())
    if not len(array):
        return np.zeros(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)


def known_numbers(series: pl.Series) -> NDArray[Any]:
    """Return a column's values that are not null, in its own dtype; NaN and infinities stay.

    Types that NumPy lacks (decimals, whole numbers of 128 bits) come as float64.
    """
    import polars as pl

    if isinstance(series.dtype, (pl.Decimal, pl.Int128, pl.UInt128)):
        series = series.cast(pl.Float64)
    nulls = series.null_count()
    if not nulls:
        return series.to_numpy()
    if not series.dtype.is_numeric() or series.dtype == pl.Float16:
        return series.drop_nulls().to_numpy()
    series = series.rechunk()
    array: Any = series.to_arrow()
    values = all_numbers(series)
    word = f"u{values.dtype.itemsize}"
    kept = np.empty(len(values) - nulls + 1, word)
    drop_hidden(fixed(values.view(word)), np.frombuffer(array.buffers()[0], np.uint8), array.offset, kept)
    return kept[:-1].view(values.dtype)
