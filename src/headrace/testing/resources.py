"""What a process holds: threads, children, descriptors and memory, as Linux counts them."""

from __future__ import annotations

import gc
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_HELPERS = (b"resource_tracker", b"forkserver")


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process holds at one time.

    Attributes:
        threads: Python's threads, by name.
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


def wait_for_nothing_left(before: Resources, seconds: float = 5.0) -> list[str]:
    """Wait until nothing is left behind or the time is over, and return what is."""
    end = time.monotonic() + seconds
    while (left := Resources.now().left_behind(before)) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def _children(parent: int) -> list[int]:
    lists = [_read(task / "children") for task in Path(f"/proc/{parent}/task").iterdir()]
    numbers = [int(number) for text in lists for number in text.split()]
    # Python's own helpers for spawned processes and fork servers end with the interpreter.
    commands = {number: _read(Path(f"/proc/{number}/cmdline")) for number in numbers}
    return [number for number in numbers if not any(helper in commands[number] for helper in _HELPERS)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # a thread or process that ended meanwhile
        return b""
