"""Parquet files for tests: written, cut, patched and rewritten on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write(path: Path, columns: dict[str, Any] | pa.Table | None = None, **options: Any) -> str:
    """Write one shard, the folders that lead to it included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = columns if isinstance(columns, pa.Table) else pa.table(columns or {"x": [1, 2, 3]})
    pq.write_table(table, path, **options)
    return str(path)


def write_groups(path: Path, groups: list[pa.Table], **options: Any) -> str:
    """Write one shard with a row group for each table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, groups[0].schema, **options) as writer:
        for group in groups:
            writer.write_table(group)
    return str(path)


def rewrite_unseen(path: str, content: bytes) -> None:
    """Write a file's content anew in place and give it its old time of modification back."""
    before = os.stat(path)
    _wait_for_tick(path, before.st_ctime_ns)
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _wait_for_tick(path: str, moment: int) -> None:
    """Wait until the file system's clock, which ticks some hundred times a second, is past a moment."""
    probe = path + ".probe"
    while True:
        with open(probe, "wb"):
            later = os.stat(probe).st_ctime_ns > moment
        os.remove(probe)
        if later:
            return
        time.sleep(0.001)


def promise_rows(path: str, rows: int, promised: int) -> None:
    """Patch a footer so that its first row group, and with it the total, promise other numbers of rows.

    Numbers in a footer are zigzag varints; the right ones are found by trying all places where the
    number stands behind the head of a 64-bit field.
    """
    more = promised - rows
    total = pq.read_metadata(path).num_rows
    _patch(path, rows, promised, lambda found: found.row_group(0).num_rows == promised)
    _patch(path, total, total + more, lambda found: found.num_rows == total + more)


def promise_total(path: str, rows: int, promised: int) -> None:
    """Patch a footer so that it promises another number of rows in all, and its row groups do not."""
    _patch(path, rows, promised, lambda found: found.num_rows == promised)


def _patch(path: str, number: int, other: int, is_done: Callable[[pq.FileMetaData], bool]) -> None:
    content = bytearray(Path(path).read_bytes())
    old, new = b"\x16" + _varint(2 * number), b"\x16" + _varint(2 * other)
    assert len(old) == len(new), "both numbers must take as many bytes"
    begin = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    while (begin := content.find(old, begin)) >= 0:
        patched = content[:begin] + new + content[begin + len(old) :]
        Path(path).write_bytes(patched)
        if is_done(pq.read_metadata(path)):
            return
        begin += 1
    raise AssertionError("the number of rows was not found")


def _varint(number: int) -> bytes:
    parts: list[int] = []
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
