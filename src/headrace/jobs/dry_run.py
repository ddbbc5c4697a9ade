"""What a job would read and write, and how long it would take, told before it begins."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.dataset import Dataset
from headrace.errors import HeadraceError, MissingDependencyError, MissingSourceError, SchemaError
from headrace.execution.executors import Executor, Serial
from headrace.execution.explain import DECODING_FACTOR
from headrace.execution.stages import Stage, Stages
from headrace.jobs.build import Built, decide, make_executor, open_source
from headrace.writing.cutting import GROUP_BYTES, Cutting, bytes_per_sample, follow_source

if TYPE_CHECKING:
    from headrace.jobs.model import JobFile

_TRIED_GROUPS = 2
_NOT_SCANS = ("identify", "order", "publish")
# Wrong whatever the samples are; what else goes wrong may be for want of samples.
_WRONG = (SchemaError, MissingSourceError, MissingDependencyError)


@dataclass(frozen=True, slots=True)
class Scan:
    """One stage that reads the data.

    Attributes:
        name: The stage, such as "select", "dedup", "fit" or "write".
        passes: How often it reads the row groups; 0 if their statistics may be enough.
        rows: Samples that go through, over all passes, about.
        nbytes: Bytes on disk of what it reads, at most; 0 if unknown.
        seconds: How long it takes, about.
    """

    name: str
    passes: int
    rows: int
    nbytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PlannedOutput:
    """One data set that would be written.

    Attributes:
        name: The split's part; empty without a split.
        path: Its folder.
        format: What its shards are.
        rows: Samples.
        shards: Files; None where only the data can tell, as with `partition_by`.
    """

    name: str
    path: str
    format: str
    rows: int
    shards: int | None


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a job would do.

    Attributes:
        rows: Samples of the source.
        source_bytes: Their bytes on disk; 0 if they lie elsewhere.
        scans: The stages that read, in order.
        outputs: What would be written.
        is_exact: Whether the outputs' counts are known, and not inferred from a few row groups.
        workers: How many threads or processes would work.
        worker_memory: Bytes that each of them would hold, about.
        seconds: How long the job would take, about; None if it could not be tried.
        notes: What to know beside.
    """

    rows: int
    source_bytes: int
    scans: tuple[Scan, ...]
    outputs: tuple[PlannedOutput, ...]
    is_exact: bool
    workers: int
    worker_memory: int
    seconds: float | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        return asdict(self)


def plan(job: JobFile) -> DryRun:
    """Foretell a job: its first two row groups are prepared, written to a temporary folder, and measured.

    Nothing is written where the job would write, nor into its caches.

    Args:
        job: What `read_job` returned.

    Raises:
        HeadraceError: The job cannot be done.
    """
    ds = open_source(job)
    trial, notes = _try(job, ds)
    scale = len(ds) / max(trial.rows, 1)
    workers = _count_workers(job)
    source_bytes = _disk_bytes(ds)
    scans = tuple(_scan(stage, trial, scale, workers, source_bytes) for stage in trial.stages)
    return DryRun(
        len(ds),
        source_bytes,
        scans,
        tuple(_outputs(job, ds, trial, scale)),
        _keeps_all(job),
        workers,
        _worker_memory(ds),
        sum(scan.seconds for scan in scans) if trial.built is not None else None,
        tuple(notes),
    )


@dataclass(frozen=True)
class _Trial:
    """A job done to the first row groups.

    Attributes:
        rows: Their samples.
        groups: How many row groups.
        stages: What was done.
        built: The decisions; None if they could not be made.
    """

    rows: int
    groups: int
    stages: Sequence[Stage]
    built: Built | None


def _try(job: JobFile, ds: Dataset) -> tuple[_Trial, list[str]]:
    """Do the job to a few row groups: once to load and compile what it needs, and once to measure it."""
    counts = ds.selection.counts(ds.manifest.starts)
    groups = np.flatnonzero(counts)[:_TRIED_GROUPS]
    some = ds.slice(0, int(counts[groups].sum()))
    small = _small(job, len(some) / max(len(ds), 1))
    try:
        _do(small, some, Stages())
        built = _do(small, some, stages := Stages())
    except _WRONG:
        raise
    except HeadraceError as error:
        note = f"the time could not be measured: {len(some):,} samples are too few for this job, or it fails"
        return _Trial(len(some), len(groups), (), None), [f"{note}: {error}"]
    scans = [stage for stage in stages.all if stage.name.split()[0] not in _NOT_SCANS]
    return _Trial(len(some), len(groups), scans, built), []


