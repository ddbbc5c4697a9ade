"""Showing how far work is: a bar on a terminal, at most ten lines anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


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
