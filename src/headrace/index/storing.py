"""Where an index lies: arrays in memory, or a folder that is whole or not there.

A folder is written under another name and renamed, so a process that is killed leaves no index.
Its header names what the index is of, and the size and digest of each file. All of them are read
when an index is opened, before anything in them is believed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, OptionError, StateError
from headrace.fingerprint import digest

Arrays = Mapping[str, NDArray[Any]]
Header = Mapping[str, Any]

HEADER = "header.json"
VERSION = 1
_READ_BYTES = 1 << 20
_TRIES = 20
_WORDS = {
    "version": "another format version",
    "kind": "another kind",
    "columns": "other columns",
    "types": "columns of other types",
    "manifest": "other data",
    "recipe": "another recipe",
    "library": "another version of the library behind it",
}


class Parts:
    """The arrays of an index, and the folder that they are mapped from.

    Picklable: those of a folder are mapped anew, if it still holds the same index.

    Attributes:
        arrays: Name to array.
        folder: The folder, or None for arrays in memory.
        header: The header as it lies in the folder.
    """

    def __init__(self, arrays: Arrays, folder: str | None = None, header: bytes = b"") -> None:
        """Keep the arrays."""
        self.arrays = dict(arrays)
        self.folder = folder
        self.header = header

    def __reduce__(self) -> tuple[Callable[..., Parts], tuple[Any, ...]]:
        """Leave mapped arrays behind."""
        return (Parts, (self.arrays,)) if self.folder is None else (reopen, (self.folder, self.header))


def open_parts(folder: str, wanted: Header) -> Parts | None:
    """Open the index in a folder, or return None if there is no such folder.

    Raises:
        StateError: It is an index of something else; the message says what differs.
        CorruptSourceError: It is damaged.
        OptionError: The folder holds something that is no index.
    """
    if not os.path.lexists(folder) or (os.path.isdir(folder) and not os.listdir(folder)):
        return None
    header = _read_header(folder)
    content = _parse_header(folder, header)
    for name, value in wanted.items():
        if content.get(name) != value:
            raise StateError(
                f"{folder}: holds an index of {_WORDS[name]} ({name} {_shown(content.get(name))}, not "
                f"{_shown(value)}); delete it to have it built anew, or name another folder"
            )
    for name, (size, expected) in content["files"].items():
        if _identify(os.path.join(folder, name)) != (size, expected):
            raise CorruptSourceError(
                f"{folder}: `{name}` is not what the index's header promises ({size:,} bytes of digest "
                f"{expected}); it is damaged, so delete the folder to have the index built anew"
            )
    return reopen(folder, header)


def reopen(folder: str, header: bytes) -> Parts:
    """Map the arrays of an index that was verified before.

    Raises:
        StateError: The folder is gone, or holds another index by now.
    """
    arrays: dict[str, NDArray[Any]] = {}
    try:
        for name in json.loads(header)["content"]["files"]:
            if name.endswith(".npy"):
                arrays[name.removesuffix(".npy")] = _map(os.path.join(folder, name))
        same = _read_header(folder) == header  # looked at last: what was mapped before belongs to it
    except (OSError, ValueError) as error:
        raise StateError(
            f"{folder}: the index is gone or was replaced since it was opened: {error}"
        ) from error
    if not same:
        raise StateError(
            f"{folder}: the index was built anew since it was opened; call `ds.index(...)` again"
        )
    return Parts(arrays, folder, header)


@contextmanager
def building(folder: str) -> Generator[str]:
    """Lend a folder beside the one named, to be filled and published; it is gone afterwards.

    What processes that were killed left beside it is deleted.
    """
    parent, name = os.path.split(os.path.abspath(folder))
    try:
        os.makedirs(parent, exist_ok=True)
        _sweep(parent, name)
        aside, descriptor = _make_locked(parent, name)
    except OSError as error:
        raise OptionError(
            f"an index cannot be written to {folder} ({error.strerror}); pass `path=` with a folder "
            "that can be"
        ) from error
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        os.close(descriptor)


def publish(aside: str, folder: str, arrays: Arrays, wanted: Header) -> None:
    """Write arrays and header into the folder aside, and give it its name.

    Another index of that name is replaced, unless it is the same: another process was quicker then.
    """
    for name, array in arrays.items():
        np.save(os.path.join(aside, f"{name}.npy"), array, allow_pickle=False)
    files = {name: _identify(os.path.join(aside, name)) for name in sorted(os.listdir(aside))}
    content = {**wanted, "files": files}
    with open(os.path.join(aside, HEADER), "w", encoding="utf-8") as file:
        json.dump({"content": content, "digest": _digest(content)}, file, indent=1)
    for _ in range(_TRIES):
        try:
            os.rename(aside, folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise OptionError(f"{folder}: an index cannot be put there: {error.strerror}") from error
        else:
            return
        if _is_fit(folder, wanted):
            return
        _remove(folder)
    raise StateError(f"{folder}: other processes keep putting other indexes there; pass another `path=`")


def _is_fit(folder: str, wanted: Header) -> bool:
    try:
        return open_parts(folder, wanted) is not None
    except (StateError, CorruptSourceError, OptionError):
        return False


def _remove(folder: str) -> None:
    """Take a folder out of the way in one step, then delete it; another process may be quicker."""
    parent, name = os.path.split(os.path.abspath(folder))
    aside = tempfile.mkdtemp(prefix=f".{name}.", dir=parent)
    try:
        os.rename(folder, aside)  # an empty folder may be renamed over
    except FileNotFoundError:
        pass
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _make_locked(parent: str, name: str) -> tuple[str, int]:
    """Make a folder and lock it; another process may sweep it away in between."""
    while True:
        aside = tempfile.mkdtemp(prefix=f".{name}.", dir=parent)
        try:
            descriptor = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.exists(aside):
            return aside, descriptor
        os.close(descriptor)


def _sweep(parent: str, name: str) -> None:
    """Delete what killed processes left: nobody holds its lock."""
    for entry in os.listdir(parent):
        if not entry.startswith(f".{name}."):
            continue
        try:
            descriptor = os.open(os.path.join(parent, entry), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue  # another process was quicker
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(os.path.join(parent, entry), ignore_errors=True)
        except BlockingIOError:
            continue  # its process still lives
        finally:
            os.close(descriptor)


def _read_header(folder: str) -> bytes:
    try:
        with open(os.path.join(folder, HEADER), "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OptionError(
            f"{folder}: holds no index (it has no `{HEADER}`), and nothing of yours is replaced; name an "
            "empty folder, or one that is not there yet"
        ) from error


def _parse_header(folder: str, header: bytes) -> Header:
    try:
        parsed = json.loads(header)
        content = parsed["content"]
        if parsed["digest"] == _digest(content) and all(
            os.path.basename(name) == name for name in content["files"]
        ):
            return content
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise CorruptSourceError(
        f"{folder}: the header of the index is damaged; delete the folder to have the index built anew"
    )


def _digest(content: Header) -> str:
    return digest("index header", json.dumps(content, sort_keys=True))


def _identify(path: str) -> tuple[int, str]:
    """Return size and digest of a file; those of one that is not there fit nothing."""
    hasher, size = hashlib.blake2b(digest_size=16), 0
    try:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(_READ_BYTES):
                hasher.update(block)
                size += len(block)
    except FileNotFoundError:
        return -1, ""
    return size, hasher.hexdigest()


def _map(path: str) -> NDArray[Any]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.view(np.ndarray)


def _shown(value: Any) -> str:
    return f"{value[:8]}..." if isinstance(value, str) and len(value) == 32 else repr(value)
