"""A source over arrays that already lie in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import SchemaError
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.sources.base import check_columns

# A row group should be worth a thread's wake-up and still fit into a core's cache share.
_GROUP_BYTES, _GROUP_ROWS = 1 << 25, 1 << 17


@dataclass(frozen=True, eq=False)
class MemorySource:
    """Columns in memory, read by slices without a copy.

    The arrays are not copied either: changing them afterwards changes the data set, which then
    no longer fits its fingerprint.

    Attributes:
        columns: Name to Arrow array, all of one length.
    """

    columns: Mapping[str, pa.Array]

    @staticmethod
    def from_arrays(arrays: Mapping[str, Any]) -> MemorySource:
        """Wrap NumPy arrays of shape [n, ...], or anything that `pyarrow.array` takes."""
        if not arrays:
            raise SchemaError("at least one column is needed, got none")
        columns = {name: _to_arrow(name, array) for name, array in arrays.items()}
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise SchemaError(f"all columns must hold the same number of samples, got {lengths}")
        return MemorySource(columns)

    @staticmethod
    def from_table(table: pa.Table | pa.RecordBatch) -> MemorySource:
        """Wrap a table; columns of several chunks are joined, which copies them."""
        names = table.schema.names
        if len(set(names)) != len(names):
            raise SchemaError(f"column names must be unique, got {names}")
        if not names:
            raise SchemaError("at least one column is needed, got none")
        return MemorySource({name: _one_chunk(table.column(name)) for name in names})

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns and their types."""
        return pa.schema([pa.field(name, column.type) for name, column in self.columns.items()])

    @cached_property
    def manifest(self) -> Manifest:
        """One shard, cut into row groups of up to 32 MiB."""
        total = len(next(iter(self.columns.values())))
        nbytes = sum(column.nbytes for column in self.columns.values())
        per_row = nbytes / max(total, 1)
        rows = max(1, min(_GROUP_ROWS, int(_GROUP_BYTES / max(per_row, 1))))
        counts = tuple(min(rows, total - first) for first in range(0, total, rows))
        shard = Shard("memory", counts, tuple(int(count * per_row) for count in counts), self._identity)
        return Manifest((shard,))

    def _identity(self) -> str:
        """Digest the values; large arrays take a second for every few GB."""
        hasher = hashlib.sha256()
        for name, column in self.columns.items():
            hasher.update(f"{name}:{column.type}:{len(column)}:{column.offset}".encode())
            for buffer in column.buffers():
                hasher.update(b"-" if buffer is None else memoryview(buffer))
        return hasher.hexdigest()

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Slice one row group, without a copy."""
        check_columns(columns, self.schema, "the data set in memory")
        arrays = [self.columns[name].slice(row_group.first, row_group.rows) for name in columns]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([self.schema.field(name) for name in columns]))


def _to_arrow(name: str, array: Any) -> pa.Array:
    """Wrap one column, without a copy where Arrow's layout allows it."""
    try:
        if isinstance(array, np.ndarray) and array.ndim > 1:
            return _tensor(array)
        return _one_chunk(array if isinstance(array, (pa.Array, pa.ChunkedArray)) else pa.array(array))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError) as error:
        raise SchemaError(f"column `{name}` must hold values of one type and shape: {error}") from error


def _tensor(array: NDArray[Any]) -> pa.Array:
    if array.dtype.kind not in "iuf":
        raise TypeError(f"an N-d array must hold numbers, got {array.dtype}")
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def _one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks == 1:
            return column.chunk(0)
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column
