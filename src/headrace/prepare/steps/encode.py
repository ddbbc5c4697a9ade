"""Steps that turn each category into a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headrace.errors import OptionError
from headrace.prepare.statistics import Counts, Statistic
from headrace.prepare.step import Found, PrepareStep
from headrace.prepare.steps.categories import (
    Cutoff,
    Keys,
    OnUnseen,
    Places,
    check_count,
    check_unseen,
    conform,
    count_events,
    is_category,
    kind_of,
    refuse_unseen,
)
from headrace.prepare.steps.lookup import Lookup, make_lookups

if TYPE_CHECKING:
    import polars as pl

Whole = Literal["int64", "int32"]
"""What numbers of categories are delivered as."""


@dataclass(frozen=True)
class OrdinalEncoder(PrepareStep):
    """Number categories: missing is 0, unseen or infrequent 1, the others follow in sorted order.

    Texts, categoricals, whole numbers, floats, truth values, dates and times can be categories; null and NaN
    are missing. Texts sort by code points, and categoricals as texts. Without `columns`, every column of
    such a type is encoded: name them where others are to stay numbers.

    Learned: `categories_`, a sorted series by column; `is_cut_`, whether some were too infrequent; and
    `sizes_`, how many numbers there can be (the rows of an embedding table). The inverse gives categories
    back, and null for all else.

    Attributes:
        min_frequency: Categories need so many samples to get a number, or this share of them if it is a
            float below 1.
        max_size: At most so many get one: the most frequent, of equally frequent ones the smaller.
        oov_buckets: How many numbers, from 1 on, unseen and infrequent categories share: 1 + h %
            `oov_buckets`, where h is the hash that `HashEncoder` takes.
        dtype: Of the numbers: "int64", which torch takes everywhere, or "int32", which is enough for
            embeddings.
        on_unseen: "raise" refuses what is not in the vocabulary.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"c": ["b", "a", "d", "b"]})
        >>> pipe = hr.Pipeline([hr.OrdinalEncoder()]).fit(ds)
        >>> [pipe.transform({"c": value})["c"] for value in ("a", "b", "z", None)]
        [2, 3, 1, 0]
    """

    min_frequency: int | float = 1
    max_size: int | None = None
    oov_buckets: int = 1
    dtype: Whole = "int64"
    on_unseen: OnUnseen = "encode"

    def __post_init__(self) -> None:
        """Check the settings."""
        Cutoff(self.min_frequency, self.max_size)
        check_count("oov_buckets", self.oov_buckets)
        _check_whole(self.dtype)
        check_unseen(self.on_unseen)

    def treats(self, dtype: pl.DataType) -> bool:
        """Whatever can be a category."""
        return is_category(dtype)

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask how often each value occurs."""
        return [Counts(name) for name in self.names]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep the vocabularies."""
        cutoff = Cutoff(self.min_frequency, self.max_size)
        kept = {name: cutoff.keep(found[Counts(name)]) for name in self.names}
        return {
            "categories_": {name: values for name, (values, _) in kept.items()},
            "is_cut_": {name: is_cut for name, (_, is_cut) in kept.items()},
            "sizes_": {name: 1 + self.oov_buckets + len(values) for name, (values, _) in kept.items()},
        }

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Whole numbers come out."""
        return _whole_schema(schema, self.names, self.dtype)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Number the categories."""
        import polars as pl

        return frame.with_columns([pl.Series(name, self._numbers(frame[name])) for name in self.names])

    def inverse(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Put categories for their numbers, and null for all others."""
        import polars as pl

        made: list[pl.Series] = []
        for name in self.names:
            if name in frame.columns:
                kept: pl.Series = self.categories_[name]
                places = frame[name].cast(pl.Int64) - (1 + self.oov_buckets)
                is_kept = (places >= 0) & (places < len(kept))
                made.append(kept.gather(places.set(~is_kept, None)).alias(name))
        return frame.with_columns(made)

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count missing and unseen values."""
        found = {name: self._lookups[name].find(frame[name]) for name in self.names}
        return {
            name: count_events(places, len(self._lookups[name]), is_cut=self.is_cut_[name])
            for name, places in found.items()
        }

    @cached_property
    def _lookups(self) -> dict[str, Lookup]:
        return make_lookups(self.categories_)

    def _numbers(self, series: pl.Series) -> Any:
        import polars as pl

        from headrace.prepare.steps.lookup_kernels import number_places

        lookup = self._lookups[series.name]
        places, size = lookup.find(series), len(lookup)
        if self.on_unseen == "raise":
            refuse_unseen(series, places, size)
        numbers = number_places(places, size, 1 + self.oov_buckets, self.dtype)
        is_unseen = places == size if self.oov_buckets > 1 else np.zeros(0, np.bool_)
        if is_unseen.any():
            unseen = series.filter(pl.Series(is_unseen))
            numbers[is_unseen] += _buckets(Keys.of(unseen), 0, self.oov_buckets).astype(self.dtype)
        return numbers


@dataclass(frozen=True)
class HashEncoder(PrepareStep):
    """Number values by a hash, without a fit: XXH64 of a value's bytes, modulo the number of buckets.

    The bytes are the UTF-8 of a text or categorical, and 8 bytes in little-endian order for anything else:
    the int64 of a whole number, a truth value (0 or 1), a date or a time (as Polars counts them), the
    float64 of a float, where -0.0 is 0.0. So 1 of any width has one number, and 1.0 another. Missing values,
    null and NaN, have a number of their own behind the others: `buckets`.

    Learned: `sizes_`, how many numbers there can be, by column: `buckets` + 1; and `kinds_`, so that a whole
    number that comes as a float is hashed as in the fit.

    Attributes:
        buckets: How many numbers values share, from 0 on.
        seed: Of XXH64.
        dtype: Of the numbers: "int64" or "int32".

    Example:
        >>> import headrace as hr
        >>> pipe = hr.Pipeline([hr.HashEncoder(buckets=1000)]).fit(hr.from_arrays({"c": ["abc"]}))
        >>> pipe.transform({"c": "abc"})["c"], 0x44BC2CF5AD770999 % 1000
        (249, 249)
    """

    buckets: int
    seed: int = 0
    dtype: Whole = "int64"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count("buckets", self.buckets)
        if not 0 <= self.seed < 1 << 64:
            raise OptionError(f"`seed` must be of 64 bits, from 0 on, got {self.seed!r}")
        _check_whole(self.dtype)
        if self.buckets >= np.iinfo(self.dtype).max:
            raise OptionError(
                f"`buckets` must be below {np.iinfo(self.dtype).max} for {self.dtype}, got {self.buckets}"
            )

    def treats(self, dtype: pl.DataType) -> bool:
        """Whatever can be a category."""
        return is_category(dtype)

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Tell the sizes, and of what kind the values are."""
        kinds = {name: kind_of(schema[name]) for name in self.names}
        return {"sizes_": dict.fromkeys(self.names, self.buckets + 1), "kinds_": kinds}

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Whole numbers come out."""
        return _whole_schema(schema, self.names, self.dtype)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Hash the values."""
        import polars as pl

        made: list[pl.Series] = []
        for name in self.names:
            keys = Keys.of(conform(frame[name], self.kinds_[name]))
            numbers = np.where(keys.known, _buckets(keys, self.seed, self.buckets), self.buckets)
            made.append(pl.Series(name, numbers.astype(self.dtype, copy=False)))
        return frame.with_columns(made)

    def inverse(self, frame: pl.DataFrame) -> None:
        """Nothing can take hashes back."""
        return

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count missing values."""
        missing = {name: int(np.count_nonzero(~Keys.of(frame[name]).known)) for name in self.names}
        return {name: {"missing": count} if count else {} for name, count in missing.items()}


def _buckets(keys: Keys, seed: int, count: int) -> Places:
    return (keys.hashes(seed) % np.uint64(count)).astype(np.int64)


def _check_whole(dtype: str) -> None:
    if dtype not in ("int64", "int32"):
        raise OptionError(f'`dtype` must be "int64" or "int32", got {dtype!r}')


def _whole_schema(schema: pl.Schema, names: Sequence[str], dtype: Whole) -> pl.Schema:
    import polars as pl

    kind = pl.Int64() if dtype == "int64" else pl.Int32()
    return pl.Schema({name: kind if name in names else before for name, before in schema.items()})
