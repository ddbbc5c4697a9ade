"""Reading row groups to find which of their samples match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.execution.executors import Executor, Threads
from headrace.execution.progress import Progress, follow
from headrace.execution.recipe import Recipe
from headrace.manifest import Manifest, RowGroup
from headrace.planning.idset import IdSet, pack_bits
from headrace.sources.statistics import SupportsLookup

Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Key:
    """Values that a column of the source must hold for any sample to match.

    Attributes:
        column: What the source calls it.
        values: Of the column's type; one of them is enough.
    """

    column: str
    values: pa.Array


@dataclass(frozen=True, slots=True)
class Scan:
    """Tells which samples of a row group match; picklable if the recipe is.

    Attributes:
        recipe: Yields one column of truth values without nulls.
        keys: What a match cannot do without.
    """

    recipe: Recipe
    keys: tuple[Key, ...] = ()

    def __call__(self, row_group: RowGroup) -> Words | None:
        """Read a row group, if it may hold the keys; None if no sample matches, else a bit for each."""
        source = self.recipe.source
        if isinstance(source, SupportsLookup) and any(
            source.lacks(row_group, key.column, key.values) for key in self.keys
        ):
            return None
        return _bits(self.recipe.frame(row_group).column(0))


def _bits(column: pa.BooleanArray) -> Words:
    """Return truth values as words; Arrow holds them as bits already, in the same order."""
    rows = len(column)
    if column.offset % 8:
        return pack_bits(column.to_numpy(zero_copy_only=False))
    packed = np.zeros(-(-rows // 64) * 8, np.uint8)
    size = -(-rows // 8)
    packed[:size] = np.frombuffer(column.buffers()[1], np.uint8, size, column.offset // 8)
    if rows % 8:
        packed[size - 1] &= (1 << rows % 8) - 1
    return packed.view("<u8").astype(np.uint64, copy=False)


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """Where a scan runs and what it tells meanwhile.

    Attributes:
        executor: Where row groups are read; None for threads.
        progress: True for a bar on a terminal, or a function of row groups done and in all.
    """

    executor: Executor | None = None
    progress: Progress = True


def run_scan(
    scan: Scan, manifest: Manifest, to_read: Sequence[int], whole: Sequence[int], options: ScanOptions
) -> IdSet:
    """Collect the ids of all samples that match; takes a bit for each sample that there is.

    Args:
        scan: What to run.
        manifest: The row groups.
        to_read: Numbers of the row groups to read, rising.
        whole: Numbers of those of which every sample matches.
        options: Where to run.
    """
    from headrace.planning.bit_kernels import set_runs

    words = np.zeros(-(-manifest.total // 64) + 1, np.uint64)  # one more, for what a part is shifted beyond
    known = np.asarray(whole, np.int64)
    set_runs(words, manifest.starts[known], manifest.starts[known + 1])
    wanted = [manifest[number] for number in to_read]
    results = (options.executor or Threads()).map(scan, wanted)
    for row_group, found in zip(wanted, follow(results, len(wanted), options.progress), strict=True):
        if found is not None:
            _place(words, found, row_group.first)
    return IdSet.of_words(words[:-1], manifest.total)


def _place(words: Words, part: Words, start: int) -> None:
    """Set the bits of a part, moved to where it starts."""
    first, shift = divmod(start, 64)
    if not shift:
        words[first : first + len(part)] |= part
        return
    words[first : first + len(part)] |= part << np.uint64(shift)
    words[first + 1 : first + 1 + len(part)] |= part >> np.uint64(64 - shift)
