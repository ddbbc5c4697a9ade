"""Showing how far a scan over row groups is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from headrace.execution.reporting import Progress, reporter_for
from headrace.execution.stages import Stages

Item = TypeVar("Item")

__all__ = ["Progress", "follow"]


def follow(
    results: Iterable[Item], total: int, progress: Progress, name: str = "row groups"
) -> Iterator[Item]:
    """Pass results on and report each one.

    True draws a bar on standard error where that is a terminal, once a second has passed; elsewhere it is
    silent.

    Example:
        >>> list(follow("ab", 2, lambda done, total: print(done, "of", total)))
        1 of 2
        2 of 2
        ['a', 'b']
    """
    with Stages(reporter_for(progress, is_brief=True)).stage(name, total, "row groups") as advance:
        for result in results:
            advance()
            yield result
