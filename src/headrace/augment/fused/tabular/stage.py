"""The stage of tabular columns: one augmentation, compiled, its columns one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Augmentation
from headrace.augment.chain import Bound, Planned
from headrace.augment.fused.rows import as_rows, gate_of
from headrace.augment.stage import Allocate, Columns
from headrace.augment.tabular.base import Features
from headrace.augment.tabular.noise import FeatureDropout, GaussianJitter
from headrace.augment.tabular.swap import SwapNoise
from headrace.draws.numbers import threshold
from headrace.draws.tables import normal_table

_KINDS: tuple[type[Augmentation], ...] = (FeatureDropout, GaussianJitter, SwapNoise)


@dataclass(frozen=True, eq=False, slots=True)
class TabularStage:
    """One augmentation of tabular columns, compiled. Thread-safe. Samples may be `Picked`.

    Attributes:
        bound: The chain.
        number: Which augmentation.
    """

    bound: Bound
    number: int

    @property
    def numbers(self) -> range:
        """Which augmentations of the chain."""
        return range(self.number, self.number + 1)

    @property
    def picks(self) -> frozenset[str]:
        """All of its columns."""
        return frozenset(self.bound.chain.ops[self.number].changed)

    def run(
        self, columns: Columns, partners: Columns | None, planned: Planned, allocate: Allocate
    ) -> Columns:
        """Return the columns that change; partners for swap noise."""
        op: Any = self.bound.chain.ops[self.number]
        n, states = len(planned.identity), self.bound.states[self.number]
        formats = {column: ((n, *states[column].shape), states[column].dtype) for column in op.changed}
        found = allocate(formats)
        for column in op.changed if n and all(states[column].size for column in op.changed) else ():
            drawn = planned.packed, planned.identity, planned.element_keys[self.number, column]
            other = None if partners is None else partners[column]
            self._run(op, drawn, columns[column], other, found[column])
        return found

    def _run(self, op: Any, drawn: Any, column: Any, other: Any, out: NDArray[Any]) -> None:
        from headrace.augment.fused.tabular.kernels import choose_kernel, noise_kernel  # numba loads

        (values, rows), gate, out = (
            as_rows(column),
            gate_of(self.bound, self.number),
            out.reshape(len(out), -1),
        )
        if isinstance(op, GaussianJitter):
            options = np.array([gate, op.multiplicative], np.int64)
            sigma = _each(op.sigma, out.shape[1]).astype(out.dtype)
            noise_kernel(out.dtype)(drawn, normal_table(), options, sigma, values, rows, out)
            return
        if isinstance(op, FeatureDropout):
            other = np.full((1, out.shape[1]), op.fill, out.dtype)
            others, other_rows = other, np.zeros(len(rows), np.int64)
        else:
            others, other_rows = as_rows(other)
        limits = np.array([threshold(rate) for rate in _each(op.rate, out.shape[1]).tolist()], np.uint64)
        plain = np.dtype(f"u{out.dtype.itemsize}")
        choose_kernel(plain.itemsize)(
            drawn, gate, limits, values.view(plain), rows, others.view(plain), other_rows, out.view(plain)
        )


def find_tabular_stage(bound: Bound, first: int) -> TabularStage | None:
    """Return the stage that performs an augmentation of tabular columns; None if it is another one."""
    return TabularStage(bound, first) if type(bound.chain.ops[first]) in _KINDS else None


def _each(option: Features, features: int) -> NDArray[np.float64]:
    return np.broadcast_to(np.asarray(option, np.float64), (features,))
