"""Samples grouped by the values of some columns: one folder for each combination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from headrace.execution.executors import Executor
from headrace.execution.recipe import Recipe
from headrace.execution.stages import Stages
from headrace.manifest import RowGroup
from headrace.planning.plan import Plan
from headrace.planning.selection import Selection
from headrace.prepare.base import from_frame, to_frame
from headrace.prepare.columns import Select
from headrace.sources.written.partitions import partition_folder

Ids = NDArray[np.int64]

_CODE = "_headrace_code"


@dataclass(frozen=True, slots=True)
class Partitioned:
    """Samples in the order of their partitions.

    Attributes:
        selection: The samples, those of a partition together and in the order that they had.
        folders: Where each partition lies, below the output's folder, with "/" at its end.
        counts: How many samples each has.
    """

    selection: Selection
    folders: tuple[str, ...]
    counts: tuple[int, ...]


def partition(
    recipe: Recipe, plan: Plan, columns: Sequence[str], executor: Executor, stages: Stages
) -> Partitioned:
    """Read the columns of all samples and group samples by their values, which rise; nulls are last.

    Takes about 40 bytes for each sample, in this process.

    Raises:
        SchemaError: A column cannot be told by the name of a folder.
        HeadraceError: A row group cannot be read or prepared.
    """
    manifest, samples = plan.manifest, plan.samples
    narrowed = replace(recipe, steps=(*recipe.steps, Select(tuple(columns))))
    wanted = [manifest[int(number)] for number in np.flatnonzero(samples.counts(manifest.starts))]
    own = np.zeros(manifest.total, np.int32)
    tables: list[pa.RecordBatch] = []
    with stages.stage("partition", len(wanted), "row groups") as advance:
        found = executor.map(partial(_values, narrowed), wanted)
        for row_group, (values, codes) in zip(wanted, found, strict=True):
            own[row_group.first : row_group.first + row_group.rows] = codes
            tables.append(values)
            advance(rows=row_group.rows)
    ids = samples.at(plan.order.indices(np.arange(plan.count)))
    if not len(ids):
        return Partitioned(plan.selection, (), ())
    values, numbers = _united(tables, list(columns))
    for row_group, known in zip(wanted, numbers, strict=True):
        here = own[row_group.first : row_group.first + row_group.rows]
        here[:] = known[here]
    codes = own[ids]
    counts = np.bincount(codes, minlength=values.height)
    listed = ids[np.argsort(codes, kind="stable")]
    taken = np.flatnonzero(counts)
    batch = from_frame(values)
    folders = tuple(
        partition_folder({name: batch.column(name)[number] for name in columns}) for number in taken.tolist()
    )
    return Partitioned(Selection.of(listed, manifest.total), folders, tuple(counts[taken].tolist()))


def _values(recipe: Recipe, row_group: RowGroup) -> tuple[pa.RecordBatch, NDArray[np.int32]]:
    """Return the distinct values of a row group, and which of them each row has."""
    frame = to_frame(recipe.frame(row_group))
    values = frame.unique(maintain_order=True)
    numbered = values.with_columns(pl.int_range(pl.len(), dtype=pl.Int32).alias(_CODE))
    codes = frame.join(numbered, on=frame.columns, how="left", nulls_equal=True, maintain_order="left")
    return from_frame(values), codes[_CODE].to_numpy()


def _united(
    tables: Sequence[pa.RecordBatch], columns: list[str]
) -> tuple[pl.DataFrame, list[NDArray[np.int32]]]:
    """Return all distinct values, sorted, and for each table which of them its rows are."""
    frames = [to_frame(table) for table in tables]
    values = pl.concat(frames).unique().sort(columns, nulls_last=True)
    numbered = values.with_columns(pl.int_range(pl.len(), dtype=pl.Int32).alias(_CODE))
    joined = [
        frame.join(numbered, on=columns, how="left", nulls_equal=True, maintain_order="left")
        for frame in frames
    ]
    return values, [frame[_CODE].to_numpy() for frame in joined]
