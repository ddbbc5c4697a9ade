"""Splits: named parts of a data set that share no sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, UnknownPartError
from headrace.execution.executors import Executor
from headrace.fingerprint import derive_key
from headrace.planning.idset import IdSet
from headrace.planning.selection import Selection
from headrace.selecting.assigning import (
    SPLIT_VERSION,
    Groups,
    Parts,
    Shares,
    assign_hashes,
    assign_samples,
)
from headrace.selecting.base import Selectable
from headrace.selecting.classes import read_classes
from headrace.selecting.identity import By, identify
from headrace.selecting.report import SplitReport, make_report
from headrace.selecting.times import Gap, cut_times, read_times

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
D = TypeVar("D", bound=Selectable)

DEFAULT_SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


@dataclass(frozen=True, eq=False)
class Splits(Mapping[str, D], Generic[D]):
    """The parts of a data set by name: an immutable mapping.

    Attributes:
        parts: Name to data set; no sample is in two of them.
        by: What kept samples together.
        stratify: The column whose classes were shared out.

    Example:
        >>> import headrace as hr
        >>> parts = hr.from_arrays({"x": list(range(100))}).split(train=0.8, test=0.2, exact=True)
        >>> {name: len(part) for name, part in parts.items()}
        {'train': 80, 'test': 20}
    """

    parts: Mapping[str, D]
    by: By = None
    stratify: str | None = None

    def __getitem__(self, name: str) -> D:
        """The part of that name.

        Raises:
            UnknownPartError: There is none.
        """
        if name not in self.parts:
            raise UnknownPartError(
                f"the split has no part {name!r}; it has {', '.join(map(repr, self.parts))}"
            )
        return self.parts[name]

    def __iter__(self) -> Iterator[str]:
        """The names, in order."""
        return iter(self.parts)

    def __len__(self) -> int:
        """How many parts there are."""
        return len(self.parts)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={part.selection.count:,}" for name, part in self.parts.items())
        return f"Splits({sizes})"

    def report(
        self, by: By = None, classes: str | None = None, executor: Executor | None = None
    ) -> SplitReport:
        """Read the columns that matter, and tell sizes, class shares and shared groups.

        Args:
            by: Which groups or contents to look for in several parts; what the split kept
                together by default.
            classes: The column whose classes are counted; that of `stratify` by default.
            executor: Where the columns are read; threads by default.
        """
        by, classes = self.by if by is None else by, self.stratify if classes is None else classes
        return make_report(self.parts, by, classes, executor)


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How samples find their parts; see `Dataset.split`."""

    seed: int = 0
    by: By = None
    stratify: str | None = None
    exact: bool = False
    executor: Executor | None = None


def split(dataset: D, shares: Shares, options: SplitOptions) -> Splits[D]:
    """Assign each sample to a part by a keyed hash, or exactly where that is asked for."""
    key = derive_key("split", SPLIT_VERSION, options.seed)
    if options.exact or options.stratify is not None:
        numbers = assign(dataset, shares.filled, key, options)
        sets = gather(dataset, numbers, len(shares.names))
    else:
        parts = Parts(len(shares.names), dataset.manifest.total)
        for ids, hashes in identify(dataset, options.by, options.executor):
            parts.add(ids, assign_hashes(hashes, shares, key))
        sets = parts.sets()
    return _splits(dataset, shares, sets, options)


def split_by_time(
    dataset: D, shares: Shares, column: str, gap: Gap | None, executor: Executor | None
) -> Splits[D]:
    """Cut by a column's values: no part has a sample from before one of an earlier part."""
    times = read_times(dataset, column, executor)
    sizes = np.round(np.cumsum(shares.filled) * len(times.values)).astype(np.int64)[: len(shares.names)]
    parts = Parts(len(shares.names), dataset.manifest.total)
    ids = dataset.selection.set.ids
    for number, is_here in enumerate(cut_times(times, sizes, gap, shares.names)):
        parts.add(ids[is_here], np.full(np.count_nonzero(is_here), number))
    return _splits(dataset, shares, parts.sets(), SplitOptions())


def assign(dataset: Selectable, shares: Floats, key: int, options: SplitOptions) -> Ids:
    """Assign the samples exactly; the part of each in the order of ids, int64 of shape [samples].

    Reads what tells groups and classes, and holds some 50 bytes for each sample meanwhile.
    """
    executor = options.executor
    codes = None if options.stratify is None else read_classes(dataset, options.stratify, executor).codes
    if options.by is not None:
        hashes = [found for _, found in identify(dataset, options.by, executor)]
        groups = Groups.of(np.concatenate(hashes) if hashes else np.zeros(0, np.uint64), codes)
        return groups.assign(shares, key)
    if codes is None:
        codes = np.zeros(dataset.selection.set.count, np.int32)
    return assign_samples(codes, np.bincount(codes)[:, None] * shares, key)


def gather(dataset: Selectable, numbers: Ids, count: int) -> tuple[IdSet, ...]:
    """Return the ids of each part from the part of each sample."""
    parts = Parts(count, dataset.manifest.total)
    parts.add(dataset.selection.set.ids, numbers)
    return parts.sets()


def narrow(dataset: D, members: IdSet) -> D:
    """Return the samples of a data set that are in a set, in its order, with its repeats."""
    return dataset.with_selection(dataset.selection & Selection.of_set(members))


def _splits(dataset: D, shares: Shares, sets: tuple[IdSet, ...], options: SplitOptions) -> Splits[D]:
    parts = {name: narrow(dataset, members) for name, members in zip(shares.names, sets, strict=True)}
    return Splits(parts, options.by, options.stratify)


def check_alone(option: str, **others: object) -> None:
    """Refuse options that do not go with another one.

    Raises:
        OptionError: One of them was given.
    """
    given = [name for name, value in others.items() if value not in (None, False)]
    if given:
        raise OptionError(
            f"`{option}` decides alone where a sample goes and does not go with `{given[0]}`; leave one out"
        )
