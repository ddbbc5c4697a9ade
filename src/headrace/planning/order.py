"""Order: the permutation of the selected samples in one epoch, as arithmetic.

Positions 0..N-1 number the places of an epoch, indices 0..N-1 the selected samples. An order
maps one to the other in memory that does not grow with N, and knows in which runs it is best
read from beginning to end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.fingerprint import derive_key
from headrace.planning.permutation import KeyedPermutation
from headrace.planning.windows import WindowPermutations

ORDER_VERSION = 1
"""Raised whenever the same seed gives another order; kept in every saved state."""

Ids = NDArray[np.int64]

# World sizes and batch sizes are mostly powers of two; ranks read disjoint row groups where the lanes are a
# multiple of the world size and the global batch one of the lanes.
_LANE_COUNTS = (16, 8, 4, 2, 1)
_MOST_GROUPS, _FEWEST_GROUPS, _WINDOW_BYTES = 48, 4, 1 << 28


@dataclass(frozen=True, slots=True)
class BlockShuffle:
    """Shuffle row groups, then samples inside windows of row groups.

    Row groups are laid end to end in keyed order and cut into `lanes` of equal length; position
    p comes from lane p modulo lanes. Each lane is permuted inside windows of `window / lanes`
    row groups, so that about `window` row groups are open at a time; a window of all row groups
    mixes everything.

    Attributes:
        lanes: How many lanes; by default one for each of up to 16 row groups that are all open,
            else a power of two.
        window: How many row groups are mixed with each other; by default as many as decode to
            256 MiB, at least 4 and at most 48. More mixes better and takes more memory.

    Example:
        >>> BlockShuffle(lanes=2, window=8)
        BlockShuffle(lanes=2, window=8)
    """

    lanes: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        for name in ("lanes", "window"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise OptionError(f"`{name}` must be a whole number of at least 1, got {value!r}")

    def resolve(self, counts: Ids, nbytes: Ids) -> BlockShuffle:
        """Fill in the defaults, from the manifest alone so that every rank finds the same.

        Args:
            counts: Selected samples of each row group.
            nbytes: Decoded bytes of each row group.
        """
        groups = max(int(np.count_nonzero(counts)), 1)
        mean_bytes = max(int(nbytes[counts > 0].mean()) if groups and counts.any() else 0, 1)
        fitting = min(max(_WINDOW_BYTES // mean_bytes, _FEWEST_GROUPS), _MOST_GROUPS)
        most_lanes = min(self.window or fitting, groups)
        # Where everything is mixed, one lane for each row group gives every batch a share of each.
        counts_to_try = (groups, *_LANE_COUNTS) if groups <= min(fitting, _LANE_COUNTS[0]) else _LANE_COUNTS
        lanes = self.lanes or next(count for count in counts_to_try if count <= most_lanes)
        lanes = min(lanes, max(int(counts.sum()), 1))
        whole = groups if fitting >= groups else max(fitting // lanes, 1) * lanes
        return BlockShuffle(lanes, self.window or whole)


Shuffle = bool | Literal["global"] | BlockShuffle


def check_shuffle(shuffle: object) -> Shuffle:
    """Refuse what is no shuffle."""
    if isinstance(shuffle, (bool, BlockShuffle)) or shuffle == "global":
        return shuffle  # pyright: ignore[reportReturnType]
    raise OptionError(f'`shuffle` must be True, False, "global" or hr.BlockShuffle(...), got {shuffle!r}')


@dataclass(frozen=True, slots=True)
class Run:
    """A part of an order that is best read together.

    Attributes:
        positions: Places in the epoch, int64 of shape [n]; some may lie outside of the part wanted.
        first: No wanted position of this run or of a later one lies before it.
        indices: Which selected samples they are, or None where `Order.indices` says so as cheaply.
    """

    positions: Ids
    first: int
    indices: Ids | None = None


class Touches(Protocol):
    """Tells which parts of an order need not be computed."""

    def __call__(self, lane: int, lanes: int, first: int, last: int) -> bool:
        """Whether any of a lane's positions from first to last may be wanted."""
        ...


class Order(Protocol):
    """A permutation of the selected samples."""

    @property
    def lanes(self) -> int:
        """Position p belongs to lane p modulo lanes."""
        ...

    @property
    def passes(self) -> int:
        """How many times each row group is read in an epoch by a single rank."""
        ...

    @property
    def open_samples(self) -> int:
        """About how many samples lie in the runs that are open at a time."""
        ...

    @property
    def name(self) -> str:
        """What a saved state calls the order; equal names and keys give equal orders."""
        ...

    def indices(self, positions: Ids) -> Ids:
        """Return the selected sample at each position."""
        ...

    def runs(self, begin: int, end: int, touches: Touches) -> Iterator[Run]:
        """Yield runs that cover the positions begin..end-1, by their first position.

        Args:
            begin: The first position wanted.
            end: The position after the last one wanted.
            touches: Whether any of a lane's positions from first to last may be wanted.
        """
        ...


