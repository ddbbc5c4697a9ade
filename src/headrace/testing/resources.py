"""What a process holds: threads, children, descriptors and memory, as Linux counts them."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process holds at one time.

    Attributes:
        threads: Python's threads, by name; those that only wait for a forked library's dead
            threads are not told apart.
        children: Processes that it started, by number.
        descriptors: How many files and sockets it has open.
        resident: Bytes of memory.

    Example:
        >>> Resources.now().children == Resources.now().children
        True
    """

    threads: tuple[str, ...]
    children: tuple[int, ...]
    descriptors: int
    resident: int

    @staticmethod
    def now() -> Resources:
        """Count what this process holds, after collecting garbage."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return Resources(
            tuple(sorted(thread.name for thread in threading.enumerate())),
            tuple(sorted(_children(os.getpid()))),
            len(os.listdir("/proc/self/fd")),
            pages * os.sysconf("SC_PAGE_SIZE"),
        )

    def left_behind(self, before: Resources) -> list[str]:
        """Say what there is now that was not there before, memory aside."""
        found = [f"thread {name}" for name in self.threads if name not in before.threads]
        found += [f"process {number}" for number in self.children if number not in before.children]
        if self.descriptors > before.descriptors:
            found.append(f"{self.descriptors - before.descriptors} descriptors")
        return found


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Ask until something holds or the time is over; return whether it holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def _children(parent: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        for number in (task / "children").read_text().split():
            # Python's own helper of spawned processes, which ends with the interpreter.
            if b"resource_tracker" not in _command(int(number)):
                found.append(int(number))
    return found


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
