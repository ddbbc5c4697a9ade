"""Rows in an order that is not the source's, out of core.

Row groups are read once each, in the source's order. What was read of several is put into the order wanted
and spilled to one file; a shard then takes its rows from all of these files, where they lie together. Which
rows go where is kept in files as well, so that neither a worker nor the client ever holds more than a part.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.slices import take_rows
from headrace.writing.cutting import evenly
from headrace.writing.disk import output_errors
from headrace.writing.rows import Rows, joined
from headrace.writing.samples import WrittenOrder
from headrace.writing.staging import Staging

Ids = NDArray[np.int64]

_CHUNK = 1 << 22  # positions whose samples are looked up and sorted together
_SPILL_BYTES = 1 << 26
_POSITION = "_headrace_position"


@dataclass(frozen=True)
class Directory:
    """Files that tell at which positions each sample lies, each of a run of positions, sorted by sample.

    Attributes:
        staging: Where they lie.
        count: How many there are.
    """

    staging: Staging
    count: int

    @staticmethod
    def write(order: WrittenOrder, staging: Staging) -> Directory:
        """Write what is not there yet."""
        size, number = order.plan.count, 0
        for view in range(order.views):
            for begin in range(0, size, _CHUNK):
                name = f"spill/places-{number:05d}.npy"
                number += 1
                if staging.has_part(name):
                    continue
                places = np.arange(begin, min(begin + _CHUNK, size))
                ids = order.ids(view, places)
                by_id = np.argsort(ids, kind="stable")
                with _aside(staging, name) as aside, open(aside, "wb") as file:
                    np.save(file, np.stack([ids[by_id], places[by_id] + view * size]))
        return Directory(staging, number)

    def find(self, first: int, last: int) -> tuple[Ids, Ids]:
        """Find the samples with ids from first to before last: ids and positions, sorted by position."""
        found: list[Ids] = []
        for number in range(self.count):
            table: Any = np.load(self.staging.folder / f"spill/places-{number:05d}.npy", mmap_mode="r")
            begin, end = np.searchsorted(table[0], [first, last])
            found.append(np.array(table[:, begin:end]))
        ids, positions = np.concatenate(found, axis=1)
        by_position = np.argsort(positions)
        return ids[by_position], positions[by_position]


@dataclass(frozen=True, slots=True)
class SpillRun:
    """What lies in one file of spilled rows.

    Attributes:
        file: Its number.
        first: The first row group.
        last: The one behind the last.
        begin: The first position; samples elsewhere are in other files.
        end: The one behind the last.
    """

    file: int
    first: int
    last: int
    begin: int
    end: int


@dataclass(frozen=True)
class Spill:
    """Spills row groups to files; one call for each file, in any process.

    Attributes:
        rows: Prepares samples.
        directory: Which samples are wanted, and where.
    """

    rows: Rows
    directory: Directory

    @staticmethod
    def runs(rows: Rows) -> list[SpillRun]:
        """Cut what is prepared into runs of about 64 MiB of samples.

        A row group of more, since samples repeat or are in many epochs, makes several runs of fewer positions
        each, as long as those are no smaller than the row group itself.
        """
        manifest, order = rows.recipe.source.manifest, rows.order
        counts = order.plan.samples.counts(manifest.starts)
        runs: list[SpillRun] = []
        begin, nbytes = 0, 0.0
        for number, (count, whole) in enumerate(zip(counts.tolist(), manifest.nbytes.tolist(), strict=True)):
            size = whole * count * order.views / max(manifest[number].rows, 1)
            if nbytes and nbytes + size > _SPILL_BYTES:
                runs.append(SpillRun(len(runs), begin, number, 0, order.count))
                begin, nbytes = number, 0.0
            pieces = evenly(order.count, math.ceil(size / max(whole, _SPILL_BYTES, 1)))
            if len(pieces) == 1:
                nbytes += size
                continue
            edges = np.cumsum([0, *pieces]).tolist()
            if begin < number:
                runs.append(SpillRun(len(runs), begin, number, 0, order.count))
            for low, high in pairwise(edges):
                runs.append(SpillRun(len(runs), number, number + 1, low, high))
            begin, nbytes = number + 1, 0.0
        if begin < len(counts) or not runs:
            runs.append(SpillRun(len(runs), begin, len(counts), 0, order.count))
        return runs

    def __call__(self, run: SpillRun) -> int:
        """Spill a run of row groups, unless that is done; returns how many rows were prepared."""
        name, starts = spill_name(run.file), self.rows.recipe.source.manifest.starts
        staging = self.directory.staging
        if staging.has_part(name):
            return 0
        ids, positions = self.directory.find(int(starts[run.first]), int(starts[run.last]))
        low, high = np.searchsorted(positions, [run.begin, run.end])
        ids, positions = ids[low:high], positions[low:high]
        batches = list(self._prepared(ids, positions))
        if batches:
            # Where each row lies in what was read.
            read = np.argsort(np.argsort(ids, kind="stable"), kind="stable")
            batch = take_rows(joined(batches), read)
        else:
            batch = pa.RecordBatch.from_arrays(
                [pa.nulls(0, field.type) for field in self.rows.schema], schema=self.rows.schema
            )
        batch = batch.append_column(_POSITION, pa.array(positions))
        with (
            _aside(staging, name) as aside,
            pa.OSFile(str(aside), "wb") as sink,
            pa.ipc.new_file(sink, batch.schema) as writer,
        ):
            writer.write_batch(batch)
        return batch.num_rows

    def _prepared(self, ids: Ids, positions: Ids) -> Iterator[pa.RecordBatch]:
        """Prepare samples row group by row group, and epoch by epoch; sorted by id, then by position."""
        by_id = np.argsort(ids, kind="stable")
        ids, positions = ids[by_id], positions[by_id]
        count = self.rows.order.plan.count
        views = positions // max(count, 1)
        for begin, end in _runs(self.rows.recipe.source.manifest.locate(ids)[0]):
            if not self.rows.are_arrays:
                yield self.rows.take(0, positions[begin:end], ids[begin:end])
                continue
            here = np.argsort(views[begin:end], kind="stable") + begin
            batches = [
                self.rows.take(int(views[here[low]]), positions[here[low:high]] % count, ids[here[low:high]])
                for low, high in _runs(views[here])
            ]
            back = np.argsort(here, kind="stable")
            yield take_rows(joined(batches), back)


@dataclass(frozen=True)
class Sorted:
    """Takes rows from the spilled files, in the order wanted.

    Attributes:
        folder: Where the files lie.
        count: How many there are.
    """

    folder: Path
    count: int

    def between(self, begin: int, end: int, group_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from one position to another, at most `group_rows` at a time."""
        for first in range(begin, end, group_rows):
            last = min(first + group_rows, end)
            parts: list[pa.RecordBatch] = []
            found: list[Ids] = []
            for batch, positions in map(self._open, range(self.count)):
                low, high = np.searchsorted(positions, [first, last])
                if low < high:
                    parts.append(batch.slice(int(low), int(high - low)))
                    found.append(positions[low:high])
            by_position = np.argsort(np.concatenate(found))
            yield take_rows(joined(parts), by_position)

    def _open(self, number: int) -> tuple[pa.RecordBatch, Ids]:
        """Map one file: memory holds what is looked at alone, until the row group that needs it is made.

        A file that stayed mapped would count as memory of this process with every page that was looked at.
        """
        batch = pa.ipc.open_file(pa.memory_map(str(self.folder / spill_name(number)))).get_batch(0)
        positions = batch.column(batch.num_columns - 1).to_numpy()
        return batch.select(batch.schema.names[:-1]), positions


def spill_name(number: int) -> str:
    """Return the name of a file of spilled rows below the staging folder."""
    return f"spill/rows-{number:05d}.arrow"


@contextmanager
def _aside(staging: Staging, name: str) -> Generator[Path]:
    """Yield where to write a file that is kept under its name if the block succeeds.

    Raises:
        OutputError: The disk is full, or not to be written to.
    """
    with output_errors(staging.folder.parents[1]):
        aside = staging.aside(name)
        try:
            yield aside
            staging.keep_part(name, aside)
        except BaseException:
            staging.discard(aside)
            raise


def _runs(values: Ids) -> Iterator[tuple[int, int]]:
    """Yield where each run of equal values begins and ends."""
    if not len(values):
        return
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    yield from pairwise(edges)
