"""Categories: what can be one, what identifies it, and the vocabulary of a column.

A value is identified by its bytes: the UTF-8 of a text, a word of 64 bits for anything else (the int64 of a
whole number, a truth value, a date or a time; the float64 of a float, where -0.0 is 0.0). NaN is missing, as
null is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, PrepareError, SchemaError
from headrace.prepare.numbers.memory import all_numbers, known_rows
from headrace.prepare.statistics import CountsState
from headrace.prepare.statistics.counting import sort_by_value

if TYPE_CHECKING:
    import polars as pl

Words = NDArray[np.uint64]
Known = NDArray[np.bool_]
Places = NDArray[np.int64]

NOTHING = "Null"  # the kind of a column in which the fit has seen nothing

OnUnseen = Literal["encode", "raise"]
"""Whether a value that is not in the vocabulary is encoded as such, or refused."""


def is_category(dtype: pl.DataType) -> bool:
    """Tell whether values of a type can be categories.

    Example:
        >>> import polars as pl
        >>> is_category(pl.String()), is_category(pl.List(pl.String))
        (True, False)
    """
    import polars as pl

    is_number = dtype.is_integer() or dtype.is_float()
    return (
        is_number
        or dtype.is_temporal()
        or is_text(dtype)
        or isinstance(dtype, (pl.Boolean, pl.Binary, pl.Null))
    )


def is_text(dtype: pl.DataType) -> bool:
    """Tell whether a type holds texts, however they are kept."""
    import polars as pl

    return isinstance(dtype, (pl.String, pl.Categorical, pl.Enum))


def kind_of(dtype: pl.DataType) -> str:
    """Name what columns must agree in, so that equal bytes are equal values."""
    import polars as pl

    if dtype.is_integer():
        return "unsigned" if isinstance(dtype, (pl.UInt64, pl.UInt128)) else "whole"
    return "float" if dtype.is_float() else "text" if is_text(dtype) else str(dtype)


def conform(series: pl.Series, kind: str) -> pl.Series:
    """Bring a column to the kind of the one that was fitted to, as numbers change their type on the way.

    Raises:
        SchemaError: It holds other values.
    """
    import polars as pl

    wanted = {"whole": pl.Int64, "unsigned": pl.UInt64, "float": pl.Float64}.get(kind)
    if kind in (kind_of(series.dtype), NOTHING) or series.dtype == pl.Null:
        return series
    if wanted is None or not series.dtype.is_numeric() or series.dtype.is_decimal():
        raise SchemaError(
            f"column `{series.name}` must hold {kind}, as in the fit, got {series.dtype}; cast it"
        )
    if series.dtype.is_float():
        series = series.fill_nan(None)
        broken = series.drop_nulls().filter(series.drop_nulls() % 1 != 0)
        if len(broken):
            raise SchemaError(
                f"column `{series.name}` must hold whole numbers, as in the fit, got {broken[0]}"
            )
    try:
        return series.cast(wanted)
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"column `{series.name}` must hold {wanted}, as in the fit: {error}") from error


def plain(series: pl.Series) -> pl.Series:
    """Return texts for categoricals, null for NaN, and 0.0 for -0.0."""
    import polars as pl

    if is_text(series.dtype):
        return series.cast(pl.String)
    return (series.fill_nan(None) + 0.0).cast(series.dtype) if series.dtype.is_float() else series


@dataclass(frozen=True, slots=True)
class Keys:
    """What identifies the values of a column.

    Attributes:
        known: Which values are not missing, bool of shape [n].
        words: A word for each value, uint64 of shape [n]; None for texts. Those of missing values are
            anything.
        texts: All bytes, and where each text begins and the last one ends, int64 of shape [n + 1].
    """

    known: Known
    words: Words | None
    texts: tuple[NDArray[np.uint8], Places]

    @staticmethod
    def of(series: pl.Series) -> Keys:
        """Identify the values of a column.

        Raises:
            SchemaError: Whole numbers need more than 64 bits.
        """
        import polars as pl

        none = (np.zeros(0, np.uint8), np.zeros(1, np.int64))
        if series.dtype == pl.Null:
            return Keys(np.zeros(len(series), np.bool_), np.zeros(len(series), np.uint64), none)
        if is_text(series.dtype) or series.dtype == pl.Binary:
            return Keys(known_rows(series), None, _bytes(plain(series)))
        if series.dtype.is_float():
            values = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
            return Keys(~np.isnan(values), (values + 0.0).view(np.uint64), none)
        if isinstance(series.dtype, (pl.Int128, pl.UInt128)):
            raise SchemaError(
                f"categories must be of at most 64 bits, got {series.dtype}; cast column `{series.name}`"
            )
        wide = pl.UInt64 if series.dtype.is_unsigned_integer() else pl.Int64
        physical = series if series.dtype.is_integer() else series.to_physical()
        return Keys(known_rows(series), all_numbers(physical.cast(wide)).view(np.uint64), none)

    def hashes(self, seed: int = 0) -> Words:
        """Hash each value's bytes by XXH64, uint64 of shape [n]; hashes of missing values are anything."""
        from headrace.hashing.kernels import hash_bytes, hash_words

        return hash_bytes(*self.texts, seed) if self.words is None else hash_words(self.words, seed)


