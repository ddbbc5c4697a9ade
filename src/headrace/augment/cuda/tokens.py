"""The stage of tokens that change where they are, on a device; what moves tokens goes by its reference."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from headrace.augment.chain import Bound
from headrace.augment.cuda.module import Launcher
from headrace.augment.fused.tokens.program import write_options
from headrace.augment.stage import Allocate, Columns
from headrace.augment.tokens.change import TokenReplace
from headrace.augment.tokens.mask import MaskTokens

_KINDS = {"int32": "i32", "int64": "i64"}


@dataclass(frozen=True, eq=False)
class DeviceTokenStage:
    """One augmentation that changes padded tokens where they are.

    Attributes:
        bound: The chain.
        number: Which augmentation.
        launcher: Runs the kernels.
    """

    bound: Bound
    number: int
    launcher: Launcher

    @property
    def numbers(self) -> range:
        """Which augmentations of the chain."""
        return range(self.number, self.number + 1)

    @property
    def picks(self) -> frozenset[str]:
        """None: all rows are on the device."""
        return frozenset()

    @cached_property
    def _options(self) -> Any:
        return self.launcher.constant(write_options(self.bound, self.number, is_ragged=False))

    @cached_property
    def _keys(self) -> dict[bytes, Any]:
        return {}

    def run(self, columns: Columns, partners: Columns | None, planned: Any, allocate: Allocate) -> Columns:
        """Return the columns that change, as fresh arrays."""
        op: Any = self.bound.chain.ops[self.number]
        xp, ids, count = self.launcher.xp, columns[op.ids], len(planned.identity)
        masks, width = isinstance(op, MaskTokens), int(ids.shape[1])
        formats: dict[str, Any] = {op.ids: ((count, width), np.dtype(str(ids.dtype)))}
        if masks:
            formats[op.labels] = (count, width), np.dtype(np.int64)
        found = allocate(formats)
        lengths = self._options if op.lengths is None else columns[op.lengths].astype(np.int64)
        key = planned.element_keys[self.number, op.ids]
        if key.tobytes() not in self._keys:
            self._keys[key.tobytes()] = self.launcher.constant(key)
        self.launcher.launch(
            f"tokens_{_KINDS[str(ids.dtype)]}",
            count * width,
            planned.packed,
            planned.identity,
            self._keys[key.tobytes()],
            self._options,
            xp.ascontiguousarray(lengths),
            xp.ascontiguousarray(ids),
            found[op.ids],
            found[op.labels] if masks else self._options,
            int(masks),
            int(op.lengths is not None),
            len(self._options),
            width,
            int(planned.packed.shape[1]),
            count,
        )
        return found


def find_device_token_stage(bound: Bound, number: int, launcher: Launcher) -> DeviceTokenStage | None:
    """Return the stage that performs an augmentation of tokens; None if it is another one."""
    op: Any = bound.chain.ops[number]
    if type(op) not in (MaskTokens, TokenReplace):
        return None
    spec = bound.states[number][op.ids]
    fits = not spec.is_ragged and spec.dtype.name in _KINDS
    return DeviceTokenStage(bound, number, launcher) if fits else None
