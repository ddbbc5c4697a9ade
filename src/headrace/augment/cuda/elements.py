"""Stages of single values on a device: tabular columns, and mixes of samples; a launch for each column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Spec
from headrace.augment.chain import Bound
from headrace.augment.cuda.module import Launcher
from headrace.augment.fused.rows import gate_of
from headrace.augment.mixing.cutmix import CutMix
from headrace.augment.mixing.labels import LabelMixing
from headrace.augment.mixing.mixup import MixUp
from headrace.augment.stage import Allocate, Columns
from headrace.augment.tabular.noise import FeatureDropout, GaussianJitter
from headrace.augment.tabular.swap import SwapNoise
from headrace.draws.numbers import threshold
from headrace.draws.tables import normal_table

_FLOATS = {"float32": "f32", "float64": "f64"}
_SHARE = 1  # where a mix has its share, counted from its gate; the box of CutMix lies behind it


@dataclass(frozen=True, eq=False)
class DeviceElementStage:
    """One augmentation that makes each value by itself.

    Attributes:
        bound: The chain.
        number: Which augmentation.
        launcher: Runs the kernels.
    """

    bound: Bound
    number: int
    launcher: Launcher
    _constants: dict[tuple[str, bytes], Any] = field(default_factory=dict[tuple[str, bytes], Any])

    @property
    def numbers(self) -> range:
        """Which augmentations of the chain."""
        return range(self.number, self.number + 1)

    @property
    def picks(self) -> frozenset[str]:
        """None: all rows are on the device."""
        return frozenset()

    def run(self, columns: Columns, partners: Columns | None, planned: Any, allocate: Allocate) -> Columns:
        """Return the columns that change, as fresh arrays."""
        op: Any = self.bound.chain.ops[self.number]
        states, count = self.bound.states[self.number], len(planned.identity)
        names = tuple(op.columns)
        found = allocate({name: ((count, *states[name].shape), states[name].dtype) for name in names})
        perform = _PERFORM[type(op)]
        for name in names:
            other = None if partners is None else self._whole(partners[name])
            perform(self, planned, states[name], name, (self._whole(columns[name]), other, found[name]))
        if isinstance(op, LabelMixing) and op.label is not None:
            assert partners is not None
            return {**found, **self._labels(op, columns, partners, planned, allocate)}
        return found

    def choose(self, planned: Any, spec: Spec, column: str, arrays: tuple[Any, Any, Any]) -> None:
        """Put in other values, of the partners or the one that is filled in."""
        op: Any = self.bound.chain.ops[self.number]
        own, other, out = arrays
        apart = spec.size
        if isinstance(op, FeatureDropout):
            other, apart = self._constant("fill", np.full(spec.size, op.fill, spec.dtype)), 0
        rates = np.broadcast_to(np.asarray(op.rate, np.float64), (spec.size,)).tolist()
        limits = self._constant("limits", np.array([threshold(rate) for rate in rates], np.uint64))
        self._launch(
            "choose", f"u{8 * spec.dtype.itemsize}", planned, spec,
            (planned.identity, self._key(planned, column), limits, own, other, out),
            (spec.size, apart, self._gate),
        )  # fmt: skip

    def jitter(self, planned: Any, spec: Spec, column: str, arrays: tuple[Any, Any, Any]) -> None:
        """Add noise, or multiply by 1 plus noise."""
        op: Any = self.bound.chain.ops[self.number]
        sigma = np.broadcast_to(np.asarray(op.sigma, np.float64), (spec.size,)).astype(spec.dtype)
        normal = self._constant("normal", normal_table())
        self._launch(
            "jitter", _FLOATS[spec.dtype.name], planned, spec,
            (planned.identity, self._key(planned, column), normal, self._constant("sigma", sigma), arrays[0],
             arrays[2]),
            (spec.size, int(op.multiplicative), self._gate),
        )  # fmt: skip

    def blend(self, planned: Any, spec: Spec, column: str, arrays: tuple[Any, Any, Any]) -> None:
        """Add up shares of samples and partners."""
        kind = _FLOATS.get(spec.dtype.name, "u8")
        self._launch("blend", kind, planned, spec, arrays, (spec.size, self._gate))

    def paste(self, planned: Any, spec: Spec, column: str, arrays: tuple[Any, Any, Any]) -> None:
        """Put boxes of partners in."""
        op: Any = self.bound.chain.ops[self.number]
        height, width = op.sides(spec)
        is_apart, each = len(spec.shape) == 3 and op.layout == "NCHW", spec.size // (height * width)
        planes, item = (each, 1) if is_apart else (1, each)
        sides = (planes, height, width, item, self._gate + _SHARE + 1)
        self._launch("paste", f"u{8 * spec.dtype.itemsize}", planned, spec, arrays, sides)

    def _labels(
        self, op: Any, columns: Columns, partners: Columns, planned: Any, allocate: Allocate
    ) -> Mapping[str, Any]:
        xp, both = self.launcher.xp, (columns[op.label], partners[op.label])
        if op.num_classes is None or both[0].ndim != 1:
            share = planned.params(self.bound.chain.paths[self.number])["lam"]
            return op.mix_labels(xp, columns, partners, share)
        # A class below 0 becomes a large number, and so none.
        own, other = (self._whole(each.astype(np.int64)).view(np.uint64) for each in both)
        count = len(planned.identity)
        soft = allocate({op.label: ((count, op.num_classes), np.float32)})[op.label]
        spec = Spec((op.num_classes,), np.dtype(np.float32))
        self._launch(
            "labels", "u64", planned, spec, (own, other, soft), (op.num_classes, self._gate + _SHARE)
        )
        return {op.label: soft}

    def _launch(
        self,
        name: str,
        kind: str,
        planned: Any,
        spec: Spec,
        arrays: tuple[Any, ...],
        numbers: tuple[int, ...],
    ) -> None:
        count = len(planned.identity)
        rest = int(planned.packed.shape[1]), count
        self.launcher.launch(f"{name}_{kind}", count * spec.size, planned.packed, *arrays, *numbers, *rest)

    @property
    def _gate(self) -> int:
        return int(gate_of(self.bound, self.number))

    def _key(self, planned: Any, column: str) -> Any:
        return self._constant("key", planned.element_keys[self.number, column])

    def _whole(self, array: Any) -> Any:
        return self.launcher.xp.ascontiguousarray(array)

    def _constant(self, name: str, array: NDArray[Any]) -> Any:
        """Return an array on the device, sent once."""
        mark = name, array.tobytes()
        if mark not in self._constants:
            self._constants[mark] = self.launcher.constant(array)
        return self._constants[mark]


_PERFORM: dict[type[Any], Callable[..., None]] = {
    FeatureDropout: DeviceElementStage.choose,
    SwapNoise: DeviceElementStage.choose,
    GaussianJitter: DeviceElementStage.jitter,
    MixUp: DeviceElementStage.blend,
    CutMix: DeviceElementStage.paste,
}


def find_device_element_stage(bound: Bound, number: int, launcher: Launcher) -> DeviceElementStage | None:
    """Return the stage that performs an augmentation of single values; None if it is another one."""
    is_one = type(bound.chain.ops[number]) in _PERFORM
    return DeviceElementStage(bound, number, launcher) if is_one else None
