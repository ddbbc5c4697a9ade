"""Samples of equal key held against each other by their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.dedup.method import Edges, MatchOptions, Ranks, Signatures
from headrace.hashing.equality import equal_rows

Plain = Callable[[pa.RecordBatch], pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class _Held:
    """Values of samples, in memory.

    Attributes:
        ranks: Of the samples, rising.
        batches: Their values.
        numbers: In which batch each sample lies.
        rows: Where it lies there.
    """

    ranks: Ranks
    batches: list[pa.RecordBatch]
    numbers: NDArray[np.int64]
    rows: NDArray[np.int64]


def verified(edges: Edges, signatures: Signatures, options: MatchOptions, plain: Plain) -> Edges:
    """Keep links between equal values alone, and link those that differ among themselves.

    The preferred samples are held in memory, as many at a time as its limit allows and at least those of one
    row group, while the others are read past them. What shares a key and no value with its preferred sample
    is a group of its own, and held against the preferred one of those in turn.

    Args:
        edges: Samples of equal key, linked to the preferred one of them.
        signatures: Of these samples.
        options: With the memory that values may take.
        plain: Brings values into the form in which they are compared.
    """
    found: list[Edges] = []
    losers, winners = edges.losers, edges.winners
    while len(losers):
        held = _hold(np.unique(winners), signatures, options, plain)
        is_held = np.isin(winners, held.ranks)
        mine, theirs = losers[is_held], winners[is_held]
        is_equal = _compare(mine, theirs, held, signatures, plain)
        found.append(Edges.of_equal(mine[is_equal], theirs[is_equal]))
        others, firsts = _regrouped(mine[~is_equal], theirs[~is_equal])
        losers = np.concatenate([losers[~is_held], others])
        winners = np.concatenate([winners[~is_held], firsts])
    return Edges.concat(found)


def _hold(ranks: Ranks, signatures: Signatures, options: MatchOptions, plain: Plain) -> _Held:
    """Read values until memory is full."""
    found: list[Ranks] = []
    batches: list[pa.RecordBatch] = []
    size = 0
    for some, values in signatures.values(ranks):
        found.append(some)
        batches.append(plain(values))
        size += batches[-1].nbytes
        if size >= options.memory_limit:
            break
    held = np.concatenate(found)
    order = np.argsort(held)
    numbers = np.repeat(np.arange(len(found)), [len(some) for some in found])
    rows = np.concatenate([np.arange(len(some)) for some in found])
    return _Held(held[order], batches, numbers[order], rows[order])


def _compare(
    losers: Ranks, winners: Ranks, held: _Held, signatures: Signatures, plain: Plain
) -> NDArray[np.bool_]:
    """Tell which samples have the values of their preferred one, bool of shape [losers]."""
    is_equal = np.zeros(len(losers), np.bool_)
    order = np.argsort(losers)
    for ranks, values in signatures.values(losers):
        batch = plain(values)
        places = order[np.searchsorted(losers, ranks, sorter=order)]
        preferred = np.searchsorted(held.ranks, winners[places])
        numbers, rows = held.numbers[preferred], held.rows[preferred]
        for number in np.unique(numbers):
            here = np.flatnonzero(numbers == number)
            firsts = held.batches[number].take(pa.array(rows[here]))
            is_equal[places[here]] = equal_rows(batch.take(pa.array(here)), firsts)
    return is_equal


def _regrouped(losers: Ranks, groups: Ranks) -> tuple[Ranks, Ranks]:
    """Link the samples of each group to its preferred one: losers and winners."""
    order = np.lexsort((losers, groups))
    losers, groups = losers[order], groups[order]
    is_first = np.append(True, groups[1:] != groups[:-1])[: len(groups)]
    winners = losers[is_first][np.cumsum(is_first) - 1]
    return losers[~is_first], winners[~is_first]
