"""Keys and ranks of many samples, partitioned by the keys' first bits, in memory or in a temporary file."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Ranks = NDArray[np.int64]
Packed = NDArray[np.uint64]

RECORD_BYTES = 24  # two words of the key and the rank
_WORKING_BYTES = 64  # for each record of a partition at work: itself, its slots, and what is found
_IN_CACHE = 1 << 14  # records of a partition that is worked on within a core's cache
_MOST_CACHE_BITS = 12  # more partitions than that are slower to write than larger ones are to work on
_MOST_BITS = 20
_LEAST_AT_ONCE = 1 << 10
_AT_ONCE = 1 << 18
_LARGEST_INDEX = 1 << 30  # records of one partition, whose places are kept in 32 bits


@dataclass(frozen=True, slots=True)
class Layout:
    """How records are laid out, decided before the first one comes.

    Attributes:
        bits: There are 2**bits partitions.
        held: How many records may lie in memory; beyond it all go to a file. None if so many cannot come.
        at_once: How many are partitioned at a time, and written as one piece.
    """

    bits: int
    held: int | None
    at_once: int

    @staticmethod
    def plan(bound: int, memory_limit: int, workers: int) -> Layout:
        """Choose partitions that fit a core's cache, and a third of the limit if all workers have one.

        A third is for the records, the last one for what is found.

        Args:
            bound: The most records that will come.
            memory_limit: Bytes; below some 100 kB it is passed, since records are moved a thousand at a time.
            workers: How many partitions are worked on at the same time.

        Example:
            >>> Layout.plan(2_000_000, 1 << 30, workers=2)
            Layout(bits=7, held=None, at_once=262144)
            >>> Layout.plan(2_000_000, 1 << 20, workers=2)
            Layout(bits=10, held=14563, at_once=7281)
        """
        held = max(memory_limit // 3 // RECORD_BYTES, 2 * _LEAST_AT_ONCE)
        at_work = max(memory_limit // 3 // (workers * _WORKING_BYTES), _LEAST_AT_ONCE)
        for_cache = min(_bits(bound, _IN_CACHE), _MOST_CACHE_BITS)
        bits = min(max(for_cache, _bits(bound, at_work), _bits(bound, _LARGEST_INDEX)), _MOST_BITS)
        if bound <= held:
            return Layout(bits, None, max(_AT_ONCE, 64 << bits))
        return Layout(bits, held, held // 2)


@dataclass(frozen=True, slots=True)
class _Run:
    """Records that were partitioned together: in memory, or from a place in the file on."""

    offsets: NDArray[np.int64]
    records: Packed | None
    begin: int = 0


class Records:
    """Collects keys with ranks, and gives them back partition by partition.

    All records of one key lie in one partition, which is told by the first bits of the key's first word; so
    that word must be a hash. Beyond the limit they lie in one temporary file without a name, which is gone
    when this is closed, or the process ends in whatever way. Reading partitions is thread-safe.

    Example:
        >>> with Records(Layout.plan(3, 1 << 20, workers=1)) as records:
        ...     records.add(np.array([[7, 7], [9, 9], [7, 7]], np.uint64), np.array([0, 1, 2]))
        ...     records.count, records.partition(0)[:, 2].tolist()
        (3, [0, 1, 2])
    """

    def __init__(self, layout: Layout) -> None:
        """Hold nothing yet."""
        self.layout = layout
        self.count = 0
        self._pending: list[tuple[Keys, Ranks]] = []
        self._waiting = 0
        self._runs: list[_Run] = []
        self._held = 0
        self._file: IO[bytes] | None = None
        self._written = 0

    def __enter__(self) -> Records:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give memory and file back."""
        self.close()

    def close(self) -> None:
        """Give memory and file back; may be called again."""
        self._pending, self._runs = [], []
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return 1 << self.layout.bits

    @property
    def spilled_bytes(self) -> int:
        """How many bytes lie in the temporary file."""
        return self._written

    def add(self, keys: Keys, ranks: Ranks) -> None:
        """Take records.

        Args:
            keys: uint64 of shape [n, 2].
            ranks: int64 of shape [n].

        Raises:
            OSError: The temporary file cannot be written.
        """
        at_once = self.layout.at_once
        for begin in range(0, len(keys), at_once):
            part = slice(begin, begin + at_once)
            self._pending.append((np.ascontiguousarray(keys[part]), np.ascontiguousarray(ranks[part])))
            self._waiting += len(self._pending[-1][0])
            if self._waiting >= at_once:
                self._split()
        self.count += len(keys)

    def finish(self) -> None:
        """Partition what has come last; to be called before partitions are read by several threads."""
        if self._waiting:
            self._split()

    def partition(self, number: int) -> Packed:
        """Return the records of a partition in the order in which they came, uint64 of shape [n, 3].

        Raises:
            OSError: The temporary file cannot be read.
        """
        self.finish()
        spans = [(int(run.offsets[number]), int(run.offsets[number + 1])) for run in self._runs]
        out = np.empty((sum(end - begin for begin, end in spans), RECORD_BYTES // 8), np.uint64)
        place = 0
        for run, (begin, end) in zip(self._runs, spans, strict=True):
            target = out[place : place + end - begin]
            if run.records is not None:
                target[:] = run.records[begin:end]
            elif end > begin:
                self._read(target, run.begin + begin * RECORD_BYTES)
            place += end - begin
        return out

    def _split(self) -> None:
        from headrace.dedup.exact.group_kernels import split_records

        records, offsets = split_records(self._pending, self.layout.bits)
        self._pending, self._waiting = [], 0
        self._held += len(records)
        self._runs.append(_Run(offsets, records))
        # What comes next is in memory twice while it is partitioned.
        if self.layout.held is not None and self._held + 2 * self.layout.at_once > self.layout.held:
            self._runs = [run if run.records is None else self._write(run) for run in self._runs]
            self._held = 0

    def _write(self, run: _Run) -> _Run:
        records, begin = run.records, self._written
        assert records is not None
        content = records.data.cast("B")
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  `close` closes it
            while self._written < begin + len(content):
                self._written += os.pwrite(
                    self._file.fileno(), content[self._written - begin :], self._written
                )
        except OSError as error:
            raise _failed(f"writing {len(content):,} bytes of keys to", error) from error
        return _Run(run.offsets, None, begin)

    def _read(self, target: Packed, place: int) -> None:
        file: Any = self._file
        content, done = target.data.cast("B"), 0
        try:
            while done < len(content):
                count = os.preadv(file.fileno(), [content[done:]], place + done)
                if not count:
                    raise OSError(0, "it ends too early")
                done += count
        except OSError as error:
            raise _failed(f"reading {len(content):,} bytes of keys from", error) from error


def _failed(what: str, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"{what} a temporary file in {tempfile.gettempdir()} failed: {error.strerror}; make room there, or "
        "raise `memory_limit` so that less is written",
    )


def _bits(count: int, size: int) -> int:
    """Bits that tell so many partitions apart that each holds no more than `size` on average."""
    return max(-(-count // size) - 1, 0).bit_length()
