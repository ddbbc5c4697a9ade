"""Parquet shards: page checksums, statistics, and dictionaries where values repeat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.errors import OptionError
from headrace.sources.base import check_columns
from headrace.sources.written.converting import to_entries
from headrace.sources.written.stored import stored_schema
from headrace.writing.formats.base import FormatOptions
from headrace.writing.formats.columns import to_stored

_SAMPLED = 8192
_FALSE_POSITIVES = 0.01
_DICTIONARY_BYTES = 1 << 30  # more than any page; categories whose order counts must not fall back to values
_types = pa.types


class ParquetShardWriter:
    """Writes one Parquet file; one row group for each call.

    Columns whose values repeat in the first row group are encoded by dictionaries, others as they are: either
    is the smaller and the faster there.
    """

    def __init__(self, path: Path, schema: pa.Schema, options: FormatOptions) -> None:
        """Create the file."""
        self._schema, self._stored, self._options = schema, stored_schema(schema, "parquet"), options
        self._sink = pa.OSFile(str(path), "wb")
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.RecordBatch) -> None:
        """Append one row group.

        Raises:
            OSError: It cannot be written.
            SchemaError: A value cannot be stored.
        """
        table = pa.Table.from_batches([to_stored(rows, self._schema, self._stored)])
        self._begun(table).write_table(table, row_group_size=max(table.num_rows, 1))

    def close(self) -> None:
        """Write the footer."""
        self._begun(pa.Table.from_batches([], self._stored)).close()
        self._sink.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        if self._writer is not None:
            self._writer.is_open = False  # or it writes a footer when it is collected
        self._sink.close()

    def _begun(self, table: pa.Table) -> pq.ParquetWriter:
        """Return the writer, which is made for the first row group's values."""
        if self._writer is None:
            is_ordered = any(_types.is_dictionary(kind) and kind.ordered for kind in self._stored.types)
            bloom = {"ndv": max(table.num_rows, 1), "fpp": _FALSE_POSITIVES}
            settings: dict[str, Any] = {
                "version": "2.6",
                "compression": self._options.compression or "zstd",
                "use_dictionary": [path for path, values in _leaves_of(table) if _repeats(values)],
                "dictionary_pagesize_limit": _DICTIONARY_BYTES if is_ordered else None,
                "write_page_checksum": True,
                "store_schema": True,
                "bloom_filter_options": dict.fromkeys(self._options.bloom_filters, bloom) or None,
            }
            self._writer = pq.ParquetWriter(self._sink, self._stored, **settings)
        return self._writer


def check_bloom_filters(schema: pa.Schema, names: Sequence[str]) -> None:
    """Refuse columns that can have no Bloom filter.

    Raises:
        UnknownColumnError: There is no such column.
        OptionError: Nothing looks up values of its type.
    """
    check_columns(names, schema, "`bloom_filters`: the shard")
    for name in names:
        kind = schema.field(name).type
        is_fit = _types.is_integer(kind) or _types.is_temporal(kind) or _is_text_or_bytes(kind)
        if not is_fit:
            raise OptionError(
                "`bloom_filters` takes columns of whole numbers, text, binary, dates and times, but column "
                f"`{name}` has the type {kind}; leave it out"
            )


def _is_text_or_bytes(kind: pa.DataType) -> bool:
    names = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    return any(getattr(_types, f"is_{name}")(kind) for name in names)


def _leaves_of(table: pa.Table) -> Iterator[tuple[str, Any]]:
    """Name the columns of a Parquet file as it nests them, with their values."""
    for name in table.column_names:
        column: Any = table.column(name)
        yield from _leaves(name, column.chunk(0) if column.num_chunks else pa.array([], column.type))


def _leaves(path: str, array: Any) -> Iterator[tuple[str, Any]]:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        yield from _leaves(path, array.storage)
    elif _types.is_struct(kind):
        for field, part in zip(kind, array.flatten(), strict=True):
            yield from _leaves(f"{path}.{field.name}", part)
    elif _types.is_map(kind):
        for name, part in zip(("key", "value"), to_entries(array).flatten().flatten(), strict=True):
            yield from _leaves(f"{path}.key_value.{name}", part)
    elif _types.is_nested(kind):
        yield from _leaves(f"{path}.list.element", array.flatten())
    else:
        yield path, array


def _repeats(values: Any) -> bool:
    """Whether at most half of some values, spread over all of them, are different ones."""
    kind = values.type
    if _types.is_dictionary(kind):
        return True
    if _types.is_boolean(kind) or _types.is_null(kind) or not len(values):
        return False
    places = np.linspace(0, len(values) - 1, min(len(values), _SAMPLED)).astype(np.int64)
    sample = values.take(pa.array(places))
    found = pc.call_function("count_distinct", [sample], pc.CountOptions(mode="only_valid"))
    return 2 * found.as_py() <= len(sample)
