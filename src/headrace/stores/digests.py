"""Digests of files' bytes, remembered by what the file system says of them."""

from __future__ import annotations

import json
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from headrace.errors import FingerprintError, MissingSourceError, SourceError
from headrace.fingerprint import digest
from headrace.hashing.files import digest_file
from headrace.replacing import replacing
from headrace.sources.files import Stamp

_VERSION = 1
_MOST_FILES = 100_000
_MOST_BYTES = 32 << 20  # of the file that keeps them; a longer one is not ours
# A write shows in a stamp only once the file system's clock has ticked since the write before. Local file
# systems tick every few milliseconds, some others every second or two.
_TICK_SECONDS = 0.02
_SETTLED_SECONDS = 2.0


class FileDigests:
    """Knows the bytes of files by their digest, and looks at each file once as long as it stays the same.

    A file is the same if device, inode, size and the times of its last write and last change are: the last
    of these moves on with every write and cannot be set by a program. Thread-safe. A copy in another process
    knows what this one knew.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     stamp = Stamp.of(file.name)
        ...     FileDigests().find(file.name, stamp) == digest_file(file.name)
        True
    """

    def __init__(self, path: Path | None = None) -> None:
        """Begin with what a file keeps, if there is one; a file that is none of ours counts as empty."""
        self._path = path
        self._known = {} if path is None else _read(path)
        self._is_new = False

    def find(self, path: str, stamp: Stamp) -> str:
        """Return the digest of a file's bytes, of which all are read unless it is known.

        Args:
            path: Which file.
            stamp: What it must be, before and after it is read.

        Raises:
            ChangedSourceError: It is another file by now.
            SourceError: It cannot be read.
        """
        before = _ask(path)
        stamp.check(path)  # later, since a file that changed never changes back
        name = _name(before)
        known = self._known.get(name)
        if known is not None:
            return known
        age = time.time() - before.st_ctime_ns / 1e9
        if 0 <= age < _TICK_SECONDS:
            time.sleep(_TICK_SECONDS - age)
        try:
            found = digest_file(path)
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
        stamp.check(path)
        if age >= _SETTLED_SECONDS and _name(_ask(path)) == name:
            self._known[name] = found
            self._is_new = True
        return found

    def knows(self, path: str) -> bool:
        """Tell whether a file's digest is at hand."""
        try:
            return _name(os.stat(path)) in self._known
        except OSError:
            return False

    def save(self) -> None:
        """Keep what is new in the file, if there is one that can be written."""
        if self._path is None or not self._is_new:
            return
        known = {**_read(self._path), **self._known}  # others may have added to it meanwhile
        kept = dict(list(known.items())[-_MOST_FILES:])
        document = {"version": _VERSION, "checksum": _checksum(kept), "digests": kept}
        with suppress(OSError), replacing(self._path) as file:
            file.write(json.dumps(document).encode())
            self._is_new = False


@runtime_checkable
class SupportsDigests(Protocol):
    """A store that remembers what the files of sources hold, beside the entries."""

    @property
    def digests(self) -> FileDigests:
        """What is known so far."""
        ...


def digests_of(store: object) -> FileDigests:
    """Return what a store remembers of files; nothing yet if it is none that does."""
    return store.digests if isinstance(store, SupportsDigests) else FileDigests()


def _ask(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError as error:
        raise MissingSourceError(f"{path}: no such file; it was moved or deleted") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be looked at: {error.strerror}") from error


def _name(found: os.stat_result) -> str:
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return ":".join(map(str, numbers))


def _read(path: Path) -> dict[str, str]:
    """Return what a file keeps, or nothing if it is absent, damaged or of something else."""
    try:
        text = _text(path)
        document: Any = json.loads(text) if len(text) <= _MOST_BYTES else None
        kept: dict[str, str] = dict(document["digests"])
        is_ours = document["version"] == _VERSION and document["checksum"] == _checksum(kept)
        is_plain = all(isinstance(found, str) for found in cast("dict[str, Any]", kept).values())
    except (OSError, ValueError, TypeError, KeyError, RecursionError, FingerprintError):
        return {}
    return kept if is_ours and is_plain else {}


def _text(path: Path) -> bytes:
    """Return what a plain file begins with; a pipe in its place must not make its opening wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(_MOST_BYTES + 1)
    finally:
        os.close(descriptor)


def _checksum(known: dict[str, str]) -> str:
    return digest("digests of files", list(known.items()))
