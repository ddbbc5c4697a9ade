"""What a loader did so far: samples, steps, and the seconds spent in each room."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

ROOMS = ("read", "prepare", "gather", "augment", "deliver", "wait", "consumer")
"""Where seconds go: the first four in threads, so that they add up beyond the time that passes;
`wait` is the consumer waiting for data, `consumer` the loader waiting for the consumer."""

_CONSUMERS = ("deliver", "wait", "consumer")


@dataclass(frozen=True, slots=True)
class Work:
    """What another process did for a loader since it told the last time.

    Attributes:
        seconds: Seconds spent in each room.
        skipped_ids: Samples that were left out.
        skipped_errors: Why.
    """

    seconds: dict[str, float]
    skipped_ids: list[int]
    skipped_errors: list[str]


class Stats:
    """Counters of one loader; thread-safe.

    Example:
        >>> stats = Stats()
        >>> stats.deliver(rows=3)
        >>> stats.as_dict()["rows"], stats.as_dict()["steps"]
        (3, 1)
    """

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = dict.fromkeys(ROOMS, 0.0)
        self._rows = 0
        self._steps = 0
        self._elapsed = 0.0
        self._begin: float | None = None
        self._skipped_ids: list[int] = []
        self._skipped_errors: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process counts for itself."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin anew."""
        self.__init__()

    def start(self) -> None:
        """Begin to measure the time of an epoch."""
        with self._lock:
            self._begin = time.perf_counter()

    def spend(self, room: str, seconds: float) -> None:
        """Add seconds to a room; those of several threads add up."""
        with self._lock:
            self._seconds[room] += seconds

    def deliver(self, rows: int) -> None:
        """Count one batch."""
        with self._lock:
            self._rows += rows
            self._steps += 1
            if self._begin is not None:
                now = time.perf_counter()
                self._elapsed += now - self._begin
                self._begin = now

    def skip(self, ids: list[int], error: str) -> None:
        """Count samples that were left out, and why."""
        with self._lock:
            self._skipped_ids.extend(ids)
            self._skipped_errors.append(error)

    def hand_over(self) -> Work:
        """Return what was counted, without what only a consumer's side can tell, and count from zero."""
        with self._lock:
            seconds = {room: spent for room, spent in self._seconds.items() if room not in _CONSUMERS}
            work = Work(seconds, self._skipped_ids, self._skipped_errors)
            self._seconds = dict.fromkeys(ROOMS, 0.0)
            self._skipped_ids, self._skipped_errors = [], []
        return work

    def add(self, work: Work) -> None:
        """Count what another process did."""
        with self._lock:
            for room, seconds in work.seconds.items():
                self._seconds[room] += seconds
            self._skipped_ids.extend(work.skipped_ids)
            self._skipped_errors.extend(work.skipped_errors)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as a plain dict."""
        with self._lock:
            elapsed, total = self._elapsed, sum(self._seconds.values())
            return {
                "rows": self._rows,
                "steps": self._steps,
                "skipped": len(self._skipped_ids),
                "skipped_ids": sorted(self._skipped_ids),
                "skipped_errors": list(self._skipped_errors),
                "rows_per_second": self._rows / elapsed if elapsed else 0.0,
                "seconds": dict(self._seconds),
                "shares": {room: spent / total if total else 0.0 for room, spent in self._seconds.items()},
                "wait_share": min(self._seconds["wait"] / elapsed, 1.0) if elapsed else 0.0,
            }


def measured(stats: Stats | None, room: str) -> Measured:
    """Add the seconds spent inside a `with` block to a room, if anybody counts."""
    return Measured(stats, room)


class Measured:
    """A `with` block whose seconds are counted.

    A class, since each batch passes several of them and a generator would take longer.
    """

    __slots__ = ("_begin", "_room", "_stats")

    def __init__(self, stats: Stats | None, room: str) -> None:
        """Say who counts, and for which room."""
        self._stats = stats
        self._room = room

    def __enter__(self) -> None:
        """Begin."""
        self._begin = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        """Count, whether it went well or not."""
        if self._stats is not None:
            self._stats.spend(self._room, time.perf_counter() - self._begin)
