"""Departure: what is drawn for a batch on the host, so that the device only has to touch elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.augment.base import Mixing, Spec
from headrace.augment.chain import Bound, Planned
from headrace.augment.stage import Picked, Stage, reference_stages, run_stages
from headrace.batch import Batch
from headrace.draws.draws import Draws, Samples
from headrace.execution.augmenting import Augmenter


@dataclass(frozen=True, eq=False, slots=True)
class Outstanding:
    """Augmentations that were drawn and not performed.

    Attributes:
        bound: The chain.
        first: The first of its augmentations that is left to do.
        planned: What was drawn for the samples.
        partners: With mixing, the columns of the partners and what was drawn for them.
    """

    bound: Bound
    first: int
    planned: Planned
    partners: tuple[Mapping[str, Any], Planned] | None = None


@dataclass(frozen=True, slots=True)
class PlannedBatch(Batch):
    """A batch with augmentations outstanding.

    Attributes:
        outstanding: What is left to do with it.
    """

    outstanding: Outstanding | None = None


class DepartingAugmenter(Augmenter):
    """Draws all parameters, performs what must be done on the host, and leaves the rest to a device.

    Ragged columns are changed on the host, as how long their samples become is known only afterwards; so are
    augmentations before one of those.
    """

    def picks(self, specs: Mapping[str, Spec]) -> frozenset[str]:
        """None: rows are gathered into slabs."""
        return frozenset()

    def __call__(
        self,
        batch: Batch,
        draws: Draws,
        samples: Samples,
        partners: tuple[Batch, Samples] | None = None,
        picked: Mapping[str, Any] | None = None,
    ) -> Batch:
        """Return a batch that knows what is to be done with it."""
        columns = self._arrays({**batch.columns, **(picked or {})})
        compiled = self.compiled(columns)
        bound, first = compiled.bound, first_on_device(compiled.bound)
        if first == len(bound.chain.ops):
            return super().__call__(batch, draws, samples, partners, picked)
        planned, others = bound.plan(draws, samples), None
        if partners is not None:
            others = self._arrays(partners[0].columns), bound.plan_partners(draws, partners[1])
        if first:
            stages = _stages_before(first, bound, compiled.stages)
            columns = run_stages(bound, stages, columns, planned, self._memory.allocate)
        columns = {name: each.copy() if isinstance(each, Picked) else each for name, each in columns.items()}
        outstanding = Outstanding(bound, first, planned, others)
        return PlannedBatch(columns, batch.ids, batch.is_padding, outstanding)


def first_on_device(bound: Bound) -> int:
    """Return the first augmentation that a device performs, as all that follow; their number for none."""
    ops = bound.chain.ops
    on_host = [
        number
        for number, op in enumerate(ops)
        if op.on_host or any(bound.states[number][column].is_ragged for column in op.changed)
    ]
    first = on_host[-1] + 1 if on_host else 0
    # Partners would have to pass the augmentations before as well.
    return len(ops) if first and any(isinstance(op, Mixing) for op in ops) else first


def _stages_before(first: int, bound: Bound, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    kept = tuple(stage for stage in stages if stage.numbers.stop <= first)
    done = kept[-1].numbers.stop if kept else 0
    return kept + reference_stages(bound, np)[done:first]
