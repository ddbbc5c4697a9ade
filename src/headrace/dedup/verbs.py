"""The verb of a data set that leaves out duplicates."""

from __future__ import annotations

from typing import TypeVar

from headrace.dedup.find import FindOptions, On, find
from headrace.dedup.method import Method
from headrace.dedup.preference import Keep
from headrace.execution.executors import Executor
from headrace.execution.progress import Progress
from headrace.selecting.base import Selectable
from headrace.selecting.stored import Cache

D = TypeVar("D", bound=Selectable)


class DedupVerbs:
    """Leaves out duplicates; the recipe and the ids stay."""

    __slots__ = ()

    def dedup(  # noqa: PLR0913  each is one word of the contract
        self: D,
        on: On = None,
        method: Method | None = None,
        keep: Keep = "first",
        *,
        priority: str | None = None,
        executor: Executor | None = None,
        cache: Cache = None,
        memory_limit: str | int | None = None,
        progress: Progress = True,
    ) -> D:
        """Leave out duplicates."""
        options = FindOptions(executor, cache, memory_limit, progress)
        report = find(self, on, method, (keep, priority), options)
        return self.with_selection(report.selection)
