"""What moves pixels: crops, flips, turns, rotations and resizing, beside plain loops."""

from __future__ import annotations

import image_loops as loops
import numpy as np
import pytest

from headrace.augment import (
    CenterCrop,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    Rot90,
    Rotate,
    VerticalFlip,
)

DTYPES = ["uint8", "float32", "float64", "float16"]
LAYOUTS = ["NHWC", "NCHW"]
SHAPES = [(1, 1, 1), (5, 8, 3), (7, 7, 1), (1, 6, 2), (9, 4, 3)]


def check(op, column, expected, seed=0):
    """Compare a column in layout NHWC with its oracle, bit by bit, in the layout of the augmentation."""
    found = loops.run(op, {"image": loops.swap_layout(column, op.layout)}, seed)["image"]

    np.testing.assert_array_equal(found, loops.swap_layout(expected, op.layout))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "bool"])
@pytest.mark.parametrize("shape", SHAPES)
def test_random_crop_takes_what_lies_there(shape, dtype, layout) -> None:
    """Each pixel of the window is that of the image, or the fill value outside of it."""
    column = loops.pixels(dtype, (12, *shape))
    plain = RandomCrop("image", (4, 5), padding=(3, 2), pad_if_needed=True, fill=1)
    expected = loops.loop(plain, column, lambda image, params: loops.crop(image, params, (4, 5), 1))

    check(RandomCrop("image", (4, 5), plain.padding, True, 1, layout=layout), column, expected)


@pytest.mark.parametrize("size", [1, 2, (3, 4), (9, 9), (2, 11)])
@pytest.mark.parametrize("shape", SHAPES)
def test_centre_crop_takes_the_centre(shape, size) -> None:
    """The window lies in the centre, at most half a pixel off; what is missing is filled evenly."""
    op, column = CenterCrop("image", size, fill=7), loops.pixels("uint8", (2, *shape))
    sides = (size, size) if isinstance(size, int) else size
    check(op, column, loops.loop(op, column, lambda image, params: loops.crop(image, params, sides, 7)))

    params = loops.params_of(op, {"image": column})
    for name, side, count in (("top", shape[0], sides[0]), ("left", shape[1], sides[1])):
        assert abs(params[name][0] + count / 2 - side / 2) <= 0.5


def test_several_fill_values_fill_their_channels() -> None:
    """One value for each channel goes to that channel, in both layouts."""
    column = loops.pixels("uint8", (1, 2, 2, 3))
    for layout in LAYOUTS:
        op = CenterCrop("image", 4, fill=(1, 2, 3), layout=layout)
        found = loops.run(op, {"image": loops.swap_layout(column, layout)})["image"][0]
        corner = found[0, 0] if layout == "NHWC" else found[:, 0, 0]
        assert corner.tolist() == [1, 2, 3]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [*DTYPES, "int32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_flips(shape, dtype, layout) -> None:
    """Half of the images are mirrored, the others stay."""
    column = loops.pixels(dtype, (12, *shape))
    for kind, axis in ((HorizontalFlip, 1), (VerticalFlip, 0)):
        expected = loops.loop(
            kind("image"),
            column,
            lambda image, params, axis=axis: np.flip(image, axis) if params["flip"] else image,
        )
        check(kind("image", layout=layout), column, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [*SHAPES, (6, 6, 3)])
def test_quarter_turns(shape, layout) -> None:
    """As many quarter turns as drawn, counter-clockwise as by NumPy; half turns alone if not square."""
    column = loops.pixels("uint8", (20, *shape))
    k = (0, 1, 2, 3) if shape[0] == shape[1] else (0, 2)
    expected = loops.loop(Rot90("image", k), column, lambda image, params: np.rot90(image, params["k"]))

    check(Rot90("image", k, layout=layout), column, expected)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_rotate(shape, dtype, mode) -> None:
    """Each pixel comes from where the angle says, in exact fractions of what was drawn."""
    column, plain = loops.pixels(dtype, (5, *shape)), Rotate("image", 180, mode, fill=1)
    expected = loops.loop(plain, column, lambda image, params: loops.rotate(image, params, mode, 1))

    for layout in LAYOUTS:
        check(Rotate("image", 180, mode, fill=1, layout=layout), column, expected)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_rotation_by_right_angles_is_a_quarter_turn(mode) -> None:
    """At 90 degrees and its multiples nothing is blended."""
    column = loops.pixels("uint8", (3, 8, 8, 3))
    for turns in range(-3, 5):
        found = loops.run(Rotate("image", (90 * turns, 90 * turns), mode), {"image": column})["image"]
        np.testing.assert_array_equal(found, np.rot90(column, turns, axes=(1, 2)))


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (13, 2, 1)])
def test_resize(shape, dtype, antialias) -> None:
    """Each pixel is the weighted mean of those under the triangle, with weights from exact fractions."""
    column = loops.pixels(dtype, (2, *shape))
    for size in ((1, 1), (3, 12), (6, 2)):
        plain = Resize("image", size, antialias=antialias)
        expected = loops.loop(
            plain, column, lambda image, params, size=size: loops.resize(image, params, size, antialias)
        )
        for layout in LAYOUTS:
            check(Resize("image", size, antialias=antialias, layout=layout), column, expected)


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "bool"])
@pytest.mark.parametrize("shape", SHAPES)
def test_resize_nearest(shape, dtype) -> None:
    """Each pixel is the one that holds its centre, of all kinds of numbers."""
    column, plain = loops.pixels(dtype, (2, *shape)), Resize("image", (4, 9), "nearest")
    expected = loops.loop(plain, column, lambda image, params: loops.resize_nearest(image, params, (4, 9)))

    for layout in LAYOUTS:
        check(Resize("image", (4, 9), "nearest", layout=layout), column, expected)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 7, 3), (4, 12, 1)])
def test_random_resized_crop(shape, dtype, mode) -> None:
    """The window that was drawn is resized as if it were an image of its own."""
    column, plain = loops.pixels(dtype, (6, *shape)), RandomResizedCrop("image", (5, 3), interpolation=mode)
    change = loops.resize if mode == "bilinear" else loops.resize_nearest
    expected = loops.loop(plain, column, lambda image, params: change(image, params, (5, 3)))

    for layout in LAYOUTS:
        check(RandomResizedCrop("image", (5, 3), interpolation=mode, layout=layout), column, expected)


def test_mask_is_resized_by_its_own_mode() -> None:
    """An image and its mask share the window; the mask's whole numbers are taken, not blended."""
    image = loops.pixels("uint8", (4, 9, 9, 3))
    mask = loops.pixels("int64", (4, 9, 9))
    op = RandomResizedCrop(("image", "mask"), 5, interpolation=("bilinear", "nearest"))
    params = loops.params_of(op, {"image": image, "mask": mask})
    found = loops.run(op, {"image": image, "mask": mask})

    for number in range(4):
        own = {name: int(values[number]) for name, values in params.items()}
        np.testing.assert_array_equal(found["image"][number], loops.resize(image[number], own, (5, 5)))
        expected = loops.resize_nearest(mask[number][:, :, None], own, (5, 5))[:, :, 0]
        np.testing.assert_array_equal(found["mask"][number], expected)
