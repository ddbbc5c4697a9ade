"""The direct path: where all rows lie in arrays, each batch is one gather from each of them.

Nothing is read, no batch waits for another, and the order costs nothing: a batch takes its rows from wherever
they lie. What it yields equals what the reads of `stream` would yield.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Spec
from headrace.augment.stage import Picked
from headrace.batch import Batch
from headrace.execution.cached import CachedRecipe
from headrace.execution.executors import Serial, Threads
from headrace.execution.gather import address
from headrace.execution.recipe import Recipe
from headrace.execution.stats import measured
from headrace.execution.whole import Whole, find_in_memory
from headrace.execution.workshop import Workshop
from headrace.planning.plan import Plan, StepSamples
from headrace.planning.world import World
from headrace.prepare.pack import Stack

Array = NDArray[Any]
Ids = NDArray[np.int64]

TASK_ROWS = 1 << 13
"""Samples of small batches that a thread gathers at a time: handing them over costs little beside it."""

TASK_BYTES = 1 << 21
"""Bytes of such batches, at most."""

_TASK_STEPS = 64


def find_whole(recipe: Recipe) -> Whole | None:
    """Return all rows of a recipe as arrays, if its store or its source has them so."""
    return recipe.whole() if isinstance(recipe, CachedRecipe) else find_in_memory(recipe)


def gathered(
    whole: Whole,
    recipe: Recipe,
    plan: Plan,
    world: World,
    steps: range,
    workshop: Workshop,
) -> Generator[Batch, None, int]:
    """Yield this rank's batches of these steps, in order, as far as their rows are sound.

    Returns:
        How many were yielded: all, or those before the first that needs a row that is not sound.
    """
    options = workshop.options
    gatherer = _Gatherer(whole, recipe, plan, world, workshop)
    each = gatherer.steps_of_task(steps)
    tasks = (steps[begin : begin + each] for begin in range(0, len(steps), each))
    ahead = max(options.threads - 1, 0) + -(-options.ahead // each)
    executor = Threads(options.threads) if options.threads else Serial()
    results = executor.map(gatherer, tasks, ahead)
    done = 0
    try:
        while done < len(steps):
            with measured(workshop.stats, "wait"):
                batches = next(results)
            if not batches:
                break
            done += len(batches)
            batches.reverse()
            while batches:  # held no longer than the consumer holds them
                yield batches.pop()
    finally:
        if isinstance(results, Generator):
            results.close()
    return done


@dataclass(frozen=True)
class _Gatherer:
    """Builds the batches of some steps; thread-safe."""

    whole: Whole
    recipe: Recipe
    plan: Plan
    world: World
    workshop: Workshop

    def steps_of_task(self, steps: range) -> int:
        """How many steps a task takes, so that it is worth a thread's while."""
        rows = self.plan.batch_size(steps[0], self.world) if steps else 1
        width = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self._formats.values())
        most = min(TASK_ROWS // rows, TASK_BYTES // max(rows * width, 1), _TASK_STEPS)
        return max(most, 1)

    @cached_property
    def _formats(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of one sample of each column."""
        return {
            name: ((len(column.parts),), column.parts[0].dtype)
            if isinstance(column, Stack)
            else (column.shape[1:], column.dtype)
            for name, column in self.whole.columns.items()
        }

    def __call__(self, steps: range) -> list[Batch]:
        """Return the batches of these steps; none if a row is not sound."""
        with measured(self.workshop.stats, "gather"):
            chosen = self.plan.samples_of(steps, self.world)
            places = self.whole.places(chosen, self.plan.samples)
            if self.whole.entries is not None and not self.whole.entries.are_sound(places):
                return []
            return self._batches(steps, chosen, places)

    def _batches(self, steps: range, chosen: StepSamples, places: Ids) -> list[Batch]:
        ends = chosen.ends.tolist()
        sizes = [end - begin for begin, end in pairwise([0, *ends])]
        arrays = [self._allocate(size) for size in sizes]
        self._fill(arrays, places, chosen.ends)
        batches: list[Batch] = []
        for step, size, end, columns in zip(steps, sizes, ends, arrays, strict=True):
            ids = chosen.ids[end - size : end]
            # A consumer that keeps one batch shall not keep the ids of others.
            ids = ids if len(steps) == 1 else ids.copy()
            batch = Batch(columns, ids, self.plan.padding_mask(step, self.world))
            batches.append(self._augmented(self.recipe.finish(batch), step, places[end - size : end]))
        return batches

    def _augmented(self, batch: Batch, step: int, places: Ids) -> Batch:
        augmenter = self.workshop.augmenter
        if augmenter is None:
            return batch
        with measured(self.workshop.stats, "augment"):
            samples = self.plan.drawn_for(step, self.world, batch.ids)
            if not self._picked:
                return augmenter(batch, self.plan.draws, samples)
            columns = {
                name: Picked(self._picked[name], places) if name in self._picked else batch[name]
                for name in self.whole.columns
            }
            return augmenter(Batch({}, batch.ids, batch.is_padding), self.plan.draws, samples, picked=columns)

    @cached_property
    def _picked(self) -> dict[str, Array]:
        """The columns whose rows are not gathered: the augmentations read them where they lie."""
        pack, augmenter = self.recipe.pack, self.workshop.augmenter
        if augmenter is None or (pack is not None and pack.padding is not None):
            return {}
        picks = augmenter.picks({name: Spec(*each) for name, each in self._formats.items()})
        columns = self.whole.columns.items()
        return {name: column for name, column in columns if name in picks and not isinstance(column, Stack)}

    def _allocate(self, rows: int) -> dict[str, Array]:
        """Take memory for one batch."""
        formats = {name: each for name, each in self._formats.items() if name not in self._picked}
        return self.workshop.memory.allocate(
            {name: ((rows, *shape), kind) for name, (shape, kind) in formats.items()}
        )

    def _fill(self, batches: list[dict[str, Array]], places: Ids, ends: Ids) -> None:
        """Copy rows into the memory of batches; one call for each column, as each lets go of the GIL."""
        from headrace.execution import kernels  # numba loads with the first use

        for name, column in self.whole.columns.items():
            if name in self._picked:
                continue
            outputs = np.array([address(arrays[name]) for arrays in batches], np.uint64)
            if isinstance(column, Stack):
                kernels.gather_columns(column.parts, places, ends, outputs)
            else:
                kernels.gather_rows(column, places, ends, outputs)
