"""Finding values in the vocabulary of a column, by a hash table that is made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headrace.prepare.numbers.memory import known_rows
from headrace.prepare.steps.categories import (
    NOTHING,
    Keys,
    Places,
    conform,
    kind_of,
    plain,
    short_texts,
)

if TYPE_CHECKING:
    import polars as pl

Slots = NDArray[np.uint64]
Words = NDArray[np.uint64]

_MOST_SHORT = 12  # bytes of a text that Arrow keeps beside its length
_SPREAD = 16  # entries of a table for each word of a vocabulary; a hash table takes 8 to 16 of the same size
_SMALL = 1 << 13  # entries that no table is too large with


@dataclass(frozen=True, slots=True)
class _Words:
    """Finds values that are words of 64 bits."""

    slots: Slots
    size: int

    def find(self, series: pl.Series) -> Places:
        from headrace.prepare.steps.lookup_kernels import find_words

        keys = Keys.of(series)
        assert keys.words is not None
        return find_words(keys.words, keys.known, keys.hashes(), self.slots, self.size)


@dataclass(frozen=True, slots=True)
class _NearWords:
    """Finds words of 64 bits where those of the vocabulary lie close together: no hash is needed.

    Attributes:
        low: The lowest word.
        table: For each word from there on its place, or the vocabulary's size; at the end the size.
    """

    low: int
    table: NDArray[np.int32]

    @staticmethod
    def of(words: Words) -> _NearWords | None:
        """Lay out words; None if they lie too far apart."""
        low, high = int(words.view(np.int64).min()), int(words.view(np.int64).max())
        if high - low >= max(_SPREAD * len(words), _SMALL):
            return None
        table = np.full(high - low + 2, len(words), np.int32)
        table[words.view(np.int64) - low] = np.arange(len(words))
        return _NearWords(low % (1 << 64), table)

    def find(self, series: pl.Series) -> Places:
        from headrace.prepare.steps.lookup_kernels import find_near

        keys = Keys.of(series)
        assert keys.words is not None
        return find_near(keys.words, keys.known, self.low, self.table)


@dataclass(frozen=True, slots=True)
class _ShortTexts:
    """Finds texts where none of the vocabulary is longer than 12 bytes."""

    slots: Slots
    size: int

    def find(self, series: pl.Series) -> Places:
        from headrace.prepare.steps.lookup_kernels import find_pairs

        texts = plain(series)
        return find_pairs(short_texts(texts), known_rows(texts), self.slots, self.size)


@dataclass(frozen=True, slots=True)
class _Texts:
    """Finds texts of any length."""

    slots: Slots
    keys: Keys

    def find(self, series: pl.Series) -> Places:
        from headrace.prepare.steps.lookup_kernels import find_texts

        keys = Keys.of(series)
        return find_texts(keys.texts, keys.known, keys.hashes(), self.slots, self.keys.texts)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Finds values in a vocabulary; made once, so that a single row costs no more than its own values.

    Attributes:
        kind: Of the vocabulary's values.
        size: How many values it has.
        table: Where they are found.
    """

    kind: str
    size: int
    table: _Words | _NearWords | _ShortTexts | _Texts

    @staticmethod
    def of(vocabulary: pl.Series) -> Lookup:
        """Lay out a vocabulary of different values, none of them missing."""
        from headrace.prepare.steps.lookup_kernels import lay_out_pairs, lay_out_texts, lay_out_words

        kind, size, keys = kind_of(vocabulary.dtype), len(vocabulary), Keys.of(vocabulary)
        if keys.words is not None:
            near = _NearWords.of(keys.words) if size else None
            if near is not None:
                return Lookup(kind, size, near)
            return Lookup(kind, size, _Words(lay_out_words(keys.words, keys.hashes()), size))
        if np.diff(keys.texts[1]).max(initial=0) <= _MOST_SHORT:
            return Lookup(kind, size, _ShortTexts(lay_out_pairs(short_texts(plain(vocabulary))), size))
        return Lookup(kind, size, _Texts(lay_out_texts(keys.texts, keys.hashes()), keys))

    def __len__(self) -> int:
        """How many values the vocabulary has."""
        return self.size

    def find(self, series: pl.Series) -> Places:
        """Find each value of a column; thread-safe, releases the GIL.

        Returns:
            Its place in the vocabulary of v values, v where it is not there, v + 1 where it is missing;
            int64 of shape [n].

        Raises:
            SchemaError: The column holds values of another kind than the vocabulary.

        Example:
            >>> import polars as pl
            >>> Lookup.of(pl.Series(["a", "c"])).find(pl.Series(["c", "b", None])).tolist()
            [1, 2, 3]
        """
        import polars as pl

        if self.kind == NOTHING:
            return np.where(Keys.of(series).known, 0, 1)
        series = conform(series, self.kind)
        if series.dtype == pl.Null:
            return np.full(len(series), len(self) + 1)
        return self.table.find(series)


def make_lookups(vocabularies: Mapping[str, pl.Series]) -> dict[str, Lookup]:
    """Lay out the vocabulary of each column."""
    return {name: Lookup.of(values) for name, values in vocabularies.items()}
