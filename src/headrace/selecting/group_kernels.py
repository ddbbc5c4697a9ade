"""Whole groups to parts, so that each part gets its share of every class; compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

_IN = types.Array(types.int64, 1, "C", readonly=True)
_FLOATS = types.Array(types.float64, 1, "C", readonly=True)
_OUT = types.Array(types.int64, 1, "C")


@njit(types.void(_IN, _IN, _IN, _IN, _FLOATS, _OUT), nogil=True, cache=True, error_model="numpy")
def _assign(order: Any, offsets: Any, classes: Any, counts: Any, shares: Any, out: Any) -> None:
    totals = np.zeros(classes.max() + 1 if classes.size else 0, np.float64)
    for entry in range(classes.size):
        totals[classes[entry]] += counts[entry]
    filled = np.zeros((shares.size, totals.size), np.float64)
    samples = np.zeros(shares.size, np.float64)
    for group in order:
        begin, end = offsets[group], offsets[group + 1]
        is_single = end - begin == 1 and counts[begin] == 1
        best, least, least_filled = 0, np.inf, np.inf
        for part in range(shares.size):
            score = 0.0
            if is_single:  # what is left of the part's share of this class
                score = filled[part, classes[begin]] - shares[part] * totals[classes[begin]]
            else:  # how full the group would make the part, relative to its share
                for entry in range(begin, end):
                    weight = counts[entry] / totals[classes[entry]]
                    full = filled[part, classes[entry]] + 0.5 * counts[entry]
                    score += weight * full / (shares[part] * totals[classes[entry]])
            here = samples[part] / shares[part]
            # Sums of fractions that are equal on paper differ in their last bits.
            if score < least - 1e-9 or (score < least + 1e-9 and here < least_filled - 1e-9):
                best, least, least_filled = part, score, here
        out[group] = best
        for entry in range(begin, end):
            filled[best, classes[entry]] += counts[entry]
            samples[best] += counts[entry]


def assign_groups(order: Ids, offsets: Ids, classes: Ids, counts: Ids, shares: Floats) -> Ids:
    """Assign groups to parts, one after the other, each to the part that needs it most.

    A group goes where the part's classes are then fullest least, relative to the part's share. Groups of
    one sample go where most is missing, so that they even out what larger groups left.

    Args:
        order: In which order groups are assigned; int64 of shape [groups].
        offsets: Where the entries of each group begin, then their number; int64 of shape [groups + 1].
        classes: Class of each entry, int64 of shape [entries].
        counts: How many samples of that class the group has, int64 of shape [entries].
        shares: Share of each part, above 0; float64 of shape [parts].

    Returns:
        The part of each group, int64 of shape [groups].
    """
    out = np.empty(len(offsets) - 1, np.int64)
    _assign(order, offsets, classes, counts, shares, out)
    return out