def short_texts(series: pl.Series) -> NDArray[np.uint64]:
    """Return texts or bytes as Arrow keeps them; those of up to 12 bytes are told by that.

    Returns:
        Uint64 of shape [n, 2]: 32 bits of length, then the text, then zeros.
    """
    import polars as pl

    array: Any = series.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    if not len(array):
        return np.zeros((0, 2), np.uint64)
    views = np.frombuffer(array.buffers()[1], np.uint64).reshape(-1, 2)
    return views[array.offset : array.offset + len(array)]


def _bytes(series: pl.Series) -> tuple[NDArray[np.uint8], Places]:
    import polars as pl

    array: Any = series.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, places, data = array.buffers()
    # Arrow leaves out buffers where there is nothing.
    offsets = (
        np.frombuffer(places, np.int64, len(array) + 1, array.offset * 8)
        if len(array)
        else np.zeros(1, np.int64)
    )
    return np.frombuffer(b"" if data is None else data, np.uint8), offsets


@dataclass(frozen=True, slots=True)
class Cutoff:
    """Which categories have a place of their own.

    Attributes:
        min_frequency: In at least so many samples, or in this share of them if it is a float below 1.
        max_size: At most so many: the most frequent, of equally frequent ones the smaller.
    """

    min_frequency: int | float = 1
    max_size: int | None = None

    def __post_init__(self) -> None:
        least = self.min_frequency
        is_share = isinstance(least, float) and 0 < least < 1
        if not is_share and (not isinstance(least, int) or isinstance(least, bool) or least < 1):
            raise OptionError(
                f"`min_frequency` must be a number from 1 on, or a share between 0 and 1, got {least!r}"
            )
        if self.max_size is not None and (not _is_whole(self.max_size) or self.max_size < 1):
            raise OptionError(f"`max_size` must be at least 1, or None for no limit, got {self.max_size!r}")

    def keep(self, counts: CountsState) -> tuple[pl.Series, bool]:
        """Choose from what was counted.

        Returns:
            The categories, sorted, and whether some had to be left out.
        """
        least = self.min_frequency
        if isinstance(least, float):
            least = max(math.ceil(least * (int(counts.table["count"].sum()) + counts.nulls)), 1)
        if least == 1 and self.max_size is None:
            return counts.table["value"], False
        if least == 1 and self.max_size is not None:  # one more than wanted tells whether there are more
            more = counts.frequent(None, self.max_size + 1)
            return sort_by_value(more.head(self.max_size))["value"], more.height > self.max_size
        kept = counts.frequent(least, self.max_size)
        is_cut = counts.frequent(None, kept.height + 1).height > kept.height
        return sort_by_value(kept)["value"], is_cut


def check_unseen(on_unseen: str) -> None:
    """Refuse what is no policy.

    Raises:
        OptionError: It is none.
    """
    if on_unseen not in ("encode", "raise"):
        raise OptionError(f'`on_unseen` must be "encode" or "raise", got {on_unseen!r}')


def check_count(name: str, value: object) -> None:
    """Refuse what is no number of things.

    Raises:
        OptionError: It is not a whole number from 1 on.
    """
    if not _is_whole(value) or value < 1:  # pyright: ignore[reportOperatorIssue]
        raise OptionError(f"`{name}` must be a whole number, at least 1, got {value!r}")


def refuse_unseen(series: pl.Series, places: Places, size: int) -> None:
    """Refuse values that are not in the vocabulary.

    Raises:
        PrepareError: There is one; the message names it.
    """
    unseen = np.flatnonzero(places == size)
    if len(unseen):
        raise PrepareError(
            f"column `{series.name}`: {len(unseen)} values are not in the vocabulary, the first is "
            f'{series[int(unseen[0])]!r}; fit to data that has them, or choose `on_unseen="encode"`'
        )


def count_events(places: Places, size: int, *, is_cut: bool) -> dict[str, int]:
    """Count what is missing and what is not in the vocabulary, by name of the event.

    Args:
        places: In a vocabulary, as `Lookup.find` returns them.
        size: Of the vocabulary.
        is_cut: Whether categories were left out of it, so that those that are not there may have been seen.
    """
    unseen = "unseen_or_infrequent" if is_cut else "unseen"
    found = {"missing": int(np.count_nonzero(places > size)), unseen: int(np.count_nonzero(places == size))}
    return {event: count for event, count in found.items() if count}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
