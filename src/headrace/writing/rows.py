"""Prepared samples as record batches: of one row group, then of a run of positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.batch import Batch
from headrace.errors import SchemaError
from headrace.execution.build import build_batch
from headrace.execution.deliver import to_arrow
from headrace.execution.executors import Threads
from headrace.execution.recipe import Recipe
from headrace.manifest import RowGroup
from headrace.planning.plan import BatchPlan
from headrace.slices import take_rows
from headrace.writing.samples import WrittenOrder

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples of one row group, at consecutive places of one epoch.

    Attributes:
        view: Which epoch.
        number: Which row group.
        begin: The first place.
        end: The place behind the last.
    """

    view: int
    number: int
    begin: int
    end: int


@dataclass(frozen=True)
class Rows:
    """Prepares samples in the form in which they are written; picklable if the recipe is.

    Columns come as they are after the last step, nulls included; with `pack` or augmentations come what a
    loader delivers.

    Attributes:
        recipe: What is done to the samples.
        order: Which sample lies where.
        threads: How many row groups are prepared at a time.
    """

    recipe: Recipe
    order: WrittenOrder
    threads: int = 1

    @property
    def are_arrays(self) -> bool:
        """Whether what is written are a loader's arrays."""
        return self.recipe.pack is not None or self.recipe.augment is not None

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns; of arrays they are told by the first sample.

        Raises:
            HeadraceError: The first sample cannot be read or prepared.
        """
        if not self.are_arrays:
            return self.recipe.schema
        manifest = self.recipe.source.manifest
        if self.order.count:
            place = np.zeros(1, np.int64)
            return self._arrays(0, place, self.order.ids(0, place)).schema
        if manifest.total:  # no sample takes part, but any tells what they would be
            return to_arrow(build_batch(self.recipe, BatchPlan(0, 0, np.zeros(1, np.int64))), False).schema
        none = pa.RecordBatch.from_arrays(
            [pa.nulls(0, field.type) for field in self.recipe.schema], schema=self.recipe.schema
        )
        nowhere = RowGroup(0, 0, 0, 0, 0, 0, "an empty data set")
        columns: Any = self.recipe.lay_out(none, nowhere)
        return to_arrow(Batch(columns, np.zeros(0, np.int64)), False).schema

    def take(self, view: int, places: Ids, ids: Ids) -> pa.RecordBatch:
        """Return the samples at some places of one epoch, all of one row group, in the order given.

        Raises:
            HeadraceError: They cannot be read or prepared; the message names the row group.
        """
        if self.are_arrays:
            return self._checked(self._arrays(view, places, ids))
        manifest = self.recipe.source.manifest
        number = int(manifest.locate(ids[:1])[0][0])
        return _taken(self._frame(number), ids - manifest.starts[number])

    def between(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        """Yield the samples from one position to another, piece by piece; the order must be the source's."""
        pieces = list(self._pieces(begin, end))
        if self.threads > 1 and len(pieces) > 1:
            yield from Threads(self.threads).map(self._piece, pieces)
        else:
            yield from map(self._piece, pieces)

    def _pieces(self, begin: int, end: int) -> Iterator[Piece]:
        count, starts = self.order.plan.count, self.order.starts
        for view in range(begin // max(count, 1), -(-end // max(count, 1))):
            first, last = max(begin - view * count, 0), min(end - view * count, count)
            while first < last:
                number = int(np.searchsorted(starts, first, side="right")) - 1
                until = min(int(starts[number + 1]), last)
                yield Piece(view, number, first, until)
                first = until

    def _piece(self, piece: Piece) -> pa.RecordBatch:
        places = np.arange(piece.begin, piece.end)
        return self.take(piece.view, places, self.order.ids(piece.view, places))

    def _arrays(self, view: int, places: Ids, ids: Ids) -> pa.RecordBatch:
        return to_arrow(build_batch(self.recipe, self.order.batch(view, places, ids)), False)

    def _checked(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        if not rows.schema.equals(self.schema):
            changed = [
                f"`{name}` is {rows.schema.field(name).type} after {self.schema.field(name).type}"
                for name in self.schema.names
                if name not in rows.schema.names or rows.schema.field(name) != self.schema.field(name)
            ]
            raise SchemaError(
                "all samples must have columns of the same types to be written, but "
                f'{", ".join(changed)}; a `pad_to` of one length instead of "longest" makes them alike'
            )
        return rows

    def _frame(self, number: int) -> pa.RecordBatch:
        """Prepare a row group; the last one is kept, as consecutive shards share it."""
        kept = self._last.get("frame")
        if kept is None or kept[0] != number:
            kept = number, self.recipe.frame(self.recipe.source.manifest[number])
            self._last["frame"] = kept
        return kept[1]

    @cached_property
    def _last(self) -> dict[str, tuple[int, pa.RecordBatch]]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what follows from the rest."""
        return {"recipe": self.recipe, "order": self.order, "threads": self.threads}


def regroup(batches: Iterator[pa.RecordBatch], sizes: tuple[int, ...]) -> Iterator[pa.RecordBatch]:
    """Cut consecutive batches anew, into batches of these sizes.

    Example:
        >>> batches = (pa.record_batch({"x": list(range(n))}) for n in (3, 1, 2))
        >>> [batch["x"].to_pylist() for batch in regroup(batches, (2, 4))]
        [[0, 1], [2, 0, 0, 1]]
    """
    held: list[pa.RecordBatch] = []
    count = 0
    for size in sizes:
        while count < size:
            batch = next(batches)
            held.append(batch)
            count += batch.num_rows
        last, over = held[-1], count - size
        held[-1] = last.slice(0, last.num_rows - over)
        yield joined(held)
        held = [last.slice(last.num_rows - over)] if over else []
        count = over


def joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Put batches one behind the other; dictionaries that differ become one."""
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]


def _taken(batch: pa.RecordBatch, rows: Ids) -> pa.RecordBatch:
    # A few rows are copied, so that they do not keep all the others in memory.
    is_run = int(rows[-1]) - int(rows[0]) + 1 == len(rows) and bool(np.all(rows[1:] > rows[:-1]))
    if is_run and 2 * len(rows) >= batch.num_rows:
        return batch.slice(int(rows[0]), len(rows))
    return take_rows(batch, rows)
