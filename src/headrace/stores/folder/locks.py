"""Locks of the file system (`flock`), which end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Generator
from contextlib import contextmanager

from headrace.stores.folder.owned import HEADER, LOCK
from headrace.stores.folder.safety import open_file
from headrace.stores.locks import try_lock, unlock

_POLL_SECONDS = 0.002
_MOST_WAIT_SECONDS = 60.0


def is_same(descriptor: int, name: str, folder: int | None = None) -> bool:
    """Tell whether an open file still has its name, and was not removed or replaced."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


def open_lock(folder: int) -> int | None:
    """Open the lock file of a table, made if it was removed; None in a folder without a table.

    Raises:
        ValueError: It is no plain file.
        OSError: It cannot be opened.
    """
    for flags in (os.O_RDWR, os.O_RDONLY):  # to be removed, a table must be writable; to be read, it need not
        try:
            return open_file(LOCK, flags, folder)
        except FileNotFoundError:
            break
        except OSError as error:
            if flags == os.O_RDONLY or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
    try:
        os.stat(HEADER, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return open_file(LOCK, os.O_RDWR | os.O_CREAT, folder)


@contextmanager
def locked(path: str) -> Generator[None]:
    """Hold the lock of a file, which is made if need be; waits for whoever holds it.

    Raises:
        OSError: It cannot be made, or is held for a minute.
    """
    descriptor = _wait(path)
    try:
        yield
    finally:
        unlock(descriptor)


def _wait(path: str) -> int:
    until = time.monotonic() + _MOST_WAIT_SECONDS
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while not try_lock(descriptor):
                if time.monotonic() > until:
                    raise TimeoutError(errno.ETIMEDOUT, "another process holds its lock for a minute", path)
                time.sleep(_POLL_SECONDS)
            if is_same(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        unlock(descriptor)  # removed while we waited for it
