"""Counts on disk, by hash of the value: each part of the values can be read alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl

PARTITIONS = 64


@dataclass(frozen=True, slots=True)
class Run:
    """A table of counts in a file that has no name any more, a record batch for each partition of the values.

    Attributes:
        file: The file, mapped; the last reference to it frees the disk.
    """

    file: pa.Buffer

    def read(self, number: int, schema: pl.Schema) -> pl.DataFrame:
        """Read a partition."""
        import polars as pl

        batch = pa.ipc.open_file(self.file).get_batch(number)
        return cast("pl.DataFrame", pl.from_arrow(batch, schema=schema))


def write_run(table: pl.DataFrame) -> Run:
    """Write a table of counts to the folder for temporary files.

    Raises:
        OSError: The folder is full, or cannot be written to.
    """
    parts = [part.rechunk().to_arrow().combine_chunks() for part in partition_of(table)]
    handle, path = tempfile.mkstemp(prefix="headrace-counts-")
    os.close(handle)
    try:
        with pa.ipc.new_file(path, parts[0].schema) as writer:
            for part in parts:
                batches = part.to_batches()
                writer.write_batch(batches[0] if batches else _empty(part.schema))
        return Run(pa.memory_map(path).read_buffer())
    finally:
        os.unlink(path)


def partition_of(table: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Divide a table among partitions by a hash of its values, the same one for all tables of a process."""
    import polars as pl

    number = (table["value"].hash() % PARTITIONS).cast(pl.Int64).alias("partition")
    keyed = table.with_columns(number).partition_by("partition", as_dict=True, include_key=False)
    return (keyed.get((place,), table.clear()) for place in range(PARTITIONS))


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
