"""Schemas of many shards: compared when they are opened, made one when they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from headrace.errors import SchemaError, SourceError
from headrace.manifest import RowGroup
from headrace.sources.hive import partition_column

_SHOWN = 5


def unify(schemas: Sequence[pa.Schema], names: Sequence[str], on_change: str, options: str = "") -> pa.Schema:
    """Find the schema that all shards share.

    Args:
        schemas: One for each shard.
        names: What to call the shards in an error.
        on_change: `"error"`, `"fill"` (missing columns become null) or `"cast"` (types too).
        options: The class of options that takes `on_schema_change`, for errors; none has it by default.

    Raises:
        SchemaError: The shards do not fit together; the message lists those that differ.
    """
    first = schemas[0]
    if all(schema.equals(first) for schema in schemas):
        return first
    shards = list(zip(schemas, names, strict=True))
    columns: dict[str, pa.DataType] = {}
    for schema in schemas:
        for field in schema:
            known = columns.setdefault(field.name, field.type)
            if known != field.type:
                columns[field.name] = _common_type(
                    field.name, (known, field.type), shards, on_change, options
                )
    if on_change == "error":
        for name in columns:
            lacking = [shard for schema, shard in shards if name not in schema.names]
            if lacking:
                raise SchemaError(
                    f"column `{name}` is missing in {_listed(lacking)} and present in the other shards; "
                    + _remedy(options, "fill", "to fill it with nulls")
                )
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


def _common_type(
    name: str,
    kinds: tuple[pa.DataType, pa.DataType],
    shards: Sequence[tuple[pa.Schema, str]],
    on_change: str,
    options: str,
) -> pa.DataType:
    known, found = kinds
    differing = [
        shard for schema, shard in shards if name in schema.names and schema.field(name).type == found
    ]
    what = (
        f"column `{name}` must have one type in all shards, got {known} and, in {_listed(differing)}, {found}"
    )
    if on_change != "cast":
        raise SchemaError(f"{what}; {_remedy(options, 'cast', 'to cast to a common type')}")
    try:
        pair = [pa.schema([pa.field(name, kind)]) for kind in kinds]
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except pa.ArrowException as error:
        raise SchemaError(f"{what}, which have no common type; write the shards again with one") from error


def _remedy(options: str, value: str, purpose: str) -> str:
    if not options:
        return "write the shards again with the same columns"
    return f'pass `{options}(on_schema_change="{value}")` {purpose}'


def conform(
    table: pa.Table, wanted: pa.Schema, row_group: RowGroup, partitions: Mapping[str, str | None]
) -> pa.RecordBatch:
    """Lay decoded columns out as the data set's schema wants them, without a copy where they fit."""
    arrays: list[pa.Array] = []
    for field in wanted:
        if field.name in table.schema.names:
            arrays.append(_cast(table.column(field.name), field, row_group))
        elif field.name in partitions:
            arrays.append(_repeated(partitions[field.name], field, row_group))
        else:
            arrays.append(pa.nulls(row_group.rows, field.type))
    if not arrays:  # no columns still have rows
        return pa.RecordBatch.from_struct_array(pa.array([{}] * row_group.rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _repeated(value: str | None, field: pa.Field, row_group: RowGroup) -> pa.Array:
    try:
        return partition_column(value, field.type, row_group.rows)
    except pa.ArrowException as error:
        raise SchemaError(
            f"{row_group}, column `{field.name}`: its folder says {value!r}, no {field.type}: {error}"
        ) from error


def _cast(column: pa.ChunkedArray, field: pa.Field, row_group: RowGroup) -> pa.Array:
    where = f"{row_group}, column `{field.name}`"
    try:
        whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    except pa.ArrowException:
        whole = column
    if isinstance(whole, pa.ChunkedArray):  # what outgrows a 32-bit offset stays in chunks
        raise SourceError(
            f"{where}: {column.nbytes:,} bytes in one row group are more than {field.type} can hold; "
            "write smaller row groups"
        )
    try:
        return whole if whole.type == field.type else whole.cast(field.type)
    except pa.ArrowException as error:
        raise SchemaError(f"{where}: cannot be cast from {whole.type} to {field.type}: {error}") from error


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
