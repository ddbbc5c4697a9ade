"""Whole groups to parts, so that each part gets about its share of every class; compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

_EQUAL = 1e-9

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
        best, least, least_samples = 0, np.inf, np.inf
        for part in range(shares.size):
            score = 0.0
            for entry in range(begin, end):
                total = totals[classes[entry]]
                middle = filled[part, classes[entry]] + 0.5 * counts[entry]
                score += counts[entry] / total * middle / (shares[part] * total)
            here = samples[part] / shares[part]
            # Sums of fractions that are equal on paper differ in their last bits.
            if score < least - _EQUAL or (score < least + _EQUAL and here < least_samples - _EQUAL):
                best, least, least_samples = part, score, here
        out[group] = best
        for entry in range(begin, end):
            filled[best, classes[entry]] += counts[entry]
            samples[best] += counts[entry]


def assign_groups(order: Ids, offsets: Ids, classes: Ids, counts: Ids, shares: Floats) -> Ids:
    """Assign groups to parts, one after the other, each to the part that needs it most.

    That is the one whose share of the group's classes is then filled least, the group counted by half.

    Args:
        order: Which groups, and in which order; int64 of shape [groups assigned].
        offsets: Where the entries of each group begin, then their number; int64 of shape [groups + 1].
        classes: Class of each entry, int64 of shape [entries].
        counts: How many samples of that class the group has, int64 of shape [entries].
        shares: Share of each part, above 0; float64 of shape [parts].

    Returns:
        The part of each group, int64 of shape [groups], and -1 for those that are not in `order`.
    """
    out = np.full(len(offsets) - 1, -1)
    _assign(order, offsets, classes, counts, shares, out)
    return out


def assign_groups_reference(order: Ids, offsets: Ids, classes: Ids, counts: Ids, shares: Floats) -> Ids:
    """Do what `assign_groups` does, in plain NumPy."""
    out = np.full(len(offsets) - 1, -1)
    totals = np.bincount(classes, counts)
    filled = np.zeros((len(shares), len(totals)))
    for group in order:
        entries = slice(offsets[group], offsets[group + 1])
        kinds, here = classes[entries], counts[entries]
        fullness = (filled[:, kinds] + here / 2) / (shares[:, None] * totals[kinds])
        scores = np.round((fullness * here / totals[kinds]).sum(axis=1), 9)
        samples = np.round(filled.sum(axis=1) / shares, 9)
        out[group] = np.lexsort((samples, scores))[0]
        filled[out[group], kinds] += here
    return out
