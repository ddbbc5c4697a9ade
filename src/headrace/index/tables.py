"""Keys in order: where the ids of a key begin and end, in memory or in an LMDB file.

LMDB is a B+ tree. It holds for each key where its ids begin and end in one array, so a range is two
descents and one slice, however many keys lie within it.
"""

from __future__ import annotations

import os
import struct
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, MissingDependencyError, SourceError, StateError
from headrace.index.keys import Keys, from_arrays, to_arrays
from headrace.index.postings import Postings

Key = int | bytes
Span = tuple[int, int]

FILE = "keys.lmdb"
_LONGEST = 511  # bytes of a key, by LMDB's build
_SPAN = struct.Struct("<QQ")
_AT_ONCE = 1 << 16  # keys of one transaction
_BEYOND = 1 << 64


class KeyTable(Protocol):
    """Distinct keys in rising order, each with a run of places."""

    def span(self, key: Key) -> Span:
        """Tell where a key's run begins and ends; an empty one if the key is not there."""
        ...

    def position(self, key: Key, after: bool) -> int:
        """Count the places of all keys below a key, and of the key itself if `after`."""
        ...


@dataclass(frozen=True, eq=False)
class SortedKeys:
    """A table in memory, or in mapped arrays.

    Attributes:
        keys: In rising order; codes of shape [m], or binaries.
        begins: Where the run of each begins.
        ends: Where it ends.
        total: How many places there are.

    Example:
        >>> keys, edges = np.array([3, 7], np.uint64), np.array([0, 2, 5])
        >>> table = SortedKeys(keys, edges[:-1], edges[1:], total=5)
        >>> table.span(7), table.span(5), table.position(7, after=False), table.position(8, after=True)
        ((2, 5), (0, 0), 2, 5)
    """

    keys: Keys
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    total: int

    def span(self, key: Key, within: Span | None = None) -> Span:
        """Tell where a key's run begins and ends."""
        place, is_there = self._find(key, within)
        return (int(self.begins[place]), int(self.ends[place])) if is_there else (0, 0)

    def position(self, key: Key, after: bool, within: Span | None = None) -> int:
        """Count the places below a key, or up to and with it; `within` limits the search to a run."""
        place, is_there = self._find(key, within)
        if is_there and after:
            return int(self.ends[place])
        last = self._last(within)
        return int(self.begins[place]) if place < last else (self.total if within is None else within[1])

    def _find(self, key: Key, within: Span | None) -> tuple[int, bool]:
        first = 0 if within is None else int(np.searchsorted(self.begins, within[0]))
        last = self._last(within)
        if isinstance(key, int):
            if key >= _BEYOND:
                return last, False
            place = int(np.searchsorted(self.keys, np.uint64(key)))
            return place, place < last and int(self.keys[place]) == key
        place = bisect_left(range(last), key, first, last, key=self._text)
        return place, place < last and self._text(place) == key

    def _last(self, within: Span | None) -> int:
        return len(self.keys) if within is None else int(np.searchsorted(self.begins, within[1]))

    def _text(self, place: int) -> bytes:
        return self.keys[place].as_py()


class LmdbKeys:
    """A table in an LMDB file, which is opened anew in a forked process.

    Thread-safe. Keys that LMDB finds too long are cut off there; their whole bytes lie in `long`.
    """

    def __init__(self, folder: str, header: bytes, long: SortedKeys) -> None:
        """Open the file of the index with this header."""
        self._folder, self._header, self._long = folder, header, long
        self._held = os.getpid(), self._open()

    def span(self, key: Key) -> Span:
        """Tell where a key's run begins and ends."""
        if key == _BEYOND:
            return 0, 0
        stored = _stored(key)
        with self._environment().begin() as transaction:
            found = transaction.get(stored)
        if found is None:
            return 0, 0
        run = _SPAN.unpack(found)
        return self._long.span(key, run) if len(stored) == _LONGEST else run

    def position(self, key: Key, after: bool) -> int:
        """Count the places below a key, or up to and with it."""
        if key == _BEYOND:
            return self._long.total
        stored = _stored(key)
        with self._environment().begin() as transaction, transaction.cursor() as cursor:
            if not cursor.set_range(stored):
                return self._long.total
            run, is_there = _SPAN.unpack(cursor.value()), cursor.key() == stored
        if is_there and len(stored) == _LONGEST:
            return self._long.position(key, after, run)
        return run[1] if is_there and after else run[0]

    def _environment(self) -> Any:
        process, environment = self._held
        if process != os.getpid():
            environment = self._open()
            self._held = os.getpid(), environment
        return environment.lmdb

    def _open(self) -> Environment:
        environment = _open_environment(os.path.join(self._folder, FILE))
        with open(os.path.join(self._folder, "header.json"), "rb") as file:
            if file.read() != self._header:
                raise StateError(
                    f"{self._folder}: the index was built anew since it was opened; call `ds.index(...)` "
                    "again"
                )
        return environment


