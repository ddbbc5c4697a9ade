"""What Parquet and Arrow IPC make of columns' types: the types that their files hold, there and back.

Most types lie in such files as they are. Of the others some are stored as a type that holds the same values
(`timestamp[s]` as milliseconds, say), and turned back by the manifest's schema when they are read; the rest
is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from headrace.errors import SchemaError

_Changed = Callable[[pa.DataType], pa.DataType | None]
_types = pa.types


def stored_schema(schema: pa.Schema, format: str) -> pa.Schema:
    """Return the columns as a Parquet or Arrow IPC file holds them; without metadata.

    Args:
        schema: The columns as a data set has them.
        format: `"parquet"` or `"arrow"`.

    Raises:
        SchemaError: The format cannot hold a column; the message names column and type, and says what to do.

    Example:
        >>> stored_schema(pa.schema({"t": pa.timestamp("s")}), "parquet").field("t").type
        TimestampType(timestamp[ms])
    """
    changed = {"parquet": _in_parquet, "arrow": _in_arrow}[format]
    fields: list[pa.Field] = []
    for field in schema:
        try:
            fields.append(_stored_field(field, changed, is_nested=False))
        except SchemaError as error:
            raise SchemaError(f"column `{field.name}` of type {field.type}: {error}") from None
    return pa.schema(fields)


def _stored_field(field: pa.Field, changed: _Changed, is_nested: bool = True) -> pa.Field:
    return pa.field(field.name, _stored(field.type, changed, is_nested), field.nullable)


def _stored(kind: pa.DataType, changed: _Changed, is_nested: bool) -> pa.DataType:
    """Return the type that a file holds, whatever lies in it included."""
    if _types.is_dictionary(kind) and _is_composed(kind.value_type):
        raise SchemaError("a dictionary of such values cannot be written; write them out before")
    other = changed(kind)
    if other is not None:
        return _stored(other, changed, is_nested)
    if isinstance(kind, pa.BaseExtensionType):
        inner = _stored(kind.storage_type, changed, is_nested)
        return inner if is_nested or inner != kind.storage_type else kind
    if _types.is_run_end_encoded(kind):
        if is_nested:
            raise SchemaError("runs within other types cannot be written; write the values out before")
        return _stored(kind.value_type, changed, is_nested)
    if _types.is_union(kind):
        raise SchemaError("unions cannot be written; make a column of each of their types before")
    if not _types.is_nested(kind):
        return kind
    return _with_fields(kind, [_stored_field(kind.field(i), changed) for i in range(kind.num_fields)])


def _with_fields(kind: Any, fields: list[pa.Field]) -> pa.DataType:
    """Return a nested type with other fields; views become lists."""
    if _types.is_struct(kind):
        return pa.struct(fields)
    if _types.is_map(kind):
        entries = fields[0].type
        return pa.map_(entries.field(0), entries.field(1), kind.keys_sorted)
    if _types.is_fixed_size_list(kind):
        return pa.list_(fields[0], kind.list_size)
    is_large = _types.is_large_list(kind) or _types.is_large_list_view(kind)
    return pa.large_list(fields[0]) if is_large else pa.list_(fields[0])


def _in_parquet(kind: Any) -> pa.DataType | None:
    """Return what Parquet holds in place of a type, None for itself."""
    if _types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if _types.is_time32(kind) and kind.unit == "s":
        return pa.time32("ms")
    if _types.is_date64(kind):
        return pa.date32()
    if _is_view(kind):
        return _without_view(kind)
    if _types.is_decimal(kind) and kind.scale < 0:
        raise SchemaError('Parquet has no negative scales; cast it before, or pass format="arrow"')
    if _types.is_interval(kind):
        raise SchemaError('Parquet has no such intervals; split them before, or pass format="arrow"')
    if _types.is_fixed_size_binary(kind) and kind.byte_width == 0:
        raise SchemaError("Parquet has no values of zero bytes; leave the column out by `drop`")
    if _types.is_fixed_size_list(kind) and kind.list_size == 0:
        raise SchemaError("Parquet has no lists of zero values each; leave the column out by `drop`")
    if _types.is_struct(kind) and kind.num_fields == 0:
        raise SchemaError("Parquet has no structs without fields; leave the column out by `drop`")
    if _types.is_dictionary(kind):
        return _dictionary_in_parquet(kind)
    return None


def _dictionary_in_parquet(kind: Any) -> pa.DataType | None:
    value = kind.value_type
    if _is_text(value) or _is_bytes(value):
        plain = pa.string() if _is_text(value) else pa.binary()
        return None if value == plain else pa.dictionary(kind.index_type, plain, kind.ordered)
    if kind.ordered:
        raise SchemaError("Parquet keeps the order of categories for text alone; write the values out before")
    return value


def _in_arrow(kind: Any) -> pa.DataType | None:
    """Return what an Arrow IPC file holds in place of a type, None for itself."""
    if _is_view(kind):  # their bytes depend on how they came about
        return _without_view(kind)
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.FixedShapeTensorType):
        return kind.storage_type
    if _types.is_dictionary(kind):
        value = _in_arrow(kind.value_type)
        return None if value is None else pa.dictionary(kind.index_type, value, kind.ordered)
    return None


def _is_text(kind: pa.DataType) -> bool:
    return _types.is_string(kind) or _types.is_large_string(kind) or _types.is_string_view(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return _types.is_binary(kind) or _types.is_large_binary(kind) or _types.is_binary_view(kind)


def _is_view(kind: pa.DataType) -> bool:
    return _types.is_string_view(kind) or _types.is_binary_view(kind)


def _without_view(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if _types.is_string_view(kind) else pa.large_binary()


def _is_composed(kind: pa.DataType) -> bool:
    return _types.is_nested(kind) or _types.is_null(kind) or isinstance(kind, pa.BaseExtensionType)
