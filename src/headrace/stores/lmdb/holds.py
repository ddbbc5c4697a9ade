"""Who uses a file, and who has which entries open: locks (`flock`) that end with their process."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import CacheError
from headrace.stores.locks import try_lock, unlock

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
        _wait(path, descriptor, shared)
        yield
    finally:
        unlock(descriptor)


def _wait(path: Path, descriptor: int, shared: bool) -> None:
    end, pause = time.monotonic() + _PATIENCE_SECONDS, _SHORTEST_PAUSE
    while not try_lock(descriptor, shared=shared):
        if time.monotonic() > end:
            raise CacheError(
                f"{path}: somebody else held this lock for {_PATIENCE_SECONDS:.0f} seconds; look for a "
                "process that is paused"
            )
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


@dataclass(frozen=True, slots=True)
class Hold:
    """A locked file that says what its owner has in use, for as long as the owner lives.

    Attributes:
        path: The file.
        descriptor: The same, open and locked.
        process: The owner.
    """

    path: Path
    descriptor: int
    process: int

    @staticmethod
    def take(folder: Path, content: bytes) -> Hold:
        """Write a file of its own into a folder, which is made, and lock it.

        Raises:
            OSError: It cannot be written.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / secrets.token_hex(8)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try_lock(descriptor)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
        except BaseException:
            os.close(descriptor)
            os.unlink(path)
            raise
        return Hold(path, descriptor, os.getpid())

    def release(self) -> None:
        """Let go; a forked copy of the owner leaves the file and its lock alone."""
        if self.process == os.getpid():
            with suppress(OSError):
                self.path.unlink()
            unlock(self.descriptor)
        else:
            os.close(self.descriptor)


def read_holds(folder: Path) -> list[bytes]:
    """Return what all living owners have in use, and remove the files of dead ones."""
    found: list[bytes] = []
    for name in os.listdir(folder) if folder.is_dir() else []:
        with suppress(FileNotFoundError):
            descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if try_lock(descriptor, shared=True):
                    os.unlink(folder / name)
                else:
                    with open(descriptor, "rb", closefd=False) as file:
                        found.append(file.read())
            finally:
                os.close(descriptor)
    return found
