"""The byte budget of one row group: judged before decoding, and again after it.

A file of some hundred bytes can decode to gigabytes: a page that was compressed well, or one
long dictionary entry that every row repeats.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.errors import MemoryLimitError, OptionError
from headrace.manifest import RowGroup

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_FIXED_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_SHOWN = 6


def parse_bytes(size: int | str | None) -> int:
    """Read a size like 1_000, "20GB" or "512MiB"; None is a quarter of the machine's memory.

    Example:
        >>> parse_bytes("20GB")
        20000000000
    """
    if size is None:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    if isinstance(size, str):
        digits = size.strip().upper()
        unit = digits.lstrip("0123456789.").strip()
        try:
            value = int(float(digits[: len(digits) - len(unit)]) * _UNITS[unit])
        except (KeyError, ValueError):
            value = 0
        if value > 0:
            return value
    raise OptionError(f'a size must be a positive number of bytes or a text like "20GB" or "512MiB", got {size!r}')


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """How many bytes a column takes once decoded, as far as its footer tells.

    Attributes:
        least: What it takes at the least.
        most: What it takes at the most; more than `least` where a dictionary is written out.
    """

    least: int
    most: int

    @property
    def doubtful(self) -> bool:
        """Whether only decoding can tell."""
        return self.most > self.least


def plan_bytes(
    metadata: pq.FileMetaData, index: int, schema: pa.Schema, columns: Sequence[str]
) -> dict[str, PlannedColumn]:
    """Sum up the footer's sizes for each wanted column of a row group."""
    wanted = set(columns)
    planned = dict.fromkeys(columns, PlannedColumn(0, 0))
    group = metadata.row_group(index)
    for number in range(metadata.num_columns):
        chunk = group.column(number)
        path = chunk.path_in_schema
        name = path if path in wanted else path.split(".", 1)[0]
        if name not in wanted:
            continue
        stored = max(chunk.total_uncompressed_size, 0)
        width = _FIXED_WIDTHS.get(chunk.physical_type)
        least = max(chunk.num_values * width if width else 0, stored)
        is_flat_text = width is None and name == path and chunk.has_dictionary_page
        is_text = pa.types.is_string(schema.field(name).type) or pa.types.is_binary(schema.field(name).type)
        most = chunk.num_values * stored if is_flat_text and is_text else least
        planned[name] = PlannedColumn(planned[name].least + least, planned[name].most + max(most, least))
    return planned


def check_planned(planned: Mapping[str, PlannedColumn], limit: int, row_group: RowGroup) -> None:
    """Refuse a row group whose footer already tells that it is too large."""
    _check({name: column.least for name, column in planned.items()}, limit, row_group)


def check_decoded(table: pa.Table, schema: pa.Schema, limit: int, row_group: RowGroup) -> pa.Table:
    """Refuse decoded columns that are too large, and write dictionaries out where they fit."""
    sizes = {name: _written_out(table.column(name)) for name in table.schema.names}
    _check(sizes, limit, row_group)
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(schema.field(field.name).type):
            plain = table.column(place).cast(schema.field(field.name).type)
            table = table.set_column(place, field.name, plain)
    return table


def _written_out(column: pa.ChunkedArray) -> int:
    """Bytes of a column once no dictionary is left."""
    if not pa.types.is_dictionary(column.type):
        return column.nbytes
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary)
        total += pc.sum(pc.take(lengths, chunk.indices).cast(pa.int64())).as_py() or 0
    return total


def _check(sizes: Mapping[str, int], limit: int, row_group: RowGroup) -> None:
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
