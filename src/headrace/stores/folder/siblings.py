"""Entries that other tables of a folder hold, so that a data set that grew or changed keeps what did not."""

from __future__ import annotations

import threading
from contextlib import suppress

from headrace.errors import CacheError
from headrace.stores.base import Columns
from headrace.stores.folder.files import TableFiles, verify_loose, verify_rows
from headrace.stores.folder.header import read_header
from headrace.stores.folder.owned import table_keys, table_path


class Siblings:
    """The tables of a folder beside one, as they are when the first entry is asked for. Thread-safe."""

    def __init__(self, path: str, own: str) -> None:
        """Take note; nothing is read.

        Args:
            path: Of the store's folder.
            own: Key of the table that asks.
        """
        self._path = path
        self._own = own
        self._lock = threading.Lock()
        self._places: dict[str, list[tuple[str, int]]] | None = None

    def get(self, key: str) -> Columns | None:
        """Return the verified rows of an entry that another table has; None if none has.

        The arrays stay valid when that table is removed, which nothing here prevents.
        """
        for path, number in self._find().get(key, ()):
            with suppress(OSError, ValueError, CacheError):
                columns = _read(path, number)
                if columns is not None:
                    return columns
        return None

    def _find(self) -> dict[str, list[tuple[str, int]]]:
        with self._lock:
            if self._places is None:
                self._places = {}
                for key in table_keys(self._path):
                    if key != self._own:
                        self._note(self._places, table_path(self._path, key))
            return self._places

    @staticmethod
    def _note(places: dict[str, list[tuple[str, int]]], path: str) -> None:
        header = read_header(path)
        for number, entry in enumerate(() if header is None else header.layout.entries[: header.kept]):
            places.setdefault(entry.key, []).append((path, number))


def _read(path: str, number: int) -> Columns | None:
    """Read one entry of a table that is open for just as long.

    Raises:
        OSError: The table cannot be read.
        ValueError: It is damaged.
    """
    files = TableFiles.open(path)
    if files is None:
        return None
    try:
        record = files.records.read(number)
        if record is None:
            return None
        loose, rows = files.read_loose(number, record), files.rows_of(number)
        verify_loose(record, loose)
        verify_rows(record, rows)
        return files.columns_of(number, rows, loose)
    finally:
        files.close()
