"""The memory store: prepared rows of this process, one array for each name."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.stores.base import Arrays, Columns, Layout
from headrace.stores.claims import Claims
from headrace.stores.copies import allocate
from headrace.stores.counts import Counts
from headrace.stores.digests import FileDigests
from headrace.stores.limits import check_limit

_Format = tuple[np.dtype[Any], tuple[int, ...]]


@dataclass(slots=True, eq=False)
class _Kept:
    """The rows of one layout.

    Attributes:
        layout: Its entries.
        arrays: Columns of fixed width, with room for the first `room` rows.
        others: Columns without, by number of the entry.
        sizes: Bytes of the entries that are there.
        users: How many open tables look at it.
    """

    layout: Layout
    arrays: dict[str, NDArray[Any]] | None = None
    others: dict[int, dict[str, pa.Array]] = field(default_factory=dict[int, "dict[str, pa.Array]"])
    sizes: dict[int, int] = field(default_factory=dict[int, int])
    users: int = 0
    claims: Claims = field(default_factory=Claims)
    names: tuple[str, ...] = ()


class MemoryStore:
    """Keeps prepared rows in the memory of this process, shared by the loaders that are given this store.

    A copy in another process begins empty. Thread-safe. Layouts that no open loader uses are removed for the
    limit, least recently used first; of a layout that does not fit, the first entries are kept.

    Example:
        >>> MemoryStore(limit=1000).limit
        1000
    """

    def __init__(self, limit: int | None = None) -> None:
        """Begin empty.

        Args:
            limit: Bytes that may be kept; None for no limit.
        """
        self.limit = limit
        self.digests = FileDigests()
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def __repr__(self) -> str:
        return f"MemoryStore(limit={self.limit})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what is kept."""
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin empty."""
        self.__init__(**state)

    def open(self, layout: Layout) -> MemoryTable:
        """Return the entries of a layout.

        Raises:
            OptionError: The limit is below the largest entry.
        """
        check_limit(self.limit, layout.largest)
        with self._lock:
            kept = self._kept.setdefault(layout.key, _Kept(layout))
            self._kept.move_to_end(layout.key)
            kept.users += 1
        return MemoryTable(self, kept)

    def leave(self, kept: _Kept) -> None:
        """Note that a table was closed."""
        with self._lock:
            kept.users -= 1

    def put(self, kept: _Kept, number: int, columns: Columns, counts: Counts) -> None:
        """Keep an entry, if there is room or room can be made.

        Raises:
            OptionError: The limit is below this entry.
        """
        arrays, others = _divided(columns)
        size = sum(column.nbytes for column in columns.values())
        check_limit(self.limit, size)
        with self._lock:
            if number in kept.sizes or not self._has_room(kept, size, counts):
                return
            if kept.arrays is None:
                kept.names = tuple(columns)
                kept.arrays = self._allocate(kept.layout, arrays)
            begin, end = (int(place) for place in kept.layout.starts[number : number + 2])
            if not _fit(kept, arrays, columns, end):
                return
        for name, array in arrays.items():
            kept.arrays[name][begin:end] = array
        with self._lock:
            if number in kept.sizes:
                return
            kept.others[number] = others
            kept.sizes[number] = size
        counts.add(nbytes=size)

    def _allocate(self, layout: Layout, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Give memory to as many of the first rows as the limit allows; the first write takes a page."""
        starts = layout.starts
        width = sum(_width(array) for array in arrays.values())
        room = int(starts[-1])
        if self.limit is not None and width:
            room = int(starts[np.searchsorted(starts, self.limit // width, side="right") - 1])
        return {name: allocate((room, *array.shape[1:]), array.dtype) for name, array in arrays.items()}

    def _has_room(self, own: _Kept, size: int, counts: Counts) -> bool:
        if self.limit is None:
            return True
        used = size + sum(sum(kept.sizes.values()) for kept in self._kept.values())
        for key, kept in list(self._kept.items()):
            if used <= self.limit:
                break
            if kept is not own and not kept.users:
                used -= sum(kept.sizes.values())
                counts.add(evicted=len(kept.sizes))
                del self._kept[key]
        return used <= self.limit


class MemoryTable:
    """The entries of one layout in memory. Thread-safe."""

    def __init__(self, store: MemoryStore, kept: _Kept) -> None:
        """Look at what is kept."""
        self.counts = Counts()
        self._store = store
        self._kept = kept
        self._closed = False

    def get(self, number: int) -> Columns | None:
        """Return an entry's rows as views; None if it is not there."""
        kept = self._kept
        if number not in kept.sizes:
            return None
        begin, end = (int(place) for place in kept.layout.starts[number : number + 2])
        others = kept.others[number]
        arrays = cast("dict[str, NDArray[Any]]", kept.arrays)
        return {
            name: others[name] if name in others else _read_only(arrays[name][begin:end])
            for name in kept.names
        }

    def put(self, number: int, columns: Columns) -> None:
        """Keep an entry, if the limit allows."""
        self._store.put(self._kept, number, columns, self.counts)

    def claim(self, number: int) -> AbstractContextManager[bool]:
        """Ask to be the thread that computes an entry."""
        return self._kept.claims.claim(number, lambda: number in self._kept.sizes)

    def is_claimed(self, number: int) -> bool:
        """Tell whether another thread computes an entry."""
        return self._kept.claims.is_claimed(number)

    def whole(self) -> Arrays | None:
        """Return all rows as one array for each name, if all are there and have a fixed width."""
        kept = self._kept
        if kept.arrays is None or len(kept.arrays) < len(kept.names):
            return None
        if len(kept.sizes) < len(kept.layout.entries):
            return None
        return {name: _read_only(kept.arrays[name][:]) for name in kept.names}

    def check(self, number: int) -> bool:
        """Tell whether an entry is there; memory is trusted."""
        return number in self._kept.sizes

    def close(self) -> None:
        """Tell the store that this table is no longer in use."""
        if not self._closed:
            self._closed = True
            self._store.leave(self._kept)


def _divided(columns: Columns) -> tuple[dict[str, NDArray[Any]], dict[str, pa.Array]]:
    arrays = {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}
    return arrays, {name: column for name, column in columns.items() if name not in arrays}


def _fit(kept: _Kept, arrays: Arrays, columns: Columns, end: int) -> bool:
    """Whether an entry looks as the others do, and its place has memory."""
    if tuple(columns) != kept.names or kept.arrays is None or arrays.keys() != kept.arrays.keys():
        return False
    return all(
        (array.dtype, array.shape[1:]) == (kept.arrays[name].dtype, kept.arrays[name].shape[1:])
        and end <= len(kept.arrays[name])
        for name, array in arrays.items()
    )


def _width(array: NDArray[Any]) -> int:
    return array[:1].nbytes


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
