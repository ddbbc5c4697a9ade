"""Row groups as a file holds them: checked against the schema that was promised, and converted."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from headrace.errors import SchemaError
from headrace.sources.written.converting import convert


def to_stored(rows: pa.RecordBatch, schema: pa.Schema, stored: pa.Schema) -> pa.RecordBatch:
    """Turn a row group into the types that a file holds.

    Args:
        rows: The row group.
        schema: Its columns, as they were promised.
        stored: The same as the file holds them; see `stored_schema`.

    Raises:
        SchemaError: Its columns are others, nulls lie where none may, or a value cannot be stored; the
            message names column and row.
    """
    if rows.schema.names != schema.names or rows.schema.types != schema.types:
        raise SchemaError(
            f"a shard of the columns {_shown(schema)} cannot take rows of {_shown(rows.schema)}"
        )
    columns: list[pa.Array] = []
    for field, target, column in zip(schema, stored, rows.columns, strict=True):
        if column.null_count and not field.nullable:
            row = column.is_null().index(pa.scalar(True)).as_py()
            raise SchemaError(f"column `{field.name}` must hold no nulls, but row {row} is one")
        try:
            columns.append(_told_by_indices(convert(column, target.type)))
        except pa.ArrowException as error:
            raise SchemaError(
                f"column `{field.name}`, row {_first_bad(column, target.type)}: a value of {field.type} "
                f"cannot be stored as {target.type}: {error}"
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=stored)


def _told_by_indices(column: Any) -> pa.Array:
    """Let the indices alone tell which values are null, not the dictionary too."""
    if not pa.types.is_dictionary(column.type) or not column.dictionary.null_count:
        return column
    return convert(column.dictionary_decode(), column.type)


def _first_bad(column: pa.Array, kind: pa.DataType) -> int:
    """Find the first row that cannot be converted, by halves."""
    first = 0
    while len(column) > 1:
        half = len(column) // 2
        try:
            convert(column.slice(0, half), kind)
        except pa.ArrowException:
            column = column.slice(0, half)
        else:
            column, first = column.slice(half), first + half
    return first


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"`{field.name}` ({field.type})" for field in schema)
