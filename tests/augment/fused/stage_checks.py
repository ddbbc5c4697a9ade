"""How compiled stages are held against the references: the same bytes for the same draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from headrace.augment.base import Augmentation, Spec
from headrace.augment.chain import Bound, Chain
from headrace.augment.stage import Picked, Stage, reference_stages, run_stages
from headrace.batch import Ragged
from headrace.draws import Draws, Samples


def allocate(formats: Mapping[str, Any]) -> dict[str, Any]:
    """Memory that holds what no augmentation gives, so that a value that is not written shows."""
    found = {name: np.empty(shape, dtype) for name, (shape, dtype) in formats.items()}
    for array in found.values():
        array.reshape(-1).view(np.uint8)[:] = 0xA5
    return found


def check_stage(
    find: Callable[[Bound, int], Stage | None],
    ops: Sequence[Augmentation],
    columns: Mapping[str, Any],
    seed: int = 0,
    partners: Mapping[str, Any] | None = None,
) -> None:
    """Hold one stage that performs all of a chain against the references, samples copied and picked."""
    rng = np.random.default_rng(seed)
    n = len(next(iter(columns.values())))
    bound = Chain(tuple(ops)).bind({name: Spec.of(column) for name, column in columns.items()})
    draws = Draws(seed, epoch=5)
    samples = Samples(rng.integers(0, 1 << 60, n), rng.integers(0, 3, n))
    planned, others = bound.plan(draws, samples), None
    if partners is not None:
        others = partners, bound.plan_partners(draws, Samples(rng.integers(0, 1 << 60, n)))
    stage = find(bound, 0)
    assert stage is not None
    assert stage.numbers == range(len(ops))
    expected = run_stages(bound, reference_stages(bound), columns, planned, allocate, others)
    given = columns, _picked(columns, rng, stage)
    also = others, None if others is None else (_picked(others[0], rng, stage), others[1])
    for own, other in zip(given, also, strict=True):
        found = run_stages(bound, (stage,), own, planned, allocate, other)
        assert set(found) == set(expected)
        for name in expected:
            same(found[name], expected[name], ops)


def _picked(columns: Mapping[str, Any], rng: np.random.Generator, stage: Stage) -> dict[str, Any]:
    """Let a stage read the columns that it picks from rows in other orders."""
    orders = {name: rng.permutation(len(columns[name])) for name in sorted(stage.picks)}
    picked = {name: Picked(columns[name][order], np.argsort(order)) for name, order in orders.items()}
    return {**columns, **picked}


def same(found: Any, expected: Any, ops: object) -> None:
    """Compare type, shape, dtype and bytes."""
    assert type(found) is type(expected)
    if isinstance(found, Ragged):
        assert np.array_equal(found.offsets, expected.offsets), ops
        found, expected = found.values, expected.values
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), ops
    assert found.tobytes() == expected.tobytes(), ops
