"""Reading row groups to find which of their samples match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headrace.execution.executors import Executor, Threads
from headrace.execution.recipe import Recipe
from headrace.manifest import Manifest, RowGroup
from headrace.planning.concatenation import concatenate
from headrace.planning.idset import IdSet, pack_bits
from headrace.selecting.progress import Progress, follow
from headrace.sources.statistics import SupportsLookup


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

    def __call__(self, row_group: RowGroup) -> IdSet:
        """Read a row group, if it may hold the keys; the ids returned begin at 0."""
        source = self.recipe.source
        if isinstance(source, SupportsLookup) and any(
            source.lacks(row_group, key.column, key.values) for key in self.keys
        ):
            return nothing(row_group.rows)
        column = self.recipe.frame(row_group).column(0)
        if column.offset:
            return IdSet.of_mask(column.to_numpy(zero_copy_only=False))
        # Arrow holds truth values as bits already, in the order in which the set has them.
        packed = np.zeros(-(-row_group.rows // 64) * 8, np.uint8)
        stored = np.frombuffer(column.buffers()[1], np.uint8, -(-row_group.rows // 8))
        packed[: len(stored)] = stored
        words = packed.view("<u8").astype(np.uint64, copy=False)
        if row_group.rows % 64:
            words[-1] &= pack_bits(np.ones(row_group.rows % 64, np.bool_))[0]
        return IdSet.of_words(words, row_group.rows)


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
    """Collect the ids of all samples that match.

    Args:
        scan: What to run.
        manifest: The row groups.
        to_read: Numbers of the row groups to read, rising.
        whole: Numbers of those of which every sample matches.
        options: Where to run.
    """
    parts = [nothing(int(rows)) for rows in np.diff(manifest.starts)]
    for number in whole:
        parts[number] = everything(parts[number].total)
    executor = options.executor or Threads()
    wanted = [manifest[number] for number in to_read]
    results = executor.map(scan, wanted)
    for number, found in zip(to_read, follow(results, len(wanted), options.progress), strict=True):
        parts[number] = found
    return concatenate(parts)


def nothing(total: int) -> IdSet:
    """Return the empty set."""
    return IdSet.of_ids(np.zeros(0, np.int64), total)


def everything(total: int) -> IdSet:
    """Return the set of all ids."""
    return IdSet.of_runs(np.array([0]), np.array([total]), total)
