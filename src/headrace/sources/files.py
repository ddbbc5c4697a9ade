"""From what a user names (a file, folder, glob or list) to an ordered list of shard files."""

from __future__ import annotations

import glob
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

from headrace.errors import ChangedSourceError, MissingSourceError, OptionError, SourceError
from headrace.sources.names import is_hidden, natural_sort, partitions_of, without_scheme
from headrace.sources.remote import Access, RemoteFile, find_remote, is_chained, is_url
from headrace.sources.written.manifest import UNFINISHED, check_finished

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_FINDERS = 16  # threads that look for single URLs; each waits for the network, not for a core


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the file system says of a file; another stamp means that the file was replaced."""

    size: int
    modified: int
    changed: int
    inode: int

    @classmethod
    def of(cls, path: str) -> Self:
        """Ask the file system.

        Raises:
            SourceError: The file is gone or may not be looked at.
        """
        try:
            found = os.stat(path)
        except FileNotFoundError as error:
            raise MissingSourceError(f"{path}: no such file; it was moved or deleted") from error
        except OSError as error:
            raise SourceError(f"{path}: cannot be looked at: {error.strerror}") from error
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def check(self, path: str) -> None:
        """Raise `ChangedSourceError` if the file is no longer the one that was stamped."""
        if Stamp.of(path) != self:
            raise ChangedSourceError(
                f"{path}: the file was replaced or rewritten after it was opened; open the data set again"
            )


class GrowingStamp(Stamp):
    """The stamp of a file that its writer goes on with: it stays the same file and never shrinks."""

    def check(self, path: str) -> None:
        """Raise `ChangedSourceError` if it is another file, or was cut off."""
        found = Stamp.of(path)
        if found.inode != self.inode or found.size < self.size:
            raise ChangedSourceError(
                f"{path}: the file was replaced or cut off after it was opened; open the data set again"
            )


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One file of a data set, on a local disk or behind a URL.

    What reads a file asks for its stamp first, opens it by `local`, and checks the stamp in the end.

    Attributes:
        path: Where it lies, for errors too: a path, or a URL without secrets.
        partitions: The `key=value` folders that lead to it, as written; None stands for null.
        remote: The object, if it lies behind a URL.
    """

    path: str
    partitions: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    remote: RemoteFile | None = None

    def stamp(self) -> Stamp:
        """Tell what must not change.

        Raises:
            SourceError: The file is gone or may not be looked at.
        """
        # Whatever is fetched of a remote file is of the version that was opened, or an error.
        return Stamp.of(self.path) if self.remote is None else Stamp(self.remote.size, 0, 0, 0)

    def check(self, stamp: Stamp) -> None:
        """Raise `ChangedSourceError` if the file is no longer the one that was stamped."""
        if self.remote is None:
            stamp.check(self.path)

    @contextmanager
    def local(self) -> Generator[str]:
        """Name the file's place on the local disk, where it stays until the end of the block.

        Raises:
            SourceError: It cannot be fetched.
        """
        if self.remote is None:
            yield self.path
        else:
            with self.remote.local() as place:
                yield place

    def stamped(self, stamp: Stamp) -> dict[str, Stamp]:
        """Return a stamp by the file's path; nothing for a remote one, whose version is in its identity."""
        return {self.path: stamp} if self.remote is None else {}

    def head(self, size: int) -> bytes:
        """Read the first bytes.

        Raises:
            SourceError: They cannot be read.
        """
        if self.remote is not None:
            return self.remote.read(0, size)
        try:
            with open(self.path, "rb") as file:
                return file.read(size)
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read: {error.strerror}") from error


