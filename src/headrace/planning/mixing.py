"""Mixing: several orders taken in turns, in exact proportions and by arithmetic alone.

Every window of as many positions as the weights add up to holds each part's share exactly. The
windows' pattern spreads the parts evenly and is turned by a keyed amount from window to window,
so that which part a position belongs to, and which of the part's places it is, needs no memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import gcd, lcm
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.fingerprint import derive_key
from headrace.planning.order import Order, Run, Touches

Ids = NDArray[np.int64]
Stop = Literal["first", "all", "cycle"]

_LONGEST_WINDOW = 10_000
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Mixing:
    """In which proportions the parts of a data set take turns, and when an epoch ends.

    Attributes:
        names: What the parts are called.
        firsts: First id of each part in the joined manifest, then the total.
        shares: How many samples each part gives to a window; whole numbers without common divisor.
        stop: `"first"` ends an epoch before the first window that a part cannot fill, `"all"`
            goes on without the parts that have ended, `"cycle"` begins such parts anew until each
            was delivered at least once.
        seed: Turns the windows.
    """

    names: tuple[str, ...]
    firsts: tuple[int, ...]
    shares: tuple[int, ...]
    stop: Stop
    seed: int = 0

    def __post_init__(self) -> None:
        if self.stop not in ("first", "all", "cycle"):
            raise OptionError(f'`stop` must be "first", "all" or "cycle", got {self.stop!r}')

    @staticmethod
    def to_shares(names: Sequence[str], weights: Sequence[float]) -> tuple[int, ...]:
        """Turn weights into the smallest whole numbers in the same proportions.

        Raises:
            OptionError: A weight is no positive number, or the numbers get too large.

        Example:
            >>> Mixing.to_shares(["a", "b"], [0.75, 0.25])
            (3, 1)
        """
        for name, weight in zip(names, weights, strict=True):
            if isinstance(weight, bool) or not 0 < weight < float("inf"):
                raise OptionError(f"the weight of `{name}` must be a positive number, got {weight!r}")
        fractions = [Fraction(weight).limit_denominator(_LONGEST_WINDOW) for weight in weights]
        scale = lcm(*(fraction.denominator for fraction in fractions))
        shares = [int(fraction * scale) for fraction in fractions]
        shares = [share // max(gcd(*shares), 1) for share in shares]
        if sum(shares) > _LONGEST_WINDOW or min(shares) < 1:
            raise OptionError(
                "weights must be proportions of whole numbers with a sum of at most "
                f"{_LONGEST_WINDOW:,}, got {dict(zip(names, weights, strict=True))}; round them"
            )
        return tuple(shares)

    def phases(self, counts: Sequence[int]) -> tuple[Phase, ...]:
        """Divide an epoch into stretches of windows with the same shares.

        Args:
            counts: How many samples each part has.
        """
        shares = np.array(self.shares)
        left = np.array(counts)
        if self.stop == "first":
            return (Phase(0, int((left // shares).min()), self.shares, (0,) * len(counts)),)
        if self.stop == "cycle":
            if not left.all():
                return (Phase(0, 0, self.shares, (0,) * len(counts)),)
            return (Phase(0, int((-(-left // shares)).max()), self.shares, (0,) * len(counts)),)
        phases: list[Phase] = []
        begin = 0
        while left.any():
            here = np.minimum(shares, left)
            windows = int((left[here > 0] // here[here > 0]).min())
            phases.append(Phase(begin, windows, tuple(here.tolist()), tuple((counts - left).tolist())))
            begin += windows * int(here.sum())
            left = left - windows * here
        return tuple(phases)


@dataclass(frozen=True)
class Phase:
    """Windows of one pattern that follow each other.

    Attributes:
        begin: First position.
        windows: How many windows.
        shares: How many samples each part gives to a window.
        places: How many samples each part gave before.
    """

    begin: int
    windows: int
    shares: tuple[int, ...]
    places: tuple[int, ...]

    @property
    def width(self) -> int:
        """Positions of a window."""
        return sum(self.shares)

    @property
    def end(self) -> int:
        """The position after its last."""
        return self.begin + self.windows * self.width

    @cached_property
    def parts(self) -> Ids:
        """The part of each slot of an unturned window: spread as evenly as whole numbers allow."""
        ideal = np.array([(turn + 0.5) / share for share in self.shares for turn in range(share)])
        owners = np.repeat(np.arange(len(self.shares)), self.shares)
        return owners[np.lexsort((owners, ideal))]

    @cached_property
    def turns(self) -> Ids:
        """How many slots of the same part lie before each slot of an unturned window."""
        turns = np.empty(self.width, np.int64)
        for part, share in enumerate(self.shares):
            turns[self.parts == part] = np.arange(share)
        return turns

    def slots(self, part: int) -> Ids:
        """The slots of one part in an unturned window, rising."""
        return np.flatnonzero(self.parts == part)


@dataclass(frozen=True)
class MixedOrder:
    """The orders of several parts, taken in turns.

    Position p of the mix is a place of one part's order, which says which sample it is.

    Attributes:
        mixing: The proportions.
        counts: How many samples each part has.
        orders: For each part, its order in the epoch; with `stop="cycle"` one for each time round.
        indices_of: For each part, the index of its first sample among all.
        key: Unsigned 64-bit key of the epoch.
    """

    mixing: Mixing
    counts: tuple[int, ...]
    orders: tuple[tuple[Order, ...], ...]
    indices_of: tuple[int, ...]
    key: int
    lanes: int = field(default=1, init=False)

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The epoch's phases."""
        return self.mixing.phases(self.counts)

    @property
    def count(self) -> int:
        """How many positions an epoch has."""
        return self.phases[-1].end if self.phases else 0

    @property
    def passes(self) -> int:
        """The most that any part needs."""
        return max(order.passes for orders in self.orders for order in orders)

    @property
    def open_samples(self) -> int:
        """Those of all parts, which are open at the same time."""
        return sum(orders[0].open_samples for orders in self.orders)

    @property
    def name(self) -> str:
        """The settings that the order depends on."""
        mixing = self.mixing
        shares = ", ".join(f"{name}={share}" for name, share in zip(mixing.names, mixing.shares, strict=True))
        inner = "; ".join(orders[0].name for orders in self.orders)
        return f"mix({shares}, stop={mixing.stop}, seed={mixing.seed}: {inner})"

    def _shifts(self, phase: Phase, windows: Ids) -> Ids:
        """By how many slots each window is turned."""
        key = np.uint64(derive_key("mix", self.key, self.mixing.seed, phase.begin))
        mixed = (windows.astype(np.uint64) + key) * _MIX[0]
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[1]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[2]
        return ((mixed >> np.uint64(33)) % np.uint64(phase.width)).astype(np.int64)

    def locate(self, positions: Ids) -> tuple[Ids, Ids]:
        """Return each position's part, and its place in that part's order."""
        parts, places = np.empty_like(positions), np.empty_like(positions)
        edges = np.array([phase.begin for phase in self.phases])
        numbers = np.searchsorted(edges, positions, side="right") - 1
        for number in np.unique(numbers).tolist():
            phase, here = self.phases[number], numbers == number
            windows, slots = np.divmod(positions[here] - phase.begin, phase.width)
            shifts = self._shifts(phase, windows)
            unturned = (slots - shifts) % phase.width
            part = phase.parts[unturned]
            parts[here] = part
            places[here] = windows * np.array(phase.shares)[part] + np.array(phase.places)[part]
            # Turning sends a window's last slots to its front, so they come first there.
            wrapped = np.zeros(int(here.sum()), np.int64)
            for one in np.unique(part).tolist():
                mine = part == one
                share = phase.shares[one]
                begun = share - np.searchsorted(phase.slots(one), phase.width - shifts[mine])
                wrapped[mine] = (phase.turns[unturned[mine]] + begun) % share
            places[here] += wrapped
        return parts, places

    def positions(self, part: int, places: Ids) -> Ids:
        """Return where places of one part's order lie in the mix."""
        out = np.empty_like(places)
        begins = np.array([phase.places[part] for phase in self.phases])
        shares = np.array([phase.shares[part] for phase in self.phases])
        known = np.flatnonzero(shares)
        numbers = known[np.searchsorted(begins[known], places, side="right") - 1]
        for number in np.unique(numbers).tolist():
            phase, here = self.phases[number], numbers == number
            share, slots = phase.shares[part], phase.slots(part)
            windows, turns = np.divmod(places[here] - phase.places[part], share)
            shifts = self._shifts(phase, windows)
            begun = share - np.searchsorted(slots, phase.width - shifts)
            turned = (slots[(turns - begun) % share] + shifts) % phase.width
            out[here] = phase.begin + windows * phase.width + turned
        return out

    def indices(self, positions: Ids) -> Ids:
        """Return the selected sample at each position."""
        parts, places = self.locate(positions)
        out = np.empty_like(positions)
        for part, orders in enumerate(self.orders):
            rounds, inside = np.divmod(places, max(self.counts[part], 1))
            for number, order in enumerate(orders):
                here = (parts == part) & (rounds == number)
                if here.any():
                    out[here] = order.indices(inside[here]) + self.indices_of[part]
        return out

    @property
    def has_rounds(self) -> bool:
        """Whether some part begins anew within an epoch."""
        return any(len(orders) > 1 for orders in self.orders)

    def rounds(self, positions: Ids) -> Ids | None:
        """Return how often each position's part has begun anew before; None if no part does."""
        if not self.has_rounds:
            return None
        parts, places = self.locate(positions)
        return places // np.maximum(np.array(self.counts), 1)[parts]

    def runs(self, begin: int, end: int, touches: Touches) -> Iterator[Run]:
        """Yield the parts' runs, merged by their first position."""
        streams = [self._runs_of(part, begin, end) for part in range(len(self.orders))]
        yield from heapq.merge(*streams, key=lambda run: run.first)

    def _runs_of(self, part: int, begin: int, end: int) -> Iterator[Run]:
        """Yield one part's runs, as positions of the mix."""
        low, high = self._span(part, begin), self._span(part, end)
        count = self.counts[part]
        for number, order in enumerate(self.orders[part]):
            base = number * count
            first, last = max(low - base, 0), min(high - base, count)
            if first >= last:
                continue
            for run in order.runs(first, last, _touches_all):
                indices = order.indices(run.positions) if run.indices is None else run.indices
                places = np.append(run.positions, run.first) + base
                positions = self.positions(part, places)
                yield Run(positions[:-1], max(int(positions[-1]), begin), indices + self.indices_of[part])

    def _span(self, part: int, position: int) -> int:
        """Count one part's places before a position of the mix."""
        given = 0
        for phase in self.phases:
            inside = min(max(position - phase.begin, 0), phase.end - phase.begin)
            windows, rest = divmod(inside, phase.width)
            given += windows * phase.shares[part]
            if rest:
                slots = phase.begin + windows * phase.width + np.arange(rest)
                given += int((self.locate(slots)[0] == part).sum())
        return given


def _touches_all(lane: int, lanes: int, first: int, last: int) -> bool:
    """A position's rank depends on all parts, so a part by itself cannot tell."""
    return True
