"""The source of a written data set: what its format changed turned back, what its folders say put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, SchemaError, UndecodableError
from headrace.fingerprint import digest
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.slices import take_rows
from headrace.sources.base import (
    Layout,
    Source,
    SupportsCopy,
    SupportsFiles,
    SupportsReadRows,
    check_columns,
    check_rows,
)
from headrace.sources.files import Stamp
from headrace.sources.statistics import Statistics, SupportsLookup, SupportsStatistics
from headrace.sources.written.converting import convert
from headrace.sources.written.manifest import WrittenManifest
from headrace.sources.written.partitions import partition_values
from headrace.sources.written.stored import stored_schema

NATURAL = ("parquet", "arrow")
"""Formats whose files hold columns as Arrow has them, but for some types."""


def restored(inner: Source, wrote: WrittenManifest) -> Source:
    """Return a source with the columns that were written; the reader of the files itself where it has them.

    Args:
        inner: Reads the files.
        wrote: What they were written from.

    Raises:
        CorruptSourceError: The files have other columns than the manifest says.
    """
    if wrote.format in NATURAL:
        expected = stored_schema(wrote.file_schema, wrote.format)
        if (inner.schema.names, inner.schema.types) != (expected.names, expected.types):
            raise CorruptSourceError(
                f"{inner.manifest.shards[0].name}: its columns are {_shown(inner.schema)} instead of the "
                f"{_shown(expected)} that were written; restore the file, or write the data set again"
            )
    found = WrittenSource(inner, wrote)
    assert found.constants is not None  # names that cannot be right are refused here
    is_same = inner.schema.names == wrote.schema.names and found.unchanged == frozenset(wrote.schema.names)
    return inner if is_same else found


@dataclass(frozen=True, eq=False)
class WrittenSource:
    """A written data set whose files do not hold all columns as they were.

    Thread-safe and picklable, as the reader of the files is, which does all that is not said here.

    Attributes:
        inner: Reads the files.
        wrote: What they were written from.
    """

    inner: Source
    wrote: WrittenManifest

    @property
    def schema(self) -> pa.Schema:
        """The columns that were written."""
        return self.wrote.schema

    @property
    def manifest(self) -> Manifest:
        """The row groups of the files."""
        return self._manifest

    @cached_property
    def _manifest(self) -> Manifest:
        shards: list[Shard] = []
        columns = [(field.name, str(field.type)) for field in self.schema]
        for shard, file in zip(self.inner.manifest.shards, self.wrote.files, strict=True):
            folders = file.name.split("/")[:-1]
            shards.append(
                Shard(shard.name, shard.rows, shard.nbytes, partial(_identity, shard, columns, folders))
            )
        return Manifest(tuple(shards))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is less safe than it could be."""
        return tuple(getattr(self.inner, "notes", ()))

    @cached_property
    def constants(self) -> tuple[dict[str, pa.Array], ...]:
        """What the folders of each file say, each as an array of one value."""
        names = self.wrote.partition_by
        return tuple(partition_values(file.name, self.schema, names) for file in self.wrote.files)

    @cached_property
    def unchanged(self) -> frozenset[str]:
        """The columns that the reader of the files delivers as they were."""
        if self.wrote.format not in NATURAL:
            return frozenset(forms().unchanged_columns(self.wrote))
        types = dict(zip(self.inner.schema.names, self.inner.schema.types, strict=True))
        return frozenset(field.name for field in self.wrote.file_schema if types[field.name] == field.type)

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Decode one row group of one file."""
        check_columns(columns, self.schema, f"the data set of {row_group.name}")
        return self._restore(row_group, columns, self.inner.read(row_group, self._stored(columns)))

    def read_rows(
        self, row_group: RowGroup, rows: NDArray[np.int64], columns: Sequence[str]
    ) -> pa.RecordBatch:
        """Decode some rows of one row group; all of them where the format cannot do better."""
        check_columns(columns, self.schema, f"the data set of {row_group.name}")
        if not isinstance(self.inner, SupportsReadRows):
            return take_rows(self.read(row_group, columns), rows)
        found = self.inner.read_rows(row_group, rows, self._stored(columns))
        return self._restore(row_group, columns, found, len(rows))

    @cached_property
    def layouts(self) -> Mapping[str, Layout]:
        """The columns that can be copied: those that lie in the files as they were, without nulls."""
        found = self.inner.layouts if isinstance(self.inner, SupportsCopy) else {}
        return {name: layout for name, layout in found.items() if name in self.unchanged}

    def copy_rows(
        self, row_group: RowGroup, column: str, rows: NDArray[np.int64], targets: NDArray[np.uint64]
    ) -> None:
        """Copy rows of one column to memory."""
        assert isinstance(self.inner, SupportsCopy)  # or there is no layout
        self.inner.copy_rows(row_group, column, rows, targets)

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the files that a shard's samples lie in, each with its stamp when it was opened."""
        return self.inner.shard_files(shard) if isinstance(self.inner, SupportsFiles) else {}

    def statistics(self, column: str) -> Statistics:
        """Return what the files and the folders' names tell of one column."""
        kind = self.schema.field(column).type
        unknown = pa.nulls(len(self.manifest), kind)
        if column in self.wrote.partition_by:
            return self._of_folders(column)
        if column not in self.inner.schema.names or not isinstance(self.inner, SupportsStatistics):
            return Statistics(unknown, unknown, np.full(len(self.manifest), -1, np.int64))
        found = self.inner.statistics(column)
        if column in self.unchanged:
            return found
        if not pa.types.is_temporal(kind):
            return Statistics(unknown, unknown, found.nulls)
        return Statistics(convert(found.low, kind), convert(found.high, kind), found.nulls)

    def lacks(self, row_group: RowGroup, column: str, values: pa.Array) -> bool:
        """Tell whether a Bloom filter rules out all of some values."""
        if column not in self.unchanged or not isinstance(self.inner, SupportsLookup):
            return False
        return self.inner.lacks(row_group, column, values)

    def _of_folders(self, column: str) -> Statistics:
        groups = [self.constants[group.shard][column] for group in self.manifest]
        nulls = [
            group.rows if value.null_count else 0 for group, value in zip(self.manifest, groups, strict=True)
        ]
        bounds = pa.concat_arrays(groups) if groups else pa.nulls(0, self.schema.field(column).type)
        return Statistics(bounds, bounds, np.array(nulls, np.int64))

    def _stored(self, columns: Sequence[str]) -> list[str]:
        """Name the columns of the files that some columns are made of."""
        inside = [name for name in columns if name not in self.wrote.partition_by]
        if self.wrote.format in NATURAL:
            return inside
        return list(forms().stored_columns(inside, self.wrote))

    def _restore(
        self, row_group: RowGroup, columns: Sequence[str], found: pa.RecordBatch, rows: int | None = None
    ) -> pa.RecordBatch:
        """Turn what lay in a file into the columns that were written."""
        count = row_group.rows if rows is None else rows
        if not columns:  # no columns still have rows
            return pa.RecordBatch.from_struct_array(pa.array([{}] * count, pa.struct([])))
        inside = [name for name in columns if name not in self.wrote.partition_by]
        arrays = self._of_files(row_group, inside, found)
        for name, array in arrays.items():
            if len(array) != count:
                check_rows(len(array), row_group, name)
        constants = self.constants[row_group.shard]
        repeated = {name: constants[name] for name in columns if name not in arrays}
        zeros = pa.array(np.zeros(count if repeated else 0, np.int64))
        arrays |= {name: value.take(zeros) for name, value in repeated.items()}
        schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.RecordBatch.from_arrays([arrays[name] for name in columns], schema=schema)

    def _of_files(self, row_group: RowGroup, inside: Sequence[str], found: pa.RecordBatch) -> dict[str, Any]:
        if self.wrote.format in NATURAL:
            return _converted(found, pa.schema([self.schema.field(name) for name in inside]), row_group)
        if not inside:
            return {}
        try:
            batch = forms().from_stored(found, self.wrote.file_schema, self.wrote.format, list(inside))
        except UndecodableError as error:
            named = UndecodableError(f"{row_group}: {error}")
            named.rows = error.rows
            raise named from error
        return dict(zip(inside, batch.columns, strict=True))


def forms() -> Any:
    """Return what knows how the other formats hold columns, which loads when it is needed."""
    return import_module("headrace.sources.written.forms")


def _converted(found: pa.RecordBatch, wanted: pa.Schema, row_group: RowGroup) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for field in wanted:
        try:
            arrays[field.name] = convert(found.column(field.name), field.type)
        except (pa.ArrowException, SchemaError) as error:
            raise CorruptSourceError(
                f"{row_group}, column `{field.name}`: what was stored is no {field.type}, so write the data "
                f"set again: {error}"
            ) from error
    return arrays


def _identity(shard: Shard, columns: Sequence[tuple[str, str]], folders: Sequence[str]) -> str:
    return digest("written", shard.content_identity, list(columns), list(folders))


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"`{field.name}` ({field.type})" for field in schema)
