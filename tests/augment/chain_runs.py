"""Chains run by their references, under NumPy or a library that has nothing but the array API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headrace.augment import Augmentation
from headrace.augment.base import Spec
from headrace.augment.chain import Chain, Planned
from headrace.augment.stage import reference_stages, run_stages
from headrace.batch import Ragged
from headrace.draws import Draws, Samples

Columns = Mapping[str, Any]


def samples_of(columns: Columns, ids: Sequence[int] | None = None) -> Samples:
    count = len(next(iter(columns.values())))
    return Samples(np.arange(count) if ids is None else np.asarray(ids, np.int64))


def plan(
    ops: Augmentation | Sequence[Augmentation],
    columns: Columns,
    ids: Sequence[int] | None = None,
    draws: Draws | None = None,
) -> Planned:
    """Draw the parameters of a chain."""
    chain = Chain((ops,) if isinstance(ops, Augmentation) else tuple(ops))
    bound = chain.bind({name: Spec.of(column) for name, column in columns.items()})
    return bound.plan(draws or Draws(0), samples_of(columns, ids))


def run(
    ops: Augmentation | Sequence[Augmentation],
    columns: Columns,
    ids: Sequence[int] | None = None,
    draws: Draws | None = None,
    xp: Any = np,
    partners: tuple[Columns, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Run a chain for the samples 0, 1, ... or those named, and check that it gives what it says."""
    chain = Chain((ops,) if isinstance(ops, Augmentation) else tuple(ops))
    bound = chain.bind({name: Spec.of(column) for name, column in columns.items()})
    draws = draws or Draws(0)
    others = None
    if partners is not None:
        planned = bound.plan_partners(draws, samples_of(*partners))
        others = (_as_arrays(partners[0], xp), planned)
    kept = {name: _copy(column) for name, column in columns.items()}
    planned = bound.plan(draws, samples_of(columns, ids))
    found = run_stages(
        bound, reference_stages(bound, xp), _as_arrays(columns, xp), planned, lambda wanted: {}, others
    )
    back = {
        name: column if isinstance(column, Ragged) else np.asarray(column) for name, column in found.items()
    }
    for name, column in back.items():
        assert Spec.of(column) == bound.states[-1][name], name
    for name, column in columns.items():  # nothing is written to what was given
        for one, other in zip(_copy(column), kept[name], strict=True):
            np.testing.assert_array_equal(one, other)
    return back


def _as_arrays(columns: Columns, xp: Any) -> dict[str, Any]:
    return {
        name: column if isinstance(column, Ragged) else xp.asarray(column) for name, column in columns.items()
    }


def _copy(column: Any) -> list[Any]:
    return [np.copy(sample) for sample in column]
