"""Samples to parts: by hash, in exact sizes, or by whole groups. Arithmetic alone; nothing is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.fingerprint import derive_key
from headrace.planning.idset import IdSet
from headrace.planning.permutation import KeyedPermutation
from headrace.selecting.hashing import keyed

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
            is_number = isinstance(share, (int, float)) and not isinstance(share, bool)
            if not (is_number and 0 < share <= 1):
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


def apportion(counts: Ids, shares: Floats) -> Ids:
    """Share out whole samples.

    Each class of each part gets its share, rounded up or down; as ever more classes are rounded, the
    sums over them stay near the parts' shares too.

    Args:
        counts: Samples of each class, int64 of shape [classes].
        shares: Share of each part; they sum to 1; float64 of shape [parts].

    Returns:
        Samples of each class in each part, int64 of shape [classes, parts].

    Example:
        >>> apportion(np.array([10]), np.array([1 / 3, 1 / 3, 1 / 3])).tolist()
        [[4, 3, 3]]
        >>> apportion(np.array([3, 3]), np.array([0.5, 0.5])).tolist()
        [[2, 1], [1, 2]]
    """
    quotas = counts[:, None] * shares
    sizes = np.floor(quotas + _ROUNDING).astype(np.int64)
    missing = np.zeros(len(shares))  # what the classes before were rounded off
    for size, quota, extra in zip(sizes, quotas, counts - sizes.sum(axis=1), strict=True):
        fraction = quota - size
        wish = np.where(fraction > _ROUNDING, np.round(missing + fraction, 6), -np.inf)
        size[np.argsort(-wish, kind="stable")[:extra]] += 1
        missing += quota - size
    return sizes


def assign_exactly(count: int, shares: Floats, key: int) -> Ids:
    """Assign samples, numbered from 0 on, to parts of exact sizes; int64 of shape [count]."""
    return assign_classes(np.zeros(count, np.int32), shares, key)


def assign_classes(codes: NDArray[np.int32], shares: Floats, key: int) -> Ids:
    """Assign samples to parts, so that each class is shared out exactly.

    Args:
        codes: Class of each sample, from 0 on and none left out; int32 of shape [samples].
        shares: Share of each part; they sum to 1.
        key: Chooses the order.

    Returns:
        The part of each sample, int64 of shape [samples].
    """
    counts = np.bincount(codes)
    by_class = np.argsort(codes, kind="stable")
    parts = np.empty(len(codes), np.int64)
    begin = 0
    for number, sizes in enumerate(apportion(counts, shares)):
        here = by_class[begin : begin + counts[number]]
        order = KeyedPermutation(len(here), derive_key("class", key, number))(np.arange(len(here)))
        parts[here] = np.searchsorted(np.cumsum(sizes), order, side="right")
        begin += len(here)
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
        """Assign whole groups to parts, large ones first; the part of each sample, int64 of shape [samples].

        Sizes and classes come as near to the shares as the groups allow. Equal groups are assigned in
        an order that the key chooses.
        """
        from headrace.selecting.group_kernels import assign_groups

        sizes = np.add.reduceat(self.counts, self.offsets[:-1]) if len(self.hashes) else self.counts
        order = np.lexsort((keyed(self.hashes, key), -sizes))
        return assign_groups(order, self.offsets, self.classes, self.counts, shares)[self.members]
