"""What a folder holds, looked at from outside of any loader: listed, verified, cleared."""

from __future__ import annotations

import os
from dataclasses import dataclass

from headrace.errors import CacheError
from headrace.stores.counts import Counts
from headrace.stores.folder.files import TableFiles, verify_loose, verify_rows
from headrace.stores.folder.header import MOST_HEADER_BYTES, TableHeader
from headrace.stores.folder.owned import (
    HEADER,
    LOCK,
    MARKER,
    TABLES,
    find_own,
    new_tables,
    remove_own,
    table_keys,
    table_path,
)
from headrace.stores.folder.records import list_sound
from headrace.stores.folder.safety import open_file, open_folder, read_file
from headrace.stores.folder.space import Space
from headrace.stores.locks import try_lock, unlock


@dataclass(frozen=True, slots=True)
class TableInfo:
    """One table of a folder.

    Attributes:
        key: Its name, 32 hexadecimal characters.
        columns: Names of its columns; none if it is damaged.
        entries: How many entries its data has, -1 if it is damaged.
        present: How many of them are there.
        rows: How many rows these have.
        nbytes: Bytes of its files.
        last_used: When somebody opened or closed it, in seconds since 1970.
        is_open: Whether somebody has it open.
    """

    key: str
    columns: tuple[str, ...]
    entries: int
    present: int
    rows: int
    nbytes: int
    last_used: float
    is_open: bool


@dataclass(frozen=True, slots=True)
class TableVerdict:
    """What came of verifying one table.

    Attributes:
        key: Its name.
        sound: Entries that are what their checksums say.
        damaged: Entries that are not; they were dropped, and are prepared again when they are needed.
    """

    key: str
    sound: int
    damaged: int


def list_tables(path: str) -> list[TableInfo]:
    """List the tables in a folder, the one used last at the end. Nothing is changed.

    Raises:
        CacheError: It is no cache, belongs to somebody else, or everyone may write to it.
        OSError: It cannot be read.
    """
    _check(path)
    found = (_look(table_path(path, key), key) for key in table_keys(path))
    return sorted((each for each in found if each is not None), key=lambda each: each.last_used)


def verify_tables(path: str) -> list[TableVerdict]:
    """Hold every entry in a folder against its checksum, and drop those that are damaged.

    Raises:
        CacheError: It is no cache, or must not be used; or a damaged table is in use.
        OSError: It cannot be read, or a damaged entry cannot be dropped.
    """
    _check(path)
    verdicts: list[TableVerdict] = []
    for key in table_keys(path):
        verdict = _verify(path, key)
        if verdict is not None:
            verdicts.append(verdict)
    return verdicts


def clear(path: str) -> int:
    """Remove all tables of a folder that nobody has open, and return the bytes that were freed.

    Files that the store did not make stay.

    Raises:
        CacheError: It is no cache, belongs to somebody else, or everyone may write to it.
        OSError: A file cannot be removed.
    """
    _check(path)
    space = Space(path, None, Counts())
    freed = 0
    with space.locked():
        for aside in new_tables(path):
            found = find_own(aside)
            remove_own(found)
            freed += found.nbytes
        for key in table_keys(path):
            nbytes = find_own(table_path(path, key)).nbytes
            if space.remove(key) is not None:
                freed += nbytes
    return freed


def _check(path: str) -> None:
    Space(path, None, Counts()).check()
    if not any(os.path.lexists(os.path.join(path, name)) for name in (MARKER, TABLES)):
        raise CacheError(f"{path}: is no cache (it has no `{MARKER}`); name the folder given to `ds.cache`")


def _look(path: str, key: str) -> TableInfo | None:
    try:
        folder = open_folder(path)
    except FileNotFoundError:
        return None
    try:
        lock = open_file(LOCK, os.O_RDONLY, folder)
        try:
            is_open, last_used = not try_lock(lock), os.fstat(lock).st_mtime
        finally:
            unlock(lock)
        present = list_sound(folder)
        nbytes = find_own(path).nbytes
        header = TableHeader.decode(read_file(HEADER, folder, MOST_HEADER_BYTES))
    except FileNotFoundError:
        return None
    except ValueError:
        return TableInfo(key, (), -1, 0, 0, find_own(path).nbytes, 0.0, False)
    finally:
        os.close(folder)
    entries = header.layout.entries
    rows = sum(entries[number].rows for number in present if number < len(entries))
    return TableInfo(key, tuple(header.formats), len(entries), len(present), rows, nbytes, last_used, is_open)


def _verify(path: str, key: str) -> TableVerdict | None:
    try:
        files = TableFiles.open(table_path(path, key))
    except ValueError:
        lost = Space(path, None, Counts()).remove_damaged(key)
        return None if lost is None else TableVerdict(key, 0, max(len(lost), 1))
    if files is None:
        return None
    try:
        found = [_is_sound(files, number) for number in range(files.header.kept)]
    finally:
        files.close()
    return TableVerdict(key, found.count(True), found.count(False))


def _is_sound(files: TableFiles, number: int) -> bool | None:
    """Tell whether an entry is sound, and drop it if it is not; None if it is not there."""
    try:
        record = files.records.read(number)
        if record is None:
            return None
        verify_loose(record, files.read_loose(number, record))
        verify_rows(record, files.rows_of(number))
    except ValueError:
        files.records.erase(number)
        return False
    return True
