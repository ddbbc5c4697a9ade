"""Which files are the store's own: nothing else in a folder is counted, opened or removed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TABLE_VERSION = 1
"""Raised whenever the files are laid out otherwise; what is in them is told by their keys."""

MARKER = "headrace-cache.json"
DIGESTS = "headrace-contents.json"
FOLDER_LOCK = "headrace-cache.lock"
TABLES = "tables"
LEASES = "leases"
HEADER = "table.json"
LOCK = "lock"
ASIDE = "aside"

_TABLE = re.compile(r"[0-9a-f]{32}")
_NEW_TABLE = re.compile(r"\.[0-9a-f]{32}\.new")
_FILE = re.compile(r"table\.json|entries\.npy|\d+-[A-Za-z0-9_-]{0,40}\.npy")
_SUBFOLDER = re.compile(ASIDE + r"|\d+-[A-Za-z0-9_-]{0,40}")
_FILE_BELOW = re.compile(r"[0-9a-f]{32}\.part|\d+\.(arrow|values\.npy|offsets\.npy)")


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """The store's own files in one table's folder.

    Attributes:
        path: Of the folder.
        files: What to remove: the header first, so that the rest is no table any more.
        subfolders: Where some of them are.
        nbytes: Their sizes, added up.
    """

    path: str
    files: tuple[str, ...]
    subfolders: tuple[str, ...]
    nbytes: int


def table_path(path: str, key: str) -> str:
    """Name the folder of a table."""
    return os.path.join(path, TABLES, key)


def new_table_path(path: str, name: str) -> str:
    """Name the folder in which a table is made; `name` has 32 hexadecimal characters."""
    return os.path.join(path, TABLES, f".{name}.new")


def table_keys(path: str) -> list[str]:
    """List the folders that may be tables by their names; none if there is no such folder."""
    return sorted(name for name in _folders(os.path.join(path, TABLES)) if _TABLE.fullmatch(name))


def new_tables(path: str) -> list[str]:
    """List folders in which tables are made, or were made by somebody who is gone."""
    tables = os.path.join(path, TABLES)
    return [os.path.join(tables, name) for name in _folders(tables) if _NEW_TABLE.fullmatch(name)]


def find_own(path: str) -> OwnFiles:
    """Find the store's own files in a table's folder; what vanishes meanwhile is left out."""
    files: list[str] = []
    subfolders: list[str] = []
    nbytes = 0
    # A file that is renamed meanwhile goes from `aside` elsewhere: counted twice at worst, never missed.
    for entry in sorted(_entries(path), key=lambda entry: entry.name != ASIDE):
        if _SUBFOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            subfolders.append(entry.path)
            below = [each for each in _entries(entry.path) if _FILE_BELOW.fullmatch(each.name)]
            files += [each.path for each in below]
            nbytes += sum(_size(each) for each in below)
        elif _FILE.fullmatch(entry.name) or entry.name == LOCK:
            files.append(entry.path)
            nbytes += _size(entry)
    ranks = {HEADER: 0, LOCK: 2}
    files.sort(key=lambda file: (ranks.get(os.path.relpath(file, path), 1), file))
    return OwnFiles(path, tuple(files), tuple(subfolders), nbytes)


def remove_own(found: OwnFiles) -> None:
    """Remove them, and folders that are empty then.

    Raises:
        OSError: A file cannot be removed.
    """
    for file in found.files:
        with suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(file)
    for folder in (*found.subfolders, found.path):
        with suppress(OSError):
            os.rmdir(folder)  # which fails while something of the user's is in it


def top_bytes(path: str) -> int:
    """Return the bytes of the store's own files outside of tables."""
    total = 0
    for name in (MARKER, DIGESTS, FOLDER_LOCK):
        with suppress(OSError):
            total += os.stat(Path(path, name), follow_symlinks=False).st_size
    return total


def _folders(path: str) -> list[str]:
    return [entry.name for entry in _entries(path) if entry.is_dir(follow_symlinks=False)]


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return


def _size(entry: os.DirEntry[str]) -> int:
    with suppress(OSError):
        return entry.stat(follow_symlinks=False).st_size
    return 0
