"""A source over arrays that already lie in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.batch import list_array
from headrace.errors import SchemaError
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.slices import unsliced
from headrace.sources.base import check_columns
from headrace.sources.identity import identify

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
        if not isinstance(arrays, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SchemaError(
                f"columns are given as a mapping from name to array, got {type(arrays).__name__}"
            )
        if not arrays:
            raise SchemaError("at least one column is needed, got none")
        for name in arrays:
            if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise SchemaError(f"a column's name must be a text, got {name!r}")
        columns = {name: _to_arrow(name, array) for name, array in arrays.items()}
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise SchemaError(f"all columns must hold the same number of samples, got {lengths}")
        return MemorySource(columns)

    @staticmethod
    def from_table(table: Any) -> MemorySource:
        """Wrap a table, a record batch or whatever else Arrow reads as one.

        Columns of several chunks are joined, which copies them.
        """
        if not isinstance(table, (pa.Table, pa.RecordBatch)):
            try:
                table = pa.table(table)
            except (TypeError, ValueError) as error:
                raise SchemaError(f"an Arrow table is needed, got {type(table).__name__}") from error
        names = table.schema.names
        if len(set(names)) != len(names):
            raise SchemaError(f"column names must be unique, got {names}")
        if not names:
            raise SchemaError("at least one column is needed, got none")
        return MemorySource({name: _plain(name, table.column(name)) for name in names})

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns and their types."""
        return pa.schema([pa.field(name, column.type) for name, column in self.columns.items()])

    @property
    def manifest(self) -> Manifest:
        """One shard, cut into row groups of up to 32 MiB."""
        return self._manifest

    @property
    def whole(self) -> Mapping[str, pa.Array]:
        """Every column by name."""
        return self.columns

    @cached_property
    def _manifest(self) -> Manifest:
        total = len(next(iter(self.columns.values())))
        nbytes = sum(column.nbytes for column in self.columns.values())
        per_row = nbytes / max(total, 1)
        rows = max(1, min(_GROUP_ROWS, int(_GROUP_BYTES / max(per_row, 1))))
        counts = tuple(min(rows, total - first) for first in range(0, total, rows))
        shard = Shard("memory", counts, tuple(int(count * per_row) for count in counts), self._identity)
        return Manifest((shard,))

    def _identity(self) -> str:
        return identify(self.columns)

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Slice one row group, in most cases without a copy."""
        check_columns(columns, self.schema, "the data set in memory")
        arrays = [unsliced(self.columns[name].slice(row_group.first, row_group.rows)) for name in columns]
        return pa.RecordBatch.from_arrays(
            arrays, schema=pa.schema([self.schema.field(name) for name in columns])
        )


def _to_arrow(name: str, array: Any) -> pa.Array:
    """Wrap one column, without a copy where Arrow's layout allows it."""
    try:
        if isinstance(array, (str, bytes)):
            raise TypeError("one text is no column")
        if isinstance(array, (pa.Array, pa.ChunkedArray)):
            return _plain(name, array)
        if isinstance(array, np.ndarray):  # masks included
            return _from_numpy(cast("NDArray[Any]", array))
        if hasattr(array, "__dlpack__") and not hasattr(array, "__arrow_c_stream__"):
            return _from_numpy(np.asarray(array))  # such as a torch tensor
        return _plain(name, pa.array(array))
    except SchemaError:
        raise
    except (pa.ArrowException, TypeError, ValueError, RuntimeError) as error:
        raise SchemaError(f"column `{name}` must hold values of one type and shape: {error}") from error


def _from_numpy(array: NDArray[Any]) -> pa.Array:
    if array.ndim == 0:
        raise TypeError("a single number is no column")
    array = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    if array.ndim == 1:
        return pa.array(array)
    if array.dtype.kind not in "iufb":
        raise TypeError(f"an N-d array must hold numbers, got {array.dtype}")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("an N-d array must have no mask; fill it before")
    size = math.prod(array.shape[1:])
    if size == 0:
        raise TypeError(f"each sample must hold at least one number, got the shape {array.shape}")
    values = pa.array(np.ascontiguousarray(array).reshape(-1))
    storage = pa.FixedSizeListArray.from_arrays(values, size)
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(values.type, array.shape[1:]), storage)


def _plain(name: str, column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Join chunks, and turn layouts that few functions of Arrow take into those that all do."""
    try:
        if isinstance(column, pa.ChunkedArray):
            column = _one_chunk(column)
        kind = column.type
        if pa.types.is_run_end_encoded(kind):
            return _plain(name, pc.call_function("run_end_decode", [column]))
        if pa.types.is_string_view(kind):
            return column.cast(pa.large_string())
        if pa.types.is_binary_view(kind):
            return column.cast(pa.large_binary())
        if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
            # Not by a cast, which leaves the last offset unwritten (Arrow 26).
            lengths = pc.call_function("list_value_length", [column]).fill_null(0)
            is_null = column.is_null().to_numpy(zero_copy_only=False)
            return list_array(column.flatten(), lengths.to_numpy(), is_null)
        return column
    except pa.ArrowException as error:
        raise SchemaError(
            f"column `{name}` of type {column.type} cannot be laid out in one piece: {error}"
        ) from error


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
