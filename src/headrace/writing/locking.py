"""The lock of an output: one job at a time, until it lets go or its process ends, however it ends."""

from __future__ import annotations

import functools
import os
import socket
from contextlib import suppress
from pathlib import Path

from headrace.errors import OutputError
from headrace.stores.folder.locks import is_same
from headrace.stores.locks import try_lock, unlock

_NAME = ".lock"
_LONGEST_HOLDER = 300


class OutputLock:
    """An exclusive lock of a folder `_unfinished`, which is made for it; processes do not inherit it.

    Whatever is forked lets go of it at once, so that a killed job's lock is free although children live on.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Args:
            folder: The folder `_unfinished` of an output.

        Raises:
            OutputError: Another job holds it, or it is no folder; the message names host and process.
            OSError: It cannot be made, or the file system has no locks.
        """
        self._path = folder / _NAME
        self._descriptor: int | None = _take(folder, self._path)
        _held().add(self)

    @property
    def is_held(self) -> bool:
        """Whether this process has the lock."""
        return self._descriptor is not None

    def release(self) -> None:
        """Let go of it, and remove the folder if nothing else is in it; may be called again."""
        _held().discard(self)
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with suppress(OSError):
            # Only who holds the lock removes its file, and whoever waits for a removed one looks again.
            if is_same(descriptor, os.fspath(self._path)):
                self._path.unlink()
        unlock(descriptor)
        with suppress(OSError):
            self._path.parent.rmdir()

    def forget(self) -> None:
        """Close the file in a forked process, while its parent goes on holding the lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def _take(folder: Path, path: Path) -> int:
    while True:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise OutputError(
                f"{folder}: must be a folder, as a job keeps its unfinished work there; remove it"
            )
        folder.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:  # the job before ended at this moment, and took the folder away
            continue
        try:
            if not try_lock(descriptor):
                raise OutputError(
                    f"{folder.parent}: another job is writing to it{_holder(descriptor)}; wait until it "
                    "ends, or name another folder"
                )
            if is_same(descriptor, os.fspath(path)):
                with suppress(OSError):  # on a full disk; it is only for people
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        unlock(descriptor)  # its file was removed since it was opened


def _holder(descriptor: int) -> str:
    """Say who holds the lock; he may not have written it down yet."""
    with suppress(OSError):
        text = os.pread(descriptor, _LONGEST_HOLDER, 0).decode(errors="replace")
        if text.isprintable() and text:
            return f" (process {text})"
    return ""


@functools.cache
def _held() -> set[OutputLock]:
    held: set[OutputLock] = set()

    def begin_as_child() -> None:
        for lock in held:
            lock.forget()
        held.clear()

    os.register_at_fork(after_in_child=begin_as_child)
    return held
