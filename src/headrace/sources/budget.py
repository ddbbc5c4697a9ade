"""The byte budget of one row group: judged before decoding, and again after it.

A file of some hundred bytes can decode to gigabytes: a page that was compressed well, or one
long dictionary entry that every row repeats.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from headrace.errors import MemoryLimitError, OptionError
from headrace.manifest import RowGroup

_DECIMAL_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS = _DECIMAL_UNITS | {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_FIXED_WIDTHS = {"BOOLEAN": 1 / 8, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}
_SHOWN = 6
_MOST_ROWS = 1 << 16  # of one step; more rows at a time are no faster


def parse_bytes(size: int | str | None) -> int:
    """Read a size like 1_000, "20GB" or "512MiB"; None is a quarter of the machine's memory.

    Example:
        >>> parse_bytes("20GB")
        20000000000
    """
    if size is None:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    if not isinstance(size, (bool, str)) and hasattr(size, "__index__") and size > 0:
        return int(size)
    if isinstance(size, str):
        digits = size.strip().upper()
        unit = digits.lstrip("0123456789.").strip()
        try:
            value = int(float(digits[: len(digits) - len(unit)]) * _UNITS[unit])
        except (KeyError, ValueError, OverflowError):
            value = 0
        if value > 0:
            return value
    raise OptionError(
        f'a size must be a positive number of bytes or a text like "20GB" or "512MiB", got {size!r}'
    )


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """How many bytes a column takes once decoded, as far as its footer tells.

    Attributes:
        least: What it takes at the least.
        most: What it takes at the most; more than `least` where values are stored once and
            repeated by reference.
        dictionaries: Paths of the text below it that is stored by dictionary.
        stepwise: Whether text is stored by differences, so that only decoding it bit by bit tells.
        per_row: At the most so many bytes in a row, on average.
    """

    least: int
    most: int
    dictionaries: tuple[str, ...] = ()
    stepwise: bool = False
    per_row: int = 0

    @property
    def doubtful(self) -> bool:
        """Whether only decoding can tell."""
        return self.most > self.least

    def plus(self, other: PlannedColumn) -> PlannedColumn:
        """Add what another part of the same column takes."""
        return PlannedColumn(
            self.least + other.least,
            self.most + other.most,
            self.dictionaries + other.dictionaries,
            self.stepwise or other.stepwise,
            self.per_row + other.per_row,
        )


def plan_bytes(
    metadata: pq.FileMetaData, index: int, schema: pa.Schema, columns: Sequence[str]
) -> dict[str, PlannedColumn]:
    """Sum up the footer's sizes for each wanted column of a row group."""
    planned = dict.fromkeys(columns, PlannedColumn(0, 0))
    group = metadata.row_group(index)
    for name, number in leaves_of(planned, metadata, schema):
        width = _width(metadata.schema.column(number))
        planned[name] = planned[name].plus(_plan_chunk(group.column(number), width, group.num_rows))
    return planned


def count_values(
    metadata: pq.FileMetaData, index: int, schema: pa.Schema, columns: Sequence[str]
) -> dict[str, int]:
    """Count the values of each wanted column that has one value in a row, by its own count."""
    group, leaves = metadata.row_group(index), metadata.schema
    return {
        name: group.column(number).num_values
        for name, number in leaves_of(columns, metadata, schema)
        if leaves.column(number).max_repetition_level == 0
    }


def leaf_of(name: str, metadata: pq.FileMetaData, schema: pa.Schema) -> int | None:
    """Find where a column with one value in each row is stored; None for one of another kind."""
    kind = schema.field(name).type
    if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        return None
    found = [number for _, number in leaves_of((name,), metadata, schema)]
    return (
        found[0] if len(found) == 1 and metadata.schema.column(found[0]).max_repetition_level == 0 else None
    )


