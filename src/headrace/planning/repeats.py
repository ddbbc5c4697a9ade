"""Repeats: the how-manieth time an epoch delivers a sample, where a selection or a mix repeats samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.planning.buckets import BucketOrder
from headrace.planning.mixing import MixedOrder
from headrace.planning.order import Order
from headrace.planning.selection import Selection

Ids = NDArray[np.int64]


class Repeats:
    """Counts the earlier occurrences of samples within one epoch. Thread-safe.

    Example:
        >>> from headrace.planning.order import SourceOrder
        >>> selection = Selection.of([7, 3, 7, 7], total=8)
        >>> Repeats(selection).of(SourceOrder(np.array([4])), np.array([0, 1, 2, 3])).tolist()
        [0, 0, 1, 2]
    """

    def __init__(self, samples: Selection) -> None:
        """Count within a selection once; it takes 8 bytes a sample if it repeats any."""
        self._occurrences = _occurrences(samples.listed)

    def are_none(self, order: Order) -> bool:
        """Whether no sample comes twice in an epoch of this order."""
        inner = order.inner if isinstance(order, BucketOrder) else order
        return self._occurrences is None and not (isinstance(inner, MixedOrder) and inner.has_rounds)

    def of(self, order: Order, positions: Ids) -> Ids | None:
        """Return the how-manieth delivery of its sample within the epoch each position is, from 0 on.

        A part of a mix that begins anew goes on counting.

        Returns:
            int64 of shape [n], or None where nothing is repeated.
        """
        inner, places = order, positions
        if isinstance(order, BucketOrder):
            inner, places = order.inner, order.before(positions)
        rounds = inner.rounds(places) if isinstance(inner, MixedOrder) else None
        if self._occurrences is None:
            return rounds
        here = self._occurrences[order.indices(positions)]
        return here if rounds is None else here + rounds * (int(self._occurrences.max()) + 1)

    def of_indices(self, indices: Ids) -> Ids | None:
        """Return the same for indices of the selection."""
        return None if self._occurrences is None else self._occurrences[indices]


def _occurrences(listed: Ids | None) -> Ids | None:
    """How often each id occurs before its place in a list; None if each occurs once."""
    if listed is None or not len(listed):
        return None
    order = np.argsort(listed, kind="stable")
    ids = listed[order]
    begins = np.flatnonzero(np.diff(ids, prepend=ids[0] - 1))
    if len(begins) == len(ids):
        return None
    lengths = np.diff(begins, append=len(ids))
    occurrences = np.empty(len(ids), np.int64)
    occurrences[order] = np.arange(len(ids)) - np.repeat(begins, lengths)
    return occurrences
