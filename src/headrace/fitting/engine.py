"""Fitting steps: scans over the row groups of the samples that take part, merged in the order of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.execution.dask.executor import Dask
from headrace.execution.executors import Executor, Serial, Threads
from headrace.execution.progress import Progress, follow
from headrace.execution.recipe import Recipe, guarded
from headrace.fitting.scans import Ask, Scan, plan_scan
from headrace.fitting.shelf import Entry, Shelf, States, entry_key
from headrace.prepare.base import frame_schema
from headrace.prepare.chain import Chain
from headrace.prepare.columns import Select
from headrace.prepare.statistics import merge_states
from headrace.prepare.step import SAMPLE_ID, PrepareStep
from headrace.selecting.base import Selectable
from headrace.selecting.parts import Part, parts_of, read_part

if TYPE_CHECKING:
    import polars as pl

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Where a fit runs, and what it may take.

    Attributes:
        executor: Where row groups are read; None for threads.
        memory_limit: Bytes that states may take (values kept for exact quantiles, counts), and columns that
            are kept for later scans as many again.
        progress: True for a bar on a terminal, or a function of row groups done and in all.
        shelf: Where the states of shards are kept; None for nowhere.
    """

    executor: Executor | None = None
    memory_limit: int = 1 << 30
    progress: Progress = True
    shelf: Shelf | None = None


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
            looked = (options.executor or Threads()).map(partial(look, scan), kept)
            states = merge_states(looked, options.memory_limit)
        else:
            kept = None  # the memory is needed for what is kept next
            states, kept, count = _run(recipe, scan, list(_by_shard(dataset)), options)
            scans, read = scans + 1, read + count
        for ask, step in zip(scan.asks, _learn(scan.asks, states, options), strict=True):
            learned[ask.place], fitted[ask.place] = step, True
        del states  # or all values of columns would lie in memory beside those of the next scan
    return tuple(learned), FitReport(scans, read)


def _learn(asks: Sequence[Ask], states: States, options: FitOptions) -> list[PrepareStep]:
    """Let steps learn, side by side where threads are allowed; states stay in this process."""
    executor = options.executor if isinstance(options.executor, (Serial, Threads)) else Threads()

    def learn(ask: Ask) -> PrepareStep:
        return ask.step.with_learned(ask.step.learn(ask.schema, states))

    return list(executor.map(learn, asks))


@dataclass(frozen=True, slots=True)
class _Share:
    """What of one shard takes part."""

    identity: Callable[[], str]
    parts: tuple[Part, ...]


def _by_shard(dataset: Selectable) -> Iterator[_Share]:
    for number, parts in groupby(parts_of(dataset), lambda part: part.row_group.shard):
        shard = dataset.manifest.shards[number]
        yield _Share(lambda shard=shard: shard.content_identity, tuple(parts))


def _run(
    recipe: Recipe, scan: Scan, shares: Sequence[_Share], options: FitOptions
) -> tuple[States, list[pl.DataFrame] | None, int]:
    """Scan the data.

    Returns:
        The states, the columns that later scans need if they fit in memory, and how many row groups
        were read.
    """
    import polars as pl

    # A cluster's data may be larger than this process: what later scans need is read again there.
    later = frozenset[str]() if isinstance(options.executor, Dask) else scan.later or frozenset()
    columns = tuple(name for name in frame_schema(recipe.schema) if name in scan.reads | later)
    reader = replace(recipe, steps=(*recipe.steps, Select(columns)))
    shelf = options.shelf
    keys = [] if shelf is None else [_key(share, recipe, scan) for share in shares]
    known = [None] * len(shares) if shelf is None else [shelf.get(key, scan) for key in keys]
    to_read = [
        part for share, entry in zip(shares, known, strict=True) if entry is None for part in share.parts
    ]
    results = (options.executor or Threads()).map(partial(_read, reader, scan, later), to_read)
    followed = follow(results, len(to_read), options.progress)
    kept: list[pl.DataFrame] | None = [] if later else None
    nbytes = 0

    def states() -> Iterator[States]:
        nonlocal kept, nbytes
        for number, (share, entry) in enumerate(zip(shares, known, strict=True)):
            if entry is None:
                found, frames = _together(list(islice(followed, len(share.parts))), options)
            else:
                found = entry.states
                frames = None if entry.kept is None else list(_row_groups(entry.kept, share.parts))
            nbytes += sum(frame.estimated_size() for frame in frames or ())
            fits = frames is not None and nbytes <= options.memory_limit
            if shelf is not None and entry is None:
                shelf.put(
                    keys[number], Entry(found, pl.concat(frames) if frames and fits and later else None), scan
                )
            kept = [*kept, *frames] if kept is not None and frames is not None and fits else None
            yield found

    merged = merge_states(states(), options.memory_limit)
    next(followed, None)  # the bar ends
    return merged, kept, len(to_read)


def _key(share: _Share, recipe: Recipe, scan: Scan) -> str:
    rows = [(part.row_group.index, part.rows) for part in share.parts]
    if SAMPLE_ID in scan.reads | (scan.later or frozenset()):  # then it matters where the shard lies
        rows = [(part.row_group.first, *row) for part, row in zip(share.parts, rows, strict=True)]
    return entry_key(share.identity(), recipe.fingerprint, rows, scan)


def _together(
    results: Sequence[tuple[States, pl.DataFrame]], options: FitOptions
) -> tuple[States, list[pl.DataFrame]]:
    states = merge_states((states for states, _ in results), options.memory_limit)
    return states, [frame for _, frame in results]


def _row_groups(frame: pl.DataFrame, parts: Sequence[Part]) -> Iterator[pl.DataFrame]:
    """Cut what was kept of a shard into its row groups again, which steps see one by one."""
    begin = 0
    for part in parts:
        rows = part.row_group.rows if part.rows is None else len(part.rows)
        yield frame.slice(begin, rows)
        begin += rows


def _read(reader: Recipe, scan: Scan, later: frozenset[str], part: Part) -> tuple[States, pl.DataFrame]:
    """Read a part, and look at it; return also the columns that are kept."""
    import polars as pl

    frame = read_part(reader, part)
    if SAMPLE_ID in scan.reads | later:
        frame = frame.with_columns(pl.Series(SAMPLE_ID, part.ids))
    return guarded(part.row_group, "the fit", look, scan, frame), frame.select(sorted(later))


def look(scan: Scan, frame: pl.DataFrame) -> States:
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
    return states
