"""The job behind `ds.write`: plan shards, write those that are missing, publish all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from headrace.errors import HeadraceError, JobError, OptionError, OutputError, WorkerError
from headrace.execution.executors import Executor, Processes, Threads
from headrace.execution.recipe import Recipe
from headrace.execution.remember import RememberingRecipe
from headrace.execution.stages import Stages
from headrace.planning.batching import Batching
from headrace.planning.mixing import Mixing
from headrace.planning.order import Shuffle
from headrace.planning.plan import Plan
from headrace.planning.selection import Selection
from headrace.sources.written.manifest import WrittenFile, WrittenManifest
from headrace.sources.written.partitions import check_partitions
from headrace.writing.artifacts import save_artifacts
from headrace.writing.contents import check_elsewhere, contents_of
from headrace.writing.cutting import (
    GROUP_BYTES,
    Cutting,
    ShardPlan,
    bytes_per_sample,
    follow_source,
    group_tasks,
    name_shards,
)
from headrace.writing.formats.base import FormatOptions
from headrace.writing.formats.opening import check_format, suffix_of
from headrace.writing.identity import describe, identity_of, shard_keys, versions_of
from headrace.writing.journal import Journal
from headrace.writing.partitioning import partition
from headrace.writing.rows import Rows
from headrace.writing.samples import WrittenOrder
from headrace.writing.sorting import Directory, Sorted, Spill
from headrace.writing.task import ShardWork, Task
from headrace.writing.written import Written

_FAILURES = 20  # so many failed shards tell that the others will fail too
_SHARED = 4  # a task of small shards has so many times the rows of a row group, as neighbours read one twice


@dataclass(frozen=True)
class WriteJob:
    """What is to be written.

    Attributes:
        recipe: What is done to the samples.
        selection: Which of them, in which order.
        mixing: In which proportions parts take turns; None without parts.
        format: What shards are written as.
        options: How they are laid out.
        cutting: How large they are.
        partition_by: Columns whose values name folders.
        shuffle: The order, instead of the selection's.
        seed: Chooses it, and what augmentations draw.
        views: How many epochs are written.
    """

    recipe: Recipe
    selection: Selection
    mixing: Mixing | None
    format: str
    options: FormatOptions
    cutting: Cutting
    partition_by: tuple[str, ...] = ()
    shuffle: Shuffle = False
    seed: int = 0
    views: int = 1


@dataclass(frozen=True)
class Planned:
    """A job with all that follows from it.

    Attributes:
        rows: Prepares samples.
        schema: The columns of the data set.
        stored: Those of them that are in the files.
        shards: In order.
        identity: What the output follows from, by the name of each part.
        contents: Digest of all bytes of each input shard.
    """

    rows: Rows
    schema: pa.Schema
    stored: pa.Schema
    shards: tuple[ShardPlan, ...]
    identity: dict[str, str]
    contents: tuple[str, ...]


def plan_job(job: WriteJob, executor: Executor, stages: Stages) -> Planned:
    """Plan the shards; of samples, reads one for the schema of arrays and the columns of `partition_by`.

    Raises:
        OptionError: Arguments do not go together.
        SchemaError: A column cannot be written in this format.
        FingerprintError: A function of the recipe cannot be identified by value.
    """
    manifest = job.recipe.source.manifest
    plan = Plan(manifest, job.selection, job.shuffle, Batching(1), job.seed, mixing=job.mixing)
    recipe = replace(job.recipe, cache=None)
    if recipe.augment is not None or recipe.pack is not None:
        recipe = RememberingRecipe.of(recipe, GROUP_BYTES)
    chain = recipe.augment
    order = WrittenOrder(plan, job.views, None if chain is None else chain.partner)
    rows, identity_rows = Rows(recipe, order), Rows(recipe, order)
    schema = rows.schema
    stored = pa.schema([field for field in schema if field.name not in job.partition_by], schema.metadata)
    _check_partitions(job, schema)
    check_format(job.format, stored, job.options)
    suffix, sample_bytes = suffix_of(job.format), bytes_per_sample(manifest)
    group_rows = job.cutting.rows_of_groups(sample_bytes)
    if job.partition_by:
        groups = partition(job.recipe, plan, job.partition_by, executor, stages)
        grouped = replace(plan, selection=groups.selection, shuffle=False, mixing=None)
        rows = Rows(recipe, WrittenOrder(grouped))
        shards: list[ShardPlan] = []
        for folder, count in zip(groups.folders, groups.counts, strict=True):
            sizes = [(size, group_rows) for size in job.cutting.cut(count, sample_bytes)]
            shards.extend(name_shards(sizes, suffix, folder, shards[-1].end if shards else 0))
    elif order.is_sorted and job.cutting.follows_source and order.count:
        counts = plan.samples.counts(manifest.starts)
        one = list(follow_source(manifest, counts, job.cutting))
        shards = name_shards(one * job.views, suffix)
    else:
        sizes = [(size, group_rows) for size in job.cutting.cut(order.count, sample_bytes)]
        shards = name_shards(sizes, suffix)
    contents = contents_of(recipe.source, executor, stages)
    identity = identity_of(identity_rows, job.cutting, job.format, job.options, job.partition_by, contents)
    return Planned(rows, schema, stored, tuple(shards), identity, tuple(contents))


def run_job(
    job: WriteJob, folder: Path, executor: Executor, stages: Stages, resume: bool, update: bool
) -> Written:
    """Write what is missing and publish the output when all of it is there.

    Raises:
        OutputError: The folder is not this job's, is in use, or cannot be written to.
        StateError: The folder holds what another job has begun or written.
        JobError: Some shards could not be written; the others are kept.
    """
    begun = time.perf_counter()
    check_elsewhere(job.recipe.source, folder)
    planned = plan_job(job, executor, stages)
    journal = Journal.open(folder, planned.identity, resume=resume, update=update)
    try:
        if journal.complete is not None:
            manifest, written = journal.complete, 0
        else:
            manifest, written = _write(job, planned, journal, executor, stages, folder)
    finally:
        journal.close()
    return Written(
        folder,
        job.format,
        manifest.total,
        len(manifest.files),
        written,
        len(manifest.files) - written,
        sum(file.nbytes for file in manifest.files),
        time.perf_counter() - begun,
        tuple(stages.all),
    )


def _write(
    job: WriteJob, planned: Planned, journal: Journal, executor: Executor, stages: Stages, folder: Path
) -> tuple[WrittenManifest, int]:
    """Write the shards that are not there, and publish; returns how many were written."""
    keys = shard_keys(planned.shards, planned.rows, planned.stored, planned.identity, planned.contents)
    files: dict[str, WrittenFile] = {}
    kept: dict[str, str] = {}
    missing: list[tuple[ShardPlan, str]] = []
    for shard, key in zip(planned.shards, keys, strict=True):
        found, old = journal.staging.record(shard.name, key), journal.previous.get(key)
        if found is not None:
            files[shard.name] = found
        elif old is not None:
            files[shard.name], kept[shard.name] = replace(old, name=shard.name), old.name
        else:
            missing.append((shard, key))
    if missing:
        _Run(planned, journal, executor, stages, len(planned.shards), folder).write(job, missing, files)
    extras = save_artifacts(job.recipe, journal.staging)
    manifest = WrittenManifest(
        job.format,
        planned.schema,
        tuple(files[shard.name] for shard in planned.shards),
        job.partition_by,
        planned.identity,
        describe(job.recipe),
        tuple(name for name in extras if name.endswith(".json")),
        versions_of(job.format, job.recipe),
    )
    with stages.stage("publish", len(files), "shards") as advance:
        journal.publish(manifest, kept, extras)
        advance(len(files))
    return manifest, len(missing)


@dataclass(frozen=True)
class _Run:
    """The part of a job that runs on an executor."""

    planned: Planned
    journal: Journal
    executor: Executor
    stages: Stages
    shards: int
    folder: Path

    def write(
        self, job: WriteJob, missing: Sequence[tuple[ShardPlan, str]], files: dict[str, WrittenFile]
    ) -> None:
        """Write shards, and add what is kept to the files.

        Raises:
            JobError: Some could not be written.
        """
        rows, staging = self.planned.rows, self.journal.staging
        found = None if rows.order.is_sorted else self._spill(rows)
        by_name = {shard.name: key for shard, key in missing}
        tasks = [
            Task(shards, tuple(by_name[shard.name] for shard in shards))
            for shards in group_tasks(
                [shard for shard, _ in missing],
                _SHARED * _mean_rows(rows),
                lambda shard: found is None and rows.order.is_within(shard.begin),
            )
        ]
        workers = int(getattr(self.executor, "count", 1))
        if isinstance(self.executor, (Threads, Processes)):  # fewer tasks than workers of this machine
            rows = replace(rows, threads=max(workers // len(tasks), 1))
        work = ShardWork(rows, found, job.format, job.options, self.planned.stored, staging, self.folder)
        failed: list[tuple[str, BaseException]] = []
        with self.stages.stage("write", self.shards) as advance:
            if len(missing) < self.shards:
                advance(self.shards - len(missing))
            try:
                # Results are small, so that a slow shard need not hold up the others.
                for outcome in self.executor.map(work, tasks, ahead=max(4 * workers, 16)):
                    files.update((file.name, file) for file in outcome.files)
                    failed.extend(outcome.failed)
                    advance(
                        len(outcome.files),
                        sum(sum(file.rows) for file in outcome.files),
                        sum(file.nbytes for file in outcome.files),
                    )
                    if len(failed) >= _FAILURES:
                        break
            except WorkerError as error:
                failed.append(("the others", error))
            except OutputError as error:
                raise OutputError(f"{error} ({len(files):,} of {self.shards:,} shards are kept)") from error
        if failed:
            self._fail(failed, len(files))

    def _spill(self, rows: Rows) -> Sorted:
        with self.stages.stage("order", 1, "orders") as advance:
            directory = Directory.write(rows.order, self.journal.staging)
            advance()
        runs = Spill.runs(rows)
        with self.stages.stage("sort", len(runs), "parts") as advance:
            try:
                for count in self.executor.map(Spill(rows, directory), runs):
                    advance(rows=count)
            except (OutputError, OptionError):
                raise
            except HeadraceError as error:
                raise JobError(
                    f"the samples cannot be put into order: {error}; what is done is kept, "
                    "so mend that and run again to continue"
                ) from error
        return Sorted(self.journal.staging.folder, len(runs))

    def _fail(self, failed: list[tuple[str, BaseException]], kept: int) -> None:
        name, first = failed[0]
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise JobError(
            f"{kept:,} of {self.shards:,} shards are written and kept, but not {name}{more}: {first}; "
            "mend that and run again to continue"
        ) from first


def _mean_rows(rows: Rows) -> float:
    """Samples that take part in a row group, on average over those that have some."""
    counts = rows.order.plan.samples.counts(rows.recipe.source.manifest.starts)
    return float(counts[counts > 0].mean()) if counts.any() else 1.0


def _check_partitions(job: WriteJob, schema: pa.Schema) -> None:
    """Refuse columns that cannot name folders."""
    if not job.partition_by:
        return
    if job.recipe.pack is not None or job.recipe.augment is not None:
        raise OptionError("`partition_by` goes with columns, not with the arrays of `pack` and `augment`")
    check_partitions(schema, job.partition_by)
    if job.cutting.shards is not None:
        raise OptionError("`partition_by` says how many shards there are; give `rows_per_shard` instead")
