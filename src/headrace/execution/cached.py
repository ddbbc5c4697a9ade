"""A recipe whose prepared row groups are kept in a store: the door after `prepare` and `pack`.

What is kept are the rows that take part, laid out as the gather reads them, so that a hit needs neither the
source nor the steps. The batches are the same with and without a store.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import SchemaError
from headrace.execution.contents import are_unchanged, check_shards, identify_shards
from headrace.execution.entry_names import EntryNames
from headrace.execution.recipe import Recipe, Rows, Untouched
from headrace.execution.row_major import row_bytes, to_rows
from headrace.execution.stats import Stats, measured
from headrace.execution.whole import Entries, Whole
from headrace.manifest import RowGroup
from headrace.planning.selection import Selection
from headrace.prepare.pack import Laid
from headrace.stores.base import Columns, Layout, Table
from headrace.stores.counts import Counts
from headrace.stores.digests import digests_of
from headrace.stores.limits import check_limit


@dataclass(frozen=True, eq=False, slots=True)
class _Opened:
    """The entries of one layout, opened in this process.

    Attributes:
        shards: The shards that hold samples which take part.
        layout: The entries.
        table: Where they are kept.
        numbers: The entry of each row group; -1 if none of its samples takes part, or its shard cannot be
            identified. Int64 of shape [row groups].
        is_current: Whether every shard is the one that was opened, so that no read would fail for that.
    """

    shards: tuple[int, ...]
    layout: Layout
    table: Table
    numbers: NDArray[np.int64]
    is_current: bool


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of an entry that was to be there.

    Attributes:
        state: `"found"` if it was there, `"built"` if it is now, `"let go"` if the store did not keep it, or
            `"claimed"` if somebody else prepares it.
        nbytes: Bytes of its prepared rows.
    """

    state: str
    nbytes: int


class _Here:
    """What one process has opened."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.counts = Counts()
        self.opened: _Opened | None = None
        self.ends: weakref.finalize[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process opens the store for itself."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin with nothing."""
        self.__init__()