def _small(job: JobFile, share: float) -> JobFile:
    """Return the job as it is done to a share of its samples: without caches, guards and sizes of outputs."""
    select, dedup, sample = job.select, job.dedup, job.select.sample
    if sample is not None and sample.n is not None:
        sample = sample.model_copy(update={"n": max(int(sample.n * share), 1)})
    if dedup is not None:
        dedup = dedup.model_copy(update={"cache": None, "warn_above": None, "stop_above": None})
    changed = {
        "select": select.model_copy(update={"cache": None, "sample": sample}),
        "dedup": dedup,
        "fit": job.fit.model_copy(update={"cache": None}),
        "write": job.write.model_copy(update={"shards": None, "rows_per_shard": None, "update": False}),
    }
    return job.model_copy(update=changed)


def _do(job: JobFile, ds: Dataset, stages: Stages) -> Built:
    built = decide(job, ds, stages, Serial())
    with tempfile.TemporaryDirectory(prefix="headrace-dry-run-") as folder:
        for output in built.outputs:
            path = os.path.join(folder, output.name or "all")
            output.dataset.write(path, **output.settings, executor=Serial(), progress=stages.of(output.name))
    return built


def _scan(stage: Stage, trial: _Trial, scale: float, workers: int, source_bytes: int) -> Scan:
    """Infer what a stage takes over all samples."""
    passes = -(-stage.total // max(trial.groups, 1)) if stage.unit == "row groups" else 1
    seconds = stage.seconds * scale / workers
    return Scan(stage.name, passes, round(stage.rows * scale), passes * source_bytes, seconds)


def _outputs(job: JobFile, ds: Dataset, trial: _Trial, scale: float) -> Iterator[PlannedOutput]:
    if trial.built is None:
        return
    for output in trial.built.outputs:
        rows = round(trial.built.counts.outputs[output.name] * scale)
        shards = _count_shards(job, ds, rows, output.settings.get("views", 1))
        yield PlannedOutput(output.name, output.path, job.write.format, rows, shards)


def _count_shards(job: JobFile, ds: Dataset, rows: int, views: int) -> int | None:
    write = job.write
    if write.partition_by:
        return None
    cutting = Cutting(write.shards, write.rows_per_shard, write.row_group_rows)
    if write.shuffle or not cutting.follows_source:
        return len(cutting.cut(rows, bytes_per_sample(ds.manifest)))
    counts = ds.selection.counts(ds.manifest.starts) * (rows / views / max(len(ds), 1))
    return views * max(sum(1 for _ in follow_source(ds.manifest, np.ceil(counts), cutting)), 1)


def _keeps_all(job: JobFile) -> bool:
    """Whether every sample is written, whatever it holds."""
    select = job.select
    chosen = select.where or select.drop_nulls or job.dedup or job.split
    return not chosen and all(join.how == "left" for join in job.join)


def _count_workers(job: JobFile) -> int:
    executor: Executor = make_executor(job.executor)
    try:
        client = getattr(executor, "client", None) if job.executor.address is not None else None
        if client is not None:
            return max(sum(client.nthreads().values()), 1)
        count = getattr(executor, "count", 1)
        return len(os.sched_getaffinity(0)) if job.executor.kind == "dask" else int(count)
    finally:
        executor.close()


def _worker_memory(ds: Dataset) -> int:
    """What a worker holds: a row group that is decoded, and one that is written."""
    largest = int(ds.manifest.nbytes.max(initial=0))
    return largest * DECODING_FACTOR + 2 * min(GROUP_BYTES, int(ds.manifest.nbytes.sum()))


def _disk_bytes(ds: Dataset) -> int:
    names = [shard.name for shard in ds.manifest.shards]
    return sum(os.path.getsize(name) for name in names) if all(map(os.path.isfile, names)) else 0
