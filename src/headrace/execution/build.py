"""Rooms 1 to 4 as one function: a batch from a recipe and a batch plan.

Serial code, threads, processes and clusters differ only in who calls it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from headrace.batch import Batch
from headrace.errors import CacheError, HeadraceError, OptionError, UndecodableError
from headrace.execution.augmenting import Augmenter
from headrace.execution.gather import Gather
from headrace.execution.recipe import Recipe, Rows, Untouched
from headrace.execution.stats import Stats, measured
from headrace.manifest import RowGroup
from headrace.planning.plan import BatchPlan, Read
from headrace.sources.base import SupportsReadRows


def build_batch(recipe: Recipe, plan: BatchPlan, augmenter: Augmenter | None = None) -> Batch:
    """Build one batch: a pure function of its arguments, on any thread, process or machine.

    Args:
        recipe: What to do.
        plan: For which samples.
        augmenter: What changes them, if it is not to be done here and now.

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
    batch = recipe.finish(gather.take(plan.step, plan.is_padding))
    if recipe.augment is None or plan.draws is None or plan.samples is None:
        return batch
    partners = None
    if plan.partners is not None and plan.partners.samples is not None:
        others = replace(plan.partners, draws=None, samples=None)
        partners = build_batch(recipe, others), plan.partners.samples
    augmenter = augmenter or Augmenter(recipe.augment)
    return augmenter(batch, plan.draws, plan.samples, partners)


def fill(
    recipe: Recipe, gather: Gather, read: Read, stats: Stats | None = None, skip_errors: bool = False
) -> None:
    """Read and prepare one row group and copy its rows to where they belong.

    Args:
        recipe: What to do.
        gather: The open batches.
        read: Which rows of which row group go where.
        stats: Where to count seconds and skipped samples.
        skip_errors: Leave out samples that cannot be read or prepared: those that the source
            names, else all of the row group.
    """
    row_group = recipe.source.manifest[read.row_group]
    tried: Rows | None = None  # all of the row group
    while len(read.rows):
        try:
            _place(recipe, gather, read, row_group, tried, stats)
            return
        except (CacheError, OptionError):
            raise  # of a store or a setting, so no sample is to blame
        except HeadraceError as error:
            if not skip_errors or stats is None:
                raise
            tried = _rows_without(recipe, row_group, tried, error)
            is_sound = np.isin(read.rows, tried)
            lost, read = _part(read, ~is_sound), _part(read, is_sound)
            gather.skip(lost, row_group)
            if len(lost.rows):
                stats.skip((lost.rows + row_group.first).tolist(), str(error))


def _place(
    recipe: Recipe, gather: Gather, read: Read, row_group: RowGroup, rows: Rows | None, stats: Stats | None
) -> None:
    """Read and prepare some rows of a row group and copy those of the read; if it fails, none are added.

    Raises:
        UndecodableError: Some samples cannot be decoded; its `rows` are rows of the row group.
    """
    everything = np.arange(row_group.rows)
    with _numbered(everything if rows is None else rows):
        columns, held = recipe.arrays(row_group, read.rows, stats, rows)
    with measured(stats, "gather"):
        gather.open(read, row_group, columns)
    with measured(stats, "read"), _numbered(read.rows):
        for name, column in columns.items():
            if isinstance(column, Untouched):
                targets = gather.targets(name, read)
                column.source.copy_rows(row_group, column.column, read.rows, targets)
    with measured(stats, "gather"):
        gather.add(read, row_group, columns, held)


@contextmanager
def _numbered(rows: Rows) -> Generator[None]:
    """Let an error name rows of the row group, rather than places among those that were asked for."""
    try:
        yield
    except UndecodableError as error:
        error.rows = tuple(rows[list(error.rows)].tolist())
        raise


def _rows_without(recipe: Recipe, row_group: RowGroup, tried: Rows | None, error: HeadraceError) -> Rows:
    """Tell which rows are left once those that an error is about are gone; none if it names none."""
    rows = np.arange(row_group.rows) if tried is None else tried
    if not isinstance(error, UndecodableError) or not isinstance(recipe.source, SupportsReadRows):
        return rows[:0]
    left = np.setdiff1d(rows, error.rows)
    return left if len(left) < len(rows) else rows[:0]


def _part(read: Read, chosen: NDArray[np.bool_]) -> Read:
    return replace(read, rows=read.rows[chosen], steps=read.steps[chosen], slots=read.slots[chosen])
