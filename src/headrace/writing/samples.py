"""Which sample lies at which position of what is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.draws.draws import Samples
from headrace.planning.partners import Partner
from headrace.planning.plan import BatchPlan, Plan

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class WrittenOrder:
    """The order of what is written: one epoch's samples, or several epochs one behind the other.

    Attributes:
        plan: The order of epoch 0; those of later epochs follow from it.
        views: How many epochs.
        partner: With which other samples samples are mixed; None where nothing is mixed.
    """

    plan: Plan
    views: int = 1
    partner: Partner | None = None

    @property
    def count(self) -> int:
        """How many positions there are."""
        return self.plan.count * self.views

    @property
    def is_sorted(self) -> bool:
        """Whether each epoch's samples lie in the source's order, so that row groups are read once."""
        plan = self.plan
        is_plain = plan.shuffle is False and plan.mixing is None
        return not plan.count or (is_plain and plan.samples.is_sorted)

    @cached_property
    def starts(self) -> Ids:
        """Where each row group's samples begin, if they lie in the source's order; int64 of shape [n + 1]."""
        counts = self.plan.samples.counts(self.plan.manifest.starts)
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])

    def is_within(self, position: int) -> bool:
        """Whether the samples before and at a position are of one row group, in the source's order."""
        place = position % max(self.plan.count, 1)
        return place != int(self.starts[np.searchsorted(self.starts, place)])

    def epoch(self, view: int) -> Plan:
        """The order of one epoch."""
        if view not in self._epochs:
            self._epochs[view] = replace(self.plan, epoch=view)
        return self._epochs[view]

    @cached_property
    def _epochs(self) -> dict[int, Plan]:
        return {0: self.plan}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the orders of epochs; where row groups begin is worth its few bytes."""
        return {name: value for name, value in self.__dict__.items() if name != "_epochs"}

    def ids(self, view: int, places: Ids) -> Ids:
        """Return the samples at these places of one epoch, int64 of the same shape."""
        plan = self.epoch(view)
        return plan.samples.at(plan.order.indices(places))

    def batch(self, view: int, places: Ids, ids: Ids) -> BatchPlan:
        """Plan the samples at these places of one epoch as a batch, with what they draw by."""
        plan, partners = self.epoch(view), None
        samples = Samples(ids, plan.repeats_at(places), 0)
        if self.partner is not None:
            others = plan.partners(self.partner)
            theirs = others.samples.at(others.order.indices(places))
            drawn = Samples(theirs, others.repeats_at(places), 0)
            partners = BatchPlan(0, view, theirs, None, others.draws, drawn)
        return BatchPlan(0, view, ids, None, plan.draws, samples, partners)
