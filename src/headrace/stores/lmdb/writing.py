"""Transactions of the LMDB store: pages, when they were last used, and who has to go for the limit.

Keys are `entry/<key>` for pages, `usage/<key>` for their last use in ns since 1970, `total` for the bytes
that all pages count for, and `clock` for nothing.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.stores.paged.pages import Bytes
from headrace.stores.paged.table import Placed

DATA, COMPACT = "data.mdb", "compacted"
ENTRY = b"entry/"
PAGE = 4096
_OVERHEAD = 512  # bytes of the tree for each entry, as counted towards the limit
_RESERVE = 1 << 18
_USAGE, _TOTAL, _CLOCK = b"usage/", b"total", b"clock"


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be kept.

    Attributes:
        limit: Bytes of all entries; None for no limit.
        most: Bytes of the file.
        find_held: Returns the keys of entries that must not be removed, as they are in use.
    """

    limit: int | None
    most: int
    find_held: Callable[[], frozenset[bytes]]


class Writer:
    """Transactions on an open file, of which this process is the only user for now."""

    def __init__(self, environment: Any, full: type[Exception], room: Room, used: Mapping[str, int]) -> None:
        """Take what every transaction needs.

        Args:
            environment: The open file.
            full: What the library raises when the file may not grow.
            room: How much may be kept.
            used: When pages were last used, in ns since 1970 by key.
        """
        self._environment, self._full, self._used = environment, full, used
        self._room, self._limit = room, room.limit

    def put(self, key: str, page: Bytes, cost: int) -> Placed:
        """Keep a page; remove others until it fits both the limit and the file."""
        name, evicted, room = key.encode(), 0, cost
        while True:
            try:
                removed = self.make_room(name, room)
            except self._full:  # others hold more than this limit
                removed = None
            if removed is None:
                return Placed(False, evicted)
            evicted += removed
            try:
                with self._begin(reserve=_RESERVE) as transaction:
                    transaction.put(ENTRY + name, page.data)
                    transaction.put(_USAGE + name, _number(time.time_ns()))
                    transaction.put(_TOTAL, _number(_total(transaction) + cost))
                return Placed(True, evicted)
            except self._full:
                room += cost  # what is free lies apart

    def make_room(self, name: bytes, room: int) -> int | None:
        """Remove an entry, and others until the limit has room; returns how many others, None if in vain."""
        with self._begin() as transaction:
            self._note_use(transaction)
            is_there = transaction.get(ENTRY + name) is not None
            if not is_there and (self._limit is None or _total(transaction) + room <= self._limit):
                return 0
            costs = _costs(transaction)
            total = sum(costs.values()) - costs.get(name, 0)
            others: list[bytes] = []
            if self._limit is not None and total + room > self._limit:
                others = self._oldest(transaction, costs.keys() - self._room.find_held() - {name})
            removed: list[bytes] = []
            while self._limit is not None and total + room > self._limit and others:
                removed.append(others.pop())
                total -= costs[removed[-1]]
            if self._limit is not None and total + room > self._limit:
                return None
            for each in [*removed, *([name] if is_there else [])]:
                transaction.delete(ENTRY + each)
                transaction.delete(_USAGE + each)
            transaction.put(_TOTAL, _number(total))
        with self._begin() as transaction:  # pages are free for others after one more transaction
            transaction.put(_CLOCK, _number(time.time_ns()))
        return len(removed)

    def note_use(self) -> None:
        """Write down when pages were last used."""
        with self._begin() as transaction:
            self._note_use(transaction)

    def _begin(self, reserve: int = 0) -> Any:
        """Begin a transaction; a reserve is left to those that remove, as they too write new pages first."""
        self._environment.set_mapsize((self._room.most - reserve) // PAGE * PAGE)
        return self._environment.begin(write=True, buffers=True)

    def _note_use(self, transaction: Any) -> None:
        for key, moment in self._used.items():
            name = _USAGE + key.encode()
            if transaction.get(name) is not None:
                transaction.put(name, _number(moment))

    def _oldest(self, transaction: Any, names: Iterable[bytes]) -> list[bytes]:
        """Sort entries, the one whose last use is longest ago at the end."""
        return sorted(names, key=lambda name: bytes(transaction.get(_USAGE + name, b""))[::-1], reverse=True)


def compact(library: Any, folder: Path, settings: dict[str, Any], room: Room) -> None:
    """Write a file anew that is larger than the limit, as such files never shrink."""
    aside = folder / COMPACT
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    with closing(library.open(str(folder), **settings | {"map_size": room.most})) as environment:
        Writer(environment, library.MapFullError, room, {}).make_room(b"", 0)
        environment.copy(str(aside), compact=True)
    os.replace(aside / DATA, folder / DATA)
    aside.rmdir()


def _costs(transaction: Any) -> dict[bytes, int]:
    """Return the bytes that each entry takes, by its name."""
    costs: dict[bytes, int] = {}
    with transaction.cursor() as cursor:
        found = cursor.set_range(ENTRY)
        while found and bytes(cursor.key()).startswith(ENTRY):
            costs[bytes(cursor.key()).removeprefix(ENTRY)] = cost_of(len(cursor.value()))
            found = cursor.next()
    return costs


def _total(transaction: Any) -> int:
    return int.from_bytes(transaction.get(_TOTAL, b""), "little")


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def cost_of(nbytes: int) -> int:
    """Return the bytes that a page takes in the file: whole pages of LMDB, and what the tree needs."""
    return -(-(nbytes + 16) // PAGE) * PAGE + _OVERHEAD


def split_keys(content: bytes) -> list[bytes]:
    """Return the names of the entries whose keys were written one behind the other."""
    return [content[begin : begin + 16].hex().encode() for begin in range(0, len(content), 16)]
