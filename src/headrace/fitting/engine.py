"""Fitting steps: scans over the row groups of the samples that take part, merged in the order of the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.execution.executors import Executor, Threads
from headrace.execution.recipe import Recipe
from headrace.fitting.scans import Ask, Scan, plan_scan
from headrace.manifest import RowGroup
from headrace.prepare.base import to_frame
from headrace.prepare.chain import Chain
from headrace.prepare.columns import Select
from headrace.prepare.statistics import Statistic
from headrace.prepare.step import PrepareStep
from headrace.selecting.base import Selectable
from headrace.selecting.progress import Progress, follow

if TYPE_CHECKING:
    import polars as pl

Rows = NDArray[np.int64]
States = dict[Statistic, Any]


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Where a fit runs, and what it may take.

    Attributes:
        executor: Where row groups are read; None for threads.
        memory_limit: Bytes that values kept for exact quantiles and for later scans may take.
        progress: True for a bar on a terminal, or a function of row groups done and in all.
    """

    executor: Executor | None = None
    memory_limit: int = 1 << 30
    progress: Progress = True


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one row group.

    Attributes:
        row_group: Which one.
        rows: Which rows, rising, with repeats; None for all.
    """

    row_group: RowGroup
    rows: Rows | None


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit has read.

    Attributes:
        scans: How often the data was read.
        row_groups: How many row groups were read, in all scans together.
    """

    scans: int
    row_groups: int


def fit_steps(
    steps: Sequence[PrepareStep], dataset: Selectable, options: FitOptions
) -> tuple[tuple[PrepareStep, ...], FitReport]:
    """Fit steps to the samples of a data set.

    Returns:
        Steps that have learned, and what was read.

    Raises:
        OptionError: No sample takes part.
        HeadraceError: The data cannot be read, or not be fitted.
    """
    if not dataset.selection.count:
        raise OptionError("a fit needs at least one sample, got none")
    recipe = replace(dataset.recipe, pack=None, keep_arrow=False)
    schema = frame_schema(recipe.schema)
    learned, fitted = list(steps), [False] * len(steps)
    kept: list[pl.DataFrame] | None = None
    scans = read = 0
    while not all(fitted):
        scan = plan_scan(learned, fitted, schema)
        for place, step in scan.ready.items():
            learned[place], fitted[place] = step, True
        if not scan.asks:
            continue
        if kept is not None and scan.reads <= set(kept[0].columns):
            results = (options.executor or Threads()).map(partial(_look, scan), kept)
            states = _merged(result for result, _ in results)
        else:
            parts = list(parts_of(dataset))
            states, kept = _run(recipe, scan, parts, options)
            scans, read = scans + 1, read + len(parts)
        for ask in scan.asks:
            step = ask.step.with_learned(ask.step.learn(ask.schema, states))
            learned[ask.place], fitted[ask.place] = step, True
    return tuple(learned), FitReport(scans, read)


def frame_schema(schema: pa.Schema) -> pl.Schema:
    """Return Arrow's columns and types as Polars has them."""
    arrays = [pa.nulls(0, field.type) for field in schema]
    return to_frame(pa.RecordBatch.from_arrays(arrays, schema=schema)).schema


def parts_of(dataset: Selectable) -> Iterator[Part]:
    """Yield the row groups that samples lie in, and which of their rows, in the order of the data.

    A sample that a selection repeats comes as often.
    """
    selection, starts = dataset.selection.by_id, dataset.manifest.starts
    counts = selection.counts(starts)
    before = np.concatenate([[0], np.cumsum(counts)])
    for number in np.flatnonzero(counts).tolist():
        row_group = dataset.manifest[number]
        is_whole = counts[number] == row_group.rows and selection.listed is None
        ids = None if is_whole else selection.at(np.arange(before[number], before[number + 1]))
        yield Part(row_group, None if ids is None else ids - row_group.first)


def _run(
    recipe: Recipe, scan: Scan, parts: Sequence[Part], options: FitOptions
) -> tuple[States, list[pl.DataFrame] | None]:
    """Scan the data; return the states, and the columns that later scans need if they fit in memory."""
    later = scan.later or frozenset()
    columns = tuple(name for name in frame_schema(recipe.schema) if name in scan.reads | later)
    reader = replace(recipe, steps=(*recipe.steps, Select(columns)))
    results = (options.executor or Threads()).map(partial(_read, reader, scan, later), parts)
    kept: list[pl.DataFrame] | None = [] if later else None
    nbytes = 0

    def states() -> Iterator[States]:
        nonlocal kept, nbytes
        for found, frame in follow(results, len(parts), options.progress):
            nbytes += frame.estimated_size()
            kept = None if kept is None or nbytes > options.memory_limit else [*kept, frame]
            yield found

    return _merged(states()), kept


def _read(reader: Recipe, scan: Scan, later: frozenset[str], part: Part) -> tuple[States, pl.DataFrame]:
    """Read a part, and look at it."""
    batch = reader.frame(part.row_group)
    frame = to_frame(batch if part.rows is None else batch.take(pa.array(part.rows)))
    states, _ = _look(scan, frame)
    return states, frame.select(sorted(later))


def _look(scan: Scan, frame: pl.DataFrame) -> tuple[States, None]:
    """Send samples through the fitted steps, and ask on the way."""
    states: States = {}
    for asks, items in groupby(scan.items, lambda item: isinstance(item, Ask)):
        if asks:
            for item in items:
                assert isinstance(item, Ask)
                states |= {statistic: statistic.of(frame) for statistic in item.statistics}
        else:
            steps = tuple(item for item in items if isinstance(item, PrepareStep))
            frame = Chain(steps).apply_some(frame, steps, is_last=False)
    return states, None


def _merged(results: Iterable[States]) -> States:
    merged: States = {}
    for states in results:
        merged = {key: merged[key].merge(state) if key in merged else state for key, state in states.items()}
    return merged
