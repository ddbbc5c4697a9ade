"""Selection: which samples take part, and in which order they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headrace.errors import UnknownSampleError
from headrace.fingerprint import digest
from headrace.manifest import to_ids
from headrace.planning.idset import IdSet

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """The ids of the samples that take part: a set in the source's order, or a list.

    Attributes:
        total: How many samples the manifest holds.
        members: The ids as a set, or None.
        listed: The ids in the order wanted, repeats allowed, or None. Where both are None, all
            samples take part.

    Example:
        >>> selection = Selection.of([3, 1, 3], total=5)
        >>> selection.count, selection.at(np.array([0, 2])).tolist()
        (3, [3, 3])
        >>> (Selection(5) - selection).ids.tolist()
        [0, 2, 4]
    """

    total: int
    members: IdSet | None = None
    listed: Ids | None = None

    @staticmethod
    def of(ids: Ids | Sequence[int], total: int) -> Selection:
        """Select samples by id, in the order given.

        Raises:
            UnknownSampleError: An id does not lie in 0..total - 1, or is no whole number.
        """
        chosen = to_ids(ids).ravel().copy()
        if chosen.size and (int(chosen.min()) < 0 or int(chosen.max()) >= total):
            bad = int(chosen[(chosen < 0) | (chosen >= total)][0])
            raise UnknownSampleError(f"sample ids must lie in 0..{total - 1}, got {bad}")
        if bool(np.all(chosen[1:] > chosen[:-1])):
            return Selection.of_set(IdSet.of_ids(chosen, total))
        chosen.flags.writeable = False
        return Selection(total, listed=chosen)

    @staticmethod
    def of_set(members: IdSet) -> Selection:
        """Select a set of samples, in the order of their ids."""
        return Selection(members.total, None if members.count == members.total else members)

    @property
    def count(self) -> int:
        """How many samples take part, repeats counted."""
        if self.listed is not None:
            return len(self.listed)
        return self.total if self.members is None else self.members.count

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        if self.listed is not None:
            return self.listed.nbytes
        return 0 if self.members is None else self.members.nbytes

    @cached_property
    def is_sorted(self) -> bool:
        """Whether the ids never fall."""
        return self.listed is None or bool(np.all(self.listed[1:] >= self.listed[:-1]))

    @cached_property
    def by_id(self) -> Selection:
        """The same samples in the order of their ids, repeats kept, which shuffles start from."""
        if self.is_sorted or self.listed is None:
            return self
        return Selection.of(np.sort(self.listed), self.total)

    @cached_property
    def set(self) -> IdSet:
        """The ids without order and repeats."""
        if self.listed is not None:
            return IdSet.of_ids(np.unique(self.listed), self.total)
        if self.members is not None:
            return self.members
        return IdSet.of_runs(np.array([0]), np.array([self.total]), self.total)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the ids and their order."""
        members = None if self.members is None else self.members.fingerprint
        return digest("selection", self.total, members, self.listed)

    def at(self, indices: Ids) -> Ids:
        """Return the ids at these places of the selection."""
        if self.listed is not None:
            return self.listed[indices]
        return indices if self.members is None else self.members.at(indices)

    def rank(self, ids: Ids) -> Ids:
        """Count the selected ids below each id, without repeats; int64 of the same shape."""
        return self.set.rank(ids)

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell for each id whether it takes part."""
        return self.set.contains(ids)

    @property
    def ids(self) -> Ids:
        """All ids in order, a fresh int64 array of shape [count]."""
        if self.listed is not None:
            return self.listed.copy()
        return np.arange(self.total) if self.members is None else self.members.ids

    def counts(self, starts: Ids) -> Ids:
        """Count the selected samples of each row group, repeats counted.

        Args:
            starts: First id of each row group, then the total; int64 of shape [row groups + 1].
        """
        if self.listed is not None:
            return np.diff(np.searchsorted(np.sort(self.listed), starts))
        return np.diff(starts if self.members is None else self.members.rank(starts))

    def __and__(self, other: Selection) -> Selection:
        """Keep what the other one holds too; the order and repeats stay."""
        if self.listed is not None:
            return Selection.of(self.listed[other.contains(self.listed)], self.total)
        return Selection.of_set(self.set & other.set)

    def __sub__(self, other: Selection) -> Selection:
        """Keep what the other one does not hold; the order and repeats stay."""
        if self.listed is not None:
            return Selection.of(self.listed[~other.contains(self.listed)], self.total)
        return Selection.of_set(self.set - other.set)

    def __or__(self, other: Selection) -> Selection:
        """Take what either holds, once and in the order of the ids."""
        return Selection.of_set(self.set | other.set)
