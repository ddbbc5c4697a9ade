"""Showing how far work is: a bar on a terminal, and elsewhere nothing or at most ten lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Progress = bool | Callable[[int, int], None]
"""Whether to show a bar, or a function of how many row groups are done and how many there are."""

_PATIENCE_SECONDS = 1.0


def follow(results: Iterable[Item], total: int, progress: Progress) -> Iterator[Item]:
    """Pass results on and report each one.

    True draws a bar on standard error where that is a terminal, once a second has passed.
    """
    if callable(progress):
        yield from _reported(results, total, progress)
    elif progress:
        yield from _drawn(results, total)
    else:
        yield from results


def _reported(results: Iterable[Item], total: int, report: Callable[[int, int], None]) -> Iterator[Item]:
    for done, result in enumerate(results, 1):
        report(done, total)
        yield result


def _drawn(results: Iterable[Item], total: int) -> Iterator[Item]:
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


def watched(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """Yield items, and tell on standard error how many of the total there were.

    Example:
        >>> list(watched([1, 2], 2, "numbers"))
        [1, 2]
    """
    if not sys.stderr.isatty():
        yield from _in_lines(items, total, title)
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, title, total, console=Console(stderr=True), transient=True)


def _in_lines(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    told = 0
    for count, item in enumerate(items, 1):
        tenth = 10 * count // max(total, 1)
        if tenth > told:
            told = tenth
            sys.stderr.write(f"{title}: {count:,} of {total:,}\n")
        yield item
