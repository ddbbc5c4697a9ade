"""The folder store: prepared rows in a folder, shared by all processes that name it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from headrace.errors import CacheError, OptionError
from headrace.sources.budget import parse_bytes
from headrace.stores.base import Layout, Residency, Verify
from headrace.stores.counts import Counts
from headrace.stores.digests import FileDigests
from headrace.stores.folder.owned import DIGESTS
from headrace.stores.folder.space import Space
from headrace.stores.folder.table import FolderTable, OnUnavailable, Settings
from headrace.stores.limits import check_limit


@dataclass(frozen=True)
class FolderStore:
    """Keeps prepared rows in a folder: one `.npy` file for each array, mapped by whoever reads it.

    Threads, processes and machines may share a folder, and none must wait for another. An entry is there once
    the disk has all of its bytes; a process that is killed leaves whole entries or none. Tables that nobody
    has open are removed for the limit, least recently used first; of a table that does not fit, the first
    entries are kept. Files that the store did not make are never touched. Settings alone, so it is picklable.

    Attributes:
        path: The folder, made if need be. It must belong to the user, and not be writable by everyone.
        limit: The most bytes that its files take, the few that tell who computes what aside; None for no
            limit.
        verify: When an entry is held against its checksum: at its `"first"` use in a process, `"always"` or
            `"never"`.
        residency: `"map"` to read the files where they are cached by the system, `"memory"` to read a copy.
        on_unavailable: `"warn"` once and go on without, or `"raise"` a `CacheError`, if the folder cannot be
            read or written.

    Example:
        >>> import tempfile, numpy as np
        >>> from headrace.stores.base import Entry, Layout
        >>> store = FolderStore(tempfile.mkdtemp(), limit=1_000_000)
        >>> table = store.open(Layout([Entry("0a", 2), Entry("0b", 1)]))
        >>> table.put(0, {"x": np.array([1.5, 2.5])})
        >>> table.get(0)["x"].tolist(), table.get(1) is None
        ([1.5, 2.5], True)
        >>> table.close()
    """

    path: str
    limit: int | None = None
    verify: Verify = "first"
    residency: Residency = "map"
    on_unavailable: OnUnavailable = "warn"

    def __post_init__(self) -> None:
        if not os.fspath(self.path) or "\0" in os.fspath(self.path):
            raise OptionError(f"`path` must name a folder, got {self.path!r}")
        # Whoever unpickles it may work in another folder.
        object.__setattr__(self, "path", os.path.abspath(os.path.expanduser(self.path)))
        if self.limit is not None:
            object.__setattr__(self, "limit", parse_bytes(self.limit))

    @cached_property
    def digests(self) -> FileDigests:
        """What is known of the bytes of sources' files, kept in the folder as well.

        Raises:
            CacheError: The folder must not be used.
        """
        try:
            Space(self.path, self.limit, Counts()).prepare()
        except CacheError:
            raise
        except OSError:
            return FileDigests()
        return FileDigests(Path(self.path, DIGESTS))

    def open(self, layout: Layout) -> FolderTable:
        """Return the entries of a layout.

        Raises:
            OptionError: The limit is below the largest entry.
            CacheError: The folder belongs to somebody else, or everyone may write to it; or it cannot be
                used, and `on_unavailable="raise"`.
        """
        check_limit(self.limit, layout.largest)
        settings = Settings(self.verify, self.residency, self.on_unavailable)
        table = FolderTable(self.path, self.limit, layout, settings)
        table.begin()
        return table
