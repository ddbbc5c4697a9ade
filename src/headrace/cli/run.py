"""`headrace run`: perform the job that a file describes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from headrace.cli.output import make_console, make_table, size, write_json
from headrace.execution.executors import Executor
from headrace.execution.reporting import duration, reporter_for
from headrace.execution.stages import Stages
from headrace.jobs.build import make_executor
from headrace.jobs.dry_run import DryRun, plan
from headrace.jobs.file import read_job
from headrace.jobs.run import run
from headrace.jobs.summary import JobSummary

PARTIAL = 3


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says beside the job's file.

    Attributes:
        overrides: Settings that take the place of the file's.
        is_dry: Show the plan instead.
        resume: Go on with what an interrupted run has left.
        is_quiet: Show neither progress nor the summary.
        as_json: Print the summary or the plan as JSON.
    """

    overrides: Sequence[str]
    is_dry: bool
    resume: bool
    is_quiet: bool
    as_json: bool


def run_job(path: str, options: RunOptions) -> int:
    """Perform a job, or show what it would do.

    Returns:
        The exit code: 0, or 3 if only a part is written.

    Raises:
        HeadraceError: The job cannot be done, and nothing of it was begun.
        KeyboardInterrupt: Ctrl-C was pressed; the message says what then.
    """
    with _plain_warnings():
        job = read_job(path, options.overrides)
        if options.is_dry:
            _show(options, plan(job))
            return 0
        try:
            executor = make_executor(job.executor)
            if not options.is_quiet:
                _tell_dashboard(executor)
            stages = Stages(reporter_for(not options.is_quiet))
            summary = run(job, stages, executor, options.resume)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted; what is written is kept, and `headrace run {path}` continues"
            ) from None
    _show(options, summary)
    if summary.complaint is None:
        return 0
    _say(summary.complaint)
    return PARTIAL


def _tell_dashboard(executor: Executor) -> None:
    """Say where the work can be watched, before it begins."""
    getattr(executor, "client", None)  # connects
    dashboard = getattr(executor, "dashboard", None)
    if dashboard is not None:
        _say(f"dashboard: {dashboard}")


@contextmanager
def _plain_warnings() -> Generator[None]:
    """Show a warning as a sentence; the line of code that it names is none of the user's."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        _say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _say(text: str) -> None:
    sys.stderr.write(f"headrace: {' '.join(text.split())}\n")


def _show(options: RunOptions, result: JobSummary | DryRun) -> None:
    if options.as_json:
        write_json(result.as_dict())
    elif not options.is_quiet:
        console = make_console()
        if isinstance(result, JobSummary):
            _show_summary(console, result)
        else:
            _show_plan(console, result)


def _show_summary(console: Console, summary: JobSummary) -> None:
    numbers = ("items", "samples", "bytes", "time")
    stages = make_table(("stage", *numbers), right=numbers)
    for stage in summary.stages:
        items = f"{stage.done:,} {stage.unit}"
        rows, nbytes = f"{stage.rows:,}" if stage.rows else "", size(stage.nbytes) if stage.nbytes else ""
        stages.add_row(stage.name, items, rows, nbytes, duration(stage.seconds))
    numbers = ("samples", "shards", "kept", "bytes")
    outputs = make_table(("output", *numbers), right=numbers)
    for output in summary.outputs:
        there = output.written + output.kept
        shards = f"{there:,}" if output.error is None else f"{there:,} of {output.shards:,}"
        outputs.add_row(output.path, f"{output.rows:,}", shards, f"{output.kept:,}", size(output.nbytes))
    counts = summary.counts
    parts = [f"{counts.source:,} samples", f"{counts.dropped:,} dropped", f"{counts.duplicates:,} duplicates"]
    if counts.changed is not None:
        parts.append(f"{counts.changed:,} values changed")
    console.print(stages, "", outputs, "", f"{', '.join(parts)}; {duration(summary.seconds)}", sep="\n")


def _show_plan(console: Console, found: DryRun) -> None:
    about = "" if found.is_exact else "about "
    facts = make_table(("plan", ""))
    facts.show_header = False
    facts.add_row("samples of the source", f"{found.rows:,}")
    facts.add_row("size on disk", size(found.source_bytes) if found.source_bytes else "unknown")
    facts.add_row("workers", f"{found.workers:,}")
    facts.add_row("memory of a worker, about", size(found.worker_memory))
    facts.add_row("time, about", "unknown" if found.seconds is None else duration(found.seconds))
    numbers = ("passes", "samples", "time, about")
    scans = make_table(("scan", *numbers), right=numbers)
    for scan in found.scans:
        scans.add_row(scan.name, f"{scan.passes:,}", f"{scan.rows:,}", duration(scan.seconds))
    numbers = ("samples", "shards")
    outputs = make_table(("output", "format", *numbers), right=numbers)
    for output in found.outputs:
        shards = "?" if output.shards is None else f"{about}{output.shards:,}"
        outputs.add_row(output.path, output.format, f"{about}{output.rows:,}", shards)
    console.print(facts, "", scans, "", outputs, sep="\n")
    for note in found.notes:
        console.print(f"\n{note[0].upper()}{note[1:]}.")
