"""Columns without a fixed width, as files of each entry: lists as values and offsets, others as Arrow."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.batch import Ragged
from headrace.errors import SchemaError
from headrace.prepare.ragged import is_ragged, lay_out_ragged, to_array, to_ragged
from headrace.stores.checksums import as_bytes
from headrace.stores.folder.arrays import array_header
from headrace.stores.folder.safety import Bytes

ARROW, VALUES, OFFSETS = "arrow", "values.npy", "offsets.npy"
ENDINGS = (ARROW, OFFSETS, VALUES)

Contents = Mapping[str, Bytes]
"""The files of one column of one entry: ending to content."""


def encode(column: pa.Array) -> Contents:
    """Write a column as files."""
    lists = _lists_of(column)
    if lists is None:
        sink = pa.BufferOutputStream()
        batch = pa.record_batch([column], names=[""])
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return {ARROW: np.frombuffer(sink.getvalue(), np.uint8)}
    return {VALUES: _to_npy(lists.values), OFFSETS: _to_npy(lists.offsets)}


def encoded_bytes(column: pa.Array) -> int:
    """Return the bytes of the files that `encode` writes."""
    return sum(len(content) for content in encode(column).values())


def decode(parts: Contents, kind: pa.DataType, rows: int) -> pa.Array:
    """Read a column from the files that `encode` has written, without a copy where that is possible.

    Raises:
        ValueError: They are no files of so many rows of that type.
    """
    try:
        if ARROW in parts:
            column = pa.ipc.open_file(pa.py_buffer(parts[ARROW])).get_batch(0).column(0)
        else:
            column = _to_lists(Ragged(_from_npy(parts[VALUES]), _from_npy(parts[OFFSETS])), kind)
        column.validate()
    except (SchemaError, KeyError, IndexError, OSError, pa.ArrowException) as error:
        raise ValueError(f"the files hold no column of type {kind}: {error}") from error
    if column.type != kind or len(column) != rows:
        raise ValueError(f"the files hold {len(column)} rows of type {column.type}, not {rows} of {kind}")
    return column


def _lists_of(column: pa.Array) -> Ragged | None:
    """Return lists that NumPy holds and that come back as they are; None for anything else."""
    if not is_ragged(column.type):
        return None
    try:
        lists = to_ragged(lay_out_ragged(column, "", ""))
        restored = _to_lists(Ragged(lists.values[:0], lists.offsets[:1]), column.type)
    except (SchemaError, pa.ArrowException):
        return None  # there are nulls, or values that Arrow holds otherwise
    return lists if restored.type.equals(column.type, check_metadata=True) else None


def _to_lists(lists: Ragged, kind: Any) -> pa.Array:
    values = to_array(lists.values)
    if values.type != kind.value_type:
        raise pa.ArrowInvalid(f"values of type {values.type} are no {kind.value_type}")
    is_large = pa.types.is_large_list(kind)
    offsets = pa.array(lists.offsets.astype(np.int64 if is_large else np.int32))
    form = pa.LargeListArray if is_large else pa.ListArray
    return form.from_arrays(offsets, values, type=kind)


def _to_npy(array: NDArray[Any]) -> Bytes:
    header = np.frombuffer(array_header(array.dtype, array.shape), np.uint8)
    return np.concatenate([header, as_bytes(np.ascontiguousarray(array))])


def _from_npy(content: Bytes) -> NDArray[Any]:
    """View the array in an `.npy` file that `_to_npy` has written."""
    file = io.BytesIO(content[: 1 << 16].tobytes())
    try:
        version = np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # NumPy's reader of headers raises what the literal in them leads to
        raise ValueError(f"an array's header is damaged: {error}") from error
    header = array_header(dtype, shape) if not dtype.hasobject else b""
    if version != (1, 0) or not header or content[: len(header)].tobytes() != header:
        raise ValueError("an array's header is damaged")
    count = int(np.prod(shape, dtype=np.int64))
    if len(content) != len(header) + count * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} has {len(content) - len(header):,} bytes")
    return np.ndarray(shape, dtype, content.data, len(header))
