"""The compiled stage of mixes gives the bytes of the references, labels too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stage_checks import allocate, check_stage

from headrace.augment import CutMix, MixUp
from headrace.augment.base import Spec
from headrace.augment.chain import Chain
from headrace.augment.fused.mixing.stage import find_mixing_stage
from headrace.draws import Draws, Samples
from headrace.errors import SchemaError

SHAPES = [(6, 5, 4, 3), (6, 3, 4), (1, 1, 1, 1), (0, 4, 4, 3)]


def pair(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Samples and partners: images, and labels of three kinds."""

    def one() -> dict[str, NDArray[Any]]:
        shares = rng.random((shape[0], 4)).astype(np.float32)
        image: NDArray[Any] = (rng.random(shape) * 255).astype(dtype)
        return {"image": image, "label": rng.integers(0, 4, shape[0]), "shares": shares}

    return one(), one()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_mixes_are_those_of_the_references(shape: tuple[int, ...], dtype: str) -> None:
    """Both mixes, both layouts, labels as classes, as pairs and as shares."""
    rng = np.random.default_rng(0)
    labels: list[dict[str, Any]] = [
        {},
        {"label": "label", "num_classes": 4},
        {"label": "label"},
        {"label": "shares"},
    ]
    for number, options in enumerate(labels):
        columns, partners = pair(rng, shape, dtype)
        for p in (1.0, 0.5):
            some: dict[str, Any] = {**options, "p": p}
            check_stage(find_mixing_stage, [MixUp("image", **some)], columns, number, partners)
            for layout in ("NHWC", "NCHW"):
                cut = CutMix("image", layout=layout, **some)
                check_stage(find_mixing_stage, [cut], columns, number, partners)


def test_integers_of_any_size_are_cut() -> None:
    """Pixels move, whatever they are."""
    for dtype in ("uint16", "int64"):
        columns, partners = pair(np.random.default_rng(3), (5, 6, 7), dtype)
        check_stage(find_mixing_stage, [CutMix("image", alpha=5.0)], columns, 0, partners)


def test_samples_that_the_gate_leaves_out_keep_their_bits() -> None:
    """Infinite partners and negative zeros have no part in them."""
    x = np.array([[-0.0, np.inf, np.nan, 1.0]] * 3, np.float32)
    partners = {"x": np.full_like(x, np.inf)}
    for p in (0.0, 0.5):
        check_stage(find_mixing_stage, [MixUp("x", p=p)], {"x": x}, 1, partners)


def test_labels_that_are_no_classes_are_refused() -> None:
    """As by the reference: the message shows the label."""
    columns, partners = pair(np.random.default_rng(0), (5, 4, 4), "uint8")
    partners["label"][3] = 9

    op = MixUp("image", label="label", num_classes=4)
    stage = find_mixing_stage(Chain((op,)).bind({name: Spec.of(each) for name, each in columns.items()}), 0)
    assert stage is not None
    planned = stage.bound.plan(Draws(0), Samples(np.arange(5)))

    with pytest.raises(SchemaError, match=r"classes from 0 to 3.*got 9 in sample 3"):
        stage.run(columns, partners, planned, allocate)
