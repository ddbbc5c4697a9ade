"""Batches of a stream, changed by threads of their own that run ahead of the consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from headrace.batch import Batch
from headrace.draws.draws import Samples
from headrace.execution.augmenting import Augmenter
from headrace.execution.executors import Pool, Task
from headrace.execution.stats import measured
from headrace.execution.workshop import Workshop
from headrace.planning.plan import Plan
from headrace.planning.world import World


def augmented(
    plan: Plan,
    batches: Generator[Batch],
    others: tuple[Plan, Generator[Batch]] | None,
    world: World,
    steps: range,
    workshop: Workshop,
) -> Generator[Batch]:
    """Change the samples of batches.

    Args:
        plan: The plan of the batches.
        batches: One for each step, short of the samples that could not be read.
        others: With mixing, the plan of the partners and their batches.
        world: Which rank of how many.
        steps: The steps.
        workshop: How to work, and what changes samples.
    """
    assert workshop.augmenter is not None
    task = _Task(workshop.augmenter, plan, None if others is None else others[0], world, workshop)
    threads, ahead = workshop.options.threads, workshop.options.ahead
    pool = Pool(threads) if threads else None
    tasks: deque[Task] = deque()
    partners: Generator[Batch] | Iterator[None] = _nothing(len(steps)) if others is None else others[1]
    try:
        with closing(batches), closing(partners):
            for number, (step, batch, partner) in enumerate(zip(steps, batches, partners, strict=True)):
                if pool is None:
                    yield task(batch, partner, step)
                    continue
                tasks.append(pool.submit(task, batch, partner, step))
                del batch, partner  # held no longer than it takes
                # The way ahead grows with the steps, so that the first batches wait for no others.
                if len(tasks) > min(ahead, number // 2):
                    yield _wait(tasks, workshop)
            while tasks:
                yield _wait(tasks, workshop)
    finally:
        if pool is not None:
            pool.close()


def _wait(tasks: deque[Task], workshop: Workshop) -> Batch:
    with measured(workshop.stats, "wait"):
        return tasks.popleft().result()


def _nothing(steps: int) -> Generator[None]:
    for _ in range(steps):
        yield None


@dataclass(frozen=True, slots=True)
class _Task:
    """What is done with every batch; thread-safe."""

    augmenter: Augmenter
    plan: Plan
    partners: Plan | None
    world: World
    workshop: Workshop

    def __call__(self, batch: Batch, partner: Batch | None, step: int) -> Batch:
        if not batch.columns:
            return batch  # lost as a whole, before any sample could say what the columns hold
        with measured(self.workshop.stats, "augment"):
            samples = self.plan.drawn_for(step, self.world, batch.ids)
            others = None
            if self.partners is not None and partner is not None:
                drawn_for = self.partners.drawn_for(step, self.world, partner.ids)
                others = partner, drawn_for
                if self.workshop.options.skip_errors:
                    samples, others = self._aligned(batch, samples, others, step)
            return self.augmenter(batch, self.plan.draws, samples, others)

    def _aligned(
        self, batch: Batch, samples: Samples, others: tuple[Batch, Samples], step: int
    ) -> tuple[Samples, tuple[Batch, Samples]]:
        """Give each sample that could be read its partner; one whose partner could not is left alone."""
        assert self.partners is not None
        steps = range(step, step + 1)
        planned, wanted = (plan.samples_of(steps, self.world).ids for plan in (self.plan, self.partners))
        is_read, is_there = np.isin(planned, batch.ids), np.isin(wanted, others[0].ids)
        if is_read.all() and is_there.all():
            return samples, others
        places = (np.cumsum(is_there) - 1)[is_read]
        own = len(others[0]) + np.arange(len(batch))
        rows = np.where(is_there[is_read], places, own)
        joined = Batch.concat([_plain(each) for each in (others[0], batch) if each.columns])
        mixed = joined.take(rows), Samples.join(others[1], samples).take(rows)
        return replace(samples, alone=~is_there[is_read]), mixed


def _plain(batch: Batch) -> Batch:
    return Batch(batch.columns, batch.ids)
