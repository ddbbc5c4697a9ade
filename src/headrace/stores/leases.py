"""Leases: who computes what, told to threads, processes and machines by files in one folder.

A lease is a file `<name>.<number>.lease` that is made where none was, so that one of many gets it. Its
holder locks it (`flock`), writes into it which machine it runs on, and touches it a few times per
`seconds`. Whoever finds it unlocked on the same machine, or untouched for that long, takes over by making
the file of the next number, and removes the others. So a holder that was only paused finds its own file
gone, and never touches or removes that of its successor.

A lease saves work and protects nothing: two who hold one at once compute the same.
"""

from __future__ import annotations

import fcntl
import functools
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_SUFFIX = ".lease"
# A pipe in the place of a file must not make its opening wait for ever; links are never followed.
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05
_BIRTH_SECONDS = 0.1  # so long a lease may say nothing: its holder was killed, or the disk is full
_BEATS = 4  # how often a lease is touched in the time after which it counts as left


@dataclass(frozen=True, slots=True)
class _Lease:
    """A lease file of this process, open and locked."""

    path: Path
    descriptor: int


class Leases:
    """Leases by name in one folder, which must exist. Thread-safe; a fork does not inherit them.

    Names consist of letters, digits and "-". A folder that cannot be written to, or is gone, has no leases:
    everybody computes for himself.

    Attributes:
        folder: Where the files are; whoever names the same folder shares the leases.
        seconds: After how long without a sign of life a holder on another machine, or one that is paused, has
            lost its lease. Alike for all who share the folder. On the same machine, a dead holder's lease is
            free at once.

    Example:
        >>> import tempfile
        >>> leases = Leases(Path(tempfile.mkdtemp()))
        >>> with leases.claim("7", is_done=lambda: False) as is_mine:
        ...     is_mine, leases.is_claimed("7"), leases.is_claimed("8")
        (True, True, False)
        >>> leases.is_claimed("7")
        False
        >>> leases.close()
    """

    def __init__(self, folder: Path, seconds: float = 10.0) -> None:
        """Take note of the folder; nothing is read or written before the first claim."""
        self.folder = folder
        self.seconds = seconds
        self._heartbeats = {_process().forks: _Heartbeat(seconds / _BEATS)}

    @contextmanager
    def claim(self, name: str, is_done: Callable[[], bool]) -> Generator[bool]:
        """Ask to be the one who computes something; waits while somebody alive holds the lease.

        Yields True to whoever got the lease, or if nobody can be asked; the lease ends with the block. Yields
        False once it is done. Ctrl-C ends the waiting.
        """
        lease, is_mine, pause = None, False, _SHORTEST_PAUSE
        try:
            while not is_done():
                try:
                    lease = self._take(name)
                except OSError:
                    is_mine = True
                    break
                if lease is not None:
                    is_mine = not is_done()  # the holder before may have put it, and gone, just now
                    break
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            yield is_mine
        finally:
            if lease is not None:
                self._heartbeat.release(lease)

    def is_claimed(self, name: str) -> bool:
        """Tell whether somebody alive holds a lease, be it another thread of this process."""
        try:
            return any(self._is_alive(path) for path in self._files(name).values())
        except OSError:
            return False

    def close(self) -> None:
        """End this process's leases and the thread that keeps them alive; may be called again."""
        self._heartbeat.close()

    @property
    def _heartbeat(self) -> _Heartbeat:
        return self._heartbeats.setdefault(_process().forks, _Heartbeat(self.seconds / _BEATS))

    def _take(self, name: str) -> _Lease | None:
        """Make the next lease file, if nobody alive holds one."""
        found = self._files(name)
        if any(self._is_alive(path) for path in found.values()):
            return None
        path = self.folder / f"{name}.{max(found, default=-1) + 1}{_SUFFIX}"
        try:
            lease = _make(path)
        except FileExistsError:
            return None
        self._heartbeat.hold(lease)
        try:
            # Whoever looked before this file was there may have made another: both see that now, and
            # step back.
            others = [other for other in self._files(name).values() if other != path]
            if not any(self._is_alive(other) for other in others):
                for other in others:
                    other.unlink(missing_ok=True)
                return lease
        except BaseException:
            self._heartbeat.release(lease)
            raise
        self._heartbeat.release(lease)
        return None

    def _files(self, name: str) -> dict[int, Path]:
        found: dict[int, Path] = {}
        for file in os.listdir(self.folder):
            stem, _, number = file.removesuffix(_SUFFIX).rpartition(".")
            if stem == name and file.endswith(_SUFFIX) and number.isdecimal():
                found[int(number)] = self.folder / file
        return found

    def _is_alive(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            return False
        try:
            # A time ahead is no sign of life either: the clock was set back.
            age = abs(self._now() - os.fstat(descriptor).st_mtime)
            if age >= self.seconds:
                return False
            holder = os.read(descriptor, 256)
            if not _machine() or (holder and holder != _machine()):
                return True
            if not holder and age < _BIRTH_SECONDS:
                return True
            return _is_locked(descriptor)
        finally:
            os.close(descriptor)

    def _now(self) -> float:
        """The time by the clock that also dates the lease files, which may be another machine's."""
        os.utime(self.folder)
        return self.folder.stat().st_mtime


class _Heartbeat:
    """The leases that one process holds, and the thread that touches them while there are any."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._held: list[_Lease] = []
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None

    def hold(self, lease: _Lease) -> None:
        with self._condition:
            self._held.append(lease)
            if self._thread is None:
                thread = threading.Thread(target=self._beat, name="headrace-leases", daemon=True)
                with suppress(RuntimeError):  # no more threads: the lease is lost after a while
                    thread.start()
                    self._thread = thread

    def release(self, lease: _Lease) -> None:
        """Remove a lease's file, unless it is a successor's; what `close` or a fork has ended is let be."""
        with self._condition:
            if lease in self._held:
                self._held.remove(lease)
                _remove(lease)
                self._condition.notify()

    def close(self) -> None:
        with self._condition:
            for lease in self._held:
                _remove(lease)
            self._held.clear()
            self._condition.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _beat(self) -> None:
        with self._condition:
            while self._held:
                for lease in self._held:
                    with suppress(OSError):  # the folder is gone, say
                        os.utime(lease.descriptor)
                self._condition.wait(self._interval)
            self._thread = None


def _make(path: Path) -> _Lease:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    _process().descriptors.add(descriptor)
    with suppress(OSError):  # without locks, or on a full disk, the time of change alone tells who is alive
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, _machine())
    return _Lease(path, descriptor)


def _is_locked(descriptor: int) -> bool:
    """Tell whether a file is locked, or may be, as locks cannot be had here."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _remove(lease: _Lease) -> None:
    # As long as it is open, no other file can have its number, even if it was removed.
    with suppress(OSError):
        if os.path.samestat(os.fstat(lease.descriptor), lease.path.stat()):
            lease.path.unlink()
    _process().descriptors.discard(lease.descriptor)
    os.close(lease.descriptor)


@dataclass(slots=True)
class _Process:
    """What a process must know of itself: its lease files, and how often its ancestors forked."""

    descriptors: set[int]
    forks: int = 0

    def begin_as_child(self) -> None:
        """Let go of the parent's files, which would stay locked when the parent is dead."""
        for descriptor in self.descriptors:
            with suppress(OSError):
                os.close(descriptor)
        self.descriptors.clear()
        self.forks += 1


@functools.cache
def _process() -> _Process:
    process = _Process(set())
    os.register_at_fork(after_in_child=process.begin_as_child)
    return process


@functools.cache
def _machine() -> bytes:
    """What all processes that share this machine's file locks have in common; empty if that is not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return b""
