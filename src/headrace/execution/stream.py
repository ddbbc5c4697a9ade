"""The stream: row groups read ahead by threads, batches handed out in order.

Where all rows lie in arrays already, batches are gathered from those, as long as they are sound. Else each
row group is decoded once in its window, and its rows are copied at once to all the batches
that they belong to. How far the threads may run ahead is counted in rows, so that memory stays
bounded whatever the speeds of threads and consumer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

from headrace.batch import Batch
from headrace.execution.augmented import augmented
from headrace.execution.augmenting import Augmenter
from headrace.execution.build import fill
from headrace.execution.direct import find_whole, gathered
from headrace.execution.executors import Pool, Task
from headrace.execution.gather import Gather
from headrace.execution.recipe import Recipe
from headrace.execution.stats import measured
from headrace.execution.workshop import StreamOptions, Workshop
from headrace.planning.plan import Plan, Read
from headrace.planning.world import World


def stream(recipe: Recipe, plan: Plan, world: World, steps: range, workshop: Workshop) -> Iterator[Batch]:
    """Yield this rank's batches of these steps, in order.

    Closing the iterator stops its threads and frees its memory.

    Raises:
        HeadraceError: A row group cannot be read or prepared; raised once, in the caller's
            thread, at the first batch that needs it.
    """
    if recipe.augment is None:
        yield from _rows(recipe, plan, world, steps, workshop)
        return
    augmenter = workshop.augmenter or Augmenter(recipe.augment, workshop.memory)
    workshop, changing = replace(workshop, augmenter=None), replace(workshop, augmenter=augmenter)
    partner = recipe.augment.partner
    if partner is None:
        yield from _rows(recipe, plan, world, steps, changing)
        return
    others = plan.partners(partner)
    batches, partners = (_rows(recipe, one, world, steps, workshop) for one in (plan, others))
    yield from augmented(plan, batches, (others, partners), world, steps, changing)


def _rows(recipe: Recipe, plan: Plan, world: World, steps: range, workshop: Workshop) -> Generator[Batch]:
    """Yield batches, changed if the workshop has an augmenter."""
    whole, done = find_whole(recipe), 0
    if whole is not None:
        done = yield from gathered(whole, recipe, plan, world, steps, workshop)
    if done < len(steps):
        batches = _streamed(recipe, plan, world, steps[done:], workshop)
        if workshop.augmenter is not None:
            batches = augmented(plan, batches, None, world, steps[done:], workshop)
        yield from batches


def _streamed(recipe: Recipe, plan: Plan, world: World, steps: range, workshop: Workshop) -> Generator[Batch]:
    """Yield batches whose row groups are read for them."""
    threads = workshop.options.threads
    gather = Gather(steps, lambda step: plan.batch_size(step, world), workshop.memory)
    pool = Pool(threads) if threads else None
    window = plan.open_samples(world)
    queue = _ReadAhead(_Job(recipe, gather, workshop), plan.reads(world, steps), pool, window)
    try:
        for step in steps:
            with measured(workshop.stats, "wait"):
                queue.finish(step, plan.batch_size(step, world))
            yield recipe.finish(gather.take(step, plan.padding_mask(step, world)))
    finally:
        if pool is not None:
            pool.close()


@dataclass(frozen=True, slots=True)
class _Job:
    """What is done with every read."""

    recipe: Recipe
    gather: Gather
    workshop: Workshop

    def __call__(self, read: Read) -> None:
        fill(self.recipe, self.gather, read, self.workshop.stats, self.workshop.options.skip_errors)


class _ReadAhead:
    """Starts reads in order: those that are due, and others while their batches find room."""

    def __init__(self, job: _Job, reads: Iterator[Read], pool: Pool | None, window: int) -> None:
        self._job = job
        self._reads = reads
        self._pool = pool
        self._window = window
        self._next: Read | None = next(reads, None)
        self._tasks: deque[tuple[int, Task]] = deque()

    def finish(self, step: int, size: int) -> None:
        """Wait until all rows of a step are in place, and start what may run ahead of it."""
        while (read := self._next) is not None and (
            read.first_step <= step or self._has_room(read, step, size)
        ):
            self._next = next(self._reads, None)
            if self._pool is None:
                self._job(read)
            else:
                self._tasks.append((read.first_step, self._pool.submit(self._job, read)))
        while self._tasks and self._tasks[0][0] <= step:
            self._tasks.popleft()[1].result()

    def _has_room(self, read: Read, step: int, size: int) -> bool:
        """Whether the batches that a read opens fit beside those that are open."""
        options = self._job.workshop.options
        room = room_ahead(self._window, len(read.rows), size, options)
        return self._pool is not None and (int(read.steps.max()) - step) * size <= room


def room_ahead(window: int, read: int, batch: int, options: StreamOptions) -> int:
    """How many samples the open batches may hold: the next window opens once half of one is gone.

    Args:
        window: Samples of the runs that are open at a time.
        read: Samples of one read; each thread should have one under way.
        batch: Samples of one batch.
        options: How many threads, and how many batches ahead.
    """
    return max(window + window // 2, (options.threads + 1) * read) + options.ahead * batch
