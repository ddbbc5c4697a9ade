"""Chooses how a chain is performed on the CPU: in runs of augmentations that one compiled stage performs."""

from __future__ import annotations

from headrace.augment.chain import Bound
from headrace.augment.fused.image.stage import find_image_stage
from headrace.augment.fused.mixing.stage import find_mixing_stage
from headrace.augment.fused.series.stage import find_series_stage
from headrace.augment.fused.tabular.stage import find_tabular_stage
from headrace.augment.fused.tokens.stage import find_token_stage
from headrace.augment.stage import ReferenceStage, Stage

_FINDERS = (find_image_stage, find_series_stage, find_token_stage, find_tabular_stage, find_mixing_stage)
"""Each returns the stage that performs as many augmentations as it can from one on; None if it can none."""


def find_stages(bound: Bound) -> tuple[Stage, ...]:
    """Split a chain into stages; what no compiled stage performs goes by its reference."""
    stages: list[Stage] = []
    number = 0
    while number < len(bound.chain.ops):
        found = [stage for find in _FINDERS if (stage := find(bound, number)) is not None]
        stages.append(max(found, key=lambda stage: len(stage.numbers), default=ReferenceStage(bound, number)))
        number = stages[-1].numbers.stop
    return tuple(stages)
