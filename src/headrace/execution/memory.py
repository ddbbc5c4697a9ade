"""Memory of batches, used again once the consumer has dropped them.

A fresh page costs several times what it takes to fill it, so batches live in blocks that
circulate: a block returns by itself when the last array (or tensor) that looks into it is gone.
Nothing that a consumer still holds is ever written again.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import defaultdict, deque
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_ALIGNMENT = 64  # a cache line
_PAGE = 1 << 12
_ARENA_BYTES = 1 << 23  # blocks are cut from arenas of about this size, which can use huge pages


class BatchMemory:
    """Blocks of memory that circulate between a loader and its consumer.

    Thread-safe; blocks may return from any thread.

    Example:
        >>> memory = BatchMemory()
        >>> arrays = memory.allocate({"x": ((2, 3), "float32"), "y": ((2,), "int64")})
        >>> arrays["x"].shape, arrays["y"].dtype.name
        ((2, 3), 'int64')
    """

    smallest = 1 << 15  # bytes; smaller batches are left to NumPy
    most_blocks = 256  # of one arena

    def __init__(self) -> None:
        """Begin without memory."""
        self._lock = threading.Lock()
        self._free: defaultdict[int, list[memoryview]] = defaultdict(list)
        self._leases: dict[int, _Lease] = {}
        # A deque, whose operations are atomic: a block may return while a thread allocates.
        self._returned: deque[_Lease] = deque()

    def allocate(self, formats: Mapping[str, tuple[tuple[int, ...], DTypeLike]]) -> dict[str, NDArray[Any]]:
        """Return uninitialised arrays of these shapes and dtypes, side by side in one block."""
        sizes = {name: prod(shape) * np.dtype(dtype).itemsize for name, (shape, dtype) in formats.items()}
        total = sum(_aligned(size) for size in sizes.values())
        if total < self.smallest:
            return {name: np.empty(shape, dtype) for name, (shape, dtype) in formats.items()}
        with self._lock:
            block: Any = self.lease(_block_size(total))
        arrays: dict[str, NDArray[Any]] = {}
        offset = 0
        for name, (shape, dtype) in formats.items():
            arrays[name] = np.frombuffer(block, dtype, prod(shape), offset).reshape(shape)
            offset += _aligned(sizes[name])
        return arrays

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process has memory of its own."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without memory."""
        self.__init__()

    def clear(self) -> None:
        """Let go of all blocks that nobody holds."""
        with self._lock:
            self._collect()
            self._free.clear()

    def lease(self, size: int) -> ctypes.Array[ctypes.c_char]:
        """Take a block, which returns when the last array that looks into it is gone; under the lock."""
        self._collect()
        free = self._free[size]
        if not free:
            self._grow(size, free)
        memory = free.pop()
        block = (ctypes.c_char * size).from_buffer(memory)
        # The callback is a C function on purpose: Python raises Ctrl-C between two steps of Python
        # code, and within a callback of a weak reference that exception is lost.
        lease = _Lease(block, self._returned.append)
        lease.memory = memory
        self._leases[id(lease)] = lease
        return block

    def _collect(self) -> None:
        """Take back the blocks that have returned since the last call."""
        while self._returned:
            lease = self._returned.popleft()
            self._leases.pop(id(lease), None)  # not there if Ctrl-C came before it was noted down
            self._free[len(lease.memory)].append(lease.memory)

    def new_bytes(self, count: int) -> NDArray[np.uint8]:
        """Take fresh memory, uninitialised."""
        return np.empty(count, np.uint8)

    def _grow(self, size: int, free: list[memoryview]) -> None:
        count = min(max(_ARENA_BYTES // size, 1), self.most_blocks)
        arena: Any = self.new_bytes(count * size + _ALIGNMENT)
        begin = -arena.ctypes.data % _ALIGNMENT
        begins = range(begin, begin + count * size, size)
        free.extend(memoryview(arena)[begin : begin + size] for begin in begins)


class _Lease(weakref.ref[Any]):
    """A weak reference to a block that somebody holds, with the block's memory."""

    __slots__ = ("memory",)
    memory: memoryview


def _block_size(size: int) -> int:
    """Round up by an eighth at most, so that batches of ever new sizes find blocks that were used before."""
    step = max(1 << max(size.bit_length() - 4, 0), _PAGE)
    return -(-size // step) * step


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
