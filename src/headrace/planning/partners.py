"""Partners: for each position of an epoch another sample, that the one there is mixed with.

They form an order like any other, so that they are planned, read and gathered as the samples are.
Neither kind looks at batches or ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headrace.draws.draws import Draws, Samples
from headrace.planning.order import Order, Run, Touches
from headrace.planning.repeats import Repeats
from headrace.planning.selection import Selection

Ids = NDArray[np.int64]
Partner = Literal["order", "id"]


@dataclass(frozen=True)
class PartnerOrder:
    """The partners of the samples of an order.

    Attributes:
        order: The samples' own order.
        count: How many positions an epoch has.
        samples: What the order's indices point into.
        repeats: Their repeats, as copies of a sample draw apart.
        partner: `"order"` for the next sample of the same lane, where the last ones take the first; `"id"`
            for any other sample, drawn for each one.
        draws: The epoch's random words.
        run: How many positions are read together.
    """

    order: Order
    count: int
    samples: Selection
    repeats: Repeats
    partner: Partner
    draws: Draws
    run: int

    @property
    def lanes(self) -> int:
        """Those of the samples, so that partners lie in a batch as the samples do."""
        return self.order.lanes

    @property
    def passes(self) -> int:
        """As many as the samples' order needs, or one for each run."""
        return self.order.passes if self.partner == "order" else -(-self.count // self.run)

    @property
    def open_samples(self) -> int:
        """As many as the samples' order needs, or one run."""
        return self.order.open_samples if self.partner == "order" else min(self.run, self.count)

    @property
    def name(self) -> str:
        """What the partners depend on."""
        return f"partners({self.partner}: {self.order.name})"

    def positions(self, positions: Ids) -> Ids:
        """Return the position of each one's partner, for `"order"`."""
        return (positions + self._step) % max(self.count, 1)

    @property
    def _step(self) -> int:
        """How many positions lie between a sample and its partner, for `"order"`."""
        return self.lanes % max(self.count, 1) or 1

    def indices(self, positions: Ids) -> Ids:
        """Return the partner of the sample at each position."""
        if self.partner == "order":
            return self.order.indices(self.positions(positions))
        own = self.order.indices(positions)
        others = self.samples.count - 1
        if others < 1:
            return own
        who = Samples(self.samples.at(own), self.repeats.of(self.order, positions))
        words = self.draws.words("partner", who, 2, purpose="partners").astype(np.uint64)
        drawn = ((words[:, 1] << np.uint64(32) | words[:, 0]) % np.uint64(others)).astype(np.int64)
        return drawn + (drawn >= own)

    def runs(self, begin: int, end: int, touches: Touches) -> Iterator[Run]:
        """Yield the runs of the samples' order, moved; for `"id"` runs of equal length."""
        if self.partner == "id":
            for first in range(begin, end, self.run):
                yield Run(np.arange(first, min(first + self.run, end)), first)
            return
        # Partners behind the epoch's end are at its beginning.
        for step in (self._step, self._step - self.count):
            first, last = max(begin + step, 0), min(end + step, self.count)
            if first < last:
                yield from self._moved(first, last, step, touches)

    def _moved(self, first: int, last: int, step: int, touches: Touches) -> Iterator[Run]:
        """Yield the order's runs from first to last, each position so many places further ahead."""

        def touches_moved(lane: int, lanes: int, first: int, last: int) -> bool:
            return touches((lane - step) % lanes, lanes, first - step, last - step)

        for run in self.order.runs(first, last, touches_moved):
            indices = self.order.indices(run.positions) if run.indices is None else run.indices
            inside = (run.positions >= first) & (run.positions < last)
            positions = run.positions[inside] - step
            yield Run(positions, max(run.first, first) - step, indices[inside])
