"""Folders as `ds.write` leaves them, laid out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.hashing.files import digest_file
from headrace.sources.written.manifest import NAME, WrittenFile, WrittenManifest
from headrace.writing.formats.base import FormatOptions
from headrace.writing.formats.opening import check_format, open_writer, suffix_of

Shards = Sequence[Sequence[pa.RecordBatch]]


def write_shard(
    path: Path, format: str, groups: Sequence[pa.RecordBatch], schema: Any, **options: Any
) -> Path:
    """Write one shard, row group by row group."""
    settings = FormatOptions(**options)
    check_format(format, schema, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = open_writer(format, path, schema, settings)
    for rows in groups:
        writer.write(rows)
    writer.close()
    return path


def write_folder(
    folder: Path,
    format: str,
    shards: Shards,
    schema: Any,
    *,
    folders: Sequence[str] = (),
    partition_by: Sequence[str] = (),
    **options: Any,
) -> Path:
    """Write shards and the manifest.

    Args:
        folder: Where.
        format: Which writer.
        shards: The row groups of each, without the columns of `partition_by`.
        schema: All columns.
        folders: Where each shard lies below, with "/" at the end.
        partition_by: The columns that are in the folders' names.
        options: Of the writer.
    """
    inside = pa.schema([field for field in schema if field.name not in partition_by])
    files: list[WrittenFile] = []
    for number, groups in enumerate(shards):
        name = f"{folders[number] if folders else ''}part-{number:05}{suffix_of(format)}"
        path = write_shard(folder / name, format, groups, inside, **options)
        files.append(entry_of(folder, name, groups))
        assert path.exists()
    manifest = WrittenManifest(format, schema, tuple(files), tuple(partition_by), {"source": "by hand"})
    (folder / NAME).write_bytes(manifest.to_bytes())
    return folder


def entry_of(folder: Path, name: str, groups: Sequence[pa.RecordBatch]) -> WrittenFile:
    """Make the manifest's entry of a file."""
    path = folder / name
    nulls: dict[str, int] = {}
    for rows in groups:
        for column, values in zip(rows.schema.names, rows.columns, strict=True):
            if values.null_count:
                nulls[column] = nulls.get(column, 0) + values.null_count
    rows = tuple(len(group) for group in groups)
    return WrittenFile(name, rows, path.stat().st_size, digest_file(str(path)), f"key of {name}", nulls)


def batch(columns: Mapping[str, Any]) -> pa.RecordBatch:
    """Make a record batch of lists or arrays."""
    arrays = [column if isinstance(column, pa.Array) else pa.array(column) for column in columns.values()]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))
