"""Samples whose 128-bit keys are equal, within a memory limit."""

from __future__ import annotations

import numpy as np

from headrace.dedup.method import Edges, MatchOptions, Signatures


def match_keys(signatures: Signatures, options: MatchOptions) -> Edges:
    """Link samples of equal key (`keys`, uint64 of shape [n, 2]) to the preferred one of them."""
    signed = list(signatures)
    if not signed:
        return Edges.concat([])
    ranks = np.concatenate([part.ranks for part in signed])
    keys = np.concatenate([part.arrays["keys"] for part in signed])[:, 0]
    order = np.lexsort((ranks, keys))
    keys, ranks = keys[order], ranks[order]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    first = ranks[np.repeat(begins, np.diff(np.append(begins, len(keys))))]
    is_loser = ranks != first
    return Edges.of_equal(ranks[is_loser], first[is_loser])
