"""The verb that makes an index of a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, Protocol, overload

from headrace.errors import OptionError
from headrace.execution.executors import Executor
from headrace.execution.recipe import Recipe
from headrace.index.base import Index, StoredIndex, Subject
from headrace.index.bloom import BloomIndex
from headrace.index.btree import BTreeIndex
from headrace.index.hash import HashIndex
from headrace.index.kdtree import KdTreeIndex
from headrace.index.opening import open_index
from headrace.planning.selection import Selection

Path = str | os.PathLike[str]
Columns = str | Sequence[str]

_KINDS: dict[str, type[StoredIndex]] = {
    kind.kind: kind for kind in (HashIndex, BTreeIndex, KdTreeIndex, BloomIndex)
}


class Indexable(Protocol):
    """A recipe and the samples that take part."""

    @property
    def recipe(self) -> Recipe:
        """What is done to the samples."""
        ...

    @property
    def selection(self) -> Selection:
        """Which samples take part."""
        ...


class IndexVerbs:
    """What a data set can be asked for by value."""

    @overload
    def index(
        self: Indexable,
        columns: Columns,
        kind: Literal["hash"],
        *,
        path: Path | None = None,
        executor: Executor | None = None,
        progress: bool = False,
    ) -> HashIndex: ...

    @overload
    def index(
        self: Indexable,
        columns: Columns,
        kind: Literal["btree"],
        *,
        path: Path | None = None,
        executor: Executor | None = None,
        progress: bool = False,
    ) -> BTreeIndex: ...

    @overload
    def index(
        self: Indexable,
        columns: Columns,
        kind: Literal["kdtree"],
        *,
        path: Path | None = None,
        executor: Executor | None = None,
        progress: bool = False,
    ) -> KdTreeIndex: ...

    @overload
    def index(
        self: Indexable,
        columns: Columns,
        kind: Literal["bloom"],
        *,
        path: Path | None = None,
        executor: Executor | None = None,
        progress: bool = False,
    ) -> BloomIndex: ...

    def index(
        self: Indexable,
        columns: Columns,
        kind: str,
        *,
        path: Path | None = None,
        executor: Executor | None = None,
        progress: bool = False,
    ) -> Index:
        """Make an index over columns, or open the one that was made before.

        It is built of all samples of the source; its answers are ids that take part in this data
        set, each at most once. It is stored beside the first shard, in a folder `_indexes`, and used
        again as long as data and recipe are the same; otherwise it is built anew, with a warning.
        An index of data in memory stays in memory.

        Args:
            columns: One column, or for a kdtree several.
            kind: `"hash"` for exact values, `"btree"` for ranges and prefixes too, `"kdtree"` for
                the nearest points, or `"bloom"`, the smallest, which reads row groups to answer.
            path: A folder of its own for the index, instead of the one beside the shards. What is
                in it already must be this index.
            executor: Where the row groups are read; on threads by default.
            progress: Show how far the building is, on standard error.

        Raises:
            OptionError: The kind is unknown, or the index cannot be written there.
            SchemaError: A column is of a type that the kind cannot index.
            StateError: The folder in `path` holds an index of something else.
            CorruptSourceError: The index in `path` is damaged.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"user": [7, 8, 7], "age": [30, 41, 30]})
            >>> users = ds.index("user", kind="hash")
            >>> ds.rows(users.lookup(7)).to_polars()["age"].to_list()
            [30, 30]
        """
        if kind not in _KINDS:
            raise OptionError(f"`kind` must be one of {', '.join(_KINDS)}, got {kind!r}")
        names = (columns,) if isinstance(columns, str) else tuple(columns)
        if len(set(names)) != len(names):
            raise OptionError(f"each column can be named once, got {names}")
        subject = Subject.of(self.recipe, names)
        return open_index(_KINDS[kind], subject, self.selection, path, executor, progress)
