"""Options and columns that cannot be right are refused by name before anything runs."""

from __future__ import annotations

import image_loops as loops
import numpy as np
import pytest

import headrace as hr

COLOUR = np.zeros((2, 6, 8, 3), np.uint8)
GRAY = np.zeros((2, 6, 8), np.uint8)
FLOATS = np.zeros((2, 6, 8, 3), np.float32)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (hr.augment.RandomCrop, {"size": 0}, r"RandomCrop: `size` must be .*, got 0"),
        (hr.augment.RandomCrop, {"size": (1, 2, 3)}, r"`size` must be .*\(1, 2, 3\)"),
        (hr.augment.RandomCrop, {"size": True}, r"`size`"),
        (hr.augment.RandomCrop, {"size": 2, "padding": -1}, r"`padding` must be .*got -1"),
        (hr.augment.RandomCrop, {"size": 2, "padding": (1, 2, 3)}, r"`padding` must be .*\(1, 2, 3\)"),
        (hr.augment.RandomCrop, {"size": 2, "padding": "a"}, r"`padding`"),
        (hr.augment.RandomCrop, {"size": 2, "fill": "black"}, r"`fill` must be a number .*'black'"),
        (hr.augment.CenterCrop, {"size": 2.5}, r"CenterCrop: `size`"),
        (hr.augment.Resize, {"size": -3}, r"Resize: `size`"),
        (hr.augment.Resize, {"size": 3, "interpolation": "bicubic"}, r"`interpolation` must be .*'bicubic'"),
        (hr.augment.Resize, {"size": 3, "interpolation": ("nearest",) * 2}, r"each of 1 columns"),
        (hr.augment.RandomResizedCrop, {"size": 3, "scale": 0.5}, r"`scale` must be a pair"),
        (hr.augment.RandomResizedCrop, {"size": 3, "scale": (0.5, 2)}, r"`scale` must be .*0 to 1"),
        (hr.augment.RandomResizedCrop, {"size": 3, "ratio": (2, 1)}, r"`ratio`"),
        (hr.augment.Rotate, {"degrees": 700}, r"`degrees` must be .*-360 to 360"),
        (hr.augment.Rotate, {"degrees": (1, 2, 3)}, r"`degrees`"),
        (hr.augment.Rotate, {"degrees": 30, "interpolation": "cubic"}, r"`interpolation`"),
        (hr.augment.Rot90, {"k": ()}, r"`k` must be a whole number or several, got \(\)"),
        (hr.augment.Rot90, {"k": (0.5,)}, r"`k`"),
        (hr.augment.Brightness, {"brightness": -0.1}, r"Brightness: `brightness` must be .*got -0.1"),
        (hr.augment.Contrast, {"contrast": (0.5, 1000)}, r"`contrast` must be .*0 to 100"),
        (hr.augment.Saturation, {"saturation": (1.5, 0.5)}, r"`saturation`"),
        (hr.augment.Saturation, {"saturation": float("nan")}, r"`saturation`"),
        (hr.augment.Gamma, {"gamma": 0}, r"`gamma` must be a number from 0.1 to 10"),
        (hr.augment.Posterize, {"bits": 9}, r"`bits` must be a whole number from 1 to 8.*got 9"),
        (hr.augment.Posterize, {"bits": (4, 2)}, r"`bits`"),
        (hr.augment.Solarize, {"threshold": 256}, r"`threshold` must be a number from 0 to 255.*got 256"),
        (hr.augment.GaussianNoise, {"sigma": -1}, r"`sigma`"),
        (hr.augment.GaussianNoise, {"mean": "0"}, r"`mean` must be a number"),
        (hr.augment.RandomErasing, {"scale": (-0.1, 0.5)}, r"`scale`"),
        (hr.augment.RandomErasing, {"value": "random"}, r"`value` must be a number .*'random'"),
        (hr.augment.Cutout, {"holes": 0}, r"`holes` must be a whole number from 1 to 64"),
        (hr.augment.Cutout, {"size": 1.5}, r"`size` must be a number from 0 to 1"),
        (hr.augment.Normalize, {"mean": 0.5, "std": 0}, r"`std` must be a number other than 0 .*got 0"),
        (hr.augment.Normalize, {"mean": (), "std": 1}, r"`mean`"),
        (hr.augment.Normalize, {"mean": 0, "std": 1, "dtype": "int8"}, r"`dtype` must be .*'int8'"),
        (hr.augment.Normalize, {"mean": 0, "std": 1, "to_layout": "CHW"}, r"`to_layout`"),
        (hr.augment.Normalize, {"mean": 0, "std": 1, "p": 0.5}, r"`p` must be 1, got 0.5"),
        (hr.augment.Invert, {"layout": "HWC"}, r"`layout` must be"),
        (hr.augment.Invert, {"p": 2}, r"`p` must be a probability"),
    ],
)
def test_options_that_cannot_be_right(kind, options, message) -> None:
    """The message names the augmentation's option, says what must hold and shows what was given."""
    with pytest.raises(hr.OptionError, match=message):
        kind("image", **options)


