"""Rooms 1 to 4 as one function: a batch from a recipe and a batch plan.

Serial code, threads, processes and clusters differ only in who calls it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from headrace.batch import Batch
from headrace.errors import HeadraceError
from headrace.execution.gather import Gather
from headrace.execution.recipe import Recipe, Untouched
from headrace.execution.stats import Stats, measured
from headrace.planning.plan import BatchPlan, Read


def build_batch(recipe: Recipe, plan: BatchPlan) -> Batch:
    """Build one batch: a pure function of its arguments, on any thread, process or machine.

    Raises:
        HeadraceError: A row group cannot be read or prepared.
    """
    gather = Gather(range(plan.step, plan.step + 1), lambda step: len(plan.ids))
    manifest = recipe.source.manifest
    numbers, rows = manifest.locate(plan.ids)
    slots = np.lexsort((rows, numbers))
    edges = np.flatnonzero(np.diff(numbers[slots], prepend=-1, append=-1))
    for begin, end in pairwise(edges):
        here = slots[begin:end]
        steps = np.full(end - begin, plan.step)
        fill(recipe, gather, Read(int(numbers[here[0]]), rows[here], steps, here, plan.step))
    return recipe.finish(gather.take(plan.step, plan.is_padding))


def fill(
    recipe: Recipe, gather: Gather, read: Read, stats: Stats | None = None, skip_errors: bool = False
) -> None:
    """Read and prepare one row group and copy its rows to where they belong.

    Args:
        recipe: What to do.
        gather: The open batches.
        read: Which rows of which row group go where.
        stats: Where to count seconds and skipped samples.
        skip_errors: Leave out the rows of a row group that cannot be read or prepared.
    """
    row_group = recipe.source.manifest[read.row_group]
    try:
        columns = recipe.arrays(row_group, stats)
        with measured(stats, "gather"):
            gather.add(read, row_group, columns)
        with measured(stats, "read"):
            for name, column in columns.items():
                if isinstance(column, Untouched):
                    targets = gather.targets(name, read)
                    column.source.copy_rows(row_group, column.column, read.rows, targets)
    except HeadraceError as error:
        if not skip_errors or stats is None:
            raise
        gather.skip(read, row_group)
        stats.skip((read.rows + row_group.first).tolist(), str(error))
