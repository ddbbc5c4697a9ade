"""Parcels: a batch as places in shared memory, written by one process and looked at by another."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.batch import Batch, Column, Ragged, Sparse
from headrace.execution.host.shared import Borrowed, SharedBatchMemory

Array = NDArray[Any]


class Place(NamedTuple):
    """Where one array lies.

    Attributes:
        number: What the array is given back by; -1 where it is empty and lies nowhere.
        arena: Which arena.
        offset: First byte in it.
        dtype: Its dtype.
        shape: Its shape.
    """

    number: int
    arena: int
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Parcel(NamedTuple):
    """A batch whose arrays lie in shared memory.

    Attributes:
        columns: Name, kind of column, and how many of the places belong to it.
        widths: Of sparse columns, by name.
        places: Those of the columns in order, of the ids, of the mask, and of the Arrow columns.
        has_mask: Whether samples are marked as padding.
        arrow: Names of the columns that are in Arrow, all of them at the last place.
    """

    columns: tuple[tuple[str, str, int], ...]
    widths: dict[str, int]
    places: tuple[Place, ...]
    has_mask: bool
    arrow: tuple[str, ...]


@dataclass(slots=True)
class _Parts:
    columns: list[tuple[str, str, int]]
    widths: dict[str, int]
    arrays: list[Array]
    arrow: dict[str, pa.Array]


class Sender:
    """Turns batches into parcels, and keeps their memory until it is given back; thread-safe."""

    def __init__(self, memory: SharedBatchMemory) -> None:
        """Send what lies in this memory as it is, and copy the rest there."""
        self._memory = memory
        self._lock = threading.Lock()
        self._lent: dict[int, Array] = {}
        self._count = 0

    def pack(self, batch: Batch) -> Parcel:
        """Describe a batch, and lend its memory."""
        parts = _parts_of(batch)
        arrays = [*parts.arrays, batch.ids]
        if batch.is_padding is not None:
            arrays.append(batch.is_padding)
        if parts.arrow:
            arrays.append(_to_bytes(parts.arrow))
        arrays = self._shared(arrays)
        with self._lock:
            places = tuple(self._lend(array) for array in arrays)
        has_mask = batch.is_padding is not None
        return Parcel(tuple(parts.columns), parts.widths, places, has_mask, tuple(parts.arrow))

    def take_back(self, numbers: Iterable[int]) -> None:
        """Let parts be used again."""
        with self._lock:
            arrays = [self._lent.pop(number) for number in numbers]
        arrays.clear()

    def _shared(self, arrays: list[Array]) -> list[Array]:
        """Copy what lies outside of shared memory into one block of it."""
        foreign = {
            str(place): array
            for place, array in enumerate(arrays)
            if array.nbytes and self._memory.find(array) is None
        }
        formats = {name: (array.shape, array.dtype) for name, array in foreign.items()}
        copies = self._memory.allocate(formats) if foreign else {}
        for name, array in foreign.items():
            np.copyto(copies[name], array, casting="no")
        return [copies.get(str(place), array) for place, array in enumerate(arrays)]

    def _lend(self, array: Array) -> Place:
        found = self._memory.find(array) if array.nbytes else None
        if found is None:
            return Place(-1, 0, 0, array.dtype, array.shape)
        self._count += 1
        self._lent[self._count] = array
        return Place(self._count, *found, array.dtype, array.shape)


def unpack(parcel: Parcel, memory: Borrowed) -> Batch:
    """Return the batch of a parcel, whose arrays look right into shared memory."""
    arrays = [_look(place, memory) for place in parcel.places]
    arrow = _from_bytes(arrays.pop()) if parcel.arrow else {}
    mask = arrays.pop() if parcel.has_mask else None
    ids = arrays.pop()
    columns: dict[str, Column] = {}
    begin = 0
    for name, kind, count in parcel.columns:
        mine, begin = arrays[begin : begin + count], begin + count
        if kind == "arrow":
            columns[name] = arrow[name]
        elif kind == "ragged":
            columns[name] = Ragged(mine[0], mine[1])
        elif kind == "sparse":
            columns[name] = Sparse(mine[0], mine[1], mine[2], parcel.widths[name])
        else:
            columns[name] = mine[0]
    return Batch(columns, ids, mask)


def numbers_of(parcel: Parcel) -> list[int]:
    """The numbers that a parcel nobody wants is given back by."""
    return [place.number for place in parcel.places if place.number >= 0]


def _look(place: Place, memory: Borrowed) -> Array:
    if place.number < 0:
        return np.empty(place.shape, place.dtype)
    count = int(np.prod(place.shape, dtype=np.int64))
    block = memory.borrow(place.number, place.arena, place.offset, count * place.dtype.itemsize)
    return np.frombuffer(block, place.dtype, count).reshape(place.shape)


def _parts_of(batch: Batch) -> _Parts:
    parts = _Parts([], {}, [], {})
    for name, column in batch.columns.items():
        if isinstance(column, np.ndarray):
            kind, mine = "array", [column]
        elif isinstance(column, Ragged):
            kind, mine = "ragged", [column.values, column.offsets]
        elif isinstance(column, Sparse):
            kind, mine = "sparse", [column.values, column.indices, column.offsets]
            parts.widths[name] = column.width
        else:
            kind, mine = "arrow", list[Array]()
            parts.arrow[name] = column
        parts.columns.append((name, kind, len(mine)))
        parts.arrays.extend(mine)
    return parts


def _to_bytes(columns: dict[str, pa.Array]) -> Array:
    """Write columns as an Arrow stream."""
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return np.frombuffer(sink.getvalue(), np.uint8)


def _from_bytes(data: Array) -> dict[str, pa.Array]:
    """Look into an Arrow stream, without a copy."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        batch = reader.read_next_batch()
    return dict(zip(batch.schema.names, batch.columns, strict=True))
