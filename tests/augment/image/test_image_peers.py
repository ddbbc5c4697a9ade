"""The same values as Pillow and torch, where they define an operation the same way."""

from __future__ import annotations

import image_loops as loops
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

import headrace as hr

IMAGES = loops.pixels("uint8", (6, 23, 31, 3), seed=5)
SIZES = [(9, 40), (46, 7), (23, 10), (50, 31), (1, 1), (60, 80)]


def by_pillow(change) -> np.ndarray:
    """Change all images by Pillow, one by one."""
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in IMAGES])


def ours(op) -> np.ndarray:
    return loops.run(op, {"image": IMAGES})["image"]


def apart(left: np.ndarray, right: np.ndarray) -> int:
    """How far two arrays of bytes are apart at most."""
    return int(np.abs(left.astype(int) - right.astype(int)).max())


@pytest.mark.parametrize("size", SIZES)
def test_resize_is_pillows(size) -> None:
    """Bytes equal Pillow's, width first; Pillow itself may take the height first, then one is off by one."""
    bilinear = Image.Resampling.BILINEAR
    found = ours(hr.augment.Resize("image", size))

    in_two = by_pillow(lambda image: image.resize((size[1], 23), bilinear).resize(size[::-1], bilinear))
    np.testing.assert_array_equal(found, in_two)
    assert apart(found, by_pillow(lambda image: image.resize(size[::-1], bilinear))) <= 1


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [size for size in SIZES if size[1] > 1])
def test_resize_is_torchs(size, antialias) -> None:
    """Floats equal torch's to their last digits, bytes to one; but torch errs where the width becomes 1."""
    images = IMAGES / 255
    options = {"size": size, "mode": "bilinear", "antialias": antialias, "align_corners": False}
    op = hr.augment.Resize("image", size, antialias=antialias)
    for column, within in ((images, 1e-12), (images.astype(np.float32), 1e-5), (IMAGES, 1)):
        tensor = torch.from_numpy(np.ascontiguousarray(column.transpose(0, 3, 1, 2)))
        expected = torch.nn.functional.interpolate(tensor, **options).numpy().transpose(0, 2, 3, 1)
        found = loops.run(op, {"image": column})["image"]
        assert np.abs(found.astype(np.float64) - expected).max() <= within


def test_nearest_is_torchs_nearest_exact() -> None:
    """The pixel that holds the centre, where no centre lies on a border between two."""
    tensor = torch.from_numpy(np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)))
    for size in ((9, 40), (50, 7), (1, 1)):
        expected = torch.nn.functional.interpolate(tensor, size, mode="nearest-exact").numpy()
        found = ours(hr.augment.Resize("image", size, "nearest"))
        np.testing.assert_array_equal(found, expected.transpose(0, 2, 3, 1))


def test_resized_crop_is_pillows() -> None:
    """The window is cut out first, then resized: nothing of its surroundings enters."""
    op = hr.augment.RandomResizedCrop("image", (12, 14))
    params = loops.params_of(op, {"image": IMAGES})
    found = ours(op)
    for number, image in enumerate(IMAGES):
        top, left, height, width = (int(params[name][number]) for name in ("top", "left", "height", "width"))
        window = Image.fromarray(image).crop((left, top, left + width, top + height))
        across = window.resize((14, height), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(
            found[number], np.asarray(across.resize((14, 12), Image.Resampling.BILINEAR))
        )


@pytest.mark.parametrize("angle", [-170.0, -45.0, 10.0, 30.0, 90.5])
def test_rotation_is_pillows(angle) -> None:
    """Nearest pixels are Pillow's but for those whose source lies on a border between two."""
    found = ours(hr.augment.Rotate("image", (angle, angle)))
    expected = by_pillow(lambda image: image.rotate(angle, Image.Resampling.NEAREST))

    assert (found != expected).any(axis=3).mean() < 0.01


def test_bits_thresholds_and_inversion_are_pillows() -> None:
    """Bytes equal Pillow's."""
    for bits in range(1, 9):
        expected = by_pillow(lambda image, bits=bits: ImageOps.posterize(image, bits))
        np.testing.assert_array_equal(ours(hr.augment.Posterize("image", bits, p=1)), expected)
    np.testing.assert_array_equal(ours(hr.augment.Solarize("image", p=1)), by_pillow(ImageOps.solarize))
    np.testing.assert_array_equal(ours(hr.augment.Invert("image", p=1)), by_pillow(ImageOps.invert))


def test_gray_is_pillows() -> None:
    """Bytes equal Pillow's mode L."""
    expected = by_pillow(lambda image: image.convert("L").convert("RGB"))

    np.testing.assert_array_equal(ours(hr.augment.Grayscale("image", p=1)), expected)


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.7, 4.0])
@pytest.mark.parametrize(
    ("kind", "peer"),
    [
        (hr.augment.Brightness, ImageEnhance.Brightness),
        (hr.augment.Contrast, ImageEnhance.Contrast),
        (hr.augment.Saturation, ImageEnhance.Color),
    ],
)
def test_factors_are_pillows(kind, peer, factor) -> None:
    """Pillow cuts where we round, so its bytes are ours or one less."""
    found = ours(kind("image", (factor, factor)))
    expected = by_pillow(lambda image: peer(image).enhance(factor))

    assert set(np.unique(found.astype(int) - expected).tolist()) <= {0, 1}
