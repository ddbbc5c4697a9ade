"""Gather: the rows of a step are copied once, from decoded columns into the batch's own memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.batch import Batch, Column
from headrace.errors import SchemaError
from headrace.execution.memory import BatchMemory
from headrace.manifest import RowGroup
from headrace.planning.plan import Read
from headrace.prepare.pack import Laid, Stack

Array = NDArray[Any]
Ids = NDArray[np.int64]


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

    def __init__(self, sizes: Sizes, memory: BatchMemory | None = None) -> None:
        """Begin with no open batch; memory that circulates already may be given."""
        self._sizes = sizes
        self._open: dict[int, _OpenBatch] = {}
        self._formats: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._memory = memory or BatchMemory()
        self._lock = threading.Lock()

    def add(self, read: Read, row_group: RowGroup, columns: Mapping[str, Laid]) -> None:
        """Copy the rows of one read into the batches that they belong to.

        Raises:
            SchemaError: A column has another dtype or shape than in the row groups before.
        """
        from headrace.execution import kernels

        first = int(read.steps.min())
        count = int(read.steps.max()) - first + 1
        present = np.flatnonzero(np.bincount(read.steps - first, minlength=count))
        self._check_formats(columns, row_group)
        batches = self._open_batches(first, present, columns)
        compact = np.zeros(count, np.int64)
        compact[present] = np.arange(len(present))
        steps = compact[read.steps - first]
        ids = read.rows + row_group.first
        kernels.copy_rows(ids, [batch.ids for batch in batches], np.arange(len(ids)), steps, read.slots)
        for name, laid in columns.items():
            if isinstance(laid, Stack):
                outputs = [batch.arrays[name] for batch in batches]
                kernels.copy_columns(laid.parts, outputs, read.rows, steps, read.slots)
            elif isinstance(laid, np.ndarray):
                outputs = [batch.arrays[name] for batch in batches]
                kernels.copy_rows(np.ascontiguousarray(laid), outputs, read.rows, steps, read.slots)
            else:
                _add_pieces(name, laid, batches, read.rows, steps, read.slots)

    def skip(self, read: Read, row_group: RowGroup) -> None:
        """Mark the rows of one read as left out."""
        ids = read.rows + row_group.first
        for step in np.unique(read.steps):
            here = read.steps == step
            with self._lock:
                batch = self._open_batch(int(step))
                batch.ids[read.slots[here]] = ids[here]
                batch.missing.append(read.slots[here])

    def take(self, step: int, is_padding: NDArray[np.bool_] | None = None) -> Batch:
        """Hand over the batch of one step; all of its rows must have been added or skipped."""
        with self._lock:
            batch = self._open.pop(step, None) or _OpenBatch(np.empty(0, np.int64))
        columns: dict[str, Column] = dict(batch.arrays)
        kept = np.ones(len(batch.ids), np.bool_)
        for slots in batch.missing:
            kept[slots] = False
        complete = bool(kept.all())
        if not complete:
            columns = {name: column[kept] for name, column in batch.arrays.items()}
        for name, pieces in batch.pieces.items():
            slots = np.concatenate([slots for slots, _ in pieces])
            columns[name] = pa.concat_arrays([values for _, values in pieces]).take(
                pa.array(np.argsort(slots))
            )
        names = [name for name in self._formats if name in columns]
        ordered = {name: columns[name] for name in names}
        ids = batch.ids if complete else batch.ids[kept]
        return Batch(ordered, ids, is_padding if complete or is_padding is None else is_padding[kept])

    def _check_formats(self, columns: Mapping[str, Laid], row_group: RowGroup) -> None:
        """Every row group must yield the same columns, or a batch could not hold them."""
        found = {name: _format(laid) for name, laid in columns.items()}
        with self._lock:
            if not self._formats:
                self._formats = found
        if found != self._formats:
            name = next(
                name for name in {**self._formats, **found} if found.get(name) != self._formats.get(name)
            )
            raise SchemaError(
                f"{row_group}, column `{name}`: every row group must yield the same type and shape, got "
                f"{_described(found.get(name))} here and {_described(self._formats.get(name))} in another"
            )

    def _open_batches(self, first: int, present: Ids, columns: Mapping[str, Laid]) -> list[_OpenBatch]:
        with self._lock:
            batches = [self._open_batch(first + int(offset)) for offset in present]
            for batch in batches:
                if not batch.arrays:
                    batch.arrays = self._memory.allocate(_shapes(columns, len(batch.ids)))
        return batches

    def _open_batch(self, step: int) -> _OpenBatch:
        if step not in self._open:
            self._open[step] = _OpenBatch(np.empty(self._sizes(step), np.int64))
        return self._open[step]


def _add_pieces(
    name: str, values: pa.Array, batches: list[_OpenBatch], rows: Ids, steps: Ids, slots: Ids
) -> None:
    by_step = np.argsort(steps, kind="stable")
    taken, slots = values.take(pa.array(rows[by_step])), slots[by_step]
    ends = np.cumsum(np.bincount(steps, minlength=len(batches)))
    for batch, begin, end in zip(batches, [0, *ends[:-1]], ends, strict=True):
        batch.pieces.setdefault(name, []).append((slots[begin:end], taken.slice(begin, end - begin)))


def _shapes(columns: Mapping[str, Laid], rows: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    """The shape and the dtype that each column of fixed width takes in a batch."""
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {}
    for name, laid in columns.items():
        if isinstance(laid, Stack):
            shapes[name] = (rows, len(laid.parts)), laid.parts[0].dtype
        elif isinstance(laid, np.ndarray):
            shapes[name] = (rows, *laid.shape[1:]), laid.dtype
    return shapes


def _format(laid: Laid) -> tuple[str, tuple[int, ...]]:
    if isinstance(laid, Stack):
        return str(laid.parts[0].dtype), (len(laid.parts),)
    if isinstance(laid, np.ndarray):
        return str(laid.dtype), laid.shape[1:]
    return str(laid.type), ()


def _described(kind: tuple[str, tuple[int, ...]] | None) -> str:
    return "nothing" if kind is None else f"{kind[0]} of shape {list(kind[1])}"