def find_files(paths: Paths, access: Access | None = None) -> list[ShardFile]:
    """List the files that a path, a glob, a folder, a URL of those, or a list of them names.

    Files in a folder or a glob are sorted naturally ("part-2" before "part-10"); a list keeps
    its own order. Names that begin with `_` or `.` are passed over in folders and globs.

    Raises:
        MissingSourceError: Nothing lies there, or a file is named twice.
    """
    find = partial(_find, access=access or Access())
    if isinstance(paths, (str, os.PathLike)):
        return find(os.fspath(paths))
    listed = _listed(paths)
    if any(map(is_url, listed)):
        with ThreadPoolExecutor(_FINDERS, thread_name_prefix="headrace-open") as pool:
            found = [file for files in pool.map(find, listed) for file in files]
    else:
        found = [file for path in listed for file in find(path)]
    if not found:
        raise MissingSourceError("a list of paths must name at least one file, got an empty list")
    seen: set[str] = set()
    for file in found:
        place = os.path.abspath(file.path) if file.remote is None else f"{file.path} {file.remote.path}"
        if place in seen:
            raise OptionError(f"{file.path} is named twice; to repeat samples, use `rows` or `sample`")
        seen.add(place)
    return found


def _listed(paths: Any) -> list[str]:
    """Check what was given as a list of paths."""
    if not isinstance(paths, Iterable) or isinstance(paths, (bytes, Mapping)):
        raise OptionError(f"a path must be a text, a `pathlib.Path` or a list of those, got {paths!r}")
    listed = list(cast("Iterable[Any]", paths))
    for path in listed:
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
            raise OptionError(f"a path must be a text or a `pathlib.Path`, got {path!r} in a list of paths")
    return [os.fspath(path) for path in listed]


def _find(path: str, access: Access) -> list[ShardFile]:
    path = without_scheme(path)
    if is_url(path) or is_chained(path):
        return [ShardFile(file.url, folders, file) for file, folders in find_remote(path, access)]
    if not path or "\0" in path:
        raise OptionError(f"a path must be a non-empty text without zero bytes, got {path!r}")
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        files = files_below(path)
        if not files:
            raise MissingSourceError(f"{path}: the folder holds no data files")
        return files
    if os.path.lexists(path) or not glob.has_magic(path):
        if not os.path.lexists(path):
            raise MissingSourceError(f"{path}: no such file or folder")
        return [_shard_file(path)]
    fixed = next(place for place, part in enumerate(Path(path).parts) if glob.has_magic(part))
    matches = [
        match
        for match in glob.glob(path, recursive=True)
        if not any(is_hidden(part) for part in Path(match).parts[fixed:])
    ]
    files = [file for match in natural_sort(matches) for file in _expand_match(match)]
    unique = list({os.path.abspath(file.path): file for file in files}.values())
    if not unique:
        check_finished(os.path.join("", *Path(path).parts[:fixed]))
        raise MissingSourceError(f"{path}: the pattern matches no file")
    return unique


def _expand_match(match: str) -> list[ShardFile]:
    return files_below(match) if os.path.isdir(match) else [_shard_file(match)]


def files_below(folder: str) -> list[ShardFile]:
    """List the data files in a folder and those below it, behind links too, each folder once.

    Raises:
        UnfinishedError: A job has not completed what shall lie in one of the folders.
        SourceError: A folder cannot be read, or something is no file.
    """
    files: list[str] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in seen:  # links may lead in circles
            folders.clear()
            continue
        seen.add(place)
        if UNFINISHED in folders:
            check_finished(parent)
        folders[:] = natural_sort(name for name in folders if not is_hidden(name))
        files.extend(os.path.join(parent, name) for name in names if not is_hidden(name))
    return [_shard_file(path) for path in natural_sort(files)]


def _refuse_folder(error: OSError) -> None:
    raise SourceError(f"{error.filename}: the folder cannot be read: {error.strerror}") from error


def _shard_file(path: str) -> ShardFile:
    if os.path.exists(path) and not os.path.isfile(path):
        raise SourceError(f"{path}: a shard must be a regular file, but this is a pipe, a socket or a device")
    return ShardFile(path, partitions_of(Path(path).parent.parts))
