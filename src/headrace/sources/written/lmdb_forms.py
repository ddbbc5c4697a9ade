"""How rows lie in an LMDB environment that headrace wrote: by number, each a msgpack map of its columns.

Keys are the rows' numbers in eight digits. Of what msgpack does not know, dates and times are whole numbers,
decimals text, categories their values, and tensors the bytes of their numbers, or a list where some are null.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

from headrace.errors import UndecodableError
from headrace.sources.lmdb import LmdbOptions
from headrace.sources.written.numbers import dtype_of, from_rows, is_tensor, to_rows
from headrace.sources.written.packing import from_python, pack_rows, to_python, unpack_rows
from headrace.sources.written.plain import to_plain

COLUMN = "row"
DIGITS = 8


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """Return what `LmdbSource` reads of an environment with these columns."""
    return pa.schema([(COLUMN, pa.binary())])


def reader_options() -> LmdbOptions:
    """How an environment is read: a value for each number."""
    return LmdbOptions(fields={COLUMN: f"{{index:0{DIGITS}d}}"})


def to_stored(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Pack each row.

    Raises:
        SchemaError: A column cannot be written, or a text is no UTF-8; the message names column and row.
    """
    schema = stored_schema(rows.schema)
    names = rows.schema.names
    columns = [_to_python(rows.column(place), name) for place, name in enumerate(names)]
    packed = pack_rows(names, columns) if names else pack_rows(["_"], [[None] * rows.num_rows])
    return pa.RecordBatch.from_arrays([pa.array(packed, pa.binary())], schema=schema)


def _to_python(array: pa.Array, name: str) -> list[Any]:
    if not is_tensor(array.type):
        return to_python(to_plain(array), name)
    values, null, empty = to_rows(array)
    content, width = np.ascontiguousarray(values).tobytes(), values.shape[1] * values.itemsize
    found: list[Any] = [content[place : place + width] for place in range(0, len(content), width)]
    for row in np.flatnonzero(null).tolist():
        found[row] = None
    for row in np.flatnonzero(empty.any(axis=1)).tolist() if empty is not None else ():
        found[row] = cast("Any", array).storage[row].as_py()
    return found


def from_stored(stored: pa.RecordBatch, schema: pa.Schema, columns: Sequence[str]) -> pa.RecordBatch:
    """Build columns of packed rows.

    Args:
        stored: The rows, as read.
        schema: All columns of the environment.
        columns: Those that are wanted, in order.

    Raises:
        UndecodableError: Some rows are damaged.
    """
    wanted = pa.schema([schema.field(name) for name in columns], metadata=schema.metadata)
    if not columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * stored.num_rows, pa.struct([])))
    rows = unpack_rows(value.as_buffer() for value in stored.column(COLUMN))
    arrays: list[pa.Array] = []
    for name, kind in zip(wanted.names, wanted.types, strict=True):
        try:
            values = [row[name] for row in rows]
        except (KeyError, TypeError):
            wrong = [place for place, row in enumerate(rows) if not isinstance(row, dict) or name not in row]
            raise UndecodableError.at(wrong, f"row {wrong[0]}", f"it has no `{name}`") from None
        try:
            arrays.append(_from_tensors(values, kind) if is_tensor(kind) else from_python(values, kind))
        except UndecodableError as error:
            raise UndecodableError.at(error.rows, f"column `{name}`", error) from error
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _from_tensors(values: list[Any], kind: pa.DataType) -> pa.Array:
    given, dtype = cast("Any", kind), dtype_of(kind)
    size = given.storage_type.list_size
    null, empty = (
        np.array([value is None for value in values], np.bool_),
        np.zeros((len(values), size), np.bool_),
    )
    pieces: list[Any] = []
    for row, value in enumerate(values):
        if isinstance(value, list):  # some of its numbers are null
            numbers = cast("list[Any]", value)
            empty[row] = [number is None for number in numbers]
            pieces.append(np.array([number or 0 for number in numbers], dtype).tobytes())
        else:
            pieces.append(bytes(size * dtype.itemsize) if value is None else value)
    wrong = [row for row, piece in enumerate(pieces) if len(piece) != size * dtype.itemsize]
    if wrong:
        reason = f"{dtype} of shape {list(given.shape)} takes {size * dtype.itemsize} bytes"
        raise UndecodableError.at(wrong, f"row {wrong[0]}", reason)
    numbers = np.frombuffer(bytearray(b"".join(pieces)), dtype).reshape(len(values), size)
    return from_rows(numbers, kind, null, empty if empty.any() else None)
