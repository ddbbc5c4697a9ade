"""Performing a job: everything is decided, then each of its data sets is written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError
from headrace.execution.executors import Executor
from headrace.execution.stages import Stage, Stages
from headrace.jobs.build import Built, Output, build
from headrace.jobs.summary import JobSummary, OutputSummary

if TYPE_CHECKING:
    from headrace.jobs.model import JobFile


def run(job: JobFile, stages: Stages, executor: Executor | None = None, resume: bool = True) -> JobSummary:
    """Perform a job.

    An output that fails does not stop the others. What was written of it is kept, and running the job again
    continues it.

    Args:
        job: What `read_job` returned.
        stages: Gets what is done, as it is done.
        executor: Where to work, instead of where the job says. It is closed.
        resume: Whether to go on with what an interrupted run has left.

    Raises:
        HeadraceError: The job cannot be done, and nothing of it was begun.

    Example:
        >>> import headrace as hr, tempfile
        >>> from pathlib import Path
        >>> from headrace.jobs.file import read_job
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = hr.from_arrays({"x": [1, 2, 3]}).write(folder / "data", progress=False)
        >>> _ = (folder / "job.toml").write_text('''
        ...     [source]
        ...     path = "data"
        ...     [select]
        ...     where = "x > 1"
        ...     [write]
        ...     path = "out"
        ... ''')
        >>> summary = run(read_job(folder / "job.toml"), Stages())
        >>> summary.counts.dropped, summary.outputs[0].rows
        (1, 2)
    """
    begun = time.perf_counter()
    built = build(job, stages, executor)
    try:
        outputs = tuple(
            _write(job, output, built, stages.of(output.name), resume) for output in built.outputs
        )
    finally:
        built.close()
    summary = JobSummary(outputs, built.counts, tuple(stages.all), time.perf_counter() - begun)
    error = next((output.error for output in outputs if output.error is not None), None)
    if error is not None and not any(output.is_begun for output in outputs):
        raise error
    return summary


def _write(job: JobFile, output: Output, built: Built, stages: Stages, resume: bool) -> OutputSummary:
    before, rows = len(stages.all), built.counts.outputs[output.name]
    try:
        with job.at("write"):
            done = output.dataset.write(
                output.path, **output.settings, executor=built.executor, resume=resume, progress=stages
            )
    except HeadraceError as error:
        written = _find(stages, "write", before)
        there = (written.total, written.done, 0, written.nbytes)
        return OutputSummary(output.name, output.path, rows, *there, error)
    return OutputSummary(
        output.name, output.path, done.rows, done.shards, done.written, done.kept, done.nbytes
    )


def _find(stages: Stages, name: str, first: int) -> Stage:
    """Return the stage of that name, or an empty one."""
    wanted = f"{name} {stages.part}".strip()
    return next((stage for stage in stages.all[first:] if stage.name == wanted), Stage(wanted, 0))
