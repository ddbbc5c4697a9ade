"""Walking over links between duplicates, compiled: which samples go, and which belong together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Places = NDArray[np.int64]
Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]

_PLACES = types.Array(types.int64, 1, "C", readonly=True)
_SCORES = types.Array(types.float64, 1, "C", readonly=True)
_FLAGS = types.Array(types.boolean, 1, "C", readonly=True)
_OUT = types.Array(types.int64, 1, "C")


@njit(types.void(_PLACES, _PLACES, _SCORES, _FLAGS, _OUT), nogil=True, cache=True)
def _decide(losers: Any, winners: Any, scores: Any, is_same: Any, deciding: Any) -> None:
    edge = 0
    while edge < losers.size:
        loser, best = losers[edge], -1
        while edge < losers.size and losers[edge] == loser:
            if (deciding[winners[edge]] < 0 or is_same[edge]) and (best < 0 or scores[edge] > scores[best]):
                best = edge
            edge += 1
        deciding[loser] = best


@njit(types.void(_PLACES, _PLACES, _OUT), nogil=True, cache=True)
def _join(one: Any, other: Any, parents: Any) -> None:
    for edge in range(one.size):
        first, second = one[edge], other[edge]
        while parents[first] != first:
            parents[first] = parents[parents[first]]
            first = parents[first]
        while parents[second] != second:
            parents[second] = parents[parents[second]]
            second = parents[second]
        if first < second:
            parents[second] = first
        else:
            parents[first] = second
    for node in range(parents.size):  # a parent is never larger than its child, so it is final here
        parents[node] = parents[parents[node]]


def decide(losers: Places, winners: Places, scores: Scores, is_same: Flags, count: int) -> Places:
    """Keep greedily, from the preferred sample down: one goes only if a kept one is its duplicate.

    A sample that is the same as another one shares its fate.

    Args:
        losers: Place of the less preferred sample of each two, never falling; int64 of shape [edges].
        winners: Place of the other one, always smaller; by equal losers never falling.
        scores: How similar they are.
        is_same: Whether they are the same.
        count: How many samples there are.

    Returns:
        For each sample the edge by which it goes, that with the highest score; -1 for those that stay.
    """
    deciding = np.full(count, -1)
    _decide(losers, winners, scores, is_same, deciding)
    return deciding


def join(one: Places, other: Places, count: int) -> Places:
    """Find which samples are connected: the smallest place of those that each one is connected to."""
    parents = np.arange(count)
    _join(one, other, parents)
    return parents
