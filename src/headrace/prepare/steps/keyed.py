"""A table in memory, whose rows are found by the values of its key columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import OptionError, SchemaError
from headrace.fingerprint import digest
from headrace.prepare.base import Names
from headrace.prepare.steps.categories import Places, is_category, is_text, plain
from headrace.prepare.steps.lookup import Lookup

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class KeyedTable:
    """A table of which no two rows have equal keys. Thread-safe; picklable, with all that it holds.

    Attributes:
        keys: The key columns.
        frame: The rows whose keys are all known, then one row of nulls, which stands for no match.
        identity: Digest of the rows by value.
    """

    keys: Names
    frame: pl.DataFrame = field(metadata={"fingerprint": False}, repr=False)
    identity: str

    @staticmethod
    def of(table: pl.DataFrame, keys: Names) -> KeyedTable:
        """Take a table's rows; those with a null among their keys match nothing and are left out.

        Raises:
            OptionError: Several rows have equal keys.
        """
        import polars as pl

        rows = table.drop_nulls(keys)
        _check_unique(rows.select(_comparable(rows[name], rows.schema[name]) for name in keys))
        return KeyedTable(keys, pl.concat([rows, rows.clear(1)], rechunk=True), digest("table", rows))

    def __len__(self) -> int:
        """How many rows can be found."""
        return self.frame.height - 1

    def check(self, names: Names, schema: pl.Schema) -> None:
        """Refuse columns whose values can equal no key; see `check_keys`."""
        check_keys(names, schema, self.keys, self.frame.schema)

    def find(self, columns: Sequence[pl.Series]) -> Places:
        """Find the row of each key; takes one column for each key column.

        Returns:
            The row in `frame`, which is the last one where no key is equal; int64 of shape [n].
        """
        found: Places | None = None
        for series, key, level in zip(columns, self.keys, self._levels, strict=True):
            found = level.find(_comparable(series, self.frame.schema[key]), found)
        assert found is not None
        return found

    @cached_property
    def _levels(self) -> tuple[_Level, ...]:
        """One for each key column; made when rows are first looked for, and not pickled."""
        import polars as pl

        levels: list[_Level] = []
        found: Places | None = None
        for name in self.keys:
            series = _comparable(self.frame[name], self.frame.schema[name]).head(len(self))
            values = Lookup.of(series.unique(maintain_order=True))
            level = _Level(values)
            if found is not None:
                pairs = pl.Series(found * len(values) + values.find(series))
                level = _Level(values, len(levels[-1]), Lookup.of(pairs.unique(maintain_order=True)))
            found = level.find(series, found)
            levels.append(level)
        return tuple(levels)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was computed, in copies and pickles alike."""
        return {it.name: self.__dict__[it.name] for it in fields(self)}


@dataclass(frozen=True, slots=True)
class _Level:
    """Numbers keys of one column more; all columns' keys have the number of their row.

    Attributes:
        values: The column's values.
        before: How many different keys the columns before have.
        pairs: Their numbers, times the number of values, plus the value's; None for the first column.
    """

    values: Lookup
    before: int = 0
    pairs: Lookup | None = None

    def __len__(self) -> int:
        return len(self.values if self.pairs is None else self.pairs)

    def find(self, series: pl.Series, before: Places | None) -> Places:
        """Return the keys' numbers; what is not there or null has the next one."""
        import polars as pl

        places = self.values.find(series)
        if before is not None and self.pairs is not None:
            known = (before < self.before) & (places < len(self.values))
            places = self.pairs.find(pl.Series(np.where(known, before * len(self.values) + places, -1)))
        return np.minimum(places, len(self))


def check_keys(names: Names, schema: pl.Schema, keys: Names, table: pl.Schema) -> None:
    """Refuse columns of a data set whose values can equal none of a table's key columns.

    Args:
        names: The data set's columns, in the order of the keys.
        schema: Their types.
        keys: The key columns.
        table: Their types.

    Raises:
        SchemaError: Two types do not agree, or a column holds no keys; the message names them.
    """
    import polars as pl

    for name, key in zip(names, keys, strict=True):
        ours, theirs = schema[name], table[key]
        _check_key(name, ours, "the data set")
        _check_key(key, theirs, "the table")
        if pl.Null not in (ours, theirs) and _kind(ours) != _kind(theirs):
            raise SchemaError(
                f"keys must be of one type, but column `{name}` of the data set holds {ours} and column "
                f"`{key}` of the table {theirs}; cast one of them"
            )


def _kind(dtype: pl.DataType) -> str:
    """Name what two columns must agree in to hold equal values."""
    if dtype.is_integer():
        return "whole numbers"
    return "text" if is_text(dtype) else str(dtype)


def _check_key(name: str, dtype: pl.DataType, where: str) -> None:
    import polars as pl

    if dtype.is_float():
        raise SchemaError(
            f"column `{name}` of {where} holds {dtype} and cannot be a key, as floats that should be equal "
            "often differ in the last digit; round them to whole numbers"
        )
    if not is_category(dtype) or isinstance(dtype, (pl.Int128, pl.UInt128)):
        raise SchemaError(
            f"column `{name}` of {where} holds {dtype} and cannot be a key; keys are whole numbers of at "
            "most 64 bits, texts, truth values, bytes, dates and times"
        )


def _check_unique(keys: pl.DataFrame) -> None:
    import polars as pl

    repeated = keys.group_by(pl.all(), maintain_order=True).len("times").filter(pl.col("times") > 1)
    if repeated.height:
        first = repeated.row(0, named=True)
        times = first.pop("times")
        raise OptionError(
            f"keys must be unique in a table that is joined, but {repeated.height:,} of them come more than "
            f"once, such as {first} in {times:,} rows; aggregate those rows, or leave some out"
        )


def _comparable(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Bring values to a form in which they are compared with a column of this type; null where none is."""
    import polars as pl

    if series.dtype.is_integer() and dtype.is_integer():
        return series.cast(pl.UInt64 if dtype == pl.UInt64 else pl.Int64, strict=False)
    return plain(series)
