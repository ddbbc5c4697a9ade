"""A recipe whose prepared row groups are kept in a store: the door after `prepare` and `pack`.

What is kept are the rows that take part, laid out as the gather reads them, so that a hit needs neither the
source nor the steps. The batches are the same with and without a store.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from headrace.execution.contents import are_unchanged, check_shards, identify_shards
from headrace.execution.gather import address
from headrace.execution.recipe import Recipe, Rows, Untouched, needs_ids
from headrace.execution.stats import Stats, measured
from headrace.execution.whole import Entries, Whole
from headrace.fingerprint import digest
from headrace.manifest import RowGroup
from headrace.planning.selection import Selection
from headrace.prepare.pack import Laid, Stack
from headrace.stores.base import FORMAT_VERSION, Columns, Entry, Layout, Table
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


class _Door:
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
    _door: _Door = field(default_factory=_Door, init=False, repr=False, compare=False)

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
            recipe.source, recipe.steps, recipe.pack, recipe.keep_arrow, recipe.cache, selection
        )
        counts = selection.set.rank(recipe.source.manifest.starts)
        check_limit(recipe.cache.limit, cached.row_bytes * int(np.diff(counts).max(initial=0)))
        _ = cached._steps_key  # what cannot be identified is refused now
        return cached

    @cached_property
    def untouched(self) -> Mapping[str, Untouched]:
        """None, as what a source copies elsewhere cannot be kept."""
        return {}

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one prepared row, as far as they are known before any is prepared."""
        try:
            schema = self.schema
            none = pa.RecordBatch.from_arrays([pa.nulls(0, each.type) for each in schema], schema=schema)
            laid = self._laid_out(none, RowGroup(0, 0, 0, 0, 0, 0, "an empty row group"))
        except Exception:  # a function that cannot do without rows; the first entry will tell
            return 0
        return sum(_row_width(column) for column in laid.values())

    @property
    def counts(self) -> Counts:
        """What the store did for this recipe in this process so far."""
        door = self._door
        total = Counts()
        tables = [door.counts] + ([] if door.opened is None else [door.opened.table.counts])
        for counts in tables:
            total.add_all(counts)
        return total

    def refresh(self) -> None:
        """Open the store, or look whether the source's files are still those whose entries it has."""
        with self._own_door.lock:
            opened = self._door.opened
            if opened is None:
                self._open()
            else:
                is_current = opened.is_current and are_unchanged(self.source, opened.shards)
                self._door.opened = replace(opened, is_current=is_current)

    def close(self) -> None:
        """Let go of what this process has opened; the next use opens it again."""
        with self._door.lock:
            self._shut()

    def whole(self) -> Whole | None:
        """Return all rows that take part, if the store has them as one array for each name."""
        opened = self._opened
        arrays = opened.table.whole() if opened.is_current else None
        if arrays is None:
            return None
        entries = Entries(
            opened.layout, opened.table.check, lambda entries: self._door.counts.add(hits=entries)
        )
        return Whole(arrays, None if self.selection is None else self.selection.set, entries)

    @property
    def is_whole(self) -> bool:
        """Whether the store shows all rows as arrays, as far as this process has opened it already."""
        opened = self._own_door.opened
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
        taken = self._taken(row_group)
        with measured(stats, "read"):
            found = opened.table.get(number)
        if found is None:
            found = self._build(opened.table, number, row_group, taken, stats)
        else:
            self._door.counts.add(hits=1)
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
                    columns = self._compute(opened.table, number, row_group, self._taken(row_group))
                    state = "built" if opened.table.get(number) is not None else "let go"
        return Filled(state, sum(column.nbytes for column in columns.values()))

    def _build(
        self, table: Table, number: int, row_group: RowGroup, taken: Rows | None, stats: Stats | None
    ) -> Columns:
        """Prepare a row group and keep it, unless somebody else does so meanwhile."""
        with table.claim(number) as is_mine:
            if not is_mine and (found := table.get(number)) is not None:
                self._door.counts.add(hits=1)
                return found
            return self._compute(table, number, row_group, taken, stats)

    def _compute(
        self, table: Table, number: int, row_group: RowGroup, taken: Rows | None, stats: Stats | None = None
    ) -> Columns:
        self._door.counts.add(misses=1)
        laid, held = super().arrays(row_group, taken, stats)
        rows = None if taken is None or held is not None else taken
        columns = {name: _chosen(column, rows) for name, column in laid.items()}
        table.put(number, columns)
        return columns

    def _taken(self, row_group: RowGroup) -> Rows | None:
        """The rows of a row group that take part; None for all."""
        if self.selection is None:
            return None
        members = self.selection.set
        begin, end = members.rank(np.array([row_group.first, row_group.first + row_group.rows]))
        if end - begin == row_group.rows:
            return None
        return members.at(np.arange(begin, end)) - row_group.first

    @property
    def _opened(self) -> _Opened:
        door = self._own_door
        with door.lock:
            if door.opened is None:
                self._open()
            assert door.opened is not None
            return door.opened

    @property
    def _own_door(self) -> _Door:
        """What this process has opened; a fork leaves its parent's files and locks alone."""
        door = self._door
        if door.process != os.getpid():
            if door.ends is not None:
                door.ends.detach()
            door.__init__()
        return door

    def _open(self) -> None:
        assert self.cache is not None
        self._shut()
        known = digests_of(self.cache)
        shards = self._shards()
        contents = identify_shards(self.source, known, shards)
        layout, numbers = self._layout(contents)
        table = self.cache.open(layout)
        known.save()  # once the store was found fit for use
        self._door.opened = _Opened(tuple(shards), layout, table, numbers, len(contents) == len(shards))
        self._door.ends = weakref.finalize(self._door, table.close)  # also if nobody closes the recipe

    def _shut(self) -> None:
        opened, self._door.opened = self._door.opened, None
        if opened is not None:
            self._door.counts.add_all(opened.table.counts)
            assert self._door.ends is not None
            self._door.ends()

    def _shards(self) -> list[int]:
        """The shards that hold samples which take part."""
        manifest = self.source.manifest
        edges = [0, *np.cumsum([len(shard.rows) for shard in manifest.shards]).tolist()]
        starts = manifest.starts[edges]
        counts = np.diff(starts if self.selection is None else self.selection.set.rank(starts))
        return np.flatnonzero(counts).tolist()

    def _layout(self, shards: Mapping[int, str]) -> tuple[Layout, NDArray[np.int64]]:
        """Name the entries, and tell which one each row group has."""
        manifest, entries = self.source.manifest, list[Entry]()
        numbers = np.full(len(manifest), -1)
        starts = manifest.starts
        counts = np.diff(starts if self.selection is None else self.selection.set.rank(starts)).tolist()
        for number in np.flatnonzero(counts).tolist():
            row_group = manifest[number]
            if row_group.shard in shards:
                numbers[number] = len(entries)
                key = self._entry_key(row_group, shards[row_group.shard], counts[number] < row_group.rows)
                entries.append(Entry(key, counts[number]))
        return Layout(tuple(entries), self.row_bytes), numbers

    def _entry_key(self, row_group: RowGroup, shard: str, is_part: bool) -> str:
        """Digest of all that the prepared rows of a row group follow from."""
        begin = int(self.source.manifest.starts[row_group.number - row_group.index])
        place = row_group.index, row_group.first - begin, row_group.rows
        first = row_group.first if needs_ids(self.needed) else None
        # There may be many row groups, and this is several times as quick as `digest`.
        hasher = hashlib.blake2b(f"{self._steps_key} {shard} {place} {first} ".encode(), digest_size=16)
        taken = self._taken(row_group) if is_part else None
        if taken is not None:
            chosen = np.zeros(row_group.rows, np.bool_)
            chosen[taken] = True
            hasher.update(np.packbits(chosen).tobytes())
        return hasher.hexdigest()

    @cached_property
    def _steps_key(self) -> str:
        """Digest of what is read, of the steps without what nobody wants, and of the arrays they end in."""
        kinds = [(field.name, str(field.type)) for field in self.source.schema]
        keeps_arrow = self.keep_arrow and self.pack is None
        read = kinds, self.columns
        # Expressions and images come out as these libraries compute and decode them.
        libraries = pl.__version__ if self.needs_frame else None, _version("pillow")
        return digest("steps", FORMAT_VERSION, read, self.needed, self.pack, keeps_arrow, libraries)


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _chosen(laid: Laid | Untouched, rows: Rows | None) -> NDArray[Any] | pa.Array:
    """Some rows of a column, laid out row by row."""
    if isinstance(laid, Stack):
        return _stacked(laid, rows)
    assert not isinstance(laid, Untouched)
    if isinstance(laid, np.ndarray):
        return np.ascontiguousarray(laid if rows is None else laid[rows])
    return laid if rows is None else laid.take(pa.array(rows))


def _stacked(stack: Stack, rows: Rows | None) -> NDArray[Any]:
    from headrace.execution.kernels import copy_columns

    wanted = np.arange(len(stack.parts[0])) if rows is None else rows
    out = np.empty((len(wanted), len(stack.parts)), stack.parts[0].dtype)
    outputs = np.array([address(out)], np.uint64)
    copy_columns(stack.parts, outputs, wanted, np.zeros(len(wanted), np.int64), np.arange(len(wanted)))
    return out


def _row_width(laid: Laid) -> int:
    """Bytes of one row of a column; 0 if its rows differ."""
    if isinstance(laid, Stack):
        return sum(part.dtype.itemsize for part in laid.parts)
    if isinstance(laid, np.ndarray):
        return laid.dtype.itemsize * int(np.prod(laid.shape[1:]))
    return 0
