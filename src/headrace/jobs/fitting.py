"""The pipeline of a job: fitted, loaded, or taken from the output that is there; and applied to each part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from headrace.dataset import Dataset
from headrace.errors import StateError
from headrace.execution.executors import Executor
from headrace.execution.stages import Stages
from headrace.fingerprint import digest
from headrace.fitting.pipeline import Pipeline
from headrace.prepare.chain import Chain
from headrace.prepare.step import PrepareStep
from headrace.sources.written.manifest import read_manifest

if TYPE_CHECKING:
    from headrace.jobs.model import JobFile

Parts = dict[str, Dataset]


def prepare(job: JobFile, parts: Parts, stages: Stages, executor: Executor) -> tuple[Parts, int | None]:
    """Fit the steps of a job to the part that they learn from, and apply them to all parts.

    Returns:
        The parts, prepared, and how many values were changed if that is to be counted.
    """
    changed = 0
    for steps in _runs(job):
        if steps and not isinstance(steps[0], PrepareStep):
            with job.at("prepare"):
                parts = {name: part.prepare(*steps) for name, part in parts.items()}
                _ = [part.schema for part in parts.values()]  # an error of types is one of this section
            continue
        pipe, is_new = _pipeline(job, steps, parts, stages, executor)
        if job.report.changes:
            changed += sum(_count_changes(pipe, part, stages, executor) for part in parts.values())
        fitted_to = (job.fitted_part or "") if is_new else None
        with job.at("prepare"):
            parts = {
                name: part.prepare(_for_training(pipe) if name == fitted_to else pipe)
                for name, part in parts.items()
            }
    return parts, changed if job.report.changes else None


def _runs(job: JobFile) -> Iterator[list[Any]]:
    """Yield steps that follow each other and are all fitted, or all not; no steps for a saved pipeline."""
    steps = [section.make() for section in job.prepare]
    for _, run in groupby(steps, lambda step: isinstance(step, PrepareStep)):
        yield list(run)
    if job.fit.artifact is not None:
        yield []


def _pipeline(
    job: JobFile, steps: list[PrepareStep], parts: Parts, stages: Stages, executor: Executor
) -> tuple[Pipeline, bool]:
    """Return the fitted pipeline, and whether it learned from samples of this run."""
    fit = job.fit
    if fit.artifact is not None:
        with job.at("fit", "artifact"):
            return Pipeline.load(fit.artifact), False
    pipe = Pipeline(steps, dtype=fit.dtype)
    with job.at("fit", "values"):
        if fit.values == "frozen" and (frozen := _load_frozen(job, pipe)) is not None:
            return frozen, False
    learned_from = parts[job.fitted_part or ""]
    with job.at("prepare"), stages.follow("fit", len(learned_from)) as progress:
        pipe.fit(
            learned_from,
            executor=executor,
            cache=fit.cache,
            memory_limit=fit.memory_limit,
            progress=progress,
        )
    # Frozen values are to serve samples that nobody has seen yet, from the first run on.
    return pipe, fit.values == "refit"


def _load_frozen(job: JobFile, wanted: Pipeline) -> Pipeline | None:
    """Load what the job's complete output was made with; None before the first run.

    Raises:
        StateError: It was made by other steps than the job has now.
    """
    folders = [os.path.join(job.write.path, part) for part in job.parts or ("",)]
    found = [(folder, manifest) for folder in folders if (manifest := read_manifest(folder)) is not None]
    if not found:
        return None
    folder, manifest = found[0]
    saved = [name for name in manifest.artifacts if name.endswith(".json")]
    pipe = Pipeline.load(os.path.join(folder, saved[0])) if saved else None
    if pipe is None or _settings(pipe) != _settings(wanted):
        raise StateError(
            f'"frozen" keeps what {folder} was made with, but `prepare` now has other steps or '
            'parameters; use "refit", or write to another folder'
        )
    return pipe


def _settings(pipe: Pipeline) -> str:
    return digest(pipe.dtype, *(step.unlearned() for step in pipe.steps))


def _for_training(pipe: Pipeline) -> Pipeline | Chain:
    """Return what the samples of the fit are prepared with, where that is something else."""
    steps = tuple(step.for_training() for step in pipe.steps)
    if all(one is other for one, other in zip(steps, pipe.steps, strict=True)):
        return pipe
    return Chain(steps, pipe.dtype, pipe.step.columns)


def _count_changes(pipe: Pipeline, part: Dataset, stages: Stages, executor: Executor) -> int:
    with stages.follow("report", len(part)) as progress:
        report = pipe.report(part, executor=executor, progress=progress)
    return int(report.filter(report["event"] == "changed")["count"].sum())
