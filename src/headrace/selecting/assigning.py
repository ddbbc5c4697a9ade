"""Samples to parts: by hash, in exact sizes, or by whole groups. Arithmetic alone; nothing is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.fingerprint import derive_key
from headrace.hashing.columns import keyed
from headrace.planning.idset import IdSet
from headrace.planning.permutation import KeyedPermutation

Ids = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Floats = NDArray[np.float64]

SPLIT_VERSION = 1  # a change of any assignment raises it, as each sample could change its part
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Shares:
    """Named parts and the share of the samples that each gets.

    Attributes:
        names: Of the parts.
        values: Their shares; what is missing to 1 is left out.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]

    @staticmethod
    def of(shares: Mapping[str, Any]) -> Shares:
        """Check names and shares.

        Raises:
            OptionError: A share is no number above 0, or they sum to more than 1.
        """
        for name, share in shares.items():
            is_number = not isinstance(share, bool) and isinstance(share, Real)
            if not (is_number and 0 < float(share) <= 1):
                raise OptionError(f"`{name}` must be a share above 0 and up to 1, got {share!r}")
        if math.fsum(shares.values()) > 1 + _ROUNDING:
            listed = ", ".join(f"{name}={share}" for name, share in shares.items())
            raise OptionError(
                f"shares must sum to 1 or less, got {listed}, which is {math.fsum(shares.values()):g}"
            )
        return Shares(tuple(shares), tuple(map(float, shares.values())))

    @property
    def filled(self) -> Floats:
        """The shares, then that of what is left out, if there is any; they sum to 1."""
        rest = 1 - math.fsum(self.values)
        return np.array((*self.values, rest) if rest > _ROUNDING else self.values)

    @property
    def edges(self) -> Hashes:
        """The first hash beyond each part but the last of `filled`, uint64."""
        sums = [math.fsum(self.values[: number + 1]) for number in range(len(self.filled) - 1)]
        return np.array([int(edge * 2**64) for edge in sums], np.uint64)


