"""Peek: one sample as an epoch delivers it, alone, with everything that was drawn for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, SupportsInt

import numpy as np
from numpy.typing import NDArray

from headrace.batch import Batch, Sparse
from headrace.draws.draws import Samples
from headrace.errors import UnknownSampleError, check_whole
from headrace.execution.augmenting import Augmenter
from headrace.execution.build import build_batch
from headrace.execution.deliver import plain
from headrace.execution.recipe import Recipe
from headrace.planning.plan import BatchPlan, Plan
from headrace.planning.world import World

_POSITIONS = 1 << 18  # looked at together


@dataclass(frozen=True, eq=False, slots=True)
class Peek:
    """One sample of an epoch.

    Attributes:
        sample_id: Which sample.
        epoch: In which epoch.
        repeat: The how-manieth time the epoch delivers it, from 0 on.
        columns: What is delivered of it: name to array or value, NumPy whatever the loader's output.
        params: What was drawn for it: path of each augmentation to the names and values of its parameters,
            among them `applied`.
        partner_id: The sample that it is mixed with; None where nothing is mixed.
    """

    sample_id: int
    epoch: int
    repeat: int
    columns: Mapping[str, Any] = field(repr=False)
    params: Mapping[str, Mapping[str, Any]]
    partner_id: int | None = None

    def __repr__(self) -> str:
        copy = f", repeat {self.repeat}" if self.repeat else ""
        partner = "" if self.partner_id is None else f", mixed with sample {self.partner_id}"
        lines = [f"sample {self.sample_id} in epoch {self.epoch}{copy}{partner}"]
        for path, params in self.params.items():
            drawn = ", ".join(
                f"{name}={_short(value)}" for name, value in params.items() if name != "applied"
            )
            lines.append(f"  {path}: {drawn or 'applied' if params['applied'] else 'not applied'}")
        lines += [f"  column {name}: {_kind(column)}" for name, column in self.columns.items()]
        return "\n".join(lines)


def peek(recipe: Recipe, plan: Plan, world: World, sample_id: SupportsInt, repeat: int) -> Peek:
    """Render one sample of the plan's epoch as its batch holds it.

    Raises:
        UnknownSampleError: The epoch does not deliver that sample so often.
    """
    sample_id = check_whole("sample_id", _plain(sample_id))
    check_whole("repeat", repeat, least=0)
    chain = recipe.augment
    if not 0 <= sample_id < plan.manifest.total or not plan.selection.contains(np.array([sample_id]))[0]:
        raise UnknownSampleError(f"sample {sample_id} does not take part in this data set")
    ids = np.array([sample_id])
    place: int | None = None
    # A sample that is changed by itself needs no place in the epoch, and finding one takes time.
    if repeat or (chain is not None and (chain.partner or any(op.same_on_batch for op in chain.ops))):
        place = _find(plan, sample_id, repeat)
    batch = build_batch(recipe, BatchPlan(0, plan.epoch, ids))
    if chain is None:
        return Peek(sample_id, plan.epoch, repeat, dict(_values(batch)), {})
    samples, partners, partner_id = _at(plan, world, place, sample_id, repeat), None, None
    if chain.partner is not None and place is not None:
        others = plan.partners(chain.partner)
        index = others.order.indices(np.array([place]))
        partner_id = int(plan.samples.at(index)[0])
        them = Samples(np.array([partner_id]), others.repeats_at(np.array([place])), samples.batch)
        partners = build_batch(recipe, BatchPlan(0, plan.epoch, them.ids)), them
    augmenter = Augmenter(chain)
    records = augmenter.planned(batch, plan.draws, samples).records
    changed = augmenter(batch, plan.draws, samples, partners)
    params = {path: {name: records[path][name][0] for name in _names(records[path])} for path in chain.paths}
    return Peek(sample_id, plan.epoch, repeat, dict(_values(changed)), params, partner_id)


def _plain(value: Any) -> Any:
    """Turn what comes out of a batch, a scalar of NumPy or torch, into a number."""
    is_scalar = getattr(value, "shape", None) == () and hasattr(value, "item")
    return value.item() if is_scalar else value


def _find(plan: Plan, sample_id: int, repeat: int) -> int:
    """Find the position in the epoch where a sample comes for that time."""
    for begin in range(0, plan.count, _POSITIONS):
        positions = np.arange(begin, min(begin + _POSITIONS, plan.count))
        here = positions[plan.samples.at(plan.order.indices(positions)) == sample_id]
        repeats = plan.repeats_at(here)
        found = here[(np.zeros_like(here) if repeats is None else repeats) == repeat]
        if len(found):
            return int(found[0])
    raise UnknownSampleError(
        f"epoch {plan.epoch} does not deliver sample {sample_id} {repeat + 1} times; `repeat` counts from 0"
    )


def _at(plan: Plan, world: World, place: int | None, sample_id: int, repeat: int) -> Samples:
    """Say who a sample is to the draws."""
    repeats = np.array([repeat]) if repeat else None
    if place is None:
        return Samples(np.array([sample_id]), repeats)
    cut = plan.cut(world)
    return Samples(np.array([sample_id]), repeats, cut.bounds(cut.step_of(place))[0])


def _values(batch: Batch) -> Iterator[tuple[str, Any]]:
    for name, column in batch.columns.items():
        values = plain(column)
        yield name, values.to_dense()[0] if isinstance(values, Sparse) else next(iter(values))


def _names(record: NDArray[np.void]) -> tuple[str, ...]:
    return record.dtype.names or ()


def _short(value: Any) -> str:
    values = np.asarray(value)
    if values.ndim == 0:
        return f"{values.item():.6g}" if values.dtype.kind == "f" else str(values.item())
    return f"{values.dtype} of shape {list(values.shape)}" if values.size > 8 else str(values.tolist())


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.ndim:
        return f"{value.dtype} of shape {list(value.shape)}"
    return repr(value.item() if isinstance(value, np.generic) else value)
