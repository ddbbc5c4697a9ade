"""The files of one table while it is open: rows are read from mapped arrays and written to their places."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from headrace.stores.base import Arrays, Columns, Layout
from headrace.stores.checksums import Checksum, as_bytes, checksum
from headrace.stores.folder.arrays import check_files, map_array, write_rows
from headrace.stores.folder.asides import Reserve, sweep, write_files
from headrace.stores.folder.header import MOST_HEADER_BYTES, TableHeader
from headrace.stores.folder.locks import is_same, open_lock
from headrace.stores.folder.loose import ENDINGS, Contents, decode, encode
from headrace.stores.folder.owned import HEADER, LOCK
from headrace.stores.folder.records import Record, Records
from headrace.stores.folder.safety import Bytes, open_folder, read_file
from headrace.stores.locks import try_lock, unlock

Loose = Mapping[str, Contents]
"""An entry's own files: name of the column to its files."""


class TableFiles:
    """One table that lies complete in a folder. Thread-safe.

    It holds a shared lock on the table, so that nobody removes it. What it reads is not verified here.

    Attributes:
        header: What the table was made for.
        arrays: Its arrays, mapped and read-only.
        records: Its entries' records.
    """

    def __init__(self, folder: int, lock: int) -> None:
        """Map the files of an open folder; `open` is the way to one.

        Raises:
            FileNotFoundError: It holds no table.
            ValueError: The table is damaged.
        """
        self._folder = folder
        self._lock = lock
        self._process = os.getpid()
        self.header = TableHeader.decode(read_file(HEADER, folder, MOST_HEADER_BYTES))
        check_files(len(self.header.arrays))
        try:
            self._mapped = {
                name: map_array(file, kind, self.header.rows, folder)
                for name, (file, kind) in self.header.arrays.items()
            }
            self.records = Records([entry.key for entry in self.header.layout.entries], folder)
        except FileNotFoundError as error:
            raise ValueError(f"`{error.filename}` is missing") from error
        self.arrays: Arrays = {name: mapped.array for name, mapped in self._mapped.items()}

    @staticmethod
    def open(path: str, layout: Layout | None = None) -> TableFiles | None:
        """Open the table in a folder; None if there is none, or somebody removes it.

        Args:
            path: Of the table's folder.
            layout: What the table must be of; whatever it is of by default.

        Raises:
            ValueError: It is damaged.
            CacheError: The folder belongs to somebody else, or everyone may write to it.
            OSError: It cannot be read.
        """
        try:
            folder = open_folder(path)
        except FileNotFoundError:
            return None
        lock: int | None = None
        try:
            lock = open_lock(folder)
            if lock is not None and try_lock(lock, shared=True) and is_same(lock, LOCK, folder):
                files = TableFiles(folder, lock)
                if layout is not None and list(files.header.layout.entries) != list(layout.entries):
                    files.records.close()
                    raise ValueError("the table is of other entries")
                with suppress(OSError):
                    os.utime(lock)
                sweep(folder)
                return files
        except FileNotFoundError:
            pass
        except BaseException:
            _close(folder, lock)
            raise
        _close(folder, lock)
        return None

    def close(self) -> None:
        """Give up the lock. Arrays stay valid for as long as they are held."""
        with suppress(OSError):
            os.utime(self._lock)
        self.records.close()
        if os.getpid() == self._process:
            _close(self._folder, self._lock)
        else:  # a fork shares the lock, which stays that of its parent
            os.close(self._lock)
            os.close(self._folder)

    def is_cut(self) -> bool:
        """Tell whether a mapped file was cut off, so that nothing mapped may be touched any more."""
        return any(mapped.is_cut(self._folder) for mapped in self._mapped.values())

    def rows_of(self, number: int, copies: Arrays | None = None) -> Arrays:
        """Return an entry's rows in the arrays, or in copies of these, as views."""
        begin, end = self.header.layout.starts[number : number + 2]
        return {name: array[begin:end] for name, array in (copies or self.arrays).items()}

    def read_loose(self, number: int, record: Record) -> Loose:
        """Read an entry's own files.

        Raises:
            ValueError: They have another size than the record says, or are missing.
            OSError: They cannot be read.
        """
        loose: dict[str, dict[str, Bytes]] = {}
        left = record.nbytes
        for name, (place, _) in self.header.loose.items():
            loose[name] = {}
            for ending in ENDINGS:
                with suppress(FileNotFoundError):
                    content = read_file(f"{place}/{number}.{ending}", self._folder, left)
                    loose[name][ending] = content
                    left -= len(content)
        if left:
            raise ValueError(f"files of {left:,} bytes are missing")
        return loose

    def columns_of(self, number: int, rows: Arrays, loose: Loose) -> Columns:
        """Put an entry's rows together, in the order in which they were put.

        Raises:
            ValueError: Its own files do not hold what they must.
        """
        count = self.header.layout.entries[number].rows
        decoded = {name: decode(loose[name], kind, count) for name, (_, kind) in self.header.loose.items()}
        return {name: rows[name] if name in rows else decoded[name] for name in self.header.formats}

    def write(self, number: int, columns: Columns, reserve: Reserve) -> int | None:
        """Write an entry, and publish it once the disk has all of it.

        Returns:
            Its bytes; None if the limit does not allow them.

        Raises:
            OSError: It cannot be written, and is not there.
        """
        loose = {name: encode(columns[name]) for name in self.header.loose}
        nbytes = sum(len(content) for parts in loose.values() for content in parts.values())
        if not self._write_loose(number, loose, reserve):
            return None
        first = int(self.header.layout.starts[number])
        contents: list[Bytes] = []
        for name, mapped in self._mapped.items():
            array = columns[name]
            assert isinstance(array, np.ndarray)
            contents.append(as_bytes(np.ascontiguousarray(array)))
            row_bytes = self.header.arrays[name][1].row_bytes
            write_rows(mapped, first, contents[-1], row_bytes, self._folder)
        self.records.write(number, Record(checksum(contents), _checksum(loose), nbytes))
        return nbytes + sum(len(content) for content in contents)

    def _write_loose(self, number: int, loose: Loose, reserve: Reserve) -> bool:
        if not loose:
            return True
        places = {
            f"{self.header.loose[name][0]}/{number}.{ending}": content
            for name, parts in loose.items()
            for ending, content in parts.items()
        }
        return write_files(places, self._folder, reserve)


def verify_rows(record: Record, rows: Arrays) -> None:
    """Hold an entry's rows against its record.

    Raises:
        ValueError: They are damaged.
    """
    if checksum([as_bytes(each) for each in rows.values()]) != record.arrays:
        raise ValueError("the checksum of its rows is another")


def verify_loose(record: Record, loose: Loose) -> None:
    """Hold an entry's own files against its record, if there are any.

    Raises:
        ValueError: They are damaged.
    """
    if loose and _checksum(loose) != record.files:
        raise ValueError("the checksum of its files is another")


def _checksum(loose: Loose) -> Checksum:
    return checksum([parts[ending] for parts in loose.values() for ending in ENDINGS if ending in parts])


def _close(folder: int, lock: int | None) -> None:
    if lock is not None:
        unlock(lock)
    os.close(folder)
