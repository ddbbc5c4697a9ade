"""Showing how far a long scan is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Result = TypeVar("Result")
Progress = bool | Callable[[int, int], None]
"""Whether to show a bar, or a function of how many row groups are done and how many there are."""

_PATIENCE_SECONDS = 1.0


def follow(results: Iterable[Result], total: int, progress: Progress) -> Iterator[Result]:
    """Pass results on and report each one.

    True draws a bar on standard error where that is a terminal, once a second has passed.
    """
    if callable(progress):
        yield from _reported(results, total, progress)
    elif progress:
        yield from _drawn(results, total)
    else:
        yield from results


def _reported(results: Iterable[Result], total: int, report: Callable[[int, int], None]) -> Iterator[Result]:
    for done, result in enumerate(results, 1):
        report(done, total)
        yield result


def _drawn(results: Iterable[Result], total: int) -> Iterator[Result]:
    begun, bar, task = time.monotonic(), None, None
    try:
        for done, result in enumerate(results, 1):
            if bar is None and time.monotonic() - begun > _PATIENCE_SECONDS:
                from rich.console import Console
                from rich.progress import Progress as Bar

                console = Console(stderr=True)
                bar = Bar(console=console, transient=True, disable=not console.is_terminal)
                task = bar.add_task("row groups", total=total)
                bar.start()
            if bar is not None and task is not None:
                bar.update(task, completed=done)
            yield result
    finally:
        if bar is not None:
            bar.stop()
