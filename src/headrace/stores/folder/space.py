"""The space that tables take: they are made, grown and removed below a limit, one process at a time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from headrace.errors import CacheError, OptionError
from headrace.stores.base import Layout
from headrace.stores.counts import Counts
from headrace.stores.folder.files import TableFiles
from headrace.stores.folder.header import Formats, TableHeader, read_header
from headrace.stores.folder.locks import is_same, locked, open_lock
from headrace.stores.folder.making import grow_table, make_table
from headrace.stores.folder.owned import (
    FOLDER_LOCK,
    HEADER,
    LEASES,
    LOCK,
    MARKER,
    TABLE_VERSION,
    TABLES,
    find_own,
    new_tables,
    remove_own,
    table_keys,
    table_path,
    top_bytes,
)
from headrace.stores.folder.records import list_sound
from headrace.stores.folder.safety import open_folder, read_file
from headrace.stores.locks import try_lock, unlock
from headrace.stores.owners import check_owner

_MOST_MARKER_BYTES = 4096
_TRIES, _PAUSE_SECONDS = 20, 0.01


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
        for path in (os.path.join(self.path, name) for name in (TABLES, LEASES)):
            with suppress(FileNotFoundError, NotADirectoryError):
                check_owner(os.lstat(path), path)  # a link would lead to files that are not the store's

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
            with suppress(FileExistsError):
                os.mkdir(os.path.join(self.path, name), 0o700)
        marker = Path(self.path, MARKER)
        with suppress(OSError):  # it says what this is, and is not needed
            if not marker.exists():
                marker.write_bytes(
                    json.dumps({"format": "headrace cache", "version": TABLE_VERSION}).encode()
                )

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
                make_table(self.path, header)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}, of {_size(header):,} in all") from error
        return True

    def adapt(self, layout: Layout) -> None:
        """Bring the tables that there are below the limit, and let the one of a layout grow to it.

        Raises:
            OSError: That is not possible.
        """
        path = table_path(self.path, layout.key)
        header = read_header(path)
        if self.limit is None and (header is None or header.kept == len(layout.entries)):
            return
        with self.locked():
            self._sweep()
            if self._make_room(0, layout.key) < 0:
                self.remove(layout.key)
            header = read_header(path)
            if header is None or header.kept == len(layout.entries):
                return
            full = replace(header, kept=len(layout.entries))
            own = find_own(path).nbytes
            larger = self._fit(full, own + self._make_room(_size(full) - own, layout.key))
            if larger is not None and larger.kept > header.kept:
                grow_table(path, header, larger)

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
            try:
                lock = open_lock(folder)
            except ValueError:  # something else lies there, which nobody can have locked
                remove_own(find_own(path))
                return []
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

    def remove_damaged(self, key: str, layout: Layout | None = None) -> list[int] | None:
        """Remove a table that is damaged, unless another process has removed it or made it anew.

        Returns:
            The entries that it had; None if there was nothing to do.

        Raises:
            CacheError: Another process has it open.
            OSError: A file cannot be removed.
        """
        path = table_path(self.path, key)
        with self.locked():
            for _ in range(_TRIES):  # others may be finding out the same
                try:
                    files = TableFiles.open(path, layout)
                except ValueError:
                    lost = self.remove(key)
                    if lost is not None:
                        return lost
                    time.sleep(_PAUSE_SECONDS)
                else:
                    if files is not None:
                        files.close()
                    return None
        raise CacheError(f"{path}: is damaged, and another process has it open; end that one")

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
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                version = json.loads(read_file(MARKER, folder, _MOST_MARKER_BYTES).tobytes())["version"]
            finally:
                os.close(folder)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return  # it says nothing of what the tables hold
        if version != TABLE_VERSION:
            raise CacheError(
                f"{self.path}: is a cache of format version {version!r}, this release reads {TABLE_VERSION}; "
                "name another folder, or delete this one"
            )


def _size(header: TableHeader) -> int:
    return header.fixed_bytes + header.rows * header.row_bytes


def _last_used(path: str) -> int:
    try:
        return os.stat(os.path.join(path, LOCK), follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0
