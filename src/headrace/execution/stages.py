"""Stages of a job, and who is told how far each is."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable


@dataclass(slots=True, eq=False)
class Stage:
    """One stage of a job: how far it is, and what it took.

    Attributes:
        name: What people are shown, such as "write".
        total: How many items there are to do, such as shards.
        unit: What an item is, in the plural.
        done: How many of them are done.
        rows: Samples that went through.
        nbytes: Bytes that were written.
        seconds: How long it took so far.
    """

    name: str
    total: int
    unit: str = "shards"
    done: int = 0
    rows: int = 0
    nbytes: int = 0
    seconds: float = 0.0


@runtime_checkable
class Reporter(Protocol):
    """Who is told of a job's stages, from one thread; a stage ends also where it could not begin."""

    def begin(self, stage: Stage) -> None:
        """Hear of a stage that begins."""
        ...

    def advance(self, stage: Stage) -> None:
        """Hear that a stage went on."""
        ...

    def end(self, stage: Stage) -> None:
        """Hear that a stage is over, or was given up."""
        ...


class Quiet:
    """A reporter that says nothing."""

    def begin(self, stage: Stage) -> None:
        """Do nothing."""

    def advance(self, stage: Stage) -> None:
        """Do nothing."""

    def end(self, stage: Stage) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Told:
    """A reporter that tells a function how many items of a stage are done and how many there are."""

    function: Callable[[int, int], None]

    def begin(self, stage: Stage) -> None:
        """Do nothing."""

    def advance(self, stage: Stage) -> None:
        """Call the function."""
        self.function(stage.done, stage.total)

    def end(self, stage: Stage) -> None:
        """Do nothing."""


@dataclass(slots=True)
class Stages:
    """The stages of a job, in order, each told to a reporter.

    Attributes:
        reporter: Who is told.
        all: Those that are over, and those that are under way.
        part: Put behind the names of stages that begin here.

    Example:
        >>> stages = Stages(Told(lambda done, total: print(done, "of", total)))
        >>> with stages.stage("write", 2) as advance:
        ...     advance(rows=10)
        ...     advance(rows=5)
        1 of 2
        2 of 2
        >>> stages.all[0].rows
        15
    """

    reporter: Reporter = field(default_factory=Quiet)
    all: list[Stage] = field(default_factory=list[Stage])
    part: str = ""

    def of(self, part: str) -> Stages:
        """Return the same stages for one part of the work, whose name comes behind theirs.

        Example:
            >>> stages = Stages()
            >>> with stages.of("train").stage("write", 2):
            ...     stages.all[0].name
            'write train'
        """
        return replace(self, part=part)

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "shards") -> Generator[Advance]:
        """Begin a stage; yields what is called when `items` of it are done."""
        with self._open(name, total, unit) as (stage, tell):

            def advance(items: int = 1, rows: int = 0, nbytes: int = 0) -> None:
                stage.done += items
                stage.rows += rows
                stage.nbytes += nbytes
                tell()

            yield advance

    @contextmanager
    def follow(
        self, name: str, rows: int = 0, unit: str = "row groups"
    ) -> Generator[Callable[[int, int], None]]:
        """Begin a stage that others count; yields the function for their `progress=`.

        Args:
            name: What people are shown.
            rows: Samples of one pass, if known. Work that starts again at 1 is another pass.
            unit: What is counted, in the plural.

        Example:
            >>> import headrace as hr, polars as pl
            >>> ds, stages = hr.from_arrays({"x": [1, 2, 3]}), Stages()
            >>> with stages.follow("select", len(ds)) as progress:
            ...     large = ds.filter(pl.col("x") * 2 > 3, progress=progress)
            >>> stages.all[0].done, stages.all[0].rows
            (1, 3)
        """
        with self._open(name, 0, unit) as (stage, tell):
            done_before = total_before = rows_before = done_last = total_last = 0

            def progress(done: int, total: int) -> None:
                nonlocal done_before, total_before, rows_before, done_last, total_last
                if done <= done_last:
                    done_before, total_before = done_before + done_last, total_before + total_last
                    rows_before = stage.rows
                done_last, total_last = done, total
                stage.done, stage.total = done_before + done, total_before + total
                stage.rows = rows_before + rows * done // max(total, 1)
                tell()

            yield progress

    @contextmanager
    def _open(self, name: str, total: int, unit: str) -> Generator[tuple[Stage, Callable[[], None]]]:
        """Begin a stage; yields it and what is called when it went on."""
        stage = Stage(f"{name} {self.part}".strip(), total, unit)
        self.all.append(stage)
        begun = time.perf_counter()

        def tell() -> None:
            stage.seconds = time.perf_counter() - begun
            self.reporter.advance(stage)

        try:
            self.reporter.begin(stage)
            yield stage, tell
        finally:
            stage.seconds = time.perf_counter() - begun
            self.reporter.end(stage)


class Advance(Protocol):
    """Says that items of a stage are done."""

    def __call__(self, items: int = 1, rows: int = 0, nbytes: int = 0) -> None:
        """Add to what is done."""
        ...