class Parts:
    """Collects which samples go to which part, one bit for each of both."""

    def __init__(self, count: int, total: int) -> None:
        """Begin with empty parts of a data set of so many samples."""
        self._total = total
        self._words = np.zeros((count, -(-total // 64)), np.uint64)

    def add(self, ids: Ids, numbers: Ids) -> None:
        """Add samples to the parts of these numbers; numbers beyond the last part are left out."""
        from headrace.planning.bit_kernels import set_ids

        for number, words in enumerate(self._words):
            set_ids(words, ids[numbers == number])

    def sets(self) -> tuple[IdSet, ...]:
        """Return the ids of each part."""
        return tuple(IdSet.of_words(words.copy(), self._total) for words in self._words)


def assign_hashes(hashes: Hashes, shares: Shares, key: int) -> Ids:
    """Assign each hash to a part, for ever: it depends on hash, shares and key alone."""
    return np.searchsorted(shares.edges, keyed(hashes, key), side="right")


def apportion(quotas: Floats) -> Ids:
    """Round quotas to whole samples.

    Each is rounded up or down, so that each class keeps its sum. What is rounded off in one class is
    made up for in the next ones, so that the parts keep their sums too, nearly.

    Args:
        quotas: Samples of each class that each part should get; those of a class sum to a whole number;
            float64 of shape [classes, parts].

    Returns:
        Samples of each class in each part, int64 of shape [classes, parts].

    Example:
        >>> apportion(np.array([[10 / 3, 10 / 3, 10 / 3]])).tolist()
        [[4, 3, 3]]
        >>> apportion(np.array([[1.5, 1.5], [1.5, 1.5]])).tolist()
        [[2, 1], [1, 2]]
    """
    sizes = np.floor(quotas + _ROUNDING).astype(np.int64)
    extras = np.rint(quotas.sum(axis=1)).astype(np.int64) - sizes.sum(axis=1)
    missing = np.zeros(quotas.shape[1])
    for size, quota, extra in zip(sizes, quotas, extras, strict=True):
        fraction = quota - size
        wish = np.where(fraction > _ROUNDING, np.round(missing + fraction, 6), -np.inf)
        size[np.argsort(-wish, kind="stable")[:extra]] += 1
        missing += quota - size
    return sizes


def assign_samples(codes: NDArray[Any], quotas: Floats, key: int) -> Ids:
    """Assign samples one by one, so that each part gets its quota of each class, rounded.

    Args:
        codes: Class of each sample, whole numbers of shape [samples].
        quotas: Samples of each class that each part should get, float64 of shape [classes, parts].
        key: Chooses the order in which they are dealt out.

    Returns:
        The part of each sample, int64 of shape [samples].
    """
    parts = np.empty(len(codes), np.int64)
    by_class = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(quotas)))
    for number, sizes in enumerate(apportion(quotas)):
        here = by_class[ends[number] - sizes.sum() : ends[number]]
        if len(here):
            order = KeyedPermutation(len(here), derive_key("class", key, number))(np.arange(len(here)))
            parts[here] = np.searchsorted(np.cumsum(sizes), order, side="right")
    return parts


@dataclass(frozen=True, eq=False)
class Groups:
    """Which samples belong together, and of which classes they are.

    Attributes:
        hashes: Of each group, in rising order; uint64 of shape [groups].
        members: The group of each sample, int64 of shape [samples].
        offsets: Where each group's entries begin, then their number; int64 of shape [groups + 1].
        classes: Class of each entry, int64 of shape [entries].
        counts: The group's samples of that class, int64 of shape [entries].
    """

    hashes: Hashes
    members: Ids
    offsets: Ids
    classes: Ids
    counts: Ids

    @staticmethod
    def of(hashes: Hashes, codes: NDArray[np.int32] | None) -> Groups:
        """Find the groups of samples by their hashes, and count the classes in each."""
        found, members = np.unique(hashes, return_inverse=True)
        kinds = 1 if codes is None or not len(codes) else int(codes.max()) + 1
        pairs = members * kinds + (0 if codes is None else codes)
        entries, counts = np.unique(pairs, return_counts=True)
        offsets = np.searchsorted(entries, np.arange(len(found) + 1) * kinds)
        return Groups(found, members, offsets, entries % kinds, counts)

    def assign(self, shares: Floats, key: int) -> Ids:
        """Assign whole groups to parts; the part of each sample, int64 of shape [samples].

        Groups of several samples come first, the largest ones before the others and equal ones in an
        order that the key chooses. The samples that are alone then even out what is missing.
        """
        from headrace.selecting.group_kernels import assign_groups

        totals = np.bincount(self.classes, self.counts)
        sizes = np.bincount(self.members, minlength=len(self.hashes))
        order = np.lexsort((keyed(self.hashes, key), -sizes))
        order = order[: np.count_nonzero(sizes > 1)]
        parts = assign_groups(order, self.offsets, self.classes, self.counts, shares)
        owners = np.repeat(parts, np.diff(self.offsets))  # of each entry; -1 for samples that are alone
        filled = np.zeros((len(totals), len(shares)))
        np.add.at(filled, (self.classes[owners >= 0], owners[owners >= 0]), self.counts[owners >= 0])
        alone = self.classes[owners < 0]
        quotas = _level(totals[:, None] * shares - filled, np.bincount(alone, minlength=len(totals)), shares)
        parts[parts < 0] = assign_samples(alone, quotas, key)
        return parts[self.members]


def _level(missing: Floats, counts: Ids, shares: Floats) -> Floats:
    """Share out so many samples of each class where they are missing, none where there are too many.

    What is too much in one part is too little in the others, in proportion to their shares.
    """
    is_open = np.ones(missing.shape, np.bool_)
    while True:
        over = np.where(is_open, missing, 0).sum(axis=1) - counts
        weight = np.maximum((is_open * shares).sum(axis=1), _ROUNDING)
        quotas = np.where(is_open, missing - (over / weight)[:, None] * shares, 0)
        if (quotas >= -_ROUNDING).all():
            return np.maximum(quotas, 0)
        is_open &= quotas >= 0
