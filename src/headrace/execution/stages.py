"""Stages of a job, and who is told how far each is."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Stage:
    """One stage of a job: how far it is, and what it took.

    Attributes:
        name: What people are shown, such as "write".
        total: How many items there are to do, such as shards.
        unit: What an item is, in the plural.
        done: How many of them are done.
        rows: Samples that went through.
        nbytes: Bytes that were written.
        seconds: How long it took, once it is over.
    """

    name: str
    total: int
    unit: str = "shards"
    done: int = 0
    rows: int = 0
    nbytes: int = 0
    seconds: float = 0.0


class Reporter(Protocol):
    """Who is told of a job's stages, from one thread."""

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

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "shards") -> Generator[Advance]:
        """Begin a stage; yields what is called when `items` of it are done."""
        stage = Stage(name, total, unit)
        self.all.append(stage)
        begun = time.perf_counter()
        self.reporter.begin(stage)

        def advance(items: int = 1, rows: int = 0, nbytes: int = 0) -> None:
            stage.done += items
            stage.rows += rows
            stage.nbytes += nbytes
            stage.seconds = time.perf_counter() - begun
            self.reporter.advance(stage)

        try:
            yield advance
        finally:
            stage.seconds = time.perf_counter() - begun
            self.reporter.end(stage)


class Advance(Protocol):
    """Says that items of a stage are done."""

    def __call__(self, items: int = 1, rows: int = 0, nbytes: int = 0) -> None:
        """Add to what is done."""
        ...
