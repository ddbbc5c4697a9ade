"""Stages: augmentations that are performed together, and the reference, which performs one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from headrace.augment.base import Mixing, Noise
from headrace.augment.chain import Bound, Planned

Columns = Mapping[str, Any]

Allocate = Callable[[Mapping[str, tuple[tuple[int, ...], DTypeLike]]], dict[str, NDArray[Any]]]
"""Takes memory for arrays: name to shape and dtype."""


@dataclass(frozen=True, eq=False, slots=True)
class Picked:
    """Rows of an array that are not copied yet.

    Attributes:
        array: All rows, of shape [rows, ...].
        places: Which of them, int64 of shape [n].
    """

    array: NDArray[Any]
    places: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what is picked."""
        return (len(self.places), *self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of what is picked."""
        return self.array.dtype

    def copy(self) -> NDArray[Any]:
        """Copy the rows."""
        return self.array[self.places]


class Stage(Protocol):
    """Some neighbouring augmentations of a bound chain, performed together. Thread-safe."""

    @property
    def numbers(self) -> range:
        """Which augmentations of the chain."""
        ...

    @property
    def picks(self) -> frozenset[str]:
        """The columns that it reads as well if they are `Picked`."""
        ...

    def run(
        self, columns: Columns, partners: Columns | None, planned: Planned, allocate: Allocate
    ) -> Columns:
        """Return the columns that change, as fresh arrays; partners only for a mixing stage."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class ReferenceStage:
    """One augmentation by its reference, on any array library.

    Attributes:
        bound: The chain.
        number: Which augmentation.
        xp: The namespace of the arrays.
    """

    bound: Bound
    number: int
    xp: Any = np

    @property
    def numbers(self) -> range:
        """Which augmentations of the chain."""
        return range(self.number, self.number + 1)

    @property
    def picks(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def run(
        self, columns: Columns, partners: Columns | None, planned: Planned, allocate: Allocate | None = None
    ) -> Columns:
        """Return the columns that change."""
        op, path = self.bound.chain.ops[self.number], self.bound.chain.paths[self.number]
        params: dict[str, Any] = planned.params(path)
        identity: Any = planned.identity
        if self.xp is not np and isinstance(identity, np.ndarray):  # else they are on a device already
            params = {name: self.xp.asarray(np.ascontiguousarray(values)) for name, values in params.items()}
            identity = self.xp.asarray(identity)
        keys = {
            column: key for (number, column), key in planned.element_keys.items() if number == self.number
        }
        noise = Noise(self.xp, keys, identity)
        own = {column: columns[column] for column in op.changed}
        with np.errstate(all="ignore"):  # infinities in the data are the data's
            if not isinstance(op, Mixing):
                return op.apply(self.xp, own, params, noise)
            assert partners is not None
            others = {column: partners[column] for column in op.changed}
            return op.mix(self.xp, own, others, params, noise)


def reference_stages(bound: Bound, xp: Any = np) -> tuple[Stage, ...]:
    """Return one stage for each augmentation, by its reference."""
    return tuple(ReferenceStage(bound, number, xp) for number in range(len(bound.chain.ops)))


def run_stages(
    bound: Bound,
    stages: tuple[Stage, ...],
    columns: Columns,
    planned: Planned,
    allocate: Allocate,
    partners: tuple[Columns, Planned] | None = None,
) -> dict[str, Any]:
    """Send the columns of a batch through stages.

    Args:
        bound: The chain.
        stages: Its stages, in order.
        columns: All columns of the batch.
        planned: What was drawn for its samples.
        allocate: Takes memory for outputs.
        partners: Columns of the partner samples and what was drawn for them, see `Bound.plan_partners`;
            needed where something mixes.

    Returns:
        All columns; those that nothing changes are the same arrays.
    """
    ops = bound.chain.ops
    mixing = [number for number, op in enumerate(ops) if isinstance(op, Mixing)]
    now, others = dict(columns), dict(partners[0]) if partners is not None else {}
    for stage in stages:
        first, is_mixing = stage.numbers[0], isinstance(ops[stage.numbers[0]], Mixing)
        inputs = tuple(dict.fromkeys(column for number in stage.numbers for column in ops[number].changed))
        now.update(_copied(now, inputs, stage.picks))
        if is_mixing:
            others.update(_copied(others, inputs, stage.picks))
            now.update(stage.run(now, others, planned, allocate))
            if partners is not None and first < mixing[-1] and _changes_specs(bound, first):
                # What comes next finds labels of the same form, here those of the partner alone.
                others.update(stage.run(others, others, partners[1], allocate))
            continue
        now.update(stage.run(now, None, planned, allocate))
        if partners is not None and mixing and first < mixing[-1]:
            others.update(_copied(others, inputs, stage.picks))
            others.update(stage.run(others, None, partners[1], allocate))
    return {name: column.copy() if isinstance(column, Picked) else column for name, column in now.items()}


def _changes_specs(bound: Bound, number: int) -> bool:
    """Whether columns hold something else, or there are more, after an augmentation."""
    return bound.states[number] != bound.states[number + 1]


def _copied(columns: Columns, names: tuple[str, ...], picks: frozenset[str]) -> dict[str, Any]:
    """Copy the rows of columns that a stage cannot read where they lie."""
    return {
        name: columns[name].copy()
        for name in names
        if name not in picks and isinstance(columns.get(name), Picked)
    }
