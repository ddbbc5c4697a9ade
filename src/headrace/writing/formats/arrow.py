"""Arrow IPC shards: record batches as they lie in memory, dictionaries joined to one for each column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.errors import SchemaError
from headrace.sources.written.stored import stored_schema
from headrace.writing.formats.arrow_layout import ArrowLayout
from headrace.writing.formats.base import FormatOptions
from headrace.writing.formats.columns import to_stored


class ArrowShardWriter:
    """Writes one Arrow IPC file; one record batch for each call.

    Equal values have equal bytes, and a column has one dictionary; see `ArrowLayout`.
    """

    def __init__(self, path: Path, schema: pa.Schema, options: FormatOptions) -> None:
        """Create the file."""
        self._schema, self._stored = schema, stored_schema(schema, "arrow")
        codec = options.compression or "none"  # read as they lie in memory
        self._sink = pa.OSFile(str(path), "wb")
        settings = pa.ipc.IpcWriteOptions(
            compression=None if codec == "none" else codec, emit_dictionary_deltas=True
        )
        self._writer: Any = pa.ipc.new_file(self._sink, self._stored, options=settings)
        self._layout = ArrowLayout()

    def write(self, rows: pa.RecordBatch) -> None:
        """Append one record batch.

        Raises:
            OSError: It cannot be written.
            SchemaError: A value cannot be stored.
        """
        batch = to_stored(rows, self._schema, self._stored)
        columns: list[pa.Array] = []
        for field, column in zip(self._stored, batch.columns, strict=True):
            try:
                column.validate(full=True)  # or nobody could read it
                columns.append(self._layout.settle(field.name, column))
            except (pa.ArrowException, SchemaError) as error:
                raise SchemaError(f"column `{field.name}` of type {field.type}: {error}") from error
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._stored))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()
        self._sink.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._sink.close()
