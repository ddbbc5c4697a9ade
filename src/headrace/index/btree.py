"""Ordered keys to sample ids: exact values, ranges, prefixes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from headrace.errors import SchemaError
from headrace.index.base import Ids, StoredIndex, Subject
from headrace.index.keys import check_key_type, is_text, plain_type
from headrace.index.postings import KeyScan, Piece, Postings, in_order, rank_by_value, take_runs
from headrace.index.storing import Arrays, Parts
from headrace.index.tables import KeyTable, import_lmdb, open_table, table_arrays
from headrace.index.values import Values
from headrace.planning.selection import Selection


class BTreeIndex(StoredIndex):
    """Finds samples by exact values and by ranges of them.

    The keys lie in an LMDB file, which is a B+ tree; each names the run of its ids in one array, so
    that a range costs two descents and the copy of one run. In memory the keys are a sorted array.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"hour": [5, 17, None, 8, 17]})
        >>> hours = ds.index("hour", kind="btree")
        >>> hours.lookup(17).tolist(), hours.range(6, 17).tolist(), hours.range(None, 8).tolist()
        ([1, 4], [1, 3, 4], [0, 3])
    """

    kind = "btree"

    def __init__(self, subject: Subject, selection: Selection, parts: Parts) -> None:
        """Open the keys, before another process can put other ones in their place."""
        super().__init__(subject, selection, parts)
        _ = self._opened

    @classmethod
    def check(cls, subject: Subject) -> None:
        """Take one column whose values can be keys."""
        super().check(subject)
        check_key_type(subject.fields[0], f'an index of kind="{cls.kind}"')

    @classmethod
    def library(cls, in_folder: bool) -> str:
        """A folder holds an LMDB file, whose format has not changed since 2011."""
        if in_folder:
            import_lmdb()
        return ""

    @classmethod
    def scan(cls, subject: Subject) -> KeyScan:
        """Read one column."""
        return KeyScan(subject.recipe)

    @classmethod
    def assemble(cls, subject: Subject, pieces: Iterable[Piece], folder: str | None) -> Arrays:
        """Sort the keys by value."""
        return table_arrays(Postings.of(pieces, rank_by_value), folder)

    @cached_property
    def _values(self) -> Values:
        return Values(self.fields[0])

    @cached_property
    def _opened(self) -> tuple[KeyTable, Ids]:
        parts = self.parts
        return open_table(parts.arrays, parts.folder, parts.header), parts.arrays["ids"]

    def lookup(self, values: Any) -> Ids:
        """Return the samples that hold one of some values.

        Args:
            values: One value, or a sequence, NumPy array, Arrow array or Polars series.

        Returns:
            Sample ids in rising order, int64 of shape [n].

        Raises:
            SchemaError: A value is of another kind than the column.
        """
        table, ids = self._opened
        keys = self._values.keys(values)
        listed = keys.tolist() if isinstance(keys, np.ndarray) else keys.to_pylist()
        runs = np.array([table.span(key) for key in set(listed)], np.int64).reshape(-1, 2)
        found = take_runs(ids, runs[:, 0], runs[:, 1])
        return self._taking_part(found if len(runs) == 1 else in_order(found, self._selection.total))

    def range(self, low: Any = None, high: Any = None) -> Ids:
        """Return the samples from `low` to `high`, both included.

        NaN is above all other floats, as in Polars: `range(1.0, None)` finds it, `range(1.0, inf)`
        does not.

        Args:
            low: The least value; None for no bound.
            high: The largest value; None for no bound.

        Returns:
            Sample ids in rising order, int64 of shape [n].

        Raises:
            SchemaError: A bound is of another kind than the column.
        """
        table, ids = self._opened
        begin, end = 0, len(ids)
        if low is not None:
            begin = table.position(self._values.place(low)[0], after=False)
        if high is not None:
            key, is_exact = self._values.place(high)
            end = table.position(key, after=is_exact)
        return self._taking_part(in_order(ids[begin : max(begin, end)], self._selection.total))

    def prefix(self, text: str | bytes) -> Ids:
        """Return the samples whose text begins so, in rising order.

        Raises:
            SchemaError: The column holds no text.

        Example:
            >>> import headrace as hr
            >>> words = hr.from_arrays({"word": ["head", "race", "heading", ""]}).index("word", kind="btree")
            >>> words.prefix("head").tolist()
            [0, 2]
        """
        kind = plain_type(self.fields[0].type)
        if not is_text(kind):
            raise SchemaError(
                f"column `{self.columns[0]}` of type {kind} has no prefixes, only text has; use `range`"
            )
        table, ids = self._opened
        key = self._values.place(text)[0]
        assert isinstance(key, bytes)
        begin, above = table.position(key, after=False), _above(key)
        end = len(ids) if above is None else table.position(above, after=False)
        return self._taking_part(in_order(ids[begin:end], self._selection.total))


def _above(prefix: bytes) -> bytes | None:
    """Return the least bytes above all that begin so; None if nothing is."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None
