"""The LMDB store: one file of pages by key, shared by the processes of a machine.

A folder holds `data.mdb`, which the library writes, and `headrace.lock`, which marks the folder as a cache.
Whoever reads holds that file's lock together with other readers, whoever writes holds it alone, and nothing
is kept open in between. So any number of stores, threads and processes may use one folder, a fork inherits
nothing, and one that is killed leaves nothing behind but a transaction that was not committed. The library's
own locks are not used, since it opens a file only once in a process. Reads do without the library (see
`lmdb_file`).
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from headrace.errors import CacheError, MissingDependencyError, OptionError
from headrace.stores.base import Layout, Verify
from headrace.stores.digests import FileDigests
from headrace.stores.leases import Leases
from headrace.stores.limits import check_limit
from headrace.stores.lmdb.file import DataFile
from headrace.stores.lmdb.holds import Hold, locked, read_holds
from headrace.stores.lmdb.writing import (
    COMPACT,
    DATA,
    ENTRY,
    PAGE,
    Room,
    Writer,
    compact,
    cost_of,
    split_keys,
)
from headrace.stores.owners import check_owner
from headrace.stores.paged.pages import Bytes, empty_page
from headrace.stores.paged.table import NotKeptError, OnUnavailable, PagedTable, Placed, Rules, check_settings

_LOCK, _OPEN, _LEASES = "headrace.lock", "open", "leases"
_SLACK = 1 << 20  # bytes beyond the limit, for the tree, free pages and what a transaction replaces
_GROWTH = 1 << 30  # by how much the file may grow in one transaction where there is no limit
_LARGEST = (1 << 32) - 1  # bytes of a value, by LMDB's format
_FLUSH_SECONDS = 30.0

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class LmdbStore:
    """Keeps prepared rows in an LMDB file in a folder of its own. Picklable.

    For one machine: several processes may read and write at once. Entries are removed one by one, least
    recently used first, but none of a data set that a living process has open. The file is never synced to
    disk: a killed process leaves it whole, and what a power cut tears is found by checksums.

    Attributes:
        path: The folder; it is made if it is not there.
        limit: Bytes of entries that may be kept; the file takes at most 1 MiB more. None for no limit.
        verify: When an entry is held against its checksum: at its first use in a process, at each, or never.
        on_unavailable: Whether to warn once and go on without the store where it fails, or to raise.
        digests: What this process knows of sources' files.

    Example:
        >>> LmdbStore("cache.lmdb", limit=1 << 30).limit
        1073741824
    """

    path: str | os.PathLike[str]
    limit: int | None = None
    verify: Verify = "first"
    on_unavailable: OnUnavailable = "warn"
    digests: FileDigests = field(default_factory=FileDigests, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_settings(self.limit, self.verify, self.on_unavailable)
        if not os.fspath(self.path):
            raise OptionError('`path` must name a folder, like "lmdb:///data/cache", got an empty one')

    def open(self, layout: Layout) -> PagedTable:
        """Return the entries of a layout.

        Raises:
            OptionError: The limit is below the largest entry.
            CacheError: The folder belongs to others or holds something else; or it cannot be used, and
                `on_unavailable="raise"`.
            MissingDependencyError: The library is not installed.
        """
        check_limit(self.limit, layout.largest)
        import_lmdb()
        folder = Path(os.path.abspath(self.path))
        _check_folder(folder)
        rules = Rules(str(self.path), self.limit, self.verify, self.on_unavailable)
        return PagedTable(layout, LmdbPages(folder, self.limit), rules)


class LmdbPages:
    """Pages in one folder. Thread-safe; holds nothing open but the file that says what is in use."""

    def __init__(self, folder: Path, limit: int | None) -> None:
        """Take note of the folder; `begin` looks at it."""
        self._folder, self._limit = folder, limit
        self._claims = Leases(folder / _LEASES)
        self._hold: Hold | None = None
        self._lock = threading.Lock()
        self._used: dict[str, int] = {}
        self._flushed = time.monotonic()
        self._is_sound = self._has_compacted = False

    def begin(self, layout: Layout) -> None:
        """Make the folder if need be, and say which entries are in use from now on."""
        keys = b"".join(bytes.fromhex(entry.key) for entry in layout.entries)
        try:
            self._make()
            self._hold = Hold.take(self._folder / _OPEN, keys)
        except OSError as error:
            if not os.access(self._folder / _LOCK, os.R_OK):  # what can be read is of use as it is
                raise _unavailable(self._folder, error) from error

    def get(self, key: str) -> Bytes | None:
        """Return a copy of a page; an empty one where the file is damaged."""
        try:
            with locked(self._folder / _LOCK, shared=True):
                page = self._read(key)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unavailable(self._folder, error) from error
        if page is not None and self._limit is not None:
            with self._lock:
                self._used[key] = time.time_ns()
                is_due = time.monotonic() - self._flushed > _FLUSH_SECONDS
            if is_due:
                self._flush()
        return page

    def put(self, key: str, page: Bytes) -> Placed:
        """Keep a page, and remove as many others as the limit asks."""
        if page.nbytes > _LARGEST:
            raise NotKeptError(f"LMDB holds no value of {page.nbytes:,} bytes; write smaller row groups")
        cost = cost_of(page.nbytes)
        if self._limit is not None and cost > self._limit:
            return Placed(False)
        return self._write(lambda writer: writer.put(key, page, cost), cost)

    def has(self, key: str) -> bool:
        """Tell whether a page is there."""
        try:
            with locked(self._folder / _LOCK, shared=True), _opened(self._folder / DATA) as file:
                return file.find(ENTRY + key.encode()) is not None
        except (ValueError, OSError):
            return False

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Ask to be the one who computes an entry."""
        return self._claims.claim(key, lambda: self.has(key))

    def is_claimed(self, key: str) -> bool:
        """Tell whether somebody else computes an entry."""
        return self._claims.is_claimed(key)

    def close(self) -> None:
        """Write down what was used, and let others remove it."""
        with self._lock:
            hold, self._hold = self._hold, None
        if hold is not None:
            if hold.process == os.getpid():
                self._flush()
            hold.release()
        self._claims.close()

    def _make(self) -> None:
        """Make the folder, and mark it as a cache before anything else lies in it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _check_folder(self._folder):
            (self._folder / _LOCK).touch(0o600)
            (self._folder / _LEASES).mkdir(0o700, exist_ok=True)

    def _read(self, key: str) -> Bytes | None:
        try:
            with _opened(self._folder / DATA) as file:
                place = file.find(ENTRY + key.encode())
                if place is None:
                    return None
                if place.begin + place.nbytes > file.size:
                    raise ValueError("a value lies behind the end of the file")
                page = empty_page(place.nbytes)
                file.read(place, page)
                return page
        except ValueError:
            self._is_sound = False
            return empty_page(0)

    def _flush(self) -> None:
        """Write down when pages were last used; without that others are removed, no more."""
        with self._lock:
            self._flushed = time.monotonic()
            has_used = bool(self._used)
        if has_used:
            with suppress(CacheError):
                self._write(lambda writer: writer.note_use(), 0)

    def _write(self, work: Callable[[Writer], _Answer], room: int) -> _Answer:
        """Let the library write, alone and on a file that was looked at."""
        library = import_lmdb()
        try:
            self._make()
            with locked(self._folder / _LOCK, shared=False):
                self._mend()
                with self._writer(library, room) as writer:
                    return work(writer)
        except (OSError, library.Error) as error:
            self._is_sound = False
            raise _unavailable(self._folder, error) from error

    @contextmanager
    def _writer(self, library: Any, room: int) -> Generator[Writer]:
        path, limit = self._folder / DATA, self._limit
        size = path.stat().st_size if path.exists() else 0
        most = size + 2 * room + _GROWTH if limit is None else limit + _SLACK
        settings: dict[str, Any] = {"map_size": most // PAGE * PAGE, "lock": False, "sync": False}
        with self._lock:
            used, self._used = self._used, {}
        rules = Room(limit, most, self._find_held)
        if limit is not None and size > most and not self._has_compacted:
            self._has_compacted = True
            compact(library, self._folder, settings, replace(rules, most=size + _SLACK))
        with closing(library.open(str(self._folder), mode=0o600, **settings)) as environment:
            yield Writer(environment, library.MapFullError, rules, used)

    def _find_held(self) -> frozenset[bytes]:
        """Return the names of entries that a living process has open."""
        return frozenset(name for keys in read_holds(self._folder / _OPEN) for name in split_keys(keys))

    def _mend(self) -> None:
        """Begin the file anew if the library could not bear it."""
        path = self._folder / DATA
        try:
            with _opened(path) as file:
                if self._is_sound and file.size >= file.needed:
                    return
                file.check()
                if file.size < file.needed:  # free pages at its end were never written
                    os.truncate(path, file.needed)
        except FileNotFoundError:
            pass
        except ValueError:
            path.unlink()
        shutil.rmtree(self._folder / COMPACT, ignore_errors=True)
        self._is_sound = True


def _check_folder(folder: Path) -> bool:
    """Tell whether a folder is marked as an LMDB cache; one that is empty or not there yet is not.

    Raises:
        CacheError: Others may write to it, or it holds something else.
    """
    try:
        check_owner(folder.stat(), str(folder))
        names = os.listdir(folder)
    except CacheError:
        raise
    except OSError:  # not there, or out of reach; whoever uses it will be told
        return False
    if names and _LOCK not in names:
        raise CacheError(
            f"{folder}: a cache needs a folder of its own, but this one holds {len(names)} other files, such "
            f"as `{names[0]}`; name another folder"
        )
    return bool(names)


@contextmanager
def _opened(path: Path) -> Generator[DataFile]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield DataFile(descriptor)
    finally:
        os.close(descriptor)


def _unavailable(folder: Path, error: Exception) -> CacheError:
    if isinstance(error, CacheError):
        return error
    reason = getattr(error, "strerror", None) or error
    return CacheError(f"{folder}: the cache cannot be used: {reason}")


def import_lmdb() -> Any:
    """Return the library.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import lmdb
    except ImportError as error:
        raise MissingDependencyError.from_extra("lmdb", "lmdb", "a cache in an LMDB file") from error
    return lmdb
