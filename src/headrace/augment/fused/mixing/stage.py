"""The stage of mixes: one mix of samples with their partners, compiled, its columns one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Augmentation, Spec
from headrace.augment.chain import Bound, Planned
from headrace.augment.fused.rows import as_rows, gate_of
from headrace.augment.mixing.cutmix import CutMix
from headrace.augment.mixing.mixup import MixUp
from headrace.augment.stage import Allocate, Columns

_KINDS: tuple[type[Augmentation], ...] = (MixUp, CutMix)


@dataclass(frozen=True, eq=False, slots=True)
class MixingStage:
    """One mix of samples with their partners, compiled. Thread-safe. Samples may be `Picked`, labels not.

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
        """All of its columns but the label."""
        return frozenset(self.bound.chain.ops[self.number].columns)

    def run(
        self, columns: Columns, partners: Columns | None, planned: Planned, allocate: Allocate
    ) -> Columns:
        """Return the columns that change."""
        assert partners is not None
        op: Any = self.bound.chain.ops[self.number]
        n, states = len(planned.identity), self.bound.states[self.number]
        names = tuple(op.columns)
        found = allocate({name: ((n, *states[name].shape), states[name].dtype) for name in names})
        for name in names if n and all(states[name].size for name in names) else ():
            self._mix(op, states[name], planned, (columns[name], partners[name]), found[name])
        share = planned.params(self.bound.chain.paths[self.number])["lam"]
        return {**found, **_mix_labels(op, columns, partners, share, allocate)}

    def _mix(self, op: Any, spec: Spec, planned: Planned, both: tuple[Any, Any], out: NDArray[Any]) -> None:
        from headrace.augment.fused.mixing.kernels import blend_kernel, paste_kernel  # numba loads

        values, rows = as_rows(both[0])
        others, other_rows = as_rows(both[1])
        gate, target = gate_of(self.bound, self.number), out.reshape(len(out), -1)
        if isinstance(op, MixUp):
            options = np.array([gate, gate + 1], np.int64)
            blend_kernel(out.dtype)(planned.packed, options, values, rows, others, other_rows, target)
            return
        height, width = op.sides(spec)
        is_apart = len(spec.shape) == 3 and op.layout == "NCHW"
        count = spec.size // (height * width)
        sides = [count, height, width, 1] if is_apart else [1, height, width, count]
        options = np.array([gate + 2, *sides], np.int64)  # the gate, lam, top...
        plain = np.dtype(f"u{out.dtype.itemsize}")
        paste_kernel(plain.itemsize)(
            planned.packed,
            options,
            values.view(plain),
            rows,
            others.view(plain),
            other_rows,
            target.view(plain),
        )


def find_mixing_stage(bound: Bound, first: int) -> MixingStage | None:
    """Return the stage that performs a mix; None if it is another augmentation."""
    return MixingStage(bound, first) if type(bound.chain.ops[first]) in _KINDS else None


def _mix_labels(
    op: Any, columns: Columns, partners: Columns, share: NDArray[np.float32], allocate: Allocate
) -> dict[str, Any]:
    """Mix labels; classes without writing each of them out for both samples."""
    if op.label is None or op.num_classes is None or columns[op.label].ndim != 1:
        return op.mix_labels(np, columns, partners, share)
    own, other = columns[op.label], partners[op.label]
    for label in (own, other):
        if not ((label >= 0) & (label < op.num_classes)).all():
            return op.mix_labels(np, columns, partners, share)  # which tells what is wrong
    soft = allocate({op.label: ((len(own), op.num_classes), np.float32)})[op.label]
    soft[:] = 0
    samples = np.arange(len(own))
    soft[samples, own] = share
    soft[samples, other] += np.float32(1) - share
    return {op.label: soft}
