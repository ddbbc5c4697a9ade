"""Functions that go wrong on dask workers."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DiesOnce:
    """Doubles items; the process that gets one of them first is killed, as if the kernel did it."""

    folder: Path
    victim: int

    def __call__(self, item: int) -> int:
        (self.folder / f"{item}-{time.monotonic_ns()}").touch()
        if item == self.victim and not (mark := self.folder / "killed").exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item * 2


@dataclass(frozen=True)
class WaitsForOthers:
    """Returns an item; the first one waits until some of the others have been called."""

    folder: Path
    others: int

    def __call__(self, item: int) -> int:
        (self.folder / str(item)).touch()
        end = time.monotonic() + 60
        while item == 0 and len(list(self.folder.iterdir())) <= self.others:
            assert time.monotonic() < end, "the others wait for the slow one"
            time.sleep(0.01)
        return item


def take_much(item: int) -> int:
    """Return an item; the third one takes a gigabyte and keeps it."""
    if item == 2:
        taken = bytearray(1 << 30)
        taken[:: 1 << 12] = b"x" * len(range(0, 1 << 30, 1 << 12))
        time.sleep(30)
    return item


def linger(item: int) -> int:
    """Return an item after a while."""
    time.sleep(0.1 if item == 0 else 3)
    return item
