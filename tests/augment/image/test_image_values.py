"""What changes values where they are: tone, colour, noise, erasing and normalisation, beside plain loops."""

from __future__ import annotations

import math
from fractions import Fraction

import image_loops as loops
import numpy as np
import pytest

from headrace.augment import (
    Brightness,
    Contrast,
    Cutout,
    Gamma,
    GaussianNoise,
    Grayscale,
    Invert,
    Normalize,
    Posterize,
    RandomErasing,
    Saturation,
    Solarize,
)
from headrace.draws import Draws, Samples
from headrace.draws.numbers import normal

DTYPES = ["uint8", "float32", "float64", "float16"]
LAYOUTS = ["NHWC", "NCHW"]
ONE_CHANNEL = [(1, 1, 1), (4, 5, 1)]
THREE_CHANNELS = [(1, 1, 3), (4, 5, 3), (3, 3, 3)]


def check(make, column, change):
    """Compare a column with its oracle in both layouts, bit by bit."""
    expected = loops.loop(make("NHWC"), column, change)
    for layout in LAYOUTS:
        found = loops.run(make(layout), {"image": loops.swap_layout(column, layout)})["image"]
        np.testing.assert_array_equal(found, loops.swap_layout(expected, layout))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*ONE_CHANNEL, *THREE_CHANNELS, (2, 3, 5)])
def test_brightness(shape, dtype) -> None:
    """Values times factors, rounded half up or once, clipped."""
    check(
        lambda layout: Brightness("image", (0.0, 100.0), layout=layout),
        loops.pixels(dtype, (9, *shape)),
        lambda image, params: loops.blend(image, params, None),
    )
    check(
        lambda layout: Brightness("image", 0.3, layout=layout),
        loops.pixels(dtype, (9, *shape)),
        lambda image, params: loops.blend(image, params, None),
    )


@pytest.mark.parametrize("amount", [0.8, (0.0, 100.0)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*ONE_CHANNEL, *THREE_CHANNELS])
def test_contrast(shape, dtype, amount) -> None:
    """Values blended with the mean of the grays, itself exact."""

    def change(image, params):
        mean = loops.mean_gray(image)
        return loops.blend(image, params, lambda pixel: mean)

    check(lambda layout: Contrast("image", amount, layout=layout), loops.pixels(dtype, (6, *shape)), change)


@pytest.mark.parametrize("amount", [0.8, (0.0, 100.0)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", THREE_CHANNELS)
def test_saturation(shape, dtype, amount) -> None:
    """Values blended with the gray of their pixel."""
    check(
        lambda layout: Saturation("image", amount, layout=layout),
        loops.pixels(dtype, (6, *shape)),
        lambda image, params: loops.blend(image, params, loops.gray),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", THREE_CHANNELS)
def test_grayscale(shape, dtype) -> None:
    """All channels get the gray of their pixel, where the gate is open."""

    def change(image, params):
        if not params["on"]:
            return image
        found = np.zeros_like(image)
        for row, column in np.ndindex(*image.shape[:2]):
            found[row, column] = loops.gray(image[row, column])
        return found

    check(lambda layout: Grayscale("image", p=0.5, layout=layout), loops.pixels(dtype, (8, *shape)), change)


def test_gamma_of_bytes_is_the_rounded_power() -> None:
    """Every byte becomes 255 (x / 255)^gamma, rounded half up, for gammas all over the range."""
    column = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), (40, 16, 16))
    op = Gamma("image", (0.3, 3.0))
    found, params = loops.run(op, {"image": column})["image"], loops.params_of(op, {"image": column})

    for number, step in enumerate(params["step"].tolist()):
        gamma = 0.3 + 2.7 * (step / 255)
        assert params["gamma"][number] == pytest.approx(gamma)
        expected = [math.floor(255 * (value / 255) ** gamma + 0.5) for value in range(256)]
        assert found[number].ravel().tolist() == expected


@pytest.mark.parametrize(("dtype", "within"), [("float32", 2e-5), ("float64", 2e-5), ("float16", 5e-4)])
def test_gamma_of_floats_is_close_to_the_power(dtype, within) -> None:
    """Floats are within what is promised of x^gamma after clipping, and the ends are exact."""
    values = np.concatenate([np.linspace(-0.5, 1.5, 900), np.geomspace(1e-9, 1, 120), [0, 1, -0.0, 2]])
    column = np.broadcast_to(values.astype(dtype).reshape(1, 32, 32), (30, 32, 32))
    op = Gamma("image", (0.5, 2.0))
    found, params = loops.run(op, {"image": column})["image"], loops.params_of(op, {"image": column})

    clipped = np.clip(values.astype(dtype).astype(np.float64), 0, 1)
    for number, step in enumerate(params["step"].tolist()):
        error = np.abs(found[number].ravel() - clipped ** (0.5 + 1.5 * (step / 255)))
        assert error.max() < within
        assert set(error[-4:].tolist()) == {0.0}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 5, 2)])
