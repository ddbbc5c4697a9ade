"""From a job file to data sets that only need to be written: opened, joined, selected, fitted, prepared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from headrace.dataset import Dataset
from headrace.execution.executors import Executor, Processes, Serial, Threads
from headrace.execution.stages import Stages
from headrace.inputs import open_dataset
from headrace.jobs.fitting import prepare
from headrace.jobs.named import METHOD, OPTIONS, parse_sql
from headrace.planning.order import BlockShuffle
from headrace.selecting.identity import Content

if TYPE_CHECKING:
    import polars as pl

    from headrace.jobs.model import JobFile
    from headrace.jobs.sections import ExecutorSection, Join, Shards, Split, Write


@dataclass(frozen=True, slots=True)
class Output:
    """One data set to write.

    Attributes:
        name: The part's name; empty where there is no split.
        dataset: The samples, as they are to be written.
        path: The folder.
        settings: The other arguments of `ds.write`.
    """

    name: str
    dataset: Dataset
    path: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the samples before they are written.

    Attributes:
        source: How many there are.
        dropped: How many `join`, `select` and a split's missing shares leave out.
        duplicates: How many `dedup` leaves out.
        changed: How many values the steps of `prepare` change in samples that stay; None if not counted.
        outputs: How many samples each output gets, views included.
    """

    source: int
    dropped: int = 0
    duplicates: int = 0
    changed: int | None = None
    outputs: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Built:
    """A job whose decisions are made; nothing is written yet.

    Attributes:
        outputs: What is to be written, in the order of the split's parts.
        counts: What became of the samples.
        executor: Where the work is done; `close` it when all is written.
    """

    outputs: tuple[Output, ...]
    counts: Counts
    executor: Executor

    def close(self) -> None:
        """Stop what the executor has started."""
        self.executor.close()


def build(job: JobFile, stages: Stages, executor: Executor | None = None) -> Built:
    """Make every decision of a job, which reads what it must, on the job's executor.

    Work is done in this order: join, columns, select, dedup, split, fit, prepare, augment.

    Args:
        job: What `read_job` returned.
        stages: Gets a stage for each step that reads.
        executor: Where to work, instead of where the job says.

    Raises:
        HeadraceError: Something of the job cannot be done; the message names the line that asks for it.
    """
    executor = executor or make_executor(job.executor)
    try:
        return decide(job, open_source(job), stages, executor)
    except BaseException:
        executor.close()
        raise


def open_source(job: JobFile) -> Dataset:
    """Open the samples of a job as they are; reads no more than footers."""
    with job.at("source", "path"):
        ds = _open(job.source)
    with job.at("source", "columns"):
        return ds if job.source.columns is None else ds.select(job.source.columns)


def decide(job: JobFile, ds: Dataset, stages: Stages, executor: Executor) -> Built:
    """Make a job's decisions over the samples of its source, or over some of them."""
    source = len(ds)
    ds = _join(job, ds, stages, executor)
    ds = _select(job, ds, stages, executor)
    kept = _dedup(job, ds, stages, executor)
    duplicates = len(ds) - len(kept)
    parts = _split(job, kept, stages, executor)
    parts, changed = prepare(job, parts, stages, executor)
    outputs = tuple(_output(job, name, part) for name, part in parts.items())
    rows = {output.name: len(output.dataset) * output.settings.get("views", 1) for output in outputs}
    dropped = source - duplicates - sum(map(len, parts.values()))
    return Built(outputs, Counts(source, dropped, duplicates, changed, rows), executor)


def make_executor(section: ExecutorSection) -> Executor:
    """Make the executor that a job names; nothing is started yet."""
    if section.kind == "dask":
        from headrace.execution.dask.executor import Dask

        return Dask(section.address)
    if section.kind == "processes":
        return Processes(section.count)
    return Threads(section.count) if section.kind == "threads" else Serial()


def _open(shards: Shards) -> Dataset:
    options = OPTIONS.make(shards.format, shards.options) if shards.format and shards.options else None
    return open_dataset(
        list(shards.path),
        shards.format,
        memory_limit=shards.memory_limit,
        verify=shards.verify,
        storage_options=shards.storage_options or None,
        options=options,
    )


