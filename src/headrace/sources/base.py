"""What a source is: a reader of one format, from bytes to a `pyarrow.RecordBatch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, UnknownColumnError
from headrace.manifest import Manifest, RowGroup
from headrace.sources.files import Stamp


@runtime_checkable
class Source(Protocol):
    """A reader of one format.

    Thread-safe, deterministic and picklable. N-d columns are `pa.fixed_shape_tensor`. A new
    format is one new file that passes `headrace.testing.SourceTests`.
    """

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types, the same for every row group."""
        ...

    @property
    def manifest(self) -> Manifest:
        """The shards and row groups, in the order that fixes the sample ids."""
        ...

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Decode one row group.

        Args:
            row_group: One of `manifest`'s row groups.
            columns: Which columns, in the order wanted; each is in `schema`.

        Returns:
            Exactly `row_group.rows` rows of exactly those columns.

        Raises:
            SourceError: The bytes cannot be read or are not what the manifest promises; the
                message names the shard, the row group and, where known, the column.
        """
        ...


@runtime_checkable
class SupportsReadRows(Protocol):
    """A source that can decode a part of a row group's samples.

    Its `read` raises `UndecodableError` where some samples are damaged and others are not.
    """

    def read_rows(
        self, row_group: RowGroup, rows: NDArray[np.int64], columns: Sequence[str]
    ) -> pa.RecordBatch:
        """Decode some rows of one row group, in the order given.

        Args:
            row_group: One of `manifest`'s row groups.
            rows: Which of its rows, int64 of shape [n].
            columns: Which columns, in the order wanted.

        Returns:
            Exactly `n` rows of exactly those columns.

        Raises:
            UndecodableError: Some samples cannot be decoded; its `rows` are places in `rows`.
            SourceError: None can.
        """
        ...


@runtime_checkable
class SupportsTake(Protocol):
    """A source with cheap random access to single samples."""

    def take(self, ids: NDArray[np.int64], columns: Sequence[str]) -> dict[str, NDArray[np.generic]]:
        """Copy the samples with these ids, in this order, into fresh arrays of shape [n, ...]."""
        ...


@runtime_checkable
class SupportsWhole(Protocol):
    """A source whose samples all lie in memory; it reads any run of them without a copy."""

    @property
    def whole(self) -> Mapping[str, pa.Array]:
        """Every column by name, in the order of the sample ids."""
        ...


Layout = tuple[np.dtype[Any], tuple[int, ...]]
"""Dtype and shape of one sample."""


@runtime_checkable
class SupportsCopy(Protocol):
    """A source that can copy rows of some columns once, from the shard right into a batch."""

    @property
    def layouts(self) -> Mapping[str, Layout]:
        """The columns that can be copied, and what their samples are; never null."""
        ...

    def copy_rows(
        self, row_group: RowGroup, column: str, rows: NDArray[np.int64], targets: NDArray[np.uint64]
    ) -> None:
        """Copy rows of one column to memory.

        Args:
            row_group: One of `manifest`'s row groups.
            column: One of `layouts`.
            rows: Which of its rows, int64 of shape [n], best in rising order.
            targets: Where in memory each of them goes, uint64 of shape [n].

        Raises:
            SourceError: As `read` does; some rows may have been copied by then.
        """
        ...


@runtime_checkable
class SupportsFiles(Protocol):
    """A source that tells which local files its samples are read from.

    A cache identifies what such a source reads by all bytes of those files, and any other source by the
    identity of its shards alone.
    """

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the files that a shard's samples lie in, each with its stamp when it was opened.

        Empty if the shard's identity says all, as the version of a remote object does.

        Raises:
            ChangedSourceError: A file is not the one that was opened, though its stamp may be the same.
        """
        ...


def check_columns(columns: Sequence[str], schema: pa.Schema, where: str) -> None:
    """Refuse names that the schema does not hold."""
    known = set(schema.names)
    missing = [name for name in columns if name not in known]
    if missing:
        raise UnknownColumnError.from_names(missing, schema.names, where)


def check_rows(got: int, row_group: RowGroup, column: str | None = None) -> None:
    """Refuse a row group that holds another number of rows than the manifest promised."""
    if got != row_group.rows:
        where, found = (row_group, f"{got} were decoded")
        if column is not None:
            where, found = f"{row_group}, column `{column}`", f"the column holds {got}"
        raise CorruptSourceError(
            f"{where}: the footer promises {row_group.rows} rows, but {found}; "
            "the file is damaged or its writer was stopped, so write it again"
        )