def test_invert_posterize_solarize(shape, dtype) -> None:
    """What each does to one value, in the precision that is computed in."""
    column = loops.pixels(dtype, (12, *shape))
    kind = np.float64 if dtype == "float64" else np.float32

    def invert(value):
        return 255 - int(value) if dtype == "uint8" else 1 - kind(value)

    def posterize(value, params):
        bits = params["bits"]
        if dtype == "uint8":
            return int(value) // 2 ** (8 - bits) * 2 ** (8 - bits)
        return kind(min(max(math.floor(kind(value) * kind(2**bits)), 0), 2**bits - 1) / 2**bits)

    def solarize(value, params):
        threshold = Fraction(params["threshold"], 65536)
        if dtype == "uint8":
            return invert(value) if Fraction(int(value), 255) >= threshold else value
        return invert(value) if kind(value) >= float(threshold) else value

    for make, change in (
        (lambda layout: Invert("image", layout=layout), lambda value, params: invert(value)),
        (lambda layout: Posterize("image", (1, 8), layout=layout), posterize),
        (lambda layout: Solarize("image", (0.0, 1.0), layout=layout), solarize),
    ):

        def each(image, params, change=change):
            found = image.copy()
            if params["applied"]:
                for place in np.ndindex(*image.shape):
                    found[place] = change(image[place], params)
            return found

        check(make, column, each)


def test_solarize_thresholds_of_bytes() -> None:
    """k / 255 is a threshold of k, of bytes and of floats: k is inverted, k - 1 is not."""
    column = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for k in range(256):
        op = Solarize("image", k / 255, p=1)
        expected = [255 - value if value >= k else value for value in range(256)]
        assert loops.run(op, {"image": column})["image"].ravel().tolist() == expected
        for dtype in ("float32", "float64"):
            found = loops.run(op, {"image": (column / 255).astype(dtype)})["image"].ravel()
            assert np.rint(found * 255).tolist() == expected


