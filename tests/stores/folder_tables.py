"""Tables in a folder, to be written, damaged and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.fingerprint import digest
from headrace.stores.base import Columns, Entry, Layout
from headrace.stores.folder.store import FolderStore
from headrace.stores.folder.table import FolderTable

ROWS = (4, 3, 5)


def layout_of(name: str = "a", rows: Sequence[int] = ROWS) -> Layout:
    """Entries whose keys follow from the name."""
    return Layout(tuple(Entry(digest(name, number), count) for number, count in enumerate(rows)))


def arrays_of(number: int, rows: int | None = None) -> dict[str, Any]:
    """Two arrays."""
    count = ROWS[number % len(ROWS)] if rows is None else rows
    random = np.random.default_rng(number)
    return {"x": random.random((count, 2)).astype(np.float32), "y": random.integers(0, 99, count)}


def columns_of(number: int, rows: int | None = None) -> dict[str, Any]:
    """An array, text with nulls, and lists of numbers."""
    count = ROWS[number % len(ROWS)] if rows is None else rows
    return {
        "x": np.random.default_rng(number).random((count, 2)),
        "text": pa.array([None if row == 1 else f"{number}/{row}" for row in range(count)]),
        "lists": pa.array([[number] * (row % 3) for row in range(count)], pa.list_(pa.int16())),
    }


def fill(store: FolderStore, layout: Layout | None = None, make: Any = columns_of) -> None:
    """Put every entry that is not there."""
    layout = layout or layout_of()
    table = store.open(layout)
    for number, entry in enumerate(layout.entries):
        table.put(number, make(number, entry.rows))
    table.close()


def same(found: Columns | None, expected: Columns) -> bool:
    """Names, order, types, shapes and bytes."""
    if found is None or list(found) != list(expected):
        return False
    for name, column in expected.items():
        got = found[name]
        if isinstance(column, np.ndarray):
            assert isinstance(got, np.ndarray)
            if (got.dtype, got.shape, got.tobytes()) != (column.dtype, column.shape, column.tobytes()):
                return False
        else:
            assert isinstance(got, pa.Array)
            if not (got.type.equals(column.type, check_metadata=True) and got.equals(column)):
                return False
    return True


def present(table: FolderTable, layout: Layout | None = None, make: Any = columns_of) -> list[int]:
    """Which entries are there; each of them must be right."""
    found: list[int] = []
    for number, entry in enumerate((layout or layout_of()).entries):
        columns = table.get(number)
        if columns is not None:
            assert same(columns, make(number, entry.rows)), f"entry {number} is wrong"
            found.append(number)
    return found


def table_folder(store: FolderStore, layout: Layout | None = None) -> Path:
    return Path(store.path, "tables", (layout or layout_of()).key)


def files_of(store: FolderStore) -> list[Path]:
    """All files, those without content aside."""
    found = sorted(path for path in Path(store.path).rglob("*") if path.is_file() and path.stat().st_size)
    assert found
    return found


def bytes_of(path: str | Path) -> int:
    """What all files take."""
    total = 0
    for file in Path(path).rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total
