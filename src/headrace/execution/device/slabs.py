"""Slabs: the batches' memory where a device is the goal, page-locked, one contiguous piece for each batch.

Threads gather rows right into a slab, and one copy brings all of it to the device: columns, and the
parameters of augmentations behind them.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from headrace.execution.device.base import Bytes, Device
from headrace.execution.memory import BatchMemory

Array = NDArray[Any]
Key = tuple[str, str]
"""A column, and which of its arrays."""

Name = TypeVar("Name")

ALIGNMENT = 256
"""Bytes; what devices read best, and what CUDA promises of its own allocations."""


@dataclass(frozen=True, slots=True)
class Part:
    """Where an array lies in a slab.

    Attributes:
        offset: Its first byte.
        shape: Its shape.
        dtype: Its dtype.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, eq=False, slots=True)
class Slab:
    """The arrays of one batch in one piece of page-locked memory.

    Attributes:
        data: All bytes that travel, uint8 of shape [nbytes]. Holding it keeps the slab from being used again.
        parts: Where each array lies.
    """

    data: Bytes
    parts: Mapping[Key, Part]


class SlabMemory(BatchMemory):
    """Slabs that circulate between the threads that gather and the copies to a device. Thread-safe."""

    def __init__(self, device: Device, extra: int = 0, once: int = 0) -> None:
        """Begin without memory.

        Args:
            device: Where the slabs go.
            extra: Bytes to leave for each sample behind the columns of a batch.
            once: Bytes to leave for each batch.
        """
        super().__init__()
        self._device = device
        self._extra, self._once = extra, once

    def new_bytes(self, count: int) -> Bytes:
        """Take page-locked memory."""
        return self._device.page_locked(count)

    def allocate(self, formats: Mapping[str, tuple[tuple[int, ...], DTypeLike]]) -> dict[str, Array]:
        """Return uninitialised arrays of these shapes and dtypes, side by side in one slab."""
        parts, end = lay_side_by_side(
            {name: (shape, np.dtype(kind)) for name, (shape, kind) in formats.items()}
        )
        rows = max((part.shape[0] for part in parts.values()), default=0)
        block = self._take(end + self._extra * rows + self._once)
        return {name: _look(block, part) for name, part in parts.items()}

    def slab(self, arrays: Mapping[Key, Array]) -> Slab:
        """Bring arrays together in one slab.

        Those that lie in a slab already stay, if the others have room behind them; else all are copied to
        another slab.
        """
        return self._extended(arrays) or self._copied(arrays)

    def _extended(self, arrays: Mapping[Key, Array]) -> Slab | None:
        """Return the slab that most arrays lie in, the others copied behind them; None if that cannot be."""
        block = next(filter(None, (self._holder(array) for array in arrays.values() if array.nbytes)), None)
        if block is None:
            return None
        begin, size = ctypes.addressof(block), len(block)
        parts: dict[Key, Part] = {}
        for name, array in arrays.items():
            offset = array.__array_interface__["data"][0] - begin
            if offset >= 0 and offset + array.nbytes <= size and array.flags.c_contiguous:
                parts[name] = Part(offset, array.shape, array.dtype)
        end = _aligned(max((part.offset + part.nbytes for part in parts.values()), default=0))
        lacking = {name: (array.shape, array.dtype) for name, array in arrays.items() if name not in parts}
        behind, end = lay_side_by_side(lacking, end)
        if end > size:
            return None
        for name, part in behind.items():
            _look(block, part)[...] = arrays[name]
        return Slab(np.frombuffer(block, np.uint8, end), {name: {**parts, **behind}[name] for name in arrays})

    def _copied(self, arrays: Mapping[Key, Array]) -> Slab:
        parts, end = lay_side_by_side({name: (array.shape, array.dtype) for name, array in arrays.items()})
        block = self._take(end)
        for name, part in parts.items():
            _look(block, part)[...] = arrays[name]
        return Slab(np.frombuffer(block, np.uint8, end), parts)

    def _holder(self, array: Array) -> Any:
        """Return the block that an array lies in, or None."""
        place = array.__array_interface__["data"][0]
        with self._lock:
            for lease in self._leases.values():
                block = lease()
                if block is not None and 0 <= place - ctypes.addressof(block) < len(block):
                    return block
        return None

    def _take(self, nbytes: int) -> Any:
        # Batches differ a little in size; slabs of few sizes serve them all.
        with self._lock:
            return self.lease(_rounded(max(nbytes, 1)))

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process has memory of its own."""
        return {"device": self._device, "extra": self._extra, "once": self._once}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without memory."""
        self.__init__(**state)


def lay_side_by_side(
    formats: Mapping[Name, tuple[tuple[int, ...], np.dtype[Any]]], begin: int = 0
) -> tuple[dict[Name, Part], int]:
    """Find places for arrays one behind the other, and where the last one ends."""
    parts: dict[Name, Part] = {}
    for name, (shape, dtype) in formats.items():
        parts[name] = Part(_aligned(begin), tuple(shape), dtype)
        begin = parts[name].offset + parts[name].nbytes
    return parts, begin


def _look(block: Any, part: Part) -> Array:
    size = math.prod(part.shape)
    return np.frombuffer(block, part.dtype, size, part.offset).reshape(part.shape)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _rounded(size: int) -> int:
    """Round up to a multiple of a sixteenth of its power of two, at least `ALIGNMENT`."""
    step = max(1 << max(size.bit_length() - 5, 0), ALIGNMENT)
    return -(-size // step) * step