@pytest.mark.parametrize(
    ("op", "column", "message"),
    [
        (
            hr.augment.RandomCrop("image", 7),
            COLOUR,
            r"padded, at least 7 x 7 \(or set `pad_if_needed=True`\)",
        ),
        (hr.augment.RandomCrop("image", (6, 8), layout="NCHW"), COLOUR, r"at least 6 x 8"),
        (hr.augment.RandomCrop("image", 2, fill=(1, 2)), COLOUR, r"images of 2 channels"),
        (hr.augment.RandomCrop("image", 2, fill=256), COLOUR, r"a dtype that can be 256"),
        (hr.augment.RandomCrop("image", 2, fill=0.5), COLOUR, r"a dtype that can be 0.5"),
        (hr.augment.RandomErasing("image", value=-1), COLOUR, r"a dtype that can be -1"),
        (hr.augment.Cutout("image", fill=(1, 2)), GRAY, r"images of 2 channels"),
        (hr.augment.Rot90("image"), COLOUR, r"images as high as wide \(or set `k=\(0, 2\)`\)"),
        (hr.augment.Saturation("image"), GRAY, r"images of 3 channels"),
        (
            hr.augment.Saturation("image", layout="NCHW"),
            COLOUR,
            r"images of 3 channels \(`layout` is 'NCHW'\)",
        ),
        (hr.augment.Grayscale("image"), GRAY, r"images of 3 channels"),
        (hr.augment.Contrast("image"), COLOUR[..., :2], r"images of 1 or 3 channels"),
        (hr.augment.Normalize("image", (1, 2), 1), COLOUR, r"images of 2 channels, as many as `mean` has"),
        (hr.augment.Normalize("image", 1, (1, 2)), COLOUR, r"images of 2 channels, as many as `std` has"),
        (hr.augment.Brightness("image"), COLOUR.astype(np.int32), r"uint8 or floats .*got int32 of shape"),
        (hr.augment.Resize("image", 3), COLOUR.astype(np.int64), r"uint8 or floats"),
        (hr.augment.RandomCrop("image", 3), COLOUR.astype("U1"), r"images, numbers of shape"),
        (hr.augment.HorizontalFlip("image"), COLOUR[0, 0], r"images, numbers of shape \[n, H, W, C\]"),
        (hr.augment.Invert("image"), COLOUR[:, :0], r"images"),
    ],
)
def test_columns_that_cannot_be_right(op, column, message) -> None:
    """The message names augmentation and column, says what must hold and what was got."""
    with pytest.raises(hr.SchemaError, match=rf"^{type(op).__name__}: column `image` must hold .*{message}"):
        loops.plan(op, {"image": column})


def test_columns_of_different_sides_cannot_move_alike() -> None:
    """An image and a mask of another size have no window in common."""
    with pytest.raises(
        hr.SchemaError, match=r"column `mask` must hold images of 6 x 8 as column `image` does"
    ):
        loops.plan(hr.augment.HorizontalFlip(("image", "mask")), {"image": COLOUR, "mask": GRAY[:, :5]})


def test_floats_take_any_fill_value() -> None:
    """What whole numbers cannot hold, floats can."""
    op = hr.augment.CenterCrop("image", 10, fill=-0.5)
    assert loops.run(op, {"image": FLOATS})["image"].min() == -0.5
