"""Measuring loaders fairly: fresh processes, interleaved rounds, time beside CPU time beside memory.

A rate alone misleads. Another program on the machine, memory that is touched for the first time or a slow
moment of the memory bus change it by a factor of two and say nothing of the loader. So each case runs in a
process of its own, the cases take turns, and beside every rate stand the CPU seconds that it took, the share
of the machine that others used meanwhile, and the rate of a canary: random reads of large memory, done just
before. Measurements whose canary was below half of its best, or beside which others used much of the machine,
are marked as disturbed and left out of the summary as long as undisturbed ones remain.

Memory is read from /proc, so this needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

import numpy as np

CANARY_ROW_FLOATS = 65  # 260 bytes, the row of the streaming benchmark
CANARY_BATCH = 4096
OTHERS_LIMIT = 0.15
READ_BYTES = 8 << 20
SAMPLING_SECONDS = 0.005
FAMILY_SECONDS = 0.2
SMALL_PROCESS = 50 << 20  # bytes; what watches over others takes less


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the data, or as much of it as the time limit allowed."""

    rows: int
    seconds: float
    cpu_seconds: float

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds

    @property
    def cpu_seconds_per_million(self) -> float:
        return self.cpu_seconds / self.rows * 1e6


@dataclass(frozen=True, slots=True)
class Measurement:
    """One case in one process. Memory is in bytes; growth counts from just before the loader was opened."""

    case: str
    epochs: list[Epoch]
    first_batch_seconds: float
    peak_memory: int
    peak_anonymous: int
    peak_growth: int
    is_capped: bool
    foretold_memory: int | None = None
    cold_first_batch_seconds: float | None = None
    canary_rows_per_second: float = 0.0
    others_share: float = 0.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Measurement:
        return cls(**{**values, "epochs": [Epoch(**epoch) for epoch in values["epochs"]]})


# ---- inside the measured process


def read_once(files: Sequence[Path]) -> None:
    """Bring the files into the page cache through one small buffer."""
    buffer = bytearray(READ_BYTES)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def own_cpu_seconds() -> float:
    """CPU time of all threads of this process, and of children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class MemoryWatch:
    """Follows this process's memory: the kernel's peak of the total, samples of the anonymous part.

    Use as a context manager; the figures are complete when it closes.
    """

    def __init__(self) -> None:
        self.peak_total = self.peak_anonymous = self.growth = 0
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> MemoryWatch:
        Path("/proc/self/clear_refs").write_text("5")  # starts the kernel's peak anew
        self._before = status_bytes("VmRSS")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.peak_total = status_bytes("VmHWM")
        self.growth = self.peak_total - self._before

    def _sample(self) -> None:
        with Path("/proc/self/statm").open("rb", buffering=0) as file:
            while not self._stop.wait(SAMPLING_SECONDS):
                _, resident, shared, *_ = file.read().split()
                self.peak_anonymous = max(self.peak_anonymous, (int(resident) - int(shared)) * self._page)
                file.seek(0)


class FamilyWatch:
    """Follows the peak memory of this process and of each process below it, by the kernel's own count.

    Use as a context manager. Peaks of this process begin anew when it opens; those of its children count from
    their start, and what one takes in its last moments may be missed.
    """

    def __init__(self) -> None:
        self.own_peak = 0
        self._peaks: dict[int, int] = {}
        self._cpu: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> FamilyWatch:
        Path("/proc/self/clear_refs").write_text("5")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._look()
        self.own_peak = status_bytes("VmHWM")

    @property
    def child_peaks(self) -> list[int]:
        """Of each process below this one, the largest first; small ones, which only watch, are left out."""
        return sorted((peak for peak in self._peaks.values() if peak > SMALL_PROCESS), reverse=True)

    def cpu_seconds(self) -> float:
        """CPU time of this process and of all below it, those included that have ended."""
        self._look()
        return time.process_time() + sum(tuple(self._cpu.values()))

    def _sample(self) -> None:
        while not self._stop.wait(FAMILY_SECONDS):
            self._look()

    def _look(self) -> None:
        for process in descendants(os.getpid()):
            try:
                peak = status_bytes("VmHWM", process)
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            except (OSError, LookupError):  # it has just ended
                continue
            self._peaks[process] = max(self._peaks.get(process, 0), peak)
            self._cpu[process] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descendants(process: int) -> Iterator[int]:
    """Yield the processes below one."""
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:  # the thread has just ended
            continue
        for child in map(int, found):
            yield child
            yield from descendants(child)


def status_bytes(name: str, process: int | str = "self") -> int:
    """What the kernel says of a process's memory, in bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"/proc/{process}/status has no line {name!r}")


class RowClock:
    """Times a stream of row counts, epoch by epoch, with the wait for the first batch apart."""

    def __init__(self, rows_an_epoch: int, seconds_limit: float) -> None:
        self.epochs: list[Epoch] = []
        self.first_batch_seconds = 0.0
        self.is_capped = False
        self._rows_an_epoch = rows_an_epoch
        self._seconds_limit = seconds_limit

    def run(self, open_stream: Callable[[], Iterator[int]]) -> None:
        """Open the stream and take every batch; an epoch that outlasts the limit ends the run, marked so."""
        started, cpu_started, rows = time.perf_counter(), own_cpu_seconds(), 0
        stream = open_stream()
        for count in stream:
            rows += count
            now = time.perf_counter()
            self.first_batch_seconds = self.first_batch_seconds or now - started
            self.is_capped = now - started > self._seconds_limit and rows < self._rows_an_epoch
            if rows < self._rows_an_epoch and not self.is_capped:
                continue
            cpu_now = own_cpu_seconds()
            self.epochs.append(Epoch(rows, now - started, cpu_now - cpu_started))
            if self.is_capped:
                break
            started, cpu_started, rows = now, cpu_now, 0
        close = getattr(stream, "close", None)
        if close is not None:
            close()
        if rows and not self.is_capped:
            raise ValueError(
                f"an epoch must deliver {self._rows_an_epoch:,} rows, got {rows:,} in the last one"
            )


