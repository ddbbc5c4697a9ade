"""Written: what `ds.write` did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headrace.execution.stages import Stage


@dataclass(frozen=True, slots=True)
class Written:
    """What a job wrote.

    Attributes:
        path: The folder; `hr.open` opens it.
        format: What the shards are.
        rows: Samples of the data set.
        shards: How many files it has.
        written: How many of them were written now.
        kept: How many were there before: from an interrupted run, or from the output that was updated.
        nbytes: Bytes of all files.
        seconds: How long it took.
        stages: What was done, in order, each with its time.

    Example:
        >>> print(Written(Path("out"), "parquet", 3000, 3, 2, 1, 24_000, 0.25, ()))
        out: 3,000 samples in 3 parquet shards (24,000 bytes), 2 written and 1 kept, in 0.2 s
    """

    path: Path
    format: str
    rows: int
    shards: int
    written: int
    kept: int
    nbytes: int
    seconds: float
    stages: tuple[Stage, ...]

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"{self.path}: {self.rows:,} samples in {self.shards:,} {self.format} shards "
            f"({self.nbytes:,} bytes), {self.written:,} written and {self.kept:,} kept, "
            f"in {self.seconds:.1f} s"
        )
