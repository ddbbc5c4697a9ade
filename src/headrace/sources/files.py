"""From what a user names (a file, folder, glob or list) to an ordered list of shard files."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from headrace.errors import ChangedSourceError, MissingSourceError, OptionError, SourceError

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the file system says of a file; another stamp means that the file was replaced."""

    size: int
    modified: int
    changed: int
    inode: int

    @staticmethod
    def of(path: str) -> Stamp:
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
        return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def check(self, path: str) -> None:
        """Raise `ChangedSourceError` if the file is no longer the one that was stamped."""
        if Stamp.of(path) != self:
            raise ChangedSourceError(
                f"{path}: the file was replaced or rewritten after it was opened; open the data set again"
            )


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One file of a data set.

    Attributes:
        path: Where it lies.
        partitions: The `key=value` folders that lead to it, as written; None stands for null.
    """

    path: str
    partitions: dict[str, str | None] = field(default_factory=dict[str, "str | None"])


def find_files(paths: Paths) -> list[ShardFile]:
    """List the files that a path, a glob, a folder or a list of those names.

    Files in a folder or a glob are sorted naturally ("part-2" before "part-10"); a list keeps
    its own order. Names that begin with `_` or `.` are passed over in folders and globs.

    Raises:
        MissingSourceError: Nothing lies there, or a file is named twice.
    """
    if isinstance(paths, (str, os.PathLike)):
        return _find(os.fspath(paths))
    found = [file for path in paths for file in _find(os.fspath(path))]
    if not found:
        raise MissingSourceError("a list of paths must name at least one file, got an empty list")
    seen: set[str] = set()
    for file in found:
        if file.path in seen:
            raise OptionError(f"{file.path} is named twice; to repeat samples, use `rows` or `sample`")
        seen.add(file.path)
    return found


def _find(path: str) -> list[ShardFile]:
    if re.match(r"^[a-z0-9+]{2,}://", path):
        raise OptionError(f"{path}: only local files can be opened, no URLs")
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        files = _files_below(path)
        if not files:
            raise MissingSourceError(f"{path}: the folder holds no data files")
        return files
    if os.path.exists(path) or not glob.has_magic(path):
        if not os.path.exists(path):
            raise MissingSourceError(f"{path}: no such file or folder")
        return [ShardFile(path)]
    matches = [match for match in glob.glob(path, recursive=True) if not _is_hidden(match)]
    files = [file for match in natural_sort(matches) for file in _expand_match(match)]
    unique = list({file.path: file for file in files}.values())
    if not unique:
        raise MissingSourceError(f"{path}: the pattern matches no file")
    return unique


def _expand_match(match: str) -> list[ShardFile]:
    if os.path.isdir(match):
        return _files_below(match)
    return [ShardFile(match, _partitions(Path(match).parent.parts))]


def _files_below(folder: str) -> list[ShardFile]:
    files: list[str] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        files.extend(os.path.join(parent, name) for name in names if not _is_hidden(name))
    root = Path(folder)
    own = _partitions(root.parts)
    return [
        ShardFile(path, own | _partitions(Path(path).relative_to(root).parent.parts)) for path in natural_sort(files)
    ]


def _partitions(parts: Iterable[str]) -> dict[str, str | None]:
    pairs = (part.split("=", 1) for part in parts if "=" in part)
    return {unquote(key): None if value == _NULL_PARTITION else unquote(value) for key, value in pairs}


def _is_hidden(path: str) -> bool:
    return os.path.basename(path.rstrip(os.sep)).startswith((".", "_"))


def natural_sort(paths: Iterable[str]) -> list[str]:
    """Sort names so that numbers in them count as numbers.

    Example:
        >>> natural_sort(["part-10", "part-2"])
        ['part-2', 'part-10']
    """

    def key(path: str) -> tuple[list[tuple[int, int, str]], str]:
        pieces = re.findall(r"\d+|\D+", path)
        return [(0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in pieces], path

    return sorted(paths, key=key)
