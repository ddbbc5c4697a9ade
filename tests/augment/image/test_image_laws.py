"""What holds for every augmentation of images, whatever it does."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import array_api_strict
import image_loops as loops
import numpy as np
import pytest

import headrace as hr
from headrace.augment import Augmentation

Make = Callable[..., Augmentation]

CHANGES: dict[str, Make] = {  # keep height, width and dtype
    "brightness": lambda **how: hr.augment.Brightness("image", 0.5, **how),
    "contrast": lambda **how: hr.augment.Contrast("image", 0.5, **how),
    "saturation": lambda **how: hr.augment.Saturation("image", 0.5, **how),
    "gamma": lambda **how: hr.augment.Gamma("image", (0.5, 2.0), **how),
    "invert": lambda **how: hr.augment.Invert("image", **how),
    "posterize": lambda **how: hr.augment.Posterize("image", (1, 6), **how),
    "solarize": lambda **how: hr.augment.Solarize("image", (0.1, 0.9), **how),
    "grayscale": lambda **how: hr.augment.Grayscale("image", **how),
    "noise": lambda **how: hr.augment.GaussianNoise("image", 0.1, (0.1, 0.3), **how),
    "erasing": lambda **how: hr.augment.RandomErasing("image", value=1, **how),
    "cutout": lambda **how: hr.augment.Cutout("image", (1, 3), fill=1, **how),
    "horizontal flip": lambda **how: hr.augment.HorizontalFlip("image", **how),
    "vertical flip": lambda **how: hr.augment.VerticalFlip("image", **how),
    "quarter turns": lambda **how: hr.augment.Rot90("image", (1, 2, 3), **how),
    "rotate": lambda **how: hr.augment.Rotate("image", 50, fill=1, **how),
    "rotate bilinear": lambda **how: hr.augment.Rotate("image", 50, "bilinear", fill=1, **how),
}
RESHAPES: dict[str, Make] = {
    "crop": lambda **how: hr.augment.RandomCrop("image", (5, 4), padding=2, fill=1, **how),
    "centre crop": lambda **how: hr.augment.CenterCrop("image", (3, 9), **how),
    "resize": lambda **how: hr.augment.Resize("image", (5, 9), **how),
    "resize without antialias": lambda **how: hr.augment.Resize("image", (3, 4), antialias=False, **how),
    "resize nearest": lambda **how: hr.augment.Resize("image", (5, 9), "nearest", **how),
    "resized crop": lambda **how: hr.augment.RandomResizedCrop("image", 5, **how),
    "normalize": lambda **how: hr.augment.Normalize("image", 0.5, 0.25, **how),
    "normalize and transpose": lambda **how: hr.augment.Normalize(
        "image", 0.5, 0.25, to_layout="NCHW", **how
    ),
}
ALL = CHANGES | RESHAPES
NEED_COLOUR = {"saturation", "grayscale"}
LAYOUTS = ["NHWC", "NCHW"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("name", ALL)
def test_reference_needs_the_array_api_alone(name, dtype, layout) -> None:
    """A library that has nothing but the standard gives the same bits as NumPy."""
    op = ALL[name](layout=layout)
    column = {"image": loops.swap_layout(loops.pixels(dtype, (6, 7, 7, 3)), layout)}
    found, strict = loops.run(op, column)["image"], loops.run(op, column, xp=array_api_strict)["image"]

    assert found.tobytes() == strict.tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "float16"])
@pytest.mark.parametrize("name", CHANGES)
def test_sample_that_is_let_alone_keeps_every_bit(name, dtype) -> None:
    """With p=0 nothing changes: neither NaN, infinities and negative zeros, nor what lies outside of 0..1."""
    column = loops.pixels(dtype, (4, 6, 6, 3))
    if dtype != "uint8":
        column.ravel()[:6] = [np.nan, np.inf, -np.inf, -0.0, -5, 7]
    found = loops.run(CHANGES[name](p=0), {"image": column})["image"]

    assert found.tobytes() == column.tobytes()


@pytest.mark.parametrize("name", CHANGES)
def test_gate_lets_some_samples_alone(name) -> None:
    """With p=0.5 those samples change whose gate is open, as they do with p=1, and no others."""
    column = loops.pixels("uint8", (40, 6, 6, 3))
    some, every = CHANGES[name](p=0.5, name="op"), CHANGES[name](p=1, name="op")
    applied = loops.params_of(some, {"image": column})["applied"] != 0
    found, full = (loops.run(op, {"image": column})["image"] for op in (some, every))

    assert 8 < applied.sum() < 32
    np.testing.assert_array_equal(found[applied], full[applied])
    np.testing.assert_array_equal(found[~applied], column[~applied])


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"rotate", "rotate bilinear"}))
def test_sample_that_is_not_let_alone_changes(name) -> None:
    """With p=1 nearly all samples change: an augmentation that does nothing is caught."""
    column = loops.pixels("uint8", (40, 9, 9, 3))
    found = loops.run(CHANGES[name](p=1), {"image": column})["image"]

    assert sum(not np.array_equal(one, other) for one, other in zip(found, column, strict=True)) > 35


@pytest.mark.parametrize("name", ALL)
def test_layouts_agree(name) -> None:
    """Images in NCHW come out as those in NHWC, noise aside, which counts values as they lie."""
    column = loops.pixels("float32", (5, 8, 8, 3))
    there = loops.run(ALL[name](layout="NHWC"), {"image": column})["image"]
    here = loops.run(ALL[name](layout="NCHW"), {"image": loops.swap_layout(column, "NCHW")})["image"]

    if name == "noise":
        assert here.std() == pytest.approx(there.std(), rel=0.1)
    else:
        np.testing.assert_array_equal(
            here, there if "transpose" in name else loops.swap_layout(there, "NCHW")
        )


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("name", sorted(set(ALL) - NEED_COLOUR - {"normalize and transpose"}))
def test_images_without_channels_are_images_of_one(name, dtype) -> None:
    """[n, height, width] comes out as [n, height, width, 1] does, without the last axis."""
    column = loops.pixels(dtype, (5, 8, 8))
    for layout, axis in (("NHWC", 3), ("NCHW", 1)):
        flat = loops.run(ALL[name](layout=layout), {"image": column})["image"]
        full = loops.run(ALL[name](layout=layout), {"image": np.expand_dims(column, axis)})["image"]
        np.testing.assert_array_equal(flat, np.squeeze(full, axis))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("name", sorted(set(ALL) - NEED_COLOUR))
def test_one_pixel_and_no_samples(name, dtype) -> None:
    """An image of one pixel and a batch of no samples are no special cases."""
    for shape in ((3, 1, 1, 1), (0, 6, 6, 1), (0, 6, 6)):
        column = loops.pixels(dtype, shape)
        make = ALL[name] if name != "crop" else lambda: hr.augment.RandomCrop("image", 4, pad_if_needed=True)
        assert len(loops.run(make(), {"image": column})["image"]) == shape[0]


@pytest.mark.parametrize("name", ALL)
def test_columns_of_one_augmentation_change_alike(name) -> None:
    """Two equal columns stay equal: they share what was drawn. Their noise alone is their own."""
    column: Any = loops.pixels("uint8", (5, 8, 8, 3))
    found = loops.run(replace(ALL[name](), columns=("a", "b")), {"a": column, "b": column})

    assert np.array_equal(found["a"], found["b"]) == (name != "noise")


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"erasing", "cutout", "rotate", "rotate bilinear"}))
def test_nan_never_becomes_a_number(name) -> None:
    """NaN stays NaN wherever it is not covered or moved out of the image."""
    column = np.full((3, 5, 5, 3), np.nan, np.float32)

    assert np.isnan(loops.run(CHANGES[name](p=1), {"image": column})["image"]).all()


@pytest.mark.parametrize("name", ALL)
def test_augmentations_survive_pickling(name) -> None:
    """What comes back from a pickle is equal, so that processes may share a chain."""
    op = ALL[name]()

    assert pickle.loads(pickle.dumps(op)) == op


def test_lists_and_arrays_are_taken_for_tuples() -> None:
    """Options may come as lists, arrays or NumPy's numbers; changing those later changes nothing."""
    mean, std = [0.25, 0.5, 0.75], np.array([0.5, 0.25, 0.125])
    op = hr.augment.Normalize("image", mean, std)
    mean[0], std[0] = 7, 7

    assert op == hr.augment.Normalize("image", (0.25, 0.5, 0.75), (0.5, 0.25, 0.125))
    assert hr.augment.Brightness("image", np.float32(0.5)) == hr.augment.Brightness("image", 0.5)
    assert hr.augment.RandomCrop("image", [4, 5], [1, 2]) == hr.augment.RandomCrop("image", (4, 5), (1, 2))