def _plan_chunk(chunk: pq.ColumnChunkMetaData, width: float, rows: int) -> PlannedColumn:
    stored = max(chunk.total_uncompressed_size, 0)
    least = max(int(chunk.num_values * width), stored)
    stepwise = "DELTA_BYTE_ARRAY" in chunk.encodings
    if width or not (stepwise or chunk.has_dictionary_page):
        return PlannedColumn(least, least)
    per_row = stored * -(-chunk.num_values // max(rows, 1))
    paths = () if stepwise else (chunk.path_in_schema,)
    return PlannedColumn(least, max(chunk.num_values * stored, least), paths, stepwise, per_row)


def _width(column: pq.ColumnSchema) -> float:
    """Bytes of one decoded value, 0 for text."""
    if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
        return column.length
    return _FIXED_WIDTHS.get(column.physical_type, 0)


def leaves_of(columns: Container[str], metadata: pq.FileMetaData, schema: pa.Schema) -> list[tuple[str, int]]:
    """List the stored columns that wanted ones are made of, each with the name of its own."""
    owners = _owners(metadata, schema)
    return [(name, number) for number, name in enumerate(owners) if name in columns]


def _owners(metadata: pq.FileMetaData, schema: pa.Schema) -> list[str]:
    """Name each leaf's column; its path alone does not tell, since names may hold dots."""
    if len(schema) == metadata.num_columns:  # each column has a leaf, so none has two
        return schema.names
    owners = [field.name for field in schema for _ in range(_count_leaves(field.type))]
    if len(owners) == metadata.num_columns:
        return owners
    paths = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    return [path if path in schema.names else path.split(".", 1)[0] for path in paths]


def _count_leaves(kind: pa.DataType) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _count_leaves(kind.storage_type)
    if pa.types.is_nested(kind):
        return sum(_count_leaves(kind.field(place).type) for place in range(kind.num_fields))
    return 1


def check_planned(planned: Mapping[str, PlannedColumn], limit: int, row_group: RowGroup) -> None:
    """Refuse a row group whose footer already tells that it is too large."""
    check_sizes({name: column.least for name, column in planned.items()}, limit, row_group)


def decode(
    file: pq.ParquetFile,
    row_group: RowGroup,
    planned: Mapping[str, PlannedColumn],
    schema: pa.Schema,
    limit: int,
) -> pa.Table:
    """Decode the planned columns of a row group, and refuse them once they are too large.

    Args:
        file: Opened so that the `dictionaries` of doubtful columns stay dictionaries.
        row_group: Which one.
        planned: Each wanted column's plan.
        schema: The file's own schema.
        limit: The most bytes that all columns may take.

    Raises:
        MemoryLimitError: They take more; the message shows the sum.
    """
    stepwise = [name for name, column in planned.items() if column.stepwise and column.most > limit]
    whole = [name for name in planned if name not in stepwise]
    table = file.read_row_group(row_group.index, columns=whole, use_threads=False).select(whole)
    sizes = {name: sum(written_out(chunk) for chunk in table.column(name).chunks) for name in whole}
    check_sizes(sizes, limit, row_group)
    for place, name in enumerate(whole):
        kind = schema.field(name).type
        if table.schema.field(name).type != kind:
            table = table.set_column(place, name, table.column(name).cast(kind))
    for name in stepwise:
        chunks = _decode_stepwise(file, row_group, name, planned[name], limit, sizes)
        table = table.append_column(name, pa.chunked_array(chunks, schema.field(name).type))
    return table.select(list(planned))


def _decode_stepwise(
    file: pq.ParquetFile,
    row_group: RowGroup,
    name: str,
    plan: PlannedColumn,
    limit: int,
    sizes: dict[str, int],
) -> list[pa.Array]:
    """Decode so few rows at a time that no step of it can pass the limit by much."""
    rows = min(max(limit // (4 * max(plan.per_row, 1)), 1), _MOST_ROWS)
    chunks: list[pa.Array] = []
    sizes[name] = 0
    for batch in file.iter_batches(rows, row_groups=[row_group.index], columns=[name], use_threads=False):
        chunks.append(batch.column(name))
        sizes[name] += chunks[-1].nbytes
        check_sizes(sizes, limit, row_group)
    return chunks


def written_out(array: pa.Array) -> int:
    """Bytes of a column once every value is written out, whatever it shares with others."""
    kind = array.type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return 8 * len(array) + int(_view_lengths(array).sum())
    if pa.types.is_dictionary(kind):
        return _written_out_dictionary(array)
    if pa.types.is_struct(kind):
        return sum(written_out(part) for part in array.flatten())
    if pa.types.is_map(kind):
        return array.nbytes + sum(written_out(part) for part in (array.keys, array.items))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return 4 * len(array) + written_out(array.flatten())
    return array.nbytes


def _written_out_dictionary(array: pa.Array) -> int:
    kind = array.dictionary.type
    if not _is_text(kind):
        return len(array) * (kind.bit_width // 8 + 1)
    lengths = _text_lengths(array.dictionary)
    return 4 * len(array) + (lengths.take(array.indices).cast(pa.int64()).sum().as_py() or 0)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_string_view(kind):
        return True
    return pa.types.is_large_string(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _text_lengths(array: pa.Array) -> pa.Array:
    if pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type):
        return pa.array(_view_lengths(array))
    return pc.call_function("binary_length", [array])


def _view_lengths(array: pa.Array) -> NDArray[np.int64]:
    """Bytes of each value, which are the first four bytes of its view; 0 where it is null."""
    if not len(array):
        return np.zeros(0, np.int64)
    views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)
    lengths = views[array.offset : array.offset + len(array), 0].astype(np.int64)
    return lengths * array.is_valid().to_numpy(zero_copy_only=False)


def check_sizes(sizes: Mapping[str, int], limit: int, row_group: RowGroup) -> None:
    """Refuse columns, given as name to bytes, that are too large together."""
    total = sum(sizes.values())
    if total <= limit:
        return
    largest = sorted(sizes.items(), key=lambda item: -item[1])
    terms = " + ".join(f"{size:,} (`{name}`)" for name, size in largest[:_SHOWN])
    more = f" + {sum(size for _, size in largest[_SHOWN:]):,} (others)" if len(largest) > _SHOWN else ""
    raise MemoryLimitError(
        f"{row_group}: decoding takes {terms}{more} = {total:,} bytes, more than the limit of {limit:,}; "
        "select fewer columns, or raise `memory_limit` in `hr.open`"
    )