# ---- in the process that runs the benchmark


class Canary:
    """Random reads of 260-byte rows from memory far larger than the caches: the machine's mood as a rate."""

    def __init__(self, size_bytes: int) -> None:
        rows = max(CANARY_BATCH, size_bytes // (4 * CANARY_ROW_FLOATS))
        self._values = np.ones((rows, CANARY_ROW_FLOATS), np.float32)
        self._order = np.random.default_rng(0).permutation(rows)

    def rows_per_second(self, seconds: float = 0.25) -> float:
        """The rate over about this many seconds, on one thread."""
        batch = np.empty((CANARY_BATCH, CANARY_ROW_FLOATS), np.float32)
        started, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds:
            start = done % (len(self._order) - CANARY_BATCH + 1)
            np.take(self._values, self._order[start : start + CANARY_BATCH], axis=0, out=batch, mode="clip")
            done += CANARY_BATCH
        return done / elapsed


def run_child(command: Sequence[str]) -> tuple[dict[str, Any], float]:
    """Run a program whose last line is JSON; return that with the share of the machine that others used."""
    busy, own, started = _busy_seconds(), own_cpu_seconds(), time.perf_counter()
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    elapsed, own_now = time.perf_counter() - started, own_cpu_seconds()
    if finished.returncode != 0:
        raise RuntimeError(f"`{' '.join(command[1:])}` ended with {finished.returncode}:\n{finished.stderr}")
    others = (_busy_seconds() - busy) - (own_now - own)
    return json.loads(finished.stdout.splitlines()[-1]), max(0.0, others / elapsed / (os.cpu_count() or 1))


def _busy_seconds() -> float:
    """CPU time that the whole machine has spent on anything but idling, stolen time included."""
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = (
        int(value) for value in Path("/proc/stat").read_text().split(maxsplit=11)[1:11]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def run_rounds(
    cases: Mapping[str, Sequence[str]],
    rounds: int,
    canary: Canary,
    cold_arguments: Sequence[str] = ("--cold",),
) -> list[list[Measurement]]:
    """Measure every case once a round, in turn; the cold start of each is measured beside it."""
    results: list[list[Measurement]] = []
    for number in range(rounds):
        measured: list[Measurement] = []
        for name, command in cases.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            mood = canary.rows_per_second()
            values, others = run_child(command)
            started = time.monotonic()
            cold, _ = run_child([*command, *cold_arguments, str(started)])
            values |= {"canary_rows_per_second": mood, "others_share": others} | cold
            measured.append(Measurement.from_json(values))
        results.append(measured)
    return results


def is_disturbed(measurement: Measurement, best_canary: float) -> bool:
    """Whether the machine was not itself while this was measured."""
    return measurement.canary_rows_per_second < best_canary / 2 or measurement.others_share > OTHERS_LIMIT


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be; the first to the left, the others to the right."""
    widths = [max(len(line[index]) for line in [header, *rows]) for index in range(len(header))]
    lines = [
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in [header, ["-" * width for width in widths], *rows]
    ]
    return "\n".join(lines)


def public_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was measured, without the places of files."""
    return {name: value for name, value in vars(arguments).items() if name not in ("data", "json")}


def versions() -> dict[str, str]:
    """The versions that figures were taken with."""
    packages = ["numpy", "pyarrow", "numba", "torch"]
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def table_rows(turns: list[dict[str, Any]], bases: Sequence[Sequence[str]]) -> list[list[str]]:
    """One line a case; turns in the slow moments of the memory are left out while others remain.

    Args:
        turns: What was measured.
        bases: For each column of ratios, the cases whose best is the base.
    """
    best = max(turn["canary"] for turn in turns)
    calm = [turn for turn in turns if turn["canary"] >= best / 2]
    rows: list[list[str]] = []
    for name in dict.fromkeys(turn["case"] for turn in turns):
        every = [turn for turn in turns if turn["case"] == name]
        kept = [turn for turn in calm if turn["case"] == name] or every
        rates = [turn["rows_per_second"] for turn in kept]
        rows.append(
            [
                name,
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f}..{max(rates):,.0f}",
                *(ratio(kept, [turn for turn in calm if turn["case"] in base]) for base in bases),
                f"{median(turn['cpu_seconds_per_million'] for turn in kept):.3f}",
                f"{len(kept)}/{len(every)}",
            ]
        )
    return rows


def ratio(turns: list[dict[str, Any]], bases: list[dict[str, Any]]) -> str:
    """The median of the ratios to the best base of the same round; empty where none was measured."""
    best: dict[int, float] = {}
    for turn in bases:
        best[turn["round"]] = max(best.get(turn["round"], 0.0), turn["rows_per_second"])
    found = [turn["rows_per_second"] / best[turn["round"]] for turn in turns if turn["round"] in best]
    return f"{median(found):.2f}" if found else ""
