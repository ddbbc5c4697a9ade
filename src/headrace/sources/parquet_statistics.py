"""The bounds and null counts that Parquet footers hold, as values of the columns' types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.sources.budget import leaf_of
from headrace.sources.statistics import Statistics

_WIDTHS = {"INT32": 32, "INT64": 64}


def read_statistics(
    footers: Sequence[tuple[pq.FileMetaData, pa.Schema]], field: pa.Field, constants: Sequence[Any] | None
) -> Statistics:
    """Collect what the footers of all files say of one column.

    Args:
        footers: Each file's metadata, and the schema that it gives.
        field: The column, as the data set has it.
        constants: The one value of all rows of each file, if folders' names give the column.
    """
    lows: list[pa.Array] = []
    highs: list[pa.Array] = []
    nulls: list[int] = []
    for number, (metadata, schema) in enumerate(footers):
        groups = metadata.num_row_groups
        rows = [metadata.row_group(index).num_rows for index in range(groups)]
        if field.name in schema.names:
            low, high, missing = _of_file(metadata, schema, field)
        elif constants is not None:
            low = high = pa.array([constants[number]] * groups, field.type)
            missing = rows if constants[number] is None else [0] * groups
        else:
            low = high = pa.nulls(groups, field.type)
            missing = rows
        lows.append(low)
        highs.append(high)
        nulls += missing
    return Statistics(_joined(lows, field.type), _joined(highs, field.type), np.array(nulls, np.int64))


def _joined(parts: list[pa.Array], kind: pa.DataType) -> pa.Array:
    return pa.concat_arrays(parts) if parts else pa.nulls(0, kind)


def _of_file(
    metadata: pq.FileMetaData, schema: pa.Schema, field: pa.Field
) -> tuple[pa.Array, pa.Array, list[int]]:
    groups = metadata.num_row_groups
    unknown = pa.nulls(groups, field.type)
    leaf = leaf_of(field.name, metadata, schema)
    if leaf is None:
        return unknown, unknown, [-1] * groups
    found = [_of_chunk(metadata.row_group(index).column(leaf)) for index in range(groups)]
    nulls = [missing for _, _, missing in found]
    if schema.field(field.name).type != field.type:  # it is cast, which may change what lies between
        return unknown, unknown, nulls
    physical = metadata.schema.column(leaf).physical_type
    low, high = (
        pa.array([_value(pair[side], field.type, physical) for pair in found], field.type) for side in (0, 1)
    )
    return low, high, nulls


def _of_chunk(chunk: pq.ColumnChunkMetaData) -> tuple[Any, Any, int]:
    """Both bounds as they are stored, None where they are not, and how many values are null."""
    try:
        statistics = chunk.statistics
        if statistics is None:
            return None, None, -1
        nulls = statistics.null_count if statistics.has_null_count else -1
        if not statistics.has_min_max:
            return None, None, nulls
        if chunk.physical_type == "FIXED_LEN_BYTE_ARRAY" and statistics.logical_type.type == "DECIMAL":
            return statistics.min, statistics.max, nulls
        return statistics.min_raw, statistics.max_raw, nulls
    except Exception:  # of a type whose statistics the reader does not know, or damaged
        return None, None, -1


def _value(stored: Any, kind: pa.DataType, physical: str) -> Any:
    """Turn a bound as it is stored into a scalar of the column's type; None if it cannot be one."""
    try:
        return None if stored is None else _scalar(stored, kind, physical)
    except (pa.ArrowException, ValueError, OverflowError, TypeError):
        return None


def _scalar(stored: Any, kind: pa.DataType, physical: str) -> Any:
    types = pa.types
    if types.is_boolean(kind) or (types.is_decimal(kind) and physical == "FIXED_LEN_BYTE_ARRAY"):
        return pa.scalar(stored, kind)
    if types.is_floating(kind):
        is_known = physical in ("FLOAT", "DOUBLE") and not math.isnan(stored)
        return pa.scalar(stored, kind) if is_known else None
    if physical == "BYTE_ARRAY" and not types.is_decimal(kind):
        is_binary = any(test(kind) for test in (types.is_binary, types.is_large_binary, types.is_binary_view))
        return pa.scalar(stored if is_binary else stored.decode(), kind)
    if physical not in _WIDTHS:
        return None
    if types.is_integer(kind):  # an unsigned number is stored by its bits, as a signed one of 32 or 64
        is_unsigned = types.is_unsigned_integer(kind)
        return pa.scalar(stored % (1 << _WIDTHS[physical]) if is_unsigned else stored, kind)
    is_known = types.is_temporal(kind) and not types.is_date64(kind)
    return pa.scalar(stored, f"int{kind.bit_width}").cast(kind) if is_known else None


def plain_bytes(values: pa.Array, column: pq.ColumnSchema) -> list[bytes] | None:
    """Encode values as a Bloom filter hashes them; None for types of which that is not certain.

    Floats are left out: 0.0 equals -0.0 and NaN equals NaN, but their bytes differ.
    """
    kind, physical = values.type, column.physical_type
    if pa.types.is_decimal(kind) or pa.types.is_dictionary(kind):
        return None
    if physical == "BYTE_ARRAY":
        return [value.encode() if isinstance(value, str) else value for value in values.to_pylist()]
    if physical not in _WIDTHS:
        return None
    try:
        whole = values if pa.types.is_integer(kind) else values.view(f"int{kind.bit_width}")
    except pa.ArrowException:
        return None
    width = _WIDTHS[physical]
    return [(number % (1 << width)).to_bytes(width // 8, "little") for number in whole.to_pylist()]
