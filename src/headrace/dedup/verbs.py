"""The verb of a data set that leaves out duplicates."""

from __future__ import annotations

import os
from typing import TypeVar

from headrace.dedup.find import FindOptions, On, find
from headrace.dedup.method import Method
from headrace.dedup.preference import Keep
from headrace.dedup.report.guards import Guards
from headrace.dedup.report.report import DuplicateReport
from headrace.errors import OptionError
from headrace.execution.executors import Executor
from headrace.execution.progress import Progress
from headrace.selecting.base import Selectable
from headrace.selecting.stored import Cache

D = TypeVar("D", bound=Selectable)
Report = DuplicateReport | str | os.PathLike[str]


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
        report: Report | None = None,
        threshold: float | None = None,
        warn_above: float | None = 0.2,
        stop_above: float | None = 0.9,
        guard_by: str | None = None,
        executor: Executor | None = None,
        cache: Cache = None,
        memory_limit: str | int | None = None,
        progress: Progress = True,
    ) -> D:
        """Leave out duplicates; what stays keeps its order, and its repeats.

        The search runs now, so that the length is exact from here on. No sample is dropped that was
        not verified to be a duplicate of one that stays (with `keep="none"`, of another one).

        Args:
            on: The columns to compare; by default all that the method can compare.
            method: `hr.Exact()` by default; see `hr.find_duplicates`.
            keep: Which of several duplicates stays: the "first", the "last", or "none" of them.
            priority: A column by which to choose instead; the highest value stays.
            report: What `hr.find_duplicates` found in these samples, or the file that it was saved to,
                instead of a search.
            threshold: A higher threshold than that of the report.
            warn_above: Warn if more than this share of a source is left out, 0 to 1; None never warns.
            stop_above: Refuse to leave out more than this share of a source; None refuses nothing.
            guard_by: The column whose values are the sources of the two guards; by default each shard
                is one. Null is a value, too. Those of fewer than 50 samples are judged together.
            executor: Where row groups are read; threads by default.
            cache: A folder that keeps the signatures of shards; see `hr.find_duplicates`.
            memory_limit: What signatures may take in memory, like "2GB".
            progress: True for a bar on a terminal, or a function of row groups done and in all.

        Raises:
            OptionError: An argument cannot be right, or says again what the report has settled.
            UnknownColumnError: A column is not there.
            SchemaError: The method cannot compare the values of a column.
            DuplicateShareError: More of a source would go than `stop_above`.
            StateError: The report is about other samples.
            CorruptSourceError: The file is no report, or damaged.

        Warns:
            DuplicateShareWarning: More of a source goes than `warn_above`.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"text": ["a", "b", "a"], "quality": [1, 2, 3]})
            >>> ds.dedup(on="text").sample_ids.tolist()
            [0, 1]
            >>> ds.dedup(on="text", priority="quality").sample_ids.tolist()
            [1, 2]
            >>> report = hr.find_duplicates(ds, on="text", keep="last")
            >>> ds.dedup(report=report).sample_ids.tolist()
            [1, 2]
        """
        guards = Guards(warn_above, stop_above, guard_by)
        options = FindOptions(executor, cache, memory_limit, progress)
        if report is None:
            if threshold is not None:
                raise OptionError("`threshold` goes with `report`; a search has that of its method")
            found = find(self, on, method, (keep, priority), options)
        else:
            settled = {"on": on, "method": method, "priority": priority, "cache": cache}
            settled |= {"memory_limit": memory_limit}
            given = [name for name, value in settled.items() if value is not None]
            given += ["keep"] if keep != "first" else []
            found = _from_report(self, report, given)
            found = found if threshold is None else found.at(threshold)
        guards.check(found, executor)
        return self.with_selection(found.selection)


def _from_report(dataset: Selectable, report: Report, given: list[str]) -> DuplicateReport:
    """Take a report for a data set.

    Raises:
        OptionError: It is no report, or something else was given that it has settled.
        StateError: It is about other samples.
    """
    if given:
        names = ", ".join(f"`{name}`" for name in given)
        raise OptionError(f"`report` has settled {names}; leave them out, or search again without `report`")
    if isinstance(report, DuplicateReport):
        return report.for_dataset(dataset)
    if isinstance(report, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
        return DuplicateReport.load(report, dataset)
    raise OptionError(f"`report` must be what `hr.find_duplicates` returned, or a path, got {report!r}")