@dataclass(frozen=True)
class SourceOrder:
    """The selection's own order.

    Attributes:
        ends: Where the runs end, as positions; the row groups' ends when the ids are sorted.
    """

    ends: Ids
    lanes: int = 1
    passes: int = 1

    @property
    def open_samples(self) -> int:
        """The longest run."""
        return int(np.diff(self.ends, prepend=0).max(initial=0))

    @property
    def name(self) -> str:
        """The order needs no settings."""
        return "source"

    def indices(self, positions: Ids) -> Ids:
        """Return the positions themselves."""
        return positions

    def runs(self, begin: int, end: int, touches: Touches) -> Iterator[Run]:
        """Yield one run for each row group."""
        first = begin
        for last in np.minimum(self.ends, end):
            if last > first:
                if touches(0, 1, first, int(last) - 1):
                    yield Run(np.arange(first, last), first)
                first = int(last)


@dataclass(frozen=True)
class GlobalOrder:
    """One keyed permutation over all samples.

    Attributes:
        count: How many samples.
        key: Unsigned 64-bit key of the epoch.
        run: How many positions are read together.
    """

    count: int
    key: int
    run: int
    lanes: int = 1

    @property
    def passes(self) -> int:
        """Every run touches nearly every row group."""
        return -(-self.count // self.run)

    @property
    def open_samples(self) -> int:
        """One run."""
        return min(self.run, self.count)

    @property
    def name(self) -> str:
        """The order needs no settings; how it is read has no influence on it."""
        return "global"

    @cached_property
    def _permutation(self) -> KeyedPermutation:
        return KeyedPermutation(max(self.count, 1), derive_key("global", self.key))

    def indices(self, positions: Ids) -> Ids:
        """Return the selected sample at each position."""
        return self._permutation(positions)

    def runs(self, begin: int, end: int, touches: Touches) -> Iterator[Run]:
        """Yield runs of equal length; each touches nearly every row group."""
        for first in range(begin, end, self.run):
            last = min(first + self.run, end)
            if touches(0, 1, first, last - 1):
                yield Run(np.arange(first, last), first)


@dataclass(frozen=True)
class BlockOrder:
    """Row groups in keyed order, cut into lanes, permuted inside windows.

    Attributes:
        counts: Selected samples of each row group, int64 of shape [row groups].
        key: Unsigned 64-bit key of the epoch.
        lanes: How many lanes.
        window: How many row groups the open windows of all lanes hold together.
    """

    counts: Ids
    key: int
    lanes: int
    window: int
    passes: int = 1

    @property
    def open_samples(self) -> int:
        """The window's share of all samples."""
        return int(self.counts.sum()) * self.window // max(int(np.count_nonzero(self.counts)), 1)

    @property
    def name(self) -> str:
        """The settings that the order depends on."""
        return f"block(lanes={self.lanes}, window={self.window})"

    @cached_property
    def _layout(self) -> tuple[Ids, Ids, Ids]:
        """Row groups laid end to end: where each begins, its first index, and the lanes' begins."""
        groups = np.flatnonzero(self.counts)
        order = KeyedPermutation(max(len(groups), 1), derive_key("row groups", self.key))
        groups = groups[order(np.arange(len(groups)))]
        begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts[groups])])
        first_index = (np.cumsum(self.counts) - self.counts)[groups]
        lane = np.arange(self.lanes)
        lengths = (begins[-1] - lane + self.lanes - 1) // self.lanes
        return begins, first_index, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])

    @cached_property
    def _windows(self) -> tuple[Ids, Ids]:
        """Where each window begins, in the row groups laid end to end, and its lane."""
        begins, _, lane_begins = self._layout
        # A window of all row groups leaves every lane whole, also where lanes end inside row groups.
        each = len(begins) if self.window >= len(begins) - 1 else max(self.window // self.lanes, 1)
        starts: list[Ids] = []
        for first, last in pairwise(lane_begins):
            inside = begins[(begins > first) & (begins < last)]
            starts.append(np.concatenate([np.array([first]), inside[each - 1 :: each]]))
        lanes = np.repeat(np.arange(self.lanes), [len(part) for part in starts])
        return np.concatenate([*starts, lane_begins[-1:]]), lanes

    @cached_property
    def _permutations(self) -> WindowPermutations:
        return WindowPermutations(self._windows[0], self.key)

    def indices(self, positions: Ids) -> Ids:
        """Return the selected sample at each position."""
        begins, first_index, lane_begins = self._layout
        return self._permutations.indices(positions, lane_begins, (begins, first_index))

    def runs(self, begin: int, end: int, touches: Touches) -> Iterator[Run]:
        """Yield one run for each row group and window, samples in the order of the source."""
        starts, lanes = self._windows
        begins, first_index, lane_begins = self._layout
        first_positions = (starts[:-1] - lane_begins[lanes]) * self.lanes + lanes
        for window in np.argsort(first_positions, kind="stable"):
            start, stop, lane = int(starts[window]), int(starts[window + 1]), int(lanes[window])
            first_position = int(first_positions[window])
            last_position = first_position + (stop - start - 1) * self.lanes
            if last_position < begin or first_position >= end:
                continue
            if not touches(lane, self.lanes, first_position, last_position):
                continue
            by_place = np.empty(stop - start, np.int64)
            places = self._permutations[int(window)](np.arange(stop - start))
            by_place[places] = np.arange(first_position, last_position + 1, self.lanes)
            group = int(np.searchsorted(begins, start, side="right")) - 1
            while start < stop:
                until = min(int(begins[group + 1]), stop)
                first = int(first_index[group]) + start - int(begins[group])
                positions, by_place = by_place[: until - start], by_place[until - start :]
                indices = np.arange(first, first + until - start)
                yield Run(positions, max(first_position, begin), indices)
                start, group = until, group + 1
