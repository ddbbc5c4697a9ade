"""Tables of values and how often each occurs: making, merging and choosing from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headrace.prepare.numbers.memory import known_numbers
from headrace.prepare.statistics.count_kernels import count_near, count_words, longest
from headrace.prepare.statistics.exact import fixed

if TYPE_CHECKING:
    import polars as pl

_MOST = 1 << 29  # values of one call, of which a hash table has more places than twice
_SPREAD = 4  # counters for each value, up to which no hash table is needed
_SMALL = 1 << 10  # counters that are never too many
_SHORT = 12  # bytes of a string that lies in its view whole


def count_values(series: pl.Series) -> pl.DataFrame:
    """Return the distinct values of a column and their counts, in no order."""
    import polars as pl

    if _is_whole(series.dtype):
        counted = _count_whole(known_numbers(series), np.zeros(0, np.int64))
        if counted is not None:
            return counted
    series = countable(series).alias("value")
    words = _words_of(series)
    if words is None:
        return series.value_counts(name="count").with_columns(pl.col("count").cast(pl.Int64))
    return _counted(series, words, np.zeros(0, np.int64))


def add_tables(tables: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Add up counts by value, in no order."""
    import polars as pl

    table = pl.concat(tables).rechunk()
    if _is_whole(table["value"].dtype):
        counted = _count_whole(table["value"].to_numpy(), table["count"].to_numpy())
        if counted is not None:
            return counted
    words = _words_of(table["value"])
    if words is None:
        return table.group_by("value").agg(pl.col("count").sum())
    return _counted(table["value"], words, table["count"].to_numpy())


def choose(table: pl.DataFrame, min_count: int | None, max_size: int | None) -> pl.DataFrame:
    """Return the frequent values, the most frequent first; of equally frequent ones the smaller first."""
    import polars as pl

    counts = table["count"].to_numpy()
    least = 0 if min_count is None else min_count
    if max_size is not None and max_size < len(counts):
        least = max(least, int(np.partition(counts, -max_size)[-max_size]))
    if least > 1:
        table = table.filter(pl.Series(counts >= least))
    table = sort_by_value(table)
    return table[np.argsort(-table["count"].to_numpy(), kind="stable")[:max_size]]


def sort_by_value(table: pl.DataFrame) -> pl.DataFrame:
    """Sort by value; short strings as numbers, which is much faster."""
    import polars as pl

    values = table["value"]
    if _is_whole(values.dtype):
        numbers = values.to_numpy()
        is_sorted = bool((numbers[1:] >= numbers[:-1]).all())
        return table if is_sorted else table[np.argsort(numbers)]
    words = _words_of(values) if values.dtype == pl.String else None
    if words is None:
        return table.sort("value")
    half = np.uint64(32)
    first = ((words[:, 0] >> half) | (words[:, 1] << half)).byteswap()  # the first eight bytes
    order = np.argsort(first)
    if (np.diff(first[order]) == 0).any():
        last, length = (words[:, 1] >> half).astype(np.uint32).byteswap(), words[:, 0] & np.uint64(0xFFFFFFFF)
        order = np.lexsort((length, last, first))
    return table[order]


def canonical(series: pl.Series) -> pl.Series:
    """Make equal floats the same: NaN is null, zero has no sign."""
    if not series.dtype.is_float():
        return series
    series = series.fill_nan(None)
    return series.set((series == 0).fill_null(value=False), 0.0)


def countable(series: pl.Series) -> pl.Series:
    """Drop what is missing, and make equal values the same."""
    series = canonical(series)
    return series.drop_nulls() if series.null_count() else series


def _is_whole(dtype: pl.DataType) -> bool:
    """Tell whether a type holds whole numbers of at most 64 bits."""
    import polars as pl

    return dtype.is_integer() and not isinstance(dtype, (pl.Int128, pl.UInt128))


def _count_whole(numbers: NDArray[Any], weights: NDArray[np.int64]) -> pl.DataFrame | None:
    """Count whole numbers without a hash table, sorted; None where they lie too far apart."""
    import polars as pl

    if not len(numbers):
        return None
    low, high = int(numbers.min()), int(numbers.max())
    if high - low >= max(_SPREAD * len(numbers), _SMALL):
        return None
    counts = np.zeros(high - low + 1, np.int64)
    wide = numbers.astype(np.uint64 if numbers.dtype.kind == "u" else np.int64, copy=False)
    count_near(fixed(wide.view(np.uint64)), np.uint64(low % (1 << 64)), fixed(weights), counts)
    found = np.flatnonzero(counts)
    values = found.astype(numbers.dtype) + numbers.dtype.type(low)
    return pl.DataFrame([pl.Series("value", values), pl.Series("count", counts[found])])


def _words_of(series: pl.Series) -> NDArray[np.uint64] | None:
    """Write each value as a word, uint64 of shape [n, 2]; None for types whose values are wider."""
    import polars as pl

    count = len(series)
    if not 0 < count <= _MOST:
        return None
    if series.dtype == pl.String:
        array = series.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
        views = np.frombuffer(array.buffers()[1], np.uint64).reshape(-1, 2)
        views = views[array.offset : array.offset + count]
        return views if longest(fixed(views)) <= _SHORT else None
    physical = series.to_physical()
    if not physical.dtype.is_numeric() or isinstance(physical.dtype, (pl.Int128, pl.UInt128)):
        return None
    numbers = physical.to_numpy()
    words = np.zeros((count, 2), np.uint64)
    words[:, 1] = numbers.view(f"u{numbers.dtype.itemsize}")
    return words


def _counted(series: pl.Series, words: NDArray[np.uint64], weights: NDArray[np.int64]) -> pl.DataFrame:
    import polars as pl

    count = len(series)
    slots = np.full(1 << (2 * count).bit_length(), -1, np.int32)
    firsts, counts = np.empty(count, np.int64), np.empty(count, np.int64)
    found = count_words(fixed(words), fixed(weights), slots, firsts, counts)
    values = series.gather(firsts[:found])
    if isinstance(values.dtype, (pl.Categorical, pl.Enum)):
        values = values.cast(pl.String)
    return pl.DataFrame([values, pl.Series("count", counts[:found])])
