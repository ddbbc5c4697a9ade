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
        """One run."""
        return min(self.run, self.count)

    @property
    def name(self) -> str:
        """What the partners depend on."""
        return f"partners({self.partner}: {self.order.name})"

    def positions(self, positions: Ids) -> Ids:
        """Return the position of each one's partner, for `"order"`."""
        step = self.lanes % max(self.count, 1) or 1
        return (positions + step) % max(self.count, 1)

    def indices(self, positions: Ids) -> Ids:
        """Return the partner of the sample at each position."""
        if self.partner == "order":
            return self.order.indices(self.positions(positions))
        own = self.order.indices(positions)
        others = self.samples.count - 1
        if others < 1:
            return own
        who = Samples(self.samples.at(own), self.repeats.of(self.order, positions))
        words = self.draws.words("partner", who, 2).astype(np.uint64)
        drawn = ((words[:, 1] << np.uint64(32) | words[:, 0]) % np.uint64(others)).astype(np.int64)
        return drawn + (drawn >= own)

    def runs(self, begin: int, end: int, touches: Touches) -> Iterator[Run]:
        """Yield runs of equal length; partners of neighbours may lie anywhere."""
        for first in range(begin, end, self.run):
            yield Run(np.arange(first, min(first + self.run, end)), first)
