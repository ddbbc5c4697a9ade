"""Chooses how a chain is performed on a CUDA device, and what was drawn for a batch, as arrays on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from headrace.augment.chain import Bound
from headrace.augment.cuda.elements import find_device_element_stage
from headrace.augment.cuda.images import DeviceImageStage
from headrace.augment.cuda.module import Launcher
from headrace.augment.cuda.series import find_device_series_stage
from headrace.augment.cuda.tokens import find_device_token_stage
from headrace.augment.fused.image.stage import find_image_stage
from headrace.augment.stage import ReferenceStage, Stage


@dataclass(frozen=True, eq=False, slots=True)
class DevicePlanned:
    """What was drawn for a batch; other than `Planned`, its arrays are on a device.

    Attributes:
        dtype: Of the records.
        packed: The records, int32 of shape [n, fields].
        identity: See `Draws.identity`.
        element_keys: See `Planned`; on the host.
    """

    dtype: np.dtype[Any]
    packed: Any
    identity: Any
    element_keys: Mapping[Any, Any]

    def params(self, path: str) -> dict[str, Any]:
        """The parameters of one augmentation, field to array of shape [n, ...]."""
        own, begin = cast("Any", self.dtype.fields)[path][:2]
        found: dict[str, Any] = {}
        for name, (kind, place, *_) in (own.fields or {}).items():
            first = (begin + place) // 4
            words = self.packed[:, first : first + math.prod(kind.shape)]
            found[name] = words.view(kind.base).reshape(len(words), *kind.shape)
        return found


def device_stages(bound: Bound, launcher: Launcher) -> tuple[Stage, ...]:
    """Split a chain into stages; what no kernel performs goes by its reference."""
    stages: list[Stage] = []
    number = 0
    while number < len(bound.chain.ops):
        images = find_image_stage(bound, number)
        series = find_device_series_stage(bound, number, launcher)
        if images is not None:
            stages.append(DeviceImageStage(images.numbers, images.programs, launcher))
        else:
            single = find_device_element_stage(bound, number, launcher)
            single = single or find_device_token_stage(bound, number, launcher)
            stages.append(series or single or ReferenceStage(bound, number, launcher.xp))
        number = stages[-1].numbers.stop
    return tuple(stages)
