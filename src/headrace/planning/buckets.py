"""Buckets: samples of like length come together, while the order stays keyed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.planning.order import Order, Run, Touches
from headrace.planning.permutation import KeyedPermutation

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Buckets:
    """Which samples come near each other because they are of like length.

    Within every window of the shuffled order, samples are sorted by length and cut into chunks;
    the chunks are then shuffled. A batch that lies within one chunk holds samples of like length.
    Neither number depends on the batch size, so that this may change when a run is resumed.

    Attributes:
        column: Whole numbers, or lists or text whose lengths count.
        chunk: Samples of a chunk; best a multiple of the global batch size.
        window: Chunks of a window; more make lengths in a chunk more alike, and take more memory.

    Example:
        >>> Buckets("tokens", chunk=512)
        Buckets(column='tokens', chunk=512, window=64)
    """

    column: str
    chunk: int = 1024
    window: int = 64

    def __post_init__(self) -> None:
        for name in ("chunk", "window"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"`{name}` must be a whole number of at least 1, got {value!r}")


@dataclass(frozen=True, eq=False)
class BucketOrder:
    """An order whose windows are sorted by length, in shuffled chunks.

    Attributes:
        inner: The order before.
        buckets: Chunks and windows.
        lengths: The length of the sample at each position of that order, int64 of shape [n].
        key: Unsigned 64-bit key of the epoch, or None to leave chunks from short to long.
    """

    inner: Order
    buckets: Buckets
    lengths: Ids
    key: int | None
    lanes: int = 1

    @property
    def passes(self) -> int:
        """As many as the order before needs."""
        return self.inner.passes

    @property
    def open_samples(self) -> int:
        """Those of the order before, and one window."""
        return self.inner.open_samples + self.buckets.chunk * self.buckets.window

    @property
    def name(self) -> str:
        """The settings that the order depends on."""
        buckets = self.buckets
        return f"buckets({buckets.column}, chunk={buckets.chunk}, window={buckets.window}: {self.inner.name})"

    @cached_property
    def _places(self) -> Ids:
        """Which position of the order before each position is."""
        chunk, size = self.buckets.chunk, self.buckets.chunk * self.buckets.window
        parts: list[Ids] = []
        for number, first in enumerate(range(0, len(self.lengths), size)):
            by_length = first + np.argsort(self.lengths[first : first + size], kind="stable")
            chunks = [by_length[begin : begin + chunk] for begin in range(0, len(by_length), chunk)]
            turns = np.arange(len(chunks))
            if self.key is not None:
                turns = KeyedPermutation(len(chunks), (self.key + number) % (1 << 64))(turns)
            parts += [chunks[turn] for turn in turns.tolist()]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    @cached_property
    def _positions(self) -> Ids:
        """Where each position of the order before has gone."""
        positions = np.empty(len(self._places), np.int64)
        positions[self._places] = np.arange(len(self._places))
        return positions

    def before(self, positions: Ids) -> Ids:
        """Return which position of the order before each position is."""
        return self._places[positions]

    def indices(self, positions: Ids) -> Ids:
        """Return the selected sample at each position."""
        return self.inner.indices(self.before(positions))

    def runs(self, begin: int, end: int, touches: Touches) -> Iterator[Run]:
        """Yield the runs of the order before; a run may reach back to its window's beginning."""
        size = self.buckets.chunk * self.buckets.window
        first, last = begin // size * size, min(-(-end // size) * size, len(self.lengths))
        for run in self.inner.runs(first, last, _touches_all):
            inside = run.positions < len(self.lengths)
            indices = self.inner.indices(run.positions) if run.indices is None else run.indices
            begun = max(run.first // size * size, begin)
            yield Run(self._positions[run.positions[inside]], begun, indices[inside])


def _touches_all(lane: int, lanes: int, first: int, last: int) -> bool:
    """Sorting moves positions from rank to rank."""
    return True
