"""Memory that two processes see, without a name: it is freed when the last of them ends, however it ends."""

from __future__ import annotations

import bisect
import ctypes
import mmap
import os
import tempfile
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.execution.gather import address
from headrace.execution.memory import BatchMemory


def create_shared(size: int) -> int:
    """Make memory of so many zeros, and return a descriptor of it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("headrace", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, size)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class SharedBatchMemory(BatchMemory):
    """Batches' memory that another process can see; a block comes from the same arenas again and again.

    Thread-safe.
    """

    smallest = 1
    most_blocks = 64

    def __init__(self) -> None:
        """Begin without memory."""
        super().__init__()
        self._begins: list[int] = []
        self._arenas: list[tuple[int, int]] = []  # size and number, by address
        self._count = 0
        self._unseen: deque[tuple[int, int, int]] = deque()

    def new_bytes(self, count: int) -> NDArray[np.uint8]:
        """Take a fresh arena."""
        descriptor = create_shared(count)
        arena = np.frombuffer(mmap.mmap(descriptor, count), np.uint8)
        begin = address(arena)
        place = bisect.bisect(self._begins, begin)
        self._arenas.insert(place, (count, self._count))
        self._begins.insert(place, begin)
        self._unseen.append((self._count, descriptor, count))
        self._count += 1
        return arena

    def find(self, array: NDArray[Any]) -> tuple[int, int] | None:
        """Return the arena and the offset of a contiguous array; None if it lies elsewhere."""
        if not array.flags.c_contiguous:
            return None
        begin = address(array)
        with self._lock:
            place = bisect.bisect(self._begins, begin) - 1
            if place < 0:
                return None
            size, number = self._arenas[place]
            offset = begin - self._begins[place]
        return (number, offset) if offset + array.nbytes <= size else None

    def new_arenas(self) -> Iterable[tuple[int, int, int]]:
        """Yield the number, the descriptor and the size of arenas that were not yielded before."""
        while self._unseen:
            yield self._unseen.popleft()


class Borrowed:
    """Arenas of another process, and which of their parts are in use here.

    A part is given back once the last array or tensor that looks into it is gone.
    """

    def __init__(self) -> None:
        """Begin without arenas."""
        self._arenas: dict[int, mmap.mmap] = {}
        self._leases: dict[int, _Lease] = {}
        self._returned: deque[_Lease] = deque()

    def add(self, number: int, descriptor: int, size: int) -> None:
        """Map an arena; the descriptor is closed."""
        try:
            self._arenas[number] = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def borrow(self, number: int, arena: int, offset: int, size: int) -> Any:
        """Return a part of an arena as memory, under the number that it is given back by."""
        block = (ctypes.c_char * size).from_buffer(self._arenas[arena], offset)
        # The callback is a C function, as in `BatchMemory`.
        lease = _Lease(block, self._returned.append)
        lease.number = number
        self._leases[id(lease)] = lease
        return block

    def returned(self) -> list[int]:
        """Return the numbers of the parts that nobody uses any more, each once."""
        numbers: list[int] = []
        while self._returned:
            lease = self._returned.popleft()
            self._leases.pop(id(lease), None)
            numbers.append(lease.number)
        return numbers


class _Lease(weakref.ref[Any]):
    """A weak reference to memory that somebody holds, with the number of its part."""

    __slots__ = ("number",)
    number: int
