"""Postings: each key once, and the ids of the samples that hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.execution.recipe import Recipe
from headrace.index.keys import Keys, encode, from_arrays, join_keys, to_arrays
from headrace.manifest import RowGroup

Ids = NDArray[np.int64]

_MARKED = 64  # with fewer than one id in so many, sorting is quicker


@dataclass(frozen=True, eq=False)
class Piece:
    """The keys of one row group that are not null.

    Attributes:
        keys: Codes of shape [n], or the distinct binaries.
        places: Which of the binaries each sample holds, of shape [n]; None for codes.
        ids: The samples, int64 of shape [n].
    """

    keys: Keys
    places: NDArray[np.int32] | None
    ids: Ids


@dataclass(frozen=True)
class KeyScan:
    """Reads one column of one row group as keys; picklable if the recipe is."""

    recipe: Recipe

    def __call__(self, row_group: RowGroup) -> Piece:
        """Read, leave out nulls, encode."""
        keys, ids = read_keys(self.recipe, row_group)
        if isinstance(keys, np.ndarray):
            return Piece(keys, None, ids)
        distinct = keys.dictionary_encode()
        return Piece(distinct.dictionary, distinct.indices.to_numpy(), ids)


def read_keys(recipe: Recipe, row_group: RowGroup) -> tuple[Keys, Ids]:
    """Read the one column of a recipe: the keys that are not null, and their samples' ids."""
    column = recipe.frame(row_group).column(0)
    ids = np.arange(row_group.first, row_group.first + row_group.rows)
    if column.null_count:
        ids = ids[column.is_valid().to_numpy(zero_copy_only=False)]
        column = column.drop_null()
    return encode(column), ids


@dataclass(frozen=True, eq=False)
class Postings:
    """Distinct keys in some order, each with the ids of its samples.

    Attributes:
        keys: Codes of shape [m], or binaries.
        starts: Where the ids of each key begin, then their total; int64 of shape [m + 1].
        ids: Rising within each key, int64 of shape [n].
    """

    keys: Keys
    starts: Ids
    ids: Ids

    @staticmethod
    def of(pieces: Iterable[Piece], ranked: Callable[[Keys], NDArray[Any]]) -> Postings:
        """Bring the keys of all row groups together.

        Args:
            pieces: Row group by row group, in order.
            ranked: What the keys are sorted by: one number for each key.
        """
        parts = list(pieces)
        ids = _concatenated([part.ids for part in parts])
        is_text = any(part.places is not None for part in parts)
        if not is_text:
            keys = join_keys([part.keys for part in parts], text=False)
            order = np.argsort(ranked(keys), kind="stable")
            keys, ids = keys[order], ids[order]
            firsts = np.flatnonzero(_changes(keys))
            return Postings(keys[firsts], np.append(firsts, len(ids)), ids)
        # Row groups share most of their texts: each is brought to one number for the whole column.
        joined = join_keys([part.keys for part in parts], text=True).dictionary_encode()
        numbers, keys = joined.indices.to_numpy(), joined.dictionary
        sizes = np.cumsum([0] + [len(part.keys) for part in parts])
        places = [
            part.places + size
            for part, size in zip(parts, sizes[:-1], strict=True)
            if part.places is not None
        ]
        order = np.argsort(ranked(keys), kind="stable")
        places_of = np.empty(len(keys), np.int64)
        places_of[order] = np.arange(len(keys))
        held = places_of[numbers[_concatenated(places)]]
        by_key = np.argsort(held, kind="stable")
        starts = np.searchsorted(held[by_key], np.arange(len(keys) + 1))
        return Postings(keys.take(pa.array(order)), starts, ids[by_key])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return it as arrays by name."""
        return {**to_arrays(self.keys), "starts": self.starts, "ids": self.ids}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Postings:
        """Make it of such arrays, without a copy."""
        return Postings(from_arrays(arrays), arrays["starts"], arrays["ids"])


def rank_by_value(keys: Keys) -> NDArray[Any]:
    """Number keys so that they sort by value."""
    if isinstance(keys, np.ndarray):
        return keys
    ranks = np.empty(len(keys), np.int64)
    ranks[pc.call_function("array_sort_indices", [keys]).to_numpy()] = np.arange(len(keys))
    return ranks


def take_runs(ids: Ids, begins: Ids, ends: Ids) -> Ids:
    """Copy runs of an array, end to end."""
    if len(begins) == 1:
        return ids[int(begins[0]) : int(ends[0])].copy()
    lengths = ends - begins
    before = np.cumsum(lengths) - lengths
    return ids[np.repeat(begins - before, lengths) + np.arange(int(lengths.sum()))]


def in_order(ids: Ids, total: int) -> Ids:
    """Sort different ids below a total; many of them by marking, which takes a tenth of the time.

    Example:
        >>> in_order(np.array([3, 0, 2]), total=4).tolist()
        [0, 2, 3]
    """
    if len(ids) * _MARKED < total:
        return np.sort(ids)
    mask = np.zeros(total, np.bool_)
    mask[ids] = True
    return np.flatnonzero(mask)


def _changes(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Mark where a key differs from the one before it."""
    changes = np.ones(len(keys), np.bool_)
    changes[1:] = keys[1:] != keys[:-1]
    return changes


def _concatenated(parts: list[NDArray[Any]]) -> Ids:
    return np.concatenate(parts).astype(np.int64, copy=False) if parts else np.empty(0, np.int64)
