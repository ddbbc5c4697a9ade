"""Folds for cross validation: selections over one data set, which share all that is cached of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar, overload

import numpy as np

from headrace.errors import OptionError, check_whole
from headrace.execution.executors import Executor
from headrace.fingerprint import derive_key
from headrace.planning.selection import Selection
from headrace.selecting.assigning import SPLIT_VERSION
from headrace.selecting.base import Selectable
from headrace.selecting.identity import By
from headrace.selecting.report import SplitReport, make_report
from headrace.selecting.split import SplitOptions, assign, gather, narrow
from headrace.selecting.times import Gap, Times, read_times

D = TypeVar("D", bound=Selectable)


@dataclass(frozen=True, slots=True)
class Fold(Generic[D]):
    """One round of cross validation.

    Attributes:
        train: The samples to learn from.
        validation: Those to judge by; each sample is one of exactly one fold of `kfold`.
        number: From 0 on.

    Example:
        >>> import headrace as hr
        >>> for fold in hr.from_arrays({"x": list(range(10))}).kfold(3):
        ...     print(fold.number, len(fold.train), len(fold.validation))
        0 6 4
        1 7 3
        2 7 3
    """

    train: D
    validation: D
    number: int


@dataclass(frozen=True, eq=False)
class Folds(Sequence[Fold[D]], Generic[D]):
    """The folds of a data set: an immutable sequence.

    Attributes:
        folds: One after the other.
        by: What kept samples together.
        stratify: The column whose classes were shared out.

    Example:
        >>> import headrace as hr
        >>> folds = hr.from_arrays({"y": [0, 1] * 6}).kfold(4, stratify="y")
        >>> folds.report().classes["samples"].to_list()
        [2, 1, 2, 1, 1, 2, 1, 2]
    """

    folds: tuple[Fold[D], ...]
    by: By = None
    stratify: str | None = None

    @overload
    def __getitem__(self, index: int) -> Fold[D]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Fold[D], ...]: ...
    def __getitem__(self, index: Any) -> Any:
        """The fold of that number."""
        return self.folds[index]

    def __iter__(self) -> Iterator[Fold[D]]:
        """The folds in order."""
        return iter(self.folds)

    def __len__(self) -> int:
        """How many folds there are."""
        return len(self.folds)

    def report(
        self, by: By = None, classes: str | None = None, executor: Executor | None = None
    ) -> SplitReport:
        """Tell sizes, classes and shared groups of the folds' validation samples, as `Splits.report` does."""
        parts = {str(fold.number): fold.validation for fold in self.folds}
        by, classes = self.by if by is None else by, self.stratify if classes is None else classes
        return make_report(parts, by, classes, executor)


def make_folds(dataset: D, k: int, options: SplitOptions) -> Folds[D]:
    """Cut a keyed order of samples, or of groups, into k folds of equal size."""
    check_whole("k", k, least=2)
    count = dataset.selection.set.count
    if count < k:
        raise OptionError(f"{k} folds need {k} samples or more, got {count}")
    numbers = assign(dataset, np.full(k, 1 / k), derive_key("fold", SPLIT_VERSION, options.seed), options)
    empty = np.flatnonzero(np.bincount(numbers, minlength=k) == 0)
    if len(empty):
        raise OptionError(
            f"{k} folds need {k} groups or more, but fold {int(empty[0])} would get none; take fewer folds"
        )
    folds = [
        Fold(
            dataset.with_selection(dataset.selection - Selection.of_set(members)),
            narrow(dataset, members),
            number,
        )
        for number, members in enumerate(gather(dataset, numbers, k))
    ]
    return Folds(tuple(folds), options.by, options.stratify)


def make_time_folds(
    dataset: D, k: int, column: str | None, gap: Gap | None, executor: Executor | None
) -> Folds[D]:
    """Cut the samples by time into k + 1 parts; each fold learns from all that comes before its part."""
    check_whole("k", k, least=2)
    if column is None:
        times = Times("the order of the samples", np.arange(dataset.selection.count))
        if dataset.selection.set.count < dataset.selection.count:
            raise OptionError(
                "`time_folds` needs each sample once, but some are selected several times; give `time`"
            )
        ids = dataset.selection.ids
    else:
        times = read_times(dataset, column, executor)
        ids = dataset.selection.set.ids
    ordered = np.sort(times.values)
    size = len(ordered) // (k + 1)
    places = [times.cut_near(ordered, len(ordered) - number * size) for number in range(k, 0, -1)]
    folds: list[Fold[D]] = []
    for number, (begin, end) in enumerate(pairwise([*places, len(ordered)])):
        if begin >= end:
            raise OptionError(
                f"each fold needs samples of its own, but fold {number} of {k} gets none of the "
                f"{len(ordered):,} when {times.name} is cut; equal values stay together; take fewer folds"
            )
        is_train = times.before(ordered[begin], gap)
        if not is_train.any():
            raise OptionError(f"fold {number} has nothing to learn from; take fewer folds or a smaller `gap`")
        is_here = times.values >= ordered[begin]
        if end < len(ordered):
            is_here &= times.values < ordered[end]
        train, validation = (_choose(dataset, ids[mask], column is None) for mask in (is_train, is_here))
        folds.append(Fold(train, validation, number))
    return Folds(tuple(folds))


def _choose(dataset: D, ids: Any, is_ordered: bool) -> D:
    chosen = Selection.of(ids, dataset.manifest.total)
    return dataset.with_selection(chosen if is_ordered else dataset.selection & chosen)
