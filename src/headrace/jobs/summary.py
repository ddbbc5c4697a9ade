"""What a job has done: its outputs, its counts, and the time of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from headrace.errors import HeadraceError, JobError
from headrace.execution.stages import Stage
from headrace.jobs.build import Counts


@dataclass(frozen=True, slots=True)
class OutputSummary:
    """One data set of a job.

    Attributes:
        name: The split's part; empty without a split.
        path: Its folder.
        rows: Samples it has, or is to have.
        shards: Files it has, or is to have; 0 if it failed before they were planned.
        written: How many of them were written now; all that are there if it is not complete.
        kept: How many were there before.
        nbytes: Bytes of its files; of those written now if it is not complete.
        error: Why it is not complete; None if it is.
    """

    name: str
    path: str
    rows: int
    shards: int
    written: int
    kept: int
    nbytes: int
    error: HeadraceError | None = None

    @property
    def is_begun(self) -> bool:
        """Whether it is complete, or has something that the next run continues with."""
        return self.error is None or self.shards > 0 or isinstance(self.error, JobError)


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What a job has done.

    Attributes:
        outputs: The data sets, in the order of the split's parts.
        counts: What became of the samples.
        stages: What was done, in order, each with its time, samples and bytes.
        seconds: How long all of it took.
    """

    outputs: tuple[OutputSummary, ...]
    counts: Counts
    stages: tuple[Stage, ...]
    seconds: float

    @property
    def failed(self) -> tuple[OutputSummary, ...]:
        """The outputs that are not complete."""
        return tuple(output for output in self.outputs if output.error is not None)

    @property
    def complaint(self) -> str | None:
        """What is not complete, why, and what then; None if everything is."""
        if not self.failed:
            return None
        first = self.failed[0]
        if len(self.outputs) == 1:
            return str(first.error)
        names = ", ".join(f"`{output.name}`" for output in self.failed)
        return f"{len(self.failed)} of {len(self.outputs)} outputs are not complete ({names}): {first.error}"

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        counts: Mapping[str, Any] = asdict(self.counts)
        return {
            "status": "partial" if self.failed else "complete",
            "seconds": self.seconds,
            "samples": {name: counts[name] for name in ("source", "dropped", "duplicates")},
            "changed_values": self.counts.changed,
            "outputs": [_output(output) for output in self.outputs],
            "stages": [_stage(stage) for stage in self.stages],
            "errors": [str(output.error) for output in self.failed],
        }


def _output(output: OutputSummary) -> dict[str, Any]:
    return {
        "name": output.name,
        "path": output.path,
        "samples": output.rows,
        "shards": output.shards,
        "written": output.written,
        "kept": output.kept,
        "bytes": output.nbytes,
        "is_complete": output.error is None,
    }


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "seconds": stage.seconds,
        "done": stage.done,
        "total": stage.total,
        "unit": stage.unit,
        "samples": stage.rows,
        "bytes": stage.nbytes,
    }
