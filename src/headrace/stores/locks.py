"""Locks of the file system (`flock`), which end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file, if nobody holds a lock that forbids it.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Give a lock up and close the file.

    Closing alone would not do: a process that was forked meanwhile holds the same lock.
    """
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
