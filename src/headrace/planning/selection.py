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

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """The ids of the samples that take part.

    Attributes:
        total: How many samples the manifest holds.
        chosen: Ids in the order wanted, repeats allowed, or None for all of them.

    Example:
        >>> selection = Selection.of([3, 1, 3], total=5)
        >>> selection.count, selection.at(np.array([0, 2])).tolist()
        (3, [3, 3])
    """

    total: int
    chosen: Ids | None = None

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
        chosen.flags.writeable = False
        return Selection(total, chosen)

    @property
    def count(self) -> int:
        """How many samples take part, repeats counted."""
        return self.total if self.chosen is None else len(self.chosen)

    @cached_property
    def is_sorted(self) -> bool:
        """Whether the ids never fall."""
        return self.chosen is None or bool(np.all(self.chosen[1:] >= self.chosen[:-1]))

    @cached_property
    def by_id(self) -> Selection:
        """The same samples in the order of their ids, which shuffles start from."""
        if self.is_sorted or self.chosen is None:
            return self
        return Selection(self.total, np.sort(self.chosen))

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the ids and their order."""
        return digest("selection", self.total, self.chosen)

    def at(self, indices: Ids) -> Ids:
        """Return the ids at these places of the selection."""
        return indices if self.chosen is None else self.chosen[indices]

    def ids(self) -> Ids:
        """Return all ids in order, as a fresh array of shape [count]."""
        return np.arange(self.total) if self.chosen is None else self.chosen.copy()

    def counts(self, starts: Ids) -> Ids:
        """Count the selected samples of each row group.

        Args:
            starts: First id of each row group, then the total; int64 of shape [row groups + 1].
        """
        if self.chosen is None:
            return np.diff(starts)
        ids = self.by_id.chosen
        assert ids is not None
        return np.diff(np.searchsorted(ids, starts))
