"""What is opened is looked at first: whose it is, who may write to it, and that it is a plain file."""

from __future__ import annotations

import os
import re
import stat

import numpy as np
from numpy.typing import NDArray

from headrace.stores.owners import check_owner

Bytes = NDArray[np.uint8]

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 40
# A pipe in the place of a file must not make its opening wait for ever; links are never followed.
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def safe_name(number: int, name: str) -> str:
    """Name a column's file: unlike any other by its number, and free of what file systems treat as special.

    Example:
        >>> safe_name(2, "../x")
        '2-___x'
    """
    return f"{number}-{_UNSAFE.sub('_', name)[:_LONGEST_NAME]}"


def open_folder(path: str) -> int:
    """Open a folder of the user's own.

    Raises:
        CacheError: It is no such folder.
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        check_owner(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_file(name: str, flags: int, folder: int) -> int:
    """Open a plain file of the user's own in a folder, without following links.

    Raises:
        ValueError: It is something else, or others may have written to it.
        OSError: It cannot be opened.
    """
    try:
        descriptor = os.open(name, flags | _FLAGS, 0o600, dir_fd=folder)
    except OSError as error:
        if not _is_plain(name, folder):
            raise ValueError(f"`{name}` is no plain file") from error
        raise
    status = os.fstat(descriptor)
    complaint = ""
    if not stat.S_ISREG(status.st_mode):
        complaint = f"`{name}` is no plain file"
    elif status.st_uid != os.geteuid() or status.st_mode & stat.S_IWOTH:
        complaint = f"others may have written to `{name}`"
    if complaint:
        os.close(descriptor)
        raise ValueError(complaint)
    return descriptor


def read_file(name: str, folder: int, most: int) -> Bytes:
    """Read a plain file of at most so many bytes, uint8 of shape [bytes].

    Raises:
        ValueError: It is larger, shrinks meanwhile, or is no plain file.
        OSError: It cannot be read.
    """
    descriptor = open_file(name, os.O_RDONLY, folder)
    try:
        size = os.fstat(descriptor).st_size
        if size > most:
            raise ValueError(f"`{name}` has {size:,} bytes, at most {most:,} can be right")
        content = np.empty(size, np.uint8)
        done = 0
        while done < size:
            count = os.preadv(descriptor, [content.data[done:]], done)
            if count == 0:
                raise ValueError(f"`{name}` was cut off")
            done += count
        return content
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: Bytes, offset: int) -> None:
    """Write all bytes to a place in a file; releases the GIL.

    Raises:
        OSError: They cannot be written.
    """
    view = content.data
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)


def allocate(descriptor: int, size: int) -> None:
    """Take the room for so many bytes of a file on the disk.

    Raises:
        OSError: There is none; the message says how many bytes are needed.
    """
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}, where one file needs {size:,} bytes") from error


def _is_plain(name: str, folder: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return True