class Environment:
    """An open LMDB file, which its last user closes by letting go of it."""

    def __init__(self, path: str) -> None:
        """Open the file for reading, without locks: it is never written again."""
        lmdb = import_lmdb()
        try:
            self.lmdb = lmdb.open(path, subdir=False, readonly=True, lock=False, max_dbs=0)
        except lmdb.Error as error:
            raise CorruptSourceError(f"{path}: the keys of the index cannot be opened: {error}") from error


# The library opens no file twice in one process, so handles share what is open, by process, device
# and inode. Nothing else is kept: what no handle holds any longer is closed and gone.
_OPEN: WeakValueDictionary[tuple[int, int, int], Environment] = WeakValueDictionary()


@cache
def _lock(process: int) -> threading.Lock:
    """Return the lock of one process; that of its parent may have been held when it was forked."""
    return threading.Lock()


def _open_environment(path: str) -> Environment:
    process = os.getpid()
    with _lock(process):
        for (opener, _, _), inherited in list(_OPEN.items()):
            if opener != process:  # of the parent, and of no use in a forked child
                inherited.lmdb.close()
        try:
            found = os.stat(path)
        except OSError as error:
            raise StateError(f"{path}: the index is gone since it was opened: {error.strerror}") from error
        key = process, found.st_dev, found.st_ino
        environment = _OPEN.get(key)
        if environment is None:
            environment = _OPEN[key] = Environment(path)
        return environment


def table_arrays(postings: Postings, folder: str | None) -> dict[str, NDArray[Any]]:
    """Write the keys of postings to an LMDB file, and return as arrays what lies beside it.

    Without a folder all keys lie in the arrays.
    """
    begins, ends = postings.starts[:-1], postings.starts[1:]
    keys, chosen = postings.keys, slice(None)
    if folder is not None:
        _write(postings, os.path.join(folder, FILE))
        chosen = np.flatnonzero(_lengths(keys) >= _LONGEST - 1)
        keys = keys[chosen] if isinstance(keys, np.ndarray) else keys.take(chosen)
    return {**to_arrays(keys), "begins": begins[chosen], "ends": ends[chosen], "ids": postings.ids}


def open_table(arrays: Mapping[str, NDArray[Any]], folder: str | None, header: bytes) -> KeyTable:
    """Make a table of what `table_arrays` wrote."""
    kept = SortedKeys(from_arrays(arrays), arrays["begins"], arrays["ends"], len(arrays["ids"]))
    return kept if folder is None else LmdbKeys(folder, header, kept)


def _lengths(keys: Keys) -> NDArray[np.int64]:
    if isinstance(keys, np.ndarray):
        return np.zeros(len(keys), np.int64)
    return np.diff(to_arrays(keys)["key_starts"])


def _stored(key: Key) -> bytes:
    """Return what LMDB calls a key; it has no empty ones, so text begins with a zero byte."""
    return key.to_bytes(8, "big") if isinstance(key, int) else (b"\0" + key)[:_LONGEST]


def _write(postings: Postings, path: str) -> None:
    lmdb = import_lmdb()
    nbytes = sum(array.nbytes for array in to_arrays(postings.keys).values()) + 64 * len(postings.keys)
    # Not synced: an index that a power cut tore does not fit its digests.
    environment = lmdb.open(
        path, subdir=False, lock=False, sync=False, max_dbs=0, map_size=4 * nbytes + (1 << 24)
    )
    try:
        items = _items(postings)
        while chunk := list(islice(items, _AT_ONCE)):
            with environment.begin(write=True) as transaction, transaction.cursor() as cursor:
                cursor.putmulti(chunk, append=True)
    except lmdb.Error as error:
        raise SourceError(f"{path}: the keys of the index cannot be written: {error}") from error
    finally:
        environment.close()


def _items(postings: Postings) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys as LMDB holds them, those that are cut off to the same bytes as one."""
    waiting, begin, end = b"", 0, 0
    for first in range(0, len(postings.keys), _AT_ONCE):
        keys = postings.keys[first : first + _AT_ONCE]
        edges = postings.starts[first : first + _AT_ONCE + 1].tolist()
        for place, key in enumerate(keys.tolist() if isinstance(keys, np.ndarray) else keys.to_pylist()):
            stored = _stored(key)
            if stored != waiting and waiting:
                yield waiting, _SPAN.pack(begin, end)
            if stored != waiting:
                waiting, begin = stored, edges[place]
            end = edges[place + 1]
    if waiting:
        yield waiting, _SPAN.pack(begin, end)


def import_lmdb() -> Any:
    """Return the library.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import lmdb
    except ImportError as error:
        raise MissingDependencyError.from_extra("lmdb", "index", 'kind="btree" in a folder') from error
    return lmdb
