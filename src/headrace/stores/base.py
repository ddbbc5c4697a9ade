"""What a store is: prepared row groups by key, each whole and sound, or not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.fingerprint import digest
from headrace.stores.counts import Counts

Columns = Mapping[str, "NDArray[Any] | pa.Array"]
"""Prepared rows by name: C-ordered arrays of shape [rows, ...], or Arrow for what has no fixed width."""

Arrays = Mapping[str, "NDArray[Any]"]
"""All rows of a layout: one C-ordered array of shape [rows, ...] for each name."""

Verify = Literal["first", "always", "never"]
"""When an entry is held against its checksum: at its first use in a process, at each, or never."""

Residency = Literal["map", "memory"]
"""Where arrays of a folder are read: as files mapped into memory, or from an anonymous copy of them."""

FORMAT_VERSION = 1
"""Raised whenever the same recipe yields other bytes, or entries are laid out otherwise."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row group's prepared rows, as a store knows them.

    Attributes:
        key: Digest of all that the rows follow from, 32 hexadecimal characters: the contents of the row
            group's files, the rows that take part, the steps and the arrays they end in, and the format's
            version.
        rows: How many.
    """

    key: str
    rows: int


@dataclass(frozen=True, eq=False)
class Layout:
    """All entries of a data set, in the order of the data: the place of every row is known beforehand.

    Attributes:
        entries: One for each row group with samples that take part, so each holds at least one row.
        row_bytes: Bytes of one row as far as they are known before any is prepared; 0 if nothing is.

    Example:
        >>> Layout((Entry("0a", 3), Entry("0b", 2))).starts.tolist()
        [0, 3, 5]
    """

    entries: Sequence[Entry]
    row_bytes: int = 0

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The place of each entry's first row, then how many rows there are; int64 of shape [entries + 1]."""
        return np.cumsum([0, *(entry.rows for entry in self.entries)])

    @cached_property
    def key(self) -> str:
        """Digest of all entries, 32 hexadecimal characters."""
        listed = " ".join(f"{entry.key}:{entry.rows}" for entry in self.entries)
        return digest("layout", FORMAT_VERSION, listed)

    @property
    def largest(self) -> int:
        """Bytes of the largest entry, as far as known."""
        return self.row_bytes * max((entry.rows for entry in self.entries), default=0)


class Table(Protocol):
    """The entries of one layout in a store, by their number in the layout. Thread-safe.

    A table never raises for what is wrong with its store, unless that was asked for
    (`on_unavailable="raise"`): an entry that cannot be had is not there, and one that cannot be kept is let
    go, with one warning for each table.
    """

    @property
    def counts(self) -> Counts:
        """What was asked of the table so far."""
        ...

    def get(self, number: int) -> Columns | None:
        """Return an entry's rows, not to be written to; None if it is not there or not sound.

        An entry that is there and damaged is counted in `counts.corrupt`.
        """
        ...

    def put(self, number: int, columns: Columns) -> None:
        """Keep an entry, if the limit allows: afterwards it is there as a whole, or not at all."""
        ...

    def claim(self, number: int) -> AbstractContextManager[bool]:
        """Ask to be the one who computes an entry; waits for whoever computes it already.

        Yields True to whoever shall compute it: nobody else does, or whoever did is gone. Yields False once
        it was put by somebody else meanwhile.
        """
        ...

    def is_claimed(self, number: int) -> bool:
        """Tell whether somebody else computes an entry now, so that another can be computed first."""
        ...

    def whole(self) -> Arrays | None:
        """Return all rows of the layout as one array for each name, if every entry is there.

        None if one is missing, or if a name has no fixed width. The arrays stay readable for as long as they
        are held, whatever happens to the store, but only rows of entries that pass `check` may be used.
        """
        ...

    def check(self, number: int) -> bool:
        """Tell whether an entry of `whole()` is sound, after looking at its checksum as `verify` asks."""
        ...

    def close(self) -> None:
        """Let go of files, locks and threads; may be called again. Arrays that were handed out stay valid."""
        ...


class Store(Protocol):
    """Where entries are kept: plain settings, picklable; each process opens it for itself."""

    @property
    def limit(self) -> int | None:
        """How many bytes may be kept; None for no limit."""
        ...

    def open(self, layout: Layout) -> Table:
        """Return the entries of a layout.

        Raises:
            OptionError: The limit is below `layout.largest`.
            CacheError: The store must not be used, such as a folder that others may write to; or it cannot be
                used, and `on_unavailable="raise"`.
        """
        ...
