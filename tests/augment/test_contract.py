"""Every augmentation keeps the contract that is shipped as `AugmentTests`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace import augment
from headrace.augment import Augmentation
from headrace.testing import AugmentTests
from headrace.testing.augmentations import Columns

COUNT = 24


def image(*shape: int, dtype: str = "uint8") -> dict[str, Any]:
    values = np.random.default_rng(0).integers(0, 256, (COUNT, *shape))
    return {"image": values.astype(dtype) if dtype == "uint8" else (values / 255).astype(dtype)}


def series(dtype: str = "float32") -> dict[str, Any]:
    return {"x": np.random.default_rng(1).standard_normal((COUNT, 20, 3)).astype(dtype)}


def table() -> dict[str, Any]:
    return {"x": np.random.default_rng(2).standard_normal((COUNT, 6)).astype(np.float32)}


def tokens() -> dict[str, Any]:
    return {"tokens": np.random.default_rng(3).integers(5, 100, (COUNT, 16))}


def lists() -> dict[str, Any]:
    lengths = np.random.default_rng(4).integers(1, 12, COUNT)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return {"tokens": hr.Ragged(np.arange(offsets[-1]) % 90 + 5, offsets)}


def labelled() -> dict[str, Any]:
    return {**image(6, 5, 3), "label": np.arange(COUNT) % 3}


IMAGES = [
    (augment.RandomCrop("image", size=(4, 3), padding=1), image(7, 6, 3)),
    (augment.RandomCrop("image", size=4, layout="NCHW"), image(3, 7, 6)),
    (augment.RandomResizedCrop("image", size=5), image(9, 8, 3)),
    (augment.HorizontalFlip("image"), image(5, 4, 3)),
    (augment.VerticalFlip("image", layout="NCHW"), image(3, 5, 4, dtype="float32")),
    (augment.Rot90("image"), image(5, 5, 1)),
    (augment.Rotate("image", degrees=30), image(7, 6, 3)),
    (augment.Brightness("image"), image(5, 4, 3)),
    (augment.Contrast("image"), image(5, 4, 3)),
    (augment.Gamma("image"), image(5, 4, 3)),
    (augment.Saturation("image"), image(5, 4, 3)),
    (augment.Invert("image", p=0.5), image(5, 4, 3)),
    (augment.Posterize("image", bits=3), image(5, 4, 3)),
    (augment.Solarize("image", p=0.5), image(5, 4, 3)),
    (augment.Grayscale("image", p=0.5), image(5, 4, 3)),
    (augment.GaussianNoise("image"), image(5, 4, 3)),
    (augment.RandomErasing("image"), image(9, 8, 3)),
    (augment.Cutout("image"), image(9, 8, 3)),
]
SERIES = [
    (augment.Jitter("x"), series()),
    (augment.Scaling("x"), series("float64")),
    (augment.TimeWarp("x"), series()),
    (augment.WindowSlice("x"), series()),
    (augment.Permutation("x"), series()),
    (augment.Shift("x"), series()),
    (augment.Reverse("x"), series()),
    (augment.TimeMask("x"), series()),
    (augment.FrequencyMask("x"), series()),
]
TABLES = [
    (augment.SwapNoise("x"), table()),
    (augment.FeatureDropout("x", p=1.0), table()),
    (augment.GaussianJitter("x"), table()),
]
TOKENS = [
    (augment.MaskTokens("tokens", mask_id=1, vocab_size=100), tokens()),
    (augment.TokenDropout("tokens"), lists()),
    (augment.TokenReplace("tokens", vocab_size=100), tokens()),
    (augment.RandomWindow("tokens", size=6), tokens()),
]
MIXES = [
    (augment.MixUp("image", label="label", num_classes=3), labelled()),
    (augment.CutMix("image", label="label", num_classes=3), labelled()),
]
CASES = [*IMAGES, *SERIES, *TABLES, *TOKENS, *MIXES]


def name_of(case: Any) -> str:
    return type(case[0]).__name__


class TestEveryAugmentation(AugmentTests):
    @pytest.fixture(params=CASES, ids=name_of)
    def case(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    @pytest.fixture
    def augmentation(self, case: Any) -> Augmentation:
        return case[0]

    @pytest.fixture
    def columns(self, case: Any) -> Columns:
        return case[1]


class CertainTests(AugmentTests):
    """Those that draw nothing."""

    is_random = False


class TestResize(CertainTests):
    @pytest.fixture
    def augmentation(self) -> Augmentation:
        return augment.Resize("image", size=(4, 6))

    @pytest.fixture
    def columns(self) -> Columns:
        return image(7, 5, 3)


class TestCenterCrop(CertainTests):
    @pytest.fixture
    def augmentation(self) -> Augmentation:
        return augment.CenterCrop("image", size=3)

    @pytest.fixture
    def columns(self) -> Columns:
        return image(7, 5, 3)


class TestNormalize(CertainTests):
    @pytest.fixture
    def augmentation(self) -> Augmentation:
        return augment.Normalize("image", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))

    @pytest.fixture
    def columns(self) -> Columns:
        return image(7, 5, 3)


class TestLambda(AugmentTests):
    @pytest.fixture
    def augmentation(self) -> Augmentation:
        return augment.Lambda("x", _shift)

    @pytest.fixture
    def columns(self) -> Columns:
        return table()


def _shift(columns: Columns, draws: Any) -> Columns:
    return {"x": columns["x"] + draws.uniform("shift")[:, None]}


def test_every_augmentation_is_here() -> None:
    """A new one gets its case on purpose."""
    kept = {name_of(case) for case in CASES} | {"Resize", "CenterCrop", "Normalize", "Lambda"}
    no_augmentations = {"Augmentation", "Mixing", "Noise", "Spec", "LambdaDraws", "preview"}

    assert kept == set(augment.__all__) - no_augmentations