@dataclass(frozen=True)
class CachedRecipe(Recipe):
    """A recipe over some samples, whose prepared row groups are kept in its store.

    Thread-safe. A copy in another process opens the store for itself, and counts for itself.

    Attributes:
        selection: The samples that take part; None for all.
    """

    selection: Selection | None = None
    _here: _Here = field(default_factory=_Here, init=False, repr=False, compare=False)

    @staticmethod
    def of(recipe: Recipe, selection: Selection) -> Recipe:
        """Bind a recipe that has a store to the samples that take part; another one comes back as it is.

        Raises:
            OptionError: The store's limit is below one row group.
            FingerprintError: A function of the recipe cannot be identified by value.
        """
        if recipe.cache is None:
            return recipe
        cached = CachedRecipe(
            recipe.source,
            recipe.steps,
            recipe.pack,
            recipe.keep_arrow,
            recipe.cache,
            recipe.augment,
            selection,
        )
        counts = selection.set.rank(recipe.source.manifest.starts)
        check_limit(recipe.cache.limit, row_bytes(cached) * int(np.diff(counts).max(initial=0)))
        _ = cached._names.steps_key  # what cannot be identified is refused now
        return cached

    @cached_property
    def untouched(self) -> Mapping[str, Untouched]:
        """None, as what a source copies elsewhere cannot be kept."""
        return {}

    @cached_property
    def _names(self) -> EntryNames:
        # A recipe of its own: a ring of references would put off the closing of what nobody uses any more.
        plain = Recipe(self.source, self.steps, self.pack, self.keep_arrow)
        return EntryNames(plain, self.selection)

    @property
    def counts(self) -> Counts:
        """What the store did for this recipe in this process so far."""
        here = self._here
        total = Counts()
        tables = [here.counts] + ([] if here.opened is None else [here.opened.table.counts])
        for counts in tables:
            total.add_all(counts)
        return total

    def refresh(self) -> None:
        """Open the store, or look whether the source's files are still those whose entries it has."""
        with self._own.lock:
            opened = self._here.opened
            if opened is None:
                self._open()
            else:
                is_current = opened.is_current and are_unchanged(self.source, opened.shards)
                self._here.opened = replace(opened, is_current=is_current)

    def close(self) -> None:
        """Let go of what this process has opened; the next use opens it again."""
        with self._here.lock:
            self._shut()

    def whole(self) -> Whole | None:
        """Return all rows that take part, if the store has them as one array for each name."""
        opened = self._opened
        arrays = opened.table.whole() if opened.is_current else None
        if arrays is None:
            return None
        entries = Entries(
            opened.layout, opened.table.check, lambda entries: self._here.counts.add(hits=entries)
        )
        return Whole(arrays, None if self.selection is None else self.selection.set, entries)

    @property
    def is_whole(self) -> bool:
        """Whether the store shows all rows as arrays, as far as this process has opened it already."""
        opened = self._own.opened
        return opened is not None and opened.is_current and opened.table.whole() is not None

    @property
    def layout(self) -> Layout:
        """The entries, in the order of the data."""
        return self._opened.layout

    @property
    def row_groups(self) -> list[int]:
        """The number of each entry's row group.

        Raises:
            SourceError: A shard has changed since it was opened, or cannot be read.
        """
        opened = self._opened
        check_shards(self.source, opened.shards)
        return np.flatnonzero(opened.numbers >= 0).tolist()

    def arrays(
        self,
        row_group: RowGroup,
        wanted: Rows | None = None,
        stats: Stats | None = None,
        rows: Rows | None = None,
    ) -> tuple[dict[str, Laid | Untouched], Rows | None]:
        """Return one row group laid out for the gather, prepared if the store does not have it."""
        opened = self._opened
        number = int(opened.numbers[row_group.number])
        # What `rows` leaves out is not in the key; a shard that changed fails as it does without a cache.
        if rows is not None or number < 0 or not are_unchanged(self.source, [row_group.shard]):
            return super().arrays(row_group, wanted, stats, rows)
        taken = self._names.taken(row_group)
        with measured(stats, "read"):
            found = opened.table.get(number)
        if found is None:
            try:
                found = self._build(opened.table, number, row_group, taken, stats)
            except SchemaError:  # of samples that others want, maybe
                return super().arrays(row_group, wanted, stats, rows)
        else:
            self._here.counts.add(hits=1)
        return dict(found), taken

    def fill(self, row_group: RowGroup, wait: bool) -> Filled:
        """Prepare a row group that has an entry and keep it, if the store does not have it.

        Args:
            row_group: Which one.
            wait: Whether to wait for somebody else who prepares it at the moment.
        """
        opened = self._opened
        number = int(opened.numbers[row_group.number])
        check_shards(self.source, [row_group.shard])
        columns, state = opened.table.get(number), "found"
        if columns is None and not wait and opened.table.is_claimed(number):
            return Filled("claimed", 0)
        if columns is None:
            with opened.table.claim(number) as is_mine:
                columns = None if is_mine else opened.table.get(number)
                if columns is None:
                    columns = self._compute(opened.table, number, row_group, self._names.taken(row_group))
                    state = "built" if opened.table.get(number) is not None else "let go"
        return Filled(state, sum(column.nbytes for column in columns.values()))

    def _build(
        self, table: Table, number: int, row_group: RowGroup, taken: Rows | None, stats: Stats | None
    ) -> Columns:
        """Prepare a row group and keep it, unless somebody else does so meanwhile."""
        with table.claim(number) as is_mine:
            if not is_mine and (found := table.get(number)) is not None:
                self._here.counts.add(hits=1)
                return found
            return self._compute(table, number, row_group, taken, stats)

    def _compute(
        self, table: Table, number: int, row_group: RowGroup, taken: Rows | None, stats: Stats | None = None
    ) -> Columns:
        self._here.counts.add(misses=1)
        laid, held = super().arrays(row_group, taken, stats)
        rows = None if taken is None or held is not None else taken
        columns = {name: to_rows(column, rows) for name, column in laid.items()}
        table.put(number, columns)
        return columns

    @property
    def _opened(self) -> _Opened:
        here = self._own
        with here.lock:
            if here.opened is None:
                self._open()
            assert here.opened is not None
            return here.opened

    @property
    def _own(self) -> _Here:
        """What this process has opened; a fork leaves its parent's files and locks alone."""
        here = self._here
        if here.process != os.getpid():
            if here.ends is not None:
                here.ends.detach()
            here.__init__()
        return here

    def _open(self) -> None:
        assert self.cache is not None
        self._shut()
        known = digests_of(self.cache)
        shards = self._names.shards
        contents = identify_shards(self.source, known, shards)
        layout, numbers = self._names.layout(contents)
        table = self.cache.open(layout)
        known.save()  # once the store was found fit for use
        self._here.opened = _Opened(tuple(shards), layout, table, numbers, len(contents) == len(shards))
        self._here.ends = weakref.finalize(self._here, table.close)  # also if nobody closes the recipe

    def _shut(self) -> None:
        opened, self._here.opened = self._here.opened, None
        if opened is not None:
            self._here.counts.add_all(opened.table.counts)
            assert self._here.ends is not None
            self._here.ends()
