"""Gather: the rows of a step are copied once, from decoded columns into the batch's own memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.batch import Batch, Column
from headrace.errors import SchemaError
from headrace.execution.memory import BatchMemory
from headrace.execution.recipe import Untouched
from headrace.manifest import RowGroup
from headrace.planning.plan import Read
from headrace.prepare.pack import Laid, Stack

Array = NDArray[Any]
Ids = NDArray[np.int64]


_Format = tuple[np.dtype[Any], tuple[int, ...]] | pa.DataType
"""Dtype and shape of one sample, or the Arrow type of what has no fixed width."""


class Sizes(Protocol):
    """Tells how many samples a step's batch holds."""

    def __call__(self, step: int) -> int:
        """Return the samples of that step's batch."""
        ...


@dataclass(slots=True, eq=False)
class _OpenBatch:
    """A batch that is being filled.

    Attributes:
        ids: The samples' ids.
        arrays: Columns of fixed width, by name.
        pieces: Columns without, by name: slots and the values that go there.
        missing: Slots whose samples were skipped.
    """

    ids: Ids
    arrays: dict[str, Array] = field(default_factory=dict[str, Array])
    pieces: dict[str, list[tuple[Ids, pa.Array]]] = field(
        default_factory=dict[str, "list[tuple[Ids, pa.Array]]"]
    )
    missing: list[Ids] = field(default_factory=list[Ids])


