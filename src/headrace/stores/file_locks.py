"""Locks on files (`flock`) among the threads and processes of one machine; whoever dies lets go of them."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import CacheError

_PATIENCE_SECONDS = 10.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.01


@contextmanager
def locked(path: Path, shared: bool) -> Generator[None]:
    """Hold the lock of a file that exists, together with others or alone.

    Each use opens the file anew, so that threads shut each other out as processes do.

    Raises:
        CacheError: Somebody else held it all the time; a paused process, say.
        OSError: The file cannot be opened or locked.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _wait(path, descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing would not do where a fork holds a copy
    finally:
        os.close(descriptor)


def _wait(path: Path, descriptor: int, kind: int) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    pause = _SHORTEST_PAUSE
    while True:
        try:
            return fcntl.flock(descriptor, kind)
        except BlockingIOError:
            if time.monotonic() > end:
                raise CacheError(
                    f"{path}: somebody else held this lock for {_PATIENCE_SECONDS:.0f} seconds; look for a "
                    "process that is paused"
                ) from None
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


@dataclass(slots=True)
class Lease:
    """A locked file that says what its owner has in use, for as long as the owner lives."""

    path: Path
    descriptor: int
    process: int

    @staticmethod
    def take(folder: Path, content: bytes) -> Lease:
        """Write a file of its own into a folder, which is made, and lock it.

        Raises:
            OSError: It cannot be written.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / secrets.token_hex(8)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
        except BaseException:
            os.unlink(path)
            os.close(descriptor)
            raise
        return Lease(path, descriptor, os.getpid())

    def release(self) -> None:
        """Let go; a forked copy of the owner leaves the file alone."""
        if self.process == os.getpid():
            with suppress(OSError):
                self.path.unlink()
            with suppress(OSError):
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)


def read_leases(folder: Path) -> list[bytes]:
    """Return what all living owners have in use, and remove the files of dead ones."""
    found: list[bytes] = []
    for name in os.listdir(folder) if folder.is_dir() else []:
        with suppress(FileNotFoundError):
            descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                with open(descriptor, "rb", closefd=False) as file:
                    found.append(file.read())
            else:
                os.unlink(folder / name)
            finally:
                os.close(descriptor)
    return found
