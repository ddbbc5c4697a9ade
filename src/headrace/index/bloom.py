"""A Bloom filter for each row group: which of them need not be read for a key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.errors import MissingDependencyError
from headrace.execution.executors import Serial, Threads
from headrace.execution.recipe import Recipe
from headrace.index.base import Ids, StoredIndex, Subject
from headrace.index.keys import Keys, check_key_type, hash_keys, unique_keys
from headrace.index.postings import read_keys
from headrace.index.storing import Arrays, Parts
from headrace.index.values import Values
from headrace.manifest import RowGroup
from headrace.planning.selection import Selection

_ERROR_RATE = 0.01  # of the row groups without a key, how many are read for nothing; ten bits a key


@dataclass(frozen=True)
class FilterScan:
    """Makes the filter of one row group; picklable if the recipe is."""

    recipe: Recipe

    def __call__(self, row_group: RowGroup) -> bytes:
        """Read one column and add its distinct keys; nothing for no keys."""
        keys, _ = read_keys(self.recipe, row_group)
        hashes = np.unique(hash_keys(unique_keys(keys)))
        if not len(hashes):
            return b""
        # Keys are hashed before, stably; the library only draws its bits from the whole number.
        bloom = _import().Bloom(len(hashes), _ERROR_RATE, int)
        bloom.update(hashes.tolist())
        return bloom.save_bytes()


@dataclass(frozen=True)
class _Match:
    """Reads one row group and finds the samples that hold one of some keys."""

    recipe: Recipe
    wanted: Keys

    def __call__(self, row_group: RowGroup) -> Ids:
        keys, ids = read_keys(self.recipe, row_group)
        if isinstance(keys, np.ndarray):
            return ids[np.isin(keys, self.wanted)]
        return ids[
            pc.call_function("is_in", [keys], pc.SetLookupOptions(value_set=self.wanted)).to_numpy(
                zero_copy_only=False
            )
        ]


class BloomIndex(StoredIndex):
    """Finds the row groups that may hold a value, and reads those alone.

    Takes a little over one byte for each distinct key of a row group. Every row group that may hold
    a key is read to make sure, so answers are exact.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"user": ["b", "a", "b", None]})
        >>> ds.index("user", kind="bloom").lookup("b").tolist()
        [0, 2]
    """

    kind = "bloom"

    def __init__(self, subject: Subject, selection: Selection, parts: Parts) -> None:
        """Keep what was opened, and what reads the column."""
        super().__init__(subject, selection, parts)
        self._recipe = subject.recipe

    @classmethod
    def check(cls, subject: Subject) -> None:
        """Take one column whose values can be keys."""
        super().check(subject)
        check_key_type(subject.fields[0], f'an index of kind="{cls.kind}"')

    @classmethod
    def library(cls, in_folder: bool) -> str:
        """Filters are read by the version that wrote them, since it chooses their bits."""
        _import()
        return f"rbloom {version('rbloom')}"

    @classmethod
    def scan(cls, subject: Subject) -> FilterScan:
        """Read one column and fill a filter."""
        return FilterScan(subject.recipe)

    @classmethod
    def assemble(cls, subject: Subject, pieces: Iterable[bytes], folder: str | None) -> Arrays:
        """Lay the filters end to end."""
        filters = list(pieces)
        starts = np.cumsum([0] + [len(each) for each in filters])
        return {"filters": np.frombuffer(b"".join(filters), np.uint8), "starts": starts}

    @cached_property
    def _values(self) -> Values:
        return Values(self.fields[0])

    @cached_property
    def _filters(self) -> list[Any]:
        arrays, kind = self.parts.arrays, _import().Bloom
        edges = arrays["starts"].tolist()
        spans = pairwise(edges)
        content = arrays["filters"]
        return [kind.load_bytes(content[a:b].tobytes(), int) if b > a else None for a, b in spans]

    def row_groups(self, values: Any) -> NDArray[np.int64]:
        """Return the numbers of the row groups that may hold one of some values, in rising order.

        All others surely do not. Row groups without a sample that takes part are left out.

        Raises:
            SchemaError: A value is of another kind than the column.
        """
        return self._candidates(unique_keys(self._values.keys(values)))

    def lookup(self, values: Any) -> Ids:
        """Return the samples that hold one of some values.

        Args:
            values: One value, or a sequence, NumPy array, Arrow array or Polars series.

        Returns:
            Sample ids in rising order, int64 of shape [n].

        Raises:
            SchemaError: A value is of another kind than the column.
            SourceError: A row group cannot be read.
        """
        wanted = unique_keys(self._values.keys(values))
        manifest = self._recipe.source.manifest
        row_groups = [manifest[number] for number in self._candidates(wanted).tolist()]
        executor = Serial() if len(row_groups) < 2 else Threads()
        found = list(executor.map(_Match(self._recipe, wanted), row_groups))
        return self._taking_part(np.concatenate(found) if found else np.empty(0, np.int64))

    def _candidates(self, wanted: Keys) -> NDArray[np.int64]:
        hashes, filters = hash_keys(wanted).tolist(), self._filters
        taking_part = np.flatnonzero(self._selection.counts(self._recipe.source.manifest.starts))
        numbers = [
            number
            for number in taking_part.tolist()
            if filters[number] is not None and any(each in filters[number] for each in hashes)
        ]
        return np.array(numbers, np.int64)


def _import() -> Any:
    try:
        import rbloom
    except ImportError as error:
        raise MissingDependencyError.from_extra("rbloom", "index", 'kind="bloom"') from error
    return rbloom