class Gather:
    """Batches that are being filled from row groups, in whatever order these arrive.

    Thread-safe: many threads may `add` at once, since no two rows share a slot. The memory of a
    batch belongs to whoever takes it.
    """

    def __init__(self, steps: range, sizes: Sizes, memory: BatchMemory | None = None) -> None:
        """Begin with no open batch.

        Args:
            steps: The steps that will be filled.
            sizes: How many samples each step's batch holds.
            memory: Memory that circulates already; some of its own by default.
        """
        self._first = steps.start
        self._count = steps[-1] - steps.start + 1 if steps else 0
        self._sizes = sizes
        self._memory = memory or BatchMemory()
        self._lock = threading.Lock()
        self._open: dict[int, _OpenBatch] = {}
        self._formats: dict[str, _Format] = {}
        # By step, so that a kernel finds a row's batch without Python: whether the batch has
        # arrays, and where each of them begins.
        self._has_arrays = np.zeros(self._count, np.bool_)
        self._id_addresses = np.zeros(self._count, np.uint64)
        self._addresses: dict[str, NDArray[np.uint64]] = {}

    def open(self, read: Read, row_group: RowGroup, columns: Mapping[str, Laid | Untouched]) -> None:
        """Give memory to the batches that the rows of one read belong to.

        Raises:
            SchemaError: A column has another dtype or shape than in the row groups before.
        """
        self._check_formats(columns, row_group)
        self._open_batches(read.steps - self._first)

    def add(
        self,
        read: Read,
        row_group: RowGroup,
        columns: Mapping[str, Laid | Untouched],
        rows: Ids | None = None,
    ) -> None:
        """Copy the rows of one read into the batches that they belong to, but those of untouched columns.

        Args:
            read: Which rows go where.
            row_group: Their row group.
            columns: Its columns.
            rows: Which of its rows the columns hold, ascending; all by default.

        Raises:
            SchemaError: A column has another dtype or shape than in the row groups before.
        """
        from headrace.execution import kernels

        self.open(read, row_group, columns)
        steps = read.steps - self._first
        ids = read.rows + row_group.first
        places = read.rows if rows is None else np.searchsorted(rows, read.rows)
        kernels.copy_rows(ids, self._id_addresses, np.arange(len(ids)), steps, read.slots)
        for name, laid in columns.items():
            if isinstance(laid, Stack):
                kernels.copy_columns(laid.parts, self._addresses[name], places, steps, read.slots)
            elif isinstance(laid, Untouched):
                continue  # the source copies it to `targets`
            elif isinstance(laid, np.ndarray):
                source = np.ascontiguousarray(laid)
                kernels.copy_rows(source, self._addresses[name], places, steps, read.slots)
            else:
                self._add_pieces(name, laid, read, places)

    def targets(self, name: str, read: Read) -> NDArray[np.uint64]:
        """Where in memory the rows of a column go, once `open` gave it some; uint64 of shape [n]."""
        kind = self._formats[name]
        assert isinstance(kind, tuple)
        width = kind[0].itemsize * math.prod(kind[1])
        return self._addresses[name][read.steps - self._first] + read.slots.astype(np.uint64) * np.uint64(
            width
        )

    def skip(self, read: Read, row_group: RowGroup) -> None:
        """Mark the rows of one read as left out."""
        ids = read.rows + row_group.first
        for step in np.unique(read.steps):
            here = read.steps == step
            with self._lock:
                batch = self._batch(int(step))
                batch.ids[read.slots[here]] = ids[here]
                batch.missing.append(read.slots[here])

    def take(self, step: int, is_padding: NDArray[np.bool_] | None = None) -> Batch:
        """Hand over the batch of one step; all of its rows must have been added or skipped."""
        with self._lock:
            batch = self._batch(step)
            del self._open[step]
        columns: dict[str, Column] = {}
        for name, kind in self._formats.items():
            if isinstance(kind, pa.DataType):
                columns[name] = _join(batch.pieces.get(name, []), kind)
            else:
                columns[name] = (
                    batch.arrays[name] if name in batch.arrays else np.empty((0, *kind[1]), kind[0])
                )
        if not batch.missing:
            return Batch(columns, batch.ids, is_padding)
        kept = np.ones(len(batch.ids), np.bool_)
        for slots in batch.missing:
            kept[slots] = False
        for name, column in columns.items():
            if isinstance(column, np.ndarray) and len(column) == len(kept):
                columns[name] = column[kept]
        return Batch(columns, batch.ids[kept], None if is_padding is None else is_padding[kept])

    def _check_formats(self, columns: Mapping[str, Laid | Untouched], row_group: RowGroup) -> None:
        """Every row group must yield the same columns, or a batch could not hold them."""
        found = {name: _format(laid) for name, laid in columns.items()}
        with self._lock:
            if not self._formats:
                self._addresses = {name: np.zeros(self._count, np.uint64) for name in found}
                self._formats = found
        if found != self._formats:
            names = {**self._formats, **found}
            name = next(name for name in names if found.get(name) != self._formats.get(name))
            raise SchemaError(
                f"{row_group}, column `{name}`: every row group must yield the same type and shape, got "
                f"{_described(found.get(name))} here and {_described(self._formats.get(name))} in another"
            )

    def _open_batches(self, steps: Ids) -> None:
        """Give arrays to those batches that have none yet."""
        with self._lock:
            lacking = steps[~self._has_arrays[steps]]
            for step in np.flatnonzero(np.bincount(lacking)) if len(lacking) else ():
                batch = self._batch(int(step) + self._first)
                rows = len(batch.ids)
                wanted = {
                    name: ((rows, *kind[1]), kind[0])
                    for name, kind in self._formats.items()
                    if isinstance(kind, tuple)
                }
                batch.arrays = self._memory.allocate(wanted)
                for name, array in batch.arrays.items():
                    self._addresses[name][step] = address(array)
                self._has_arrays[step] = True

    def _batch(self, step: int) -> _OpenBatch:
        if step not in self._open:
            batch = _OpenBatch(np.empty(self._sizes(step), np.int64))
            self._id_addresses[step - self._first] = address(batch.ids)
            self._open[step] = batch
        return self._open[step]

    def _add_pieces(self, name: str, values: pa.Array, read: Read, places: Ids) -> None:
        by_step = np.argsort(read.steps, kind="stable")
        taken, slots, steps = (
            values.take(pa.array(places[by_step])),
            read.slots[by_step],
            read.steps[by_step],
        )
        edges = np.flatnonzero(np.diff(steps, prepend=-1, append=-1))
        with self._lock:
            for begin, end in pairwise(edges):
                pieces = self._open[int(steps[begin])].pieces.setdefault(name, [])
                pieces.append((slots[begin:end], taken.slice(begin, end - begin)))


def address(array: Array) -> int:
    """Where an array's memory begins."""
    return array.__array_interface__["data"][0]


def _join(pieces: list[tuple[Ids, pa.Array]], kind: pa.DataType) -> pa.Array:
    """Put the pieces of one column in the order of their slots."""
    if not pieces:
        return pa.nulls(0, kind)
    slots = np.concatenate([slots for slots, _ in pieces])
    return pa.concat_arrays([values for _, values in pieces]).take(pa.array(np.argsort(slots)))


def _format(laid: Laid | Untouched) -> _Format:
    if isinstance(laid, Untouched):
        return laid.layout
    if isinstance(laid, Stack):
        return laid.parts[0].dtype, (len(laid.parts),)
    if isinstance(laid, np.ndarray):
        return laid.dtype, laid.shape[1:]
    return laid.type


def _described(kind: _Format | None) -> str:
    if kind is None:
        return "nothing"
    return f"{kind[0]} of shape {list(kind[1])}" if isinstance(kind, tuple) else str(kind)
