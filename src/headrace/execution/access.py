"""Random access: samples by their places in a selection, changed as an epoch without shuffle changes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headrace.batch import Batch
from headrace.draws.draws import Samples
from headrace.errors import OptionError
from headrace.execution.build import build_batch
from headrace.execution.cached import CachedRecipe
from headrace.execution.recipe import Recipe
from headrace.execution.remember import RememberingRecipe
from headrace.planning.batching import Batching
from headrace.planning.plan import BatchPlan, Plan
from headrace.planning.selection import Selection

Ids = NDArray[np.int64]


class RandomAccess:
    """Builds batches of any samples. Thread-safe, and picklable if the recipe is.

    Row groups are kept once they are prepared: by the recipe's cache, or else the last ones used.
    """

    def __init__(self, recipe: Recipe, selection: Selection, seed: int) -> None:
        """Take a recipe and the samples that take part.

        Raises:
            OptionError: An augmentation draws once for a whole batch, and here are none.
        """
        chain = recipe.augment
        shared = [op.title for op in (() if chain is None else chain.ops) if op.same_on_batch]
        if shared:
            raise OptionError(
                f"{shared[0]}: `same_on_batch` needs the batches of a loader; samples by index belong to none"
            )
        cached = CachedRecipe.of(recipe, selection)
        self._chain = chain
        self._recipe = cached if isinstance(cached, CachedRecipe) else RememberingRecipe.of(recipe)
        self._plan = Plan(recipe.source.manifest, selection, False, Batching(1), seed)

    def batch(self, places: Ids, epoch: int) -> Batch:
        """Build a batch of the samples at these places, as the epoch changes them."""
        ids = self._plan.selection.at(places)
        if self._chain is None:
            return build_batch(self._recipe, BatchPlan(0, epoch, ids))
        plan = replace(self._plan, epoch=epoch)
        partners = None
        if self._chain.partner is not None:
            partners = _drawn(plan.partners(self._chain.partner), places)
        return build_batch(self._recipe, replace(_drawn(plan, places), partners=partners))


def _drawn(plan: Plan, places: Ids) -> BatchPlan:
    """Plan a batch of what lies at positions of an epoch."""
    ids = plan.samples.at(plan.order.indices(places))
    return BatchPlan(0, plan.epoch, ids, None, plan.draws, Samples(ids, plan.repeats_at(places)))
