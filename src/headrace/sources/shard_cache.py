"""Whole shards on the local disk: fetched once, kept below a byte limit, shared by processes.

A cached shard is one file. Its name follows from where the shard lies and from its version; its
time of change is a mark that no other writer sets, so that a file which was damaged or written to
is told by its size or its mark, and fetched again. Its time of access says when it was last used.
Locks of the file system (`flock`) say who reads a shard and who fetches it; they end with the
process that holds them, however it ends.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.util import Finalize
from typing import Any

from headrace.errors import OptionError, SourceError
from headrace.fingerprint import digest
from headrace.sources.budget import parse_bytes

Save = Callable[[Callable[[int, bytes], None]], None]
"""Fetches a shard, and hands over the place of some bytes and the bytes."""

_SUFFIX, _PART_SUFFIX = ".shard", ".part"
_LOCK = "headrace.lock"
_DEFAULT_LIMIT = "50GB"
_POLL_SECONDS = 0.02
_MOST_WAIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class ShardCache:
    """Where shards behind URLs are kept on the local disk.

    Formats that are read in place (all but Parquet) need the whole shard on a local disk. With a
    named folder the shards stay there for the next epoch and the next run, and several processes
    may share it; Parquet shards are then kept there too. Files that the cache did not make are
    never touched.

    Attributes:
        folder: A folder on a local disk, made if need be; by default a private temporary one,
            which is removed when the process ends.
        limit: The most bytes that the shards take, as a number or a text like "20GB". The shards
            used longest ago are removed first, never one in use. It must hold as many shards as
            are read at once.

    Example:
        >>> ShardCache("/tmp/shards", limit="20GB").limit_bytes
        20000000000
    """

    folder: str | os.PathLike[str] | None = None
    limit: int | str = _DEFAULT_LIMIT

    def __post_init__(self) -> None:
        folder: Any = self.folder
        if not isinstance(folder, (str, os.PathLike, type(None))) or folder == "":
            raise OptionError(f"`folder` must be a path, got {folder!r}")
        parse_bytes(self.limit)

    @property
    def limit_bytes(self) -> int:
        """The limit as a number."""
        return parse_bytes(self.limit)


class CachedShards:
    """One cache at work. Thread-safe, safe among processes, picklable, survives a fork.

    Attributes:
        limit: The most bytes that it takes.
        is_named: Whether the user chose the folder, for all formats.
    """

    def __init__(self, folder: str | None, limit: int, token: str) -> None:
        """Remember the folder; nothing is made before a shard is fetched."""
        self.limit = limit
        self.is_named = folder is not None
        self._folder = folder
        self._token = token

    @staticmethod
    def of(cache: ShardCache | None) -> CachedShards:
        """Take up the user's wishes."""
        chosen = cache or ShardCache()
        folder = None if chosen.folder is None else os.path.abspath(os.path.expanduser(chosen.folder))
        return CachedShards(folder, chosen.limit_bytes, uuid.uuid4().hex)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process shares the folder for as long as it is there."""
        return _rebuild, (self._folder, self.is_named, self.limit, self._token)

    @property
    def folder(self) -> str:
        """The folder, made if need be."""
        if self._folder is not None and (self.is_named or os.path.isdir(self._folder)):
            os.makedirs(self._folder, exist_ok=True)
            return self._folder
        folder = tempfile.mkdtemp(prefix="headrace-")
        # Unlike `atexit`, it runs in workers of `multiprocessing` too, and only in this process.
        Finalize(self, shutil.rmtree, args=(folder, True), exitpriority=0)
        self._folder = folder
        return folder

    @contextmanager
    def lease(self, url: str, identity: tuple[Any, ...], size: int, save: Save) -> Generator[str]:
        """Keep a shard in the cache for some time, fetched if need be, and name its file.

        Args:
            url: What errors call it.
            identity: What tells its contents from others.
            size: Its bytes.
            save: Fetches it.

        Raises:
            SourceError: It cannot be fetched, or finds no place within the limit.
        """
        name = digest(*identity) if identity[-1].tag else digest(*identity, self._token)
        if size > self.limit:
            raise SourceError(
                f"{url}: the shard has {size:,} bytes, more than the cache's limit of {self.limit:,}; raise "
                "it, as in `hr.open(..., shard_cache=hr.ShardCache(folder, limit=...))`"
            )
        try:
            place = os.path.join(self.folder, name + _SUFFIX)
            descriptor = self._hold(place, size, url, save)
        except OSError as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(
                f"{url}: cannot be kept in the shard cache: {error}; choose another folder by "
                "`hr.open(..., shard_cache=hr.ShardCache(folder))`"
            ) from error
        try:
            yield place
        finally:
            _release(descriptor)

    def _hold(self, place: str, size: int, url: str, save: Save) -> int:
        """Return a descriptor with a shared lock on the complete shard."""
        begin = time.monotonic()
        while True:
            descriptor = _open_locked(place, fcntl.LOCK_SH)
            if descriptor is not None:
                if _is_sound(descriptor, place, size):
                    os.utime(place, ns=(time.time_ns(), _mark(place)))
                    return descriptor
                _release(descriptor)
            part = self._reserve(place, size)
            if part is not None:
                begin = time.monotonic()
                if _fetch(part, place, save):
                    return part
                _release(part)
            if time.monotonic() - begin > _MOST_WAIT_SECONDS and not os.path.exists(_part(place)):
                raise SourceError(
                    f"{url}: finds no place in the shard cache, whose {self.limit:,} bytes are taken by "
                    "shards in use; raise its limit"
                )
            time.sleep(_POLL_SECONDS)

    def _reserve(self, place: str, size: int) -> int | None:
        """Begin a file that only this thread writes; None while another does, or no room is left."""
        with self._locked():
            if os.path.exists(place):
                stale = _open_locked(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stale is None:
                    return None
                try:
                    if _is_sound(stale, place, size):
                        return None
                    os.unlink(place)
                finally:
                    _release(stale)
            part = _open_locked(_part(place), fcntl.LOCK_EX | fcntl.LOCK_NB, os.O_RDWR | os.O_CREAT)
            if part is None:
                return None
            os.ftruncate(part, 0)
            if not self._make_room(size):
                os.unlink(_part(place))
                _release(part)
                return None
            os.ftruncate(part, size)  # counts as taken from now on
            return part

    def _make_room(self, size: int) -> bool:
        """Remove the shards used longest ago until so many bytes more are within the limit."""
        found: list[tuple[int, int, str]] = []
        for entry in _entries(self.folder):
            with suppress(FileNotFoundError):
                status = entry.stat()
                # What a process left that was killed while it fetched is removed first.
                last_used = status.st_atime_ns if entry.name.endswith(_SUFFIX) else 0
                found.append((last_used, status.st_size, entry.path))
        total = sum(taken for _, taken, _ in found) + size
        for _, taken, path in sorted(found):
            is_left_over = path.endswith(_PART_SUFFIX)
            if total <= self.limit and not is_left_over:
                return True
            descriptor = _open_locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if descriptor is not None:
                os.unlink(path)
                _release(descriptor)
                total -= taken
        return total <= self.limit

    @contextmanager
    def _locked(self) -> Generator[None]:
        descriptor = _open_locked(os.path.join(self.folder, _LOCK), fcntl.LOCK_EX, os.O_RDWR | os.O_CREAT)
        assert descriptor is not None  # it was made
        try:
            yield
        finally:
            _release(descriptor)


def _rebuild(folder: str | None, is_named: bool, limit: int, token: str) -> CachedShards:
    cache = CachedShards(folder, limit, token)
    cache.is_named = is_named
    return cache


def _fetch(part: int, place: str, save: Save) -> bool:
    """Fill a reserved file, and give it its name once it is complete; False if it was removed at once."""
    is_open = True

    def write(offset: int, content: bytes) -> None:
        if not is_open:  # after an interrupt, a request may still be under way
            raise SourceError("the shard is no longer wanted")
        done = 0
        while done < len(content):
            done += os.pwrite(part, memoryview(content)[done:], offset + done)

    try:
        save(write)
        os.fsync(part)
        os.utime(part, ns=(time.time_ns(), _mark(place)))
        os.rename(_part(place), place)
        fcntl.flock(part, fcntl.LOCK_SH)  # for a moment, there is no lock
        return os.path.exists(place) and os.path.samestat(os.fstat(part), os.stat(place))
    except BaseException:
        is_open = False
        with suppress(OSError):
            os.unlink(_part(place))
        _release(part)
        raise


def _open_locked(path: str, lock: int, flags: int = os.O_RDWR) -> int | None:
    """Open and lock a file; None if it is not there, or locked by others and we do not wait."""
    while True:
        try:
            descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return None
        _held().add(descriptor)
        try:
            fcntl.flock(descriptor, lock)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BlockingIOError:
            _release(descriptor)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            _release(descriptor)
            raise
        _release(descriptor)  # it was removed or replaced while we waited for the lock


def _release(descriptor: int) -> None:
    _held().discard(descriptor)
    os.close(descriptor)


@functools.cache
def _held() -> set[int]:
    """This process's locked descriptors; a forked one must not keep them locked."""
    held: set[int] = set()

    def close_inherited() -> None:
        for descriptor in held:
            with suppress(OSError):
                os.close(descriptor)
        held.clear()

    os.register_at_fork(after_in_child=close_inherited)
    return held


def _is_sound(descriptor: int, place: str, size: int) -> bool:
    status = os.fstat(descriptor)
    return status.st_size == size and status.st_mtime_ns == _mark(place)


def _mark(place: str) -> int:
    """The time of change that a complete shard is given: whole seconds, which every disk keeps."""
    number = hashlib.blake2b(os.path.basename(place).encode(), digest_size=4).digest()
    return (10**9 + int.from_bytes(number, "little") % 10**8 * 2) * 10**9


def _part(place: str) -> str:
    return place.removesuffix(_SUFFIX) + _PART_SUFFIX


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """List what the cache made: 32 hexadecimal digits and one of its endings."""
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, ending = os.path.splitext(entry.name)
            is_name = len(stem) == 32 and all(letter in "0123456789abcdef" for letter in stem)
            if is_name and ending in (_SUFFIX, _PART_SUFFIX):
                yield entry
