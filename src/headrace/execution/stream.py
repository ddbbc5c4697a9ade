"""The stream: row groups read ahead by threads, batches handed out in order.

Each row group is decoded once in its window, and its rows are copied at once to all the batches
that they belong to. How far the threads may run ahead is counted in rows, so that memory stays
bounded whatever the speeds of threads and consumer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.batch import Batch
from headrace.execution.build import fill
from headrace.execution.executors import Pool, Task
from headrace.execution.gather import Gather
from headrace.execution.recipe import Recipe
from headrace.execution.stats import Stats, measured
from headrace.planning.plan import Plan, Read
from headrace.planning.world import World


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a stream works, without any influence on what it yields.

    Attributes:
        threads: Threads that read and prepare; 0 works in the calling thread.
        ahead: Batches prepared ahead of the consumer, beyond the window of the shuffle.
        skip_errors: Leave out row groups that cannot be read or prepared.
    """

    threads: int
    ahead: int = 2
    skip_errors: bool = False


def stream(
    recipe: Recipe, plan: Plan, world: World, steps: range, options: StreamOptions, stats: Stats
) -> Iterator[Batch]:
    """Yield this rank's batches of these steps, in order.

    Closing the iterator stops its threads and frees its memory.

    Raises:
        HeadraceError: A row group cannot be read or prepared; raised once, in the caller's
            thread, at the first batch that needs it.
    """
    gather = Gather(lambda step: plan.batch_size(step, world))
    reads = plan.reads(world, steps)
    pool = Pool(options.threads) if options.threads else None
    queue = _ReadAhead(recipe, gather, reads, pool, options, stats, plan.open_samples(world))
    try:
        for step in steps:
            with measured(stats, "wait"):
                queue.finish(step, plan.batch_size(step, world))
            yield gather.take(step, plan.padding_mask(step, world))
    finally:
        if pool is not None:
            pool.close()


class _ReadAhead:
    """Starts reads in order: those that are due, and others while their rows find room."""

    def __init__(
        self,
        recipe: Recipe,
        gather: Gather,
        reads: Iterator[Read],
        pool: Pool | None,
        options: StreamOptions,
        stats: Stats,
        window: int,
    ) -> None:
        self._recipe = recipe
        self._gather = gather
        self._reads = reads
        self._pool = pool
        self._options = options
        self._stats = stats
        self._window = window
        self._next: Read | None = next(reads, None)
        self._tasks: deque[tuple[int, Task]] = deque()
        self._held = 0

    def finish(self, step: int, size: int) -> None:
        """Wait until all rows of a step are in place, and start what may run ahead of it."""
        self._start(step, self._window + self._options.ahead * size)
        while self._tasks and self._tasks[0][0] <= step:
            _, task = self._tasks.popleft()
            task.result()
        self._held -= size

    def _start(self, step: int, room: int) -> None:
        while (read := self._next) is not None:
            is_due = read.first_step <= step
            if not is_due and (self._pool is None or self._held + len(read.rows) > room):
                return
            self._held += len(read.rows)
            self._next = next(self._reads, None)
            arguments = (self._recipe, self._gather, read, self._stats, self._options.skip_errors)
            if self._pool is None:
                fill(*arguments)
            else:
                self._tasks.append((read.first_step, self._pool.submit(fill, *arguments)))
