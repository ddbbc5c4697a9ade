"""Arrow IPC files for tests, and their parts to damage."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.dataset import Dataset
from headrace.sources.arrow import ArrowOptions, ArrowSource
from headrace.sources.files import find_files


def write(
    path: Path, table: Any, rows: int | None = None, kind: str = "file", compression: str | None = None
) -> Path:
    """Write a table as a file or a stream, with so many rows in a record batch."""
    table = table if isinstance(table, pa.Table) else pa.table(table)
    new: Any = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with new(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def open_arrow(path: Any, limit: int = 1 << 30, **options: Any) -> ArrowSource:
    return ArrowSource.open(find_files(path), ArrowOptions(**options), limit)


def read(path: Any, limit: int = 1 << 30, **options: Any) -> pa.Table:
    return Dataset.of(open_arrow(path, limit, **options)).to_arrow()


def body_of(path: Path, batch: int = 0) -> tuple[int, int]:
    """Tell where the values of a record batch begin in a file, and how many bytes they take."""
    block = open_arrow(path).heads[0].batches[batch]
    return block.begin + block.head, block.body


def patch(path: Path, place: int, value: int, code: str) -> None:
    """Write a whole number over what stands at a place."""
    content = bytearray(path.read_bytes())
    struct.pack_into(code, content, place, value)
    path.write_bytes(content)
