"""Sources that fail or take their time, on request and always in the same way."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from headrace.errors import SourceError
from headrace.manifest import Manifest, RowGroup
from headrace.sources.base import Source, SupportsFiles, check_rows
from headrace.sources.files import Stamp


class Outcome(Protocol):
    """What one read of a row group comes to."""

    def apply(self, source: Source, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Read, or fail to."""
        ...


@dataclass(frozen=True, slots=True)
class Delay:
    """The read succeeds after some seconds."""

    seconds: float

    def apply(self, source: Source, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Sleep, then read."""
        time.sleep(self.seconds)
        return source.read(row_group, columns)


@dataclass(frozen=True, slots=True)
class Fail:
    """The read raises an error that names the row group.

    Attributes:
        message: What the error says.
        error: Its class.
    """

    message: str = "planted fault"
    error: type[SourceError] = SourceError

    def apply(self, source: Source, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Raise."""
        raise self.error(f"{row_group}: {self.message}")


@dataclass(frozen=True, slots=True)
class Truncate:
    """The row group delivers fewer rows than promised.

    Attributes:
        rows: How many it delivers.
        checked: Whether the source notices, as it should, and raises; otherwise it is one that
            breaks its contract.
    """

    rows: int
    checked: bool = True

    def apply(self, source: Source, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Read, and cut off."""
        batch = source.read(row_group, columns).slice(0, self.rows)
        if self.checked:
            check_rows(batch.num_rows, row_group)
        return batch


class _Lock:
    """A lock that every copy in another process has for itself."""

    def __init__(self) -> None:
        self.held = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()


@dataclass(frozen=True, eq=False)
class FaultySource:
    """A source whose reads fail by a table.

    Attributes:
        source: What is read where the table says nothing.
        faults: Number of a row group to the outcomes of its reads, one after the other; the last
            one lasts.

    Example:
        >>> import headrace as hr
        >>> whole = hr.from_arrays({"x": [1, 2, 3]}).recipe.source
        >>> ds = hr.Dataset.of(FaultySource(whole, {0: [Fail("no disk")]}))
        >>> ds.take([1])
        Traceback (most recent call last):
        headrace.errors.SourceError: memory, row group 0: no disk
    """

    source: Source
    faults: Mapping[int, Sequence[Outcome]]
    _reads: dict[int, int] = field(default_factory=dict[int, int], init=False, repr=False)
    _lock: _Lock = field(default_factory=_Lock, init=False, repr=False)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the source."""
        return self.source.schema

    @property
    def manifest(self) -> Manifest:
        """The row groups of the source."""
        return self.source.manifest

    @property
    def reads(self) -> dict[int, int]:
        """How often each row group was read in this process."""
        return dict(self._reads)

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the files of the source, if it tells them."""
        return self.source.shard_files(shard) if isinstance(self.source, SupportsFiles) else {}

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Read one row group, with the outcome that is its turn."""
        with self._lock.held:
            turn = self._reads[row_group.number] = self._reads.get(row_group.number, 0) + 1
        outcomes = self.faults.get(row_group.number)
        if not outcomes:
            return self.source.read(row_group, columns)
        return outcomes[min(turn, len(outcomes)) - 1].apply(self.source, row_group, columns)


@dataclass(frozen=True, eq=False)
class SlowSource:
    """A source that sleeps before each read, for a random time that its seed and the read fix.

    Shakes the order in which threads and processes finish.

    Attributes:
        source: What is read.
        seconds: The longest sleep.
        seed: Another seed, other sleeps.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [1, 2, 3]})
        >>> hr.Dataset.of(SlowSource(ds.recipe.source, seconds=0.001)).take([2])["x"].tolist()
        [3]
    """

    source: Source
    seconds: float = 0.01
    seed: int = 0

    @property
    def schema(self) -> pa.Schema:
        """The columns of the source."""
        return self.source.schema

    @property
    def manifest(self) -> Manifest:
        """The row groups of the source."""
        return self.source.manifest

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the files of the source, if it tells them."""
        return self.source.shard_files(shard) if isinstance(self.source, SupportsFiles) else {}

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Sleep, then read one row group."""
        time.sleep(random.Random(f"{self.seed} {row_group.number}").uniform(0, self.seconds))
        return self.source.read(row_group, columns)