def _join(job: JobFile, ds: Dataset, stages: Stages, executor: Executor) -> Dataset:
    for place, section in enumerate(job.join):
        with job.at("join", place), stages.follow("join", len(ds)) as progress:
            ds = _join_one(_derive(ds, section.derive), section, executor, progress)
    for place, expressions in enumerate(job.columns):
        with job.at("columns", place):
            ds = _derive(ds, expressions)
    return ds


def _join_one(ds: Dataset, section: Join, executor: Executor, progress: Any) -> Dataset:
    table = _derive(_open(section), section.derive_there)
    return ds.join(
        table,
        section.on,
        how=section.how,
        columns=section.columns,
        suffix=section.suffix,
        executor=executor,
        progress=progress,
    )


def _derive(ds: Dataset, expressions: Mapping[str, str]) -> Dataset:
    if not expressions:
        return ds
    ds = ds.with_columns(**{name: parse_sql(text) for name, text in expressions.items()})
    _ = ds.schema  # what does not fit the columns' types is an error here, and not when samples are read
    return ds


def _select(job: JobFile, ds: Dataset, stages: Stages, executor: Executor) -> Dataset:
    section = job.select
    with job.at("select"):
        predicates = _predicates(job, ds)
        if predicates:
            with stages.follow("select", len(ds)) as progress:
                ds = ds.filter(*predicates, executor=executor, cache=section.cache, progress=progress)
        if section.sample is not None:
            chosen = section.sample
            ds = ds.sample(chosen.n, chosen.fraction, chosen.seed, replace=chosen.replace)
        ds = ds if section.columns is None else ds.select(section.columns)
        ds = ds.drop(section.drop) if section.drop else ds
        return ds.rename(section.rename) if section.rename else ds


def _predicates(job: JobFile, ds: Dataset) -> list[pl.Expr]:
    """Return all conditions, which one scan looks at."""
    import polars as pl

    ds.check_names(job.select.drop_nulls)
    not_null = [pl.col(name).is_not_null() for name in job.select.drop_nulls]
    return [*map(parse_sql, job.select.where), *not_null]


def _dedup(job: JobFile, ds: Dataset, stages: Stages, executor: Executor) -> Dataset:
    section = job.dedup
    if section is None:
        return ds
    with job.at("dedup"), stages.follow("dedup", len(ds)) as progress:
        return ds.dedup(
            section.on,
            METHOD.make(section.method, section.options),
            section.keep,
            priority=section.priority,
            warn_above=section.warn_above,
            stop_above=section.stop_above,
            guard_by=section.guard_by,
            executor=executor,
            cache=section.cache,
            memory_limit=section.memory_limit,
            progress=progress,
        )


def _split(job: JobFile, ds: Dataset, stages: Stages, executor: Executor) -> dict[str, Dataset]:
    section = job.split
    if section is None:
        return {"": ds}
    with job.at("split"), stages.stage("split", 1, "scans") as advance:
        parts = ds.split(
            section.shares,
            seed=section.seed,
            by=_by(section),
            stratify=section.stratify,
            time=section.time,
            gap=section.gap,
            exact=section.exact,
            executor=executor,
        )
        advance(rows=len(ds))
        return dict(parts)


def _by(section: Split) -> Any:
    if section.by_content is False:
        return section.by
    return Content(None if section.by_content is True else section.by_content)


def _output(job: JobFile, name: str, ds: Dataset) -> Output:
    write, augment = job.write, job.augment
    with job.at("write"):
        ds = ds if write.columns is None else ds.select(write.columns)
        ds = ds.drop(write.drop) if write.drop else ds
    settings = _settings(write)
    if augment is not None and (augment.parts is None or name in augment.parts):
        with job.at("augment"):
            ds = ds.augment(*(step.make() for step in augment.steps))
        settings |= {"views": augment.views, "seed": augment.seed}
    return Output(name, ds, os.path.join(write.path, name) if name else write.path, settings)


def _settings(write: Write) -> dict[str, Any]:
    shuffle: Any = write.shuffle
    if isinstance(shuffle, dict):
        shuffle = BlockShuffle(**cast("dict[str, int]", shuffle))
    return {
        "format": write.format,
        "shards": write.shards,
        "rows_per_shard": write.rows_per_shard,
        "row_group_rows": write.row_group_rows,
        "compression": write.compression,
        "bloom_filters": write.bloom_filters,
        "partition_by": write.partition_by,
        "shuffle": shuffle or None,
        "seed": write.seed,
        "update": write.update,
    }