def test_solarize_thresholds_between_bytes() -> None:
    """A threshold that lies between two bytes inverts the upper one, wherever in between it lies."""
    column = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for k in range(255):
        for part in (0.01, 0.3, 0.7, 0.99):
            found = loops.run(Solarize("image", (k + part) / 255, p=1), {"image": column})["image"].ravel()
            assert found.tolist() == [255 - value if value > k else value for value in range(256)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_noise(dtype, layout) -> None:
    """Each value gets the normal number of its own word, counted in the order in which it lies."""
    column = loops.swap_layout(loops.pixels(dtype, (5, 3, 4, 3)), layout)
    op = GaussianNoise("image", mean=0.05, sigma=(0.01, 0.6), layout=layout, name="noise")
    found, params = loops.run(op, {"image": column}, 3)["image"], loops.params_of(op, {"image": column}, 3)
    ids = Samples(np.arange(100, 105))
    drawn = normal(Draws(3).words("noise", ids, 36, purpose="elements of image"))

    kind = np.float64 if dtype == "float64" else np.float32
    for number, image in enumerate(column):
        sigma, mean = kind(params["sigma"][number]), kind(0.05)
        if dtype == "uint8":
            sigma, mean = sigma * kind(255), kind(0.05 * 255)
        for value, z, got in zip(image.ravel(), drawn[number], found[number].ravel(), strict=True):
            total = kind(value) + (mean + kind(z) * sigma)
            if dtype == "uint8":
                assert got == math.floor(min(max(total, kind(0)), kind(255)) + kind(0.5))
            else:
                assert got == image.dtype.type(loops.clip_float(total))


def test_noise_of_several_columns_differs() -> None:
    """Two columns share the deviation, not the noise."""
    column = np.full((3, 8, 8), 0.5, np.float32)
    found = loops.run(GaussianNoise(("a", "b")), {"a": column, "b": column})

    assert not np.array_equal(found["a"], found["b"])


def test_noise_need_not_be_clipped() -> None:
    """Without `clip` floats leave 0..1, and their deviation is as asked."""
    column = np.zeros((4, 50, 50), np.float32)
    found = loops.run(GaussianNoise("image", sigma=2.0, clip=False), {"image": column})["image"]

    assert found.min() < -4
    assert found.std() == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "bool"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (6, 9, 2), (10, 3, 1)])
def test_erasing_and_cutout(shape, dtype) -> None:
    """The rectangles that were drawn hold the fill value, all else stays."""
    names = ("top", "left", "height", "width")

    def one(image, params):
        return loops.erase(image, [tuple(params[name] for name in names)], 1)

    def several(image, params):
        return loops.erase(image, list(zip(*(params[name] for name in names), strict=True)), 1)

    column = loops.pixels(dtype, (12, *shape))
    check(lambda layout: RandomErasing("image", value=1, p=0.9, layout=layout), column, one)
    check(lambda layout: Cutout("image", (1, 4), (0.1, 0.7), 1, p=0.9, layout=layout), column, several)


def test_several_fill_values_erase_their_channels() -> None:
    """One value for each channel goes to that channel, in both layouts."""
    column = np.zeros((1, 4, 4, 3), np.uint8)
    for layout in LAYOUTS:
        op = Cutout("image", 1, 1.0, (1, 2, 3), p=1, layout=layout)
        found = loops.run(op, {"image": loops.swap_layout(column, layout)})["image"]
        np.testing.assert_array_equal(
            found, loops.swap_layout(np.broadcast_to(np.uint8([1, 2, 3]), column.shape), layout)
        )


@pytest.mark.parametrize("to_layout", [None, "NHWC", "NCHW"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("out", ["float16", "float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_normalize(dtype, out, layout, to_layout) -> None:
    """(x - mean) / std by channel, rounded once for bytes, in the dtype and layout that are asked for."""
    column, mean, std = loops.pixels(dtype, (3, 2, 5, 3)), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = np.zeros(column.shape, out)
    kind = np.float64 if dtype in ("uint8", "float64") else np.float32
    for place in np.ndindex(*column.shape):
        value = kind(column[place]) / (255 if dtype == "uint8" else 1)
        expected[place] = (value - kind(mean[place[3]])) / kind(std[place[3]])

    op = Normalize("image", mean, std, out, to_layout=to_layout, layout=layout)
    found = loops.run(op, {"image": loops.swap_layout(column, layout)})["image"]
    np.testing.assert_array_equal(found, loops.swap_layout(expected, to_layout or layout))


def test_normalize_without_scaling_and_without_channels() -> None:
    """`scale=False` takes bytes as they are; [n, height, width] gets its channel with `to_layout`."""
    column = np.array([[[0, 100, 255]]], np.uint8)
    op = Normalize("image", 100, 2, scale=False)

    assert loops.run(op, {"image": column})["image"].tolist() == [[[-50, 0, 77.5]]]
    for to_layout, shape in (("NCHW", (1, 1, 1, 3)), ("NHWC", (1, 1, 3, 1))):
        found = loops.run(Normalize("image", 100, 2, scale=False, to_layout=to_layout), {"image": column})
        assert found["image"].shape == shape
