"""Which stage performs what: every augmentation of the package has a compiled one, alone and in a chain."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import augment
from headrace.augment import Augmentation
from headrace.augment.base import describe
from headrace.augment.chain import Chain
from headrace.augment.fused.compile import find_stages

SPECS = {
    "image": describe((32, 32, 3), "uint8"),
    "label": describe((), "int64"),
    "series": describe((50, 4), "float32"),
    "ids": describe((20,), "int64"),
    "features": describe((7,), "float32"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "CenterCrop": {"size": 20},
    "RandomCrop": {"size": 20},
    "RandomResizedCrop": {"size": 20},
    "Resize": {"size": 20},
    "Rotate": {"degrees": 20},
    "Brightness": {"brightness": 0.2},
    "Contrast": {"contrast": 0.2},
    "Saturation": {"saturation": 0.2},
    "Posterize": {"bits": 4},
    "Solarize": {"threshold": 0.5},
    "Normalize": {"mean": 0.5, "std": 0.5},
    "CutMix": {"label": "label", "num_classes": 10},
    "MixUp": {"label": "label", "num_classes": 10},
    "MaskTokens": {"mask_id": 4, "vocab_size": 30},
    "TokenReplace": {"vocab_size": 30},
    "TokenDropout": {"pad_id": 0},
    "RandomWindow": {"size": 9},
}
COLUMNS = {"image": "image", "mixing": "image", "series": "series", "tokens": "ids", "tabular": "features"}


def make(name: str) -> Augmentation:
    """Make the augmentation of a name, for the column that it is meant for."""
    maker = getattr(augment, name)
    column = COLUMNS[maker.__module__.split(".")[2]]
    return maker(column, **OPTIONS.get(name, {}))


NAMES = [
    name
    for name in augment.__all__
    if isinstance(made := getattr(augment, name), type)
    and issubclass(made, Augmentation)
    and made.__module__.split(".")[2] in COLUMNS
]


@pytest.mark.parametrize("name", NAMES)
def test_every_augmentation_has_a_compiled_stage(name: str) -> None:
    """None of the package's own is left to its reference."""
    (stage,) = find_stages(Chain((make(name),)).bind(SPECS))

    assert type(stage).__name__ in ("ImageStage", "SeriesStage", "TokenStage", "TabularStage", "MixingStage")


def test_a_chain_is_split_where_the_kind_changes() -> None:
    """Neighbours of a kind go together, each augmentation once and in order."""
    names = [
        "RandomCrop",
        "HorizontalFlip",
        "Jitter",
        "Reverse",
        "MaskTokens",
        "FeatureDropout",
        "CutMix",
        "MixUp",
    ]
    stages = find_stages(Chain(tuple(make(name) for name in names)).bind(SPECS))

    assert [list(stage.numbers) for stage in stages] == [[0, 1], [2, 3], [4], [5], [6], [7]]


def test_what_no_stage_performs_goes_by_its_reference() -> None:
    """A user's own, between others."""
    own = augment.Lambda("features", lambda columns, draws: columns)
    stages = find_stages(Chain((make("GaussianJitter"), own, make("FeatureDropout"))).bind(SPECS))

    assert [type(stage).__name__ for stage in stages] == ["TabularStage", "ReferenceStage", "TabularStage"]
