"""The space that tables take: they are made, grown and removed below a limit, one process at a time."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from headrace.errors import CacheError, OptionError
from headrace.stores.base import Layout
from headrace.stores.counts import Counts
from headrace.stores.folder.arrays import allocate_array, resize_array
from headrace.stores.folder.asides import ASIDE, write_files
from headrace.stores.folder.header import MOST_HEADER_BYTES, Formats, TableHeader
from headrace.stores.folder.locks import is_same, locked, open_lock, try_lock, unlock
from headrace.stores.folder.owned import (
    FOLDER_LOCK,
    HEADER,
    LEASES,
    LOCK,
    MARKER,
    TABLES,
    find_own,
    new_table_path,
    new_tables,
    remove_own,
    table_keys,
    table_path,
    top_bytes,
)
from headrace.stores.folder.records import RECORD_FORMAT, RECORDS, list_sound
from headrace.stores.folder.safety import check_owner, open_file, open_folder, read_file

_VERSION = 1
_MOST_MARKER_BYTES = 4096


class Space:
    """The folder of a store, and how many bytes its tables may take. Thread-safe, safe among processes.

    Whatever changes which tables there are happens under one lock of the file system.

    Attributes:
        path: Of the folder.
        limit: The most bytes that the store's own files may take; None for no limit.
        counts: Where removed entries are counted.
    """

    def __init__(self, path: str, limit: int | None, counts: Counts) -> None:
        """Take note; nothing is made."""
        self.path = path
        self.limit = limit
        self.counts = counts

    def check(self) -> None:
        """Refuse a folder that must not be used.

        Raises:
            CacheError: It is no folder, belongs to somebody else, everyone may write to it, or it is of
                another version.
            OSError: It cannot be looked at.
        """
        with suppress(FileNotFoundError):
            check_owner(os.stat(self.path), self.path)
            self._check_marker()

    def prepare(self) -> None:
        """Make the folder, if need be.

        Raises:
            CacheError: It must not be used.
            OSError: It cannot be made.
        """
        with suppress(FileExistsError):
            os.makedirs(self.path, mode=0o700)
        self.check()
        for name in (TABLES, LEASES):
            os.makedirs(os.path.join(self.path, name), mode=0o700, exist_ok=True)
        marker = Path(self.path, MARKER)
        with suppress(OSError):  # it says what this is, and is not needed
            if not marker.exists():
                marker.write_bytes(json.dumps({"format": "headrace cache", "version": _VERSION}).encode())

    def create(self, layout: Layout, formats: Formats, loose_row_bytes: int, nbytes: int) -> bool:
        """Make a table, unless another process just did; False if the limit leaves no place for an entry.

        Where not all entries fit, it has places for the first ones: for data that is read over and over,
        nothing that is chosen later could do better.

        Args:
            layout: The entries.
            formats: Their columns.
            loose_row_bytes: About how many bytes a row takes in files of its entry.
            nbytes: What the entry takes for which the table is made.

        Raises:
            OptionError: The limit is below the largest entry.
            OSError: It cannot be made; nothing of it is left.
        """
        if self.limit is None:  # then nothing depends on which entry came first
            loose_row_bytes = 0
        full = TableHeader(layout, formats, len(layout.entries), loose_row_bytes)
        self._check_limit(full, nbytes)
        self.prepare()
        with self.locked():
            self._sweep()
            if os.path.lexists(os.path.join(table_path(self.path, layout.key), HEADER)):
                return True
            header = self._fit(full, self._make_room(_size(full), layout.key))
            if header is None:
                return False
            try:
                self._make(header)
            except OSError as error:
                reason = f"{error.strerror} while {_size(header):,} bytes were allocated"
                raise OSError(error.errno, reason) from error
        return True

    def adapt(self, layout: Layout) -> None:
        """Bring the tables that there are below the limit, and let the one of a layout grow to it.

        Raises:
            OSError: That is not possible.
        """
        path = table_path(self.path, layout.key)
        header = _read_header(path)
        if self.limit is None and (header is None or header.kept == len(layout.entries)):
            return
        with self.locked():
            self._sweep()
            if self._make_room(0, layout.key) < 0:
                self.remove(layout.key)
            header = _read_header(path)
            if header is None or header.kept == len(layout.entries):
                return
            full = replace(header, kept=len(layout.entries))
            own = find_own(path).nbytes
            larger = self._fit(full, own + self._make_room(_size(full) - own, layout.key))
            if larger is not None and larger.kept > header.kept:
                _grow(path, larger)

    @contextmanager
    def reserve(self, nbytes: int, key: str) -> Generator[bool]:
        """Hold the right to so many bytes more for a table; yields whether the limit allows them.

        Raises:
            OSError: The folder cannot be locked.
        """
        if self.limit is None:
            yield True
            return
        with self.locked():
            yield self._make_room(nbytes, key) >= nbytes

    def remove(self, key: str) -> list[int] | None:
        """Remove a table; only with the lock held.

        Returns:
            The entries that it had; None if somebody has it open, or it is none.

        Raises:
            OSError: A file cannot be removed.
        """
        path = table_path(self.path, key)
        try:
            folder = open_folder(path)
        except (FileNotFoundError, CacheError, NotADirectoryError):
            return None
        try:
            lock = open_lock(folder)
            if lock is None:
                return None
            try:
                if not try_lock(lock) or not is_same(lock, LOCK, folder):
                    return None
                entries = list_sound(folder)
                remove_own(find_own(path))
                return entries
            finally:
                unlock(lock)
        finally:
            os.close(folder)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the lock of the folder.

        Raises:
            OSError: It cannot be had.
        """
        with locked(os.path.join(self.path, FOLDER_LOCK)):
            yield

    def _make_room(self, needed: int, own: str) -> int:
        """Remove other tables, least recently used first, until so many bytes more are within the limit.

        Returns:
            Bytes that the limit leaves, below 0 if it is exceeded.
        """
        if self.limit is None:
            return 1 << 62
        used = top_bytes(self.path)
        tables: list[tuple[int, str, int]] = []
        for key in table_keys(self.path):
            found = find_own(table_path(self.path, key))
            used += found.nbytes
            tables.append((_last_used(found.path), key, found.nbytes))
        for _, key, nbytes in sorted(tables):
            if used + needed <= self.limit:
                break
            entries = None if key == own else self.remove(key)
            if entries is not None:
                used -= nbytes
                self.counts.add(evicted=len(entries))
        return self.limit - used

    def _make(self, header: TableHeader) -> None:
        """Make a table aside, and give it its name."""
        aside = new_table_path(self.path, uuid.uuid4().hex)
        try:
            os.mkdir(aside, 0o700)
            folder = open_folder(aside)
            try:
                for name in (ASIDE, *(place for place, _ in header.loose.values())):
                    os.mkdir(name, 0o700, dir_fd=folder)
                for name, kind in header.arrays.values():
                    allocate_array(name, kind, header.rows, folder)
                allocate_array(RECORDS, RECORD_FORMAT, len(header.layout.entries), folder)
                os.close(open_file(LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, folder))
                _write_header(header, folder)
            finally:
                os.close(folder)
            _give_name(aside, table_path(self.path, header.layout.key))
        finally:
            remove_own(find_own(aside))

    def _fit(self, full: TableHeader, room: int) -> TableHeader | None:
        """Return the header of as many entries, from the first one on, as there is room for."""
        left = room - full.fixed_bytes
        if left < 0:
            return None
        starts = full.layout.starts
        most = left // full.row_bytes if full.row_bytes else int(starts[-1])
        kept = int(np.searchsorted(starts, most, side="right")) - 1
        return replace(full, kept=kept) if kept else None

    def _check_limit(self, full: TableHeader, nbytes: int) -> None:
        rows = max(entry.rows for entry in full.layout.entries)
        size = full.fixed_bytes + max(nbytes, rows * (full.row_bytes - full.loose_row_bytes))
        if self.limit is not None and size > self.limit:
            raise OptionError(
                f"`limit` must hold one prepared row group at least, got {self.limit:,} bytes for {size:,} "
                f"in {self.path} (a row group of up to {rows:,} rows, and {full.fixed_bytes:,} bytes to list "
                f"{len(full.layout.entries):,} of them); raise the limit, or write smaller row groups"
            )

    def _sweep(self) -> None:
        """Remove what the dead have left: nobody makes a table while this process holds the lock."""
        for aside in new_tables(self.path):
            remove_own(find_own(aside))
        for key in table_keys(self.path):
            if not os.path.lexists(os.path.join(table_path(self.path, key), HEADER)):
                self.remove(key)

    def _check_marker(self) -> None:
        try:
            found = json.loads(Path(self.path, MARKER).read_bytes()[:_MOST_MARKER_BYTES])
            version = found["version"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return  # it says nothing of what the tables hold
        if version != _VERSION:
            raise CacheError(
                f"{self.path}: is a cache of format version {version!r}, this release reads {_VERSION}; name "
                "another folder, or delete this one"
            )


def _size(header: TableHeader) -> int:
    return header.fixed_bytes + header.rows * header.row_bytes


def _read_header(path: str) -> TableHeader | None:
    """Read what a table was made for, from the file alone; None if it does not say."""
    try:
        folder = open_folder(path)
    except (OSError, CacheError):
        return None
    try:
        return TableHeader.decode(read_file(HEADER, folder, MOST_HEADER_BYTES))
    except (OSError, ValueError):
        return None
    finally:
        os.close(folder)


def _grow(path: str, header: TableHeader) -> None:
    """Give a table places for more entries; whoever has it open keeps seeing the old ones."""
    folder = open_folder(path)
    try:
        for name, kind in header.arrays.values():
            resize_array(name, kind, header.rows, folder)
        _write_header(header, folder)
    finally:
        os.close(folder)


def _write_header(header: TableHeader, folder: int) -> None:
    content = np.frombuffer(header.encode(), np.uint8)
    write_files({HEADER: content}, folder, lambda _: nullcontext(True))


def _give_name(aside: str, path: str) -> None:
    """Rename a folder; where the user keeps files in one of that name, they stay."""
    try:
        os.rename(aside, path)
    except OSError:
        if not os.path.isdir(path) or os.path.islink(path):
            raise
        found = find_own(aside)
        for folder in found.subfolders:
            os.makedirs(os.path.join(path, os.path.basename(folder)), mode=0o700, exist_ok=True)
        for file in reversed(found.files):  # the header last
            os.rename(file, os.path.join(path, os.path.basename(file)))


def _last_used(path: str) -> int:
    try:
        return os.stat(os.path.join(path, LOCK), follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0
