"""Exact keys to sample ids, by their hashes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.index.base import Ids, StoredIndex, Subject
from headrace.index.keys import Keys, check_key_type, hash_keys, unique_keys
from headrace.index.postings import KeyScan, Piece, Postings, in_order, take_runs
from headrace.index.storing import Arrays
from headrace.index.values import Values


class HashIndex(StoredIndex):
    """Finds samples by exact values, many at a time.

    Distinct keys lie sorted by a 64-bit hash, each with its ids; a found key is compared with the
    one that was asked for, so that hashes which collide do no harm.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"user": ["b", "a", "b", None]})
        >>> users = ds.index("user", kind="hash")
        >>> users.lookup("b").tolist(), users.lookup(["a", "c"]).tolist()
        ([0, 2], [1])
    """

    kind = "hash"

    @classmethod
    def check(cls, subject: Subject) -> None:
        """Take one column whose values can be keys."""
        super().check(subject)
        check_key_type(subject.fields[0], f'an index of kind="{cls.kind}"')

    @classmethod
    def scan(cls, subject: Subject) -> KeyScan:
        """Read one column."""
        return KeyScan(subject.recipe)

    @classmethod
    def assemble(cls, subject: Subject, pieces: Iterable[Piece], folder: str | None) -> Arrays:
        """Sort the keys by their hashes."""
        postings = Postings.of(pieces, hash_keys)
        return {**postings.to_arrays(), "hashes": hash_keys(postings.keys)}

    @cached_property
    def _values(self) -> Values:
        return Values(self.fields[0])

    @cached_property
    def _opened(self) -> tuple[Postings, NDArray[np.uint64]]:
        arrays = self.parts.arrays
        return Postings.from_arrays(arrays), arrays["hashes"]

    def lookup(self, values: Any) -> Ids:
        """Return the samples that hold one of some values.

        Args:
            values: One value, or a sequence, NumPy array, Arrow array or Polars series.

        Returns:
            Sample ids in rising order, int64 of shape [n].

        Raises:
            SchemaError: A value is of another kind than the column.
        """
        postings, hashes = self._opened
        places = _find(unique_keys(self._values.keys(values)), postings.keys, hashes)
        begins, ends = postings.starts[places], postings.starts[places + 1]
        found = take_runs(postings.ids, begins, ends)
        return self._taking_part(in_order(found, self._selection.total))


def _find(wanted: Keys, keys: Keys, hashes: NDArray[np.uint64]) -> Ids:
    """Find the places of some keys; those that are not there are left out."""
    asked = hash_keys(wanted)
    places = np.searchsorted(hashes, asked)
    found: list[Ids] = []
    while len(places):
        # Keys of one hash lie side by side: those not equal to what was asked for look at the next.
        same = places < len(hashes)
        same[same] = hashes[places[same]] == asked[same]
        places, asked, wanted = places[same], asked[same], _take(wanted, same)
        equal = _equal(_take(keys, places), wanted)
        found.append(places[equal])
        places, asked, wanted = places[~equal] + 1, asked[~equal], _take(wanted, ~equal)
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _take(keys: Keys, places: NDArray[Any]) -> Keys:
    if isinstance(keys, np.ndarray):
        return keys[places]
    return keys.filter(pa.array(places)) if places.dtype == np.bool_ else keys.take(pa.array(places))


def _equal(one: Keys, two: Keys) -> NDArray[np.bool_]:
    if isinstance(one, np.ndarray):
        return one == two
    return pc.call_function("equal", [one, two]).to_numpy(zero_copy_only=False)
