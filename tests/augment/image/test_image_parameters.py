"""What augmentations of images draw: the stated ranges, evenly, from the words whose roles are stated."""

from __future__ import annotations

import math
from typing import Any

import image_loops as loops
import numpy as np
import pytest

import headrace as hr
from headrace.draws import Draws, Samples
from headrace.draws.numbers import log_uniform

COUNT = 20_000


def draw(op: Any, sides: tuple[int, int] = (64, 96), count: int = COUNT) -> dict[str, np.ndarray]:
    """Parameters for many samples; the images themselves are never looked at."""
    column = np.broadcast_to(np.zeros((1, *sides, 3), np.uint8), (count, *sides, 3))
    return loops.params_of(op, {"image": column})


def check_even(values: np.ndarray, expected: list[int]) -> None:
    """Each of the values comes equally often: chi-square within 5 deviations of its mean."""
    found, counts = np.unique(values, return_counts=True)
    assert found.tolist() == expected
    even = len(values) / len(expected)
    chi = float(((counts - even) ** 2 / even).sum())
    freedom = len(expected) - 1
    assert abs(chi - freedom) < 5 * math.sqrt(2 * freedom)


def test_uneven_values_are_caught() -> None:
    """The check itself refuses values of which one comes a quarter more often."""
    values = np.concatenate([np.tile(np.arange(10), COUNT // 10), np.zeros(COUNT // 40, np.int64)])
    with pytest.raises(AssertionError):
        check_even(values, list(range(10)))


def test_crops_lie_evenly_within_the_padded_image() -> None:
    """Every place comes equally often, from the padding's first row to the last that fits."""
    # left and right 3, top and bottom 5: rows -5 to 64 + 5 - 60, columns -3 to 96 + 3 - 80
    found = draw(hr.augment.RandomCrop("image", (60, 80), padding=(3, 5)))
    check_even(found["top"], list(range(-5, 10)))
    check_even(found["left"], list(range(-3, 20)))

    found = draw(hr.augment.RandomCrop("image", (60, 80), padding=(1, 2, 3, 4)))
    check_even(found["top"], list(range(-2, 9)))
    check_even(found["left"], list(range(-1, 20)))


def test_small_images_are_padded_on_both_sides_where_that_is_asked_for() -> None:
    """An image that lacks k rows is extended by k above and below, as in torchvision."""
    found = draw(hr.augment.RandomCrop("image", (70, 96), pad_if_needed=True))
    check_even(found["top"], list(range(-6, 1)))
    assert set(found["left"].tolist()) == {0}


def test_factors_lie_evenly_in_their_range() -> None:
    """Factors reach from max(0, 1 - a) to 1 + a, or as given, evenly."""
    for amount, low, high in ((0.25, 0.75, 1.25), (1.5, 0.0, 2.5), ((0.5, 0.6), 0.5, 0.6)):
        for kind in (hr.augment.Brightness, hr.augment.Contrast, hr.augment.Saturation):
            factor = draw(kind("image", amount))["factor"] / 65536
            assert low - 1e-5 <= factor.min() < low + 0.01 * (high - low)
            assert high - 0.01 * (high - low) < factor.max() <= high + 1e-5
            check_even(np.minimum((factor - low) / (high - low) * 16, 15).astype(int), list(range(16)))


def test_steps_come_equally_often() -> None:
    """Gammas, bits, thresholds, turns and angles: all of the range, evenly."""
    check_even(draw(hr.augment.Gamma("image"))["step"], list(range(256)))
    check_even(draw(hr.augment.Posterize("image", (2, 6), p=1))["bits"], [2, 3, 4, 5, 6])
    check_even(draw(hr.augment.Rot90("image"), (8, 8))["k"], [0, 1, 2, 3])
    check_even(draw(hr.augment.Rot90("image", (0, 2)))["k"], [0, 2])
    threshold = draw(hr.augment.Solarize("image", (0.25, 0.75), p=1))["threshold"]
    check_even((threshold - 16384) * 16 // 32769, list(range(16)))


def test_angles_and_their_sines_belong_together() -> None:
    """Angles reach from end to end, evenly; sine and cosine are theirs to 2^-17."""
    found = draw(hr.augment.Rotate("image", (-30, 60)))
    assert (found["angle"].min(), found["angle"].max()) == (-30, 60)
    check_even(np.minimum((found["angle"] + 30) // 10, 8).astype(int), list(range(9)))

    radians = np.deg2rad(found["angle"].astype(np.float64))
    np.testing.assert_allclose(found["cos"] / 65536, np.cos(radians), atol=1e-5)
    np.testing.assert_allclose(found["sin"] / 65536, np.sin(radians), atol=1e-5)


def test_deviations_lie_in_their_range() -> None:
    """A pair draws deviations evenly, a number is that number."""
    sigma = draw(hr.augment.GaussianNoise("image", sigma=(0.5, 1.0)))["sigma"]
    check_even(((sigma - 0.5) * 32).astype(int), list(range(16)))
    assert set(draw(hr.augment.GaussianNoise("image"))["sigma"].tolist()) == {np.float32(0.1)}


def first_window(words: np.ndarray, op: Any, sides: tuple[int, int]) -> tuple[int, ...]:
    """Draw one window as torchvision does, try after try, from words whose roles are fixed."""
    is_crop = isinstance(op, hr.augment.RandomResizedCrop)
    height, width = sides
    for turn in range(10):
        low, high = op.scale
        area = height * width * (low + (high - low) * (int(words[2 * turn]) / 2**32))
        ratio = float(log_uniform(words[2 * turn + 1 : 2 * turn + 2], *op.ratio)[0])
        long, short = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        h, w = (short, long) if is_crop else (long, short)
        if (0 < w <= width and 0 < h <= height) if is_crop else (h < height and w < width):
            top = int(words[20]) * (height - h + 1) >> 32
            return top, int(words[21]) * (width - w + 1) >> 32, h, w
    if not is_crop:
        return 0, 0, 0, 0
    h, w = height, width
    if width / height < op.ratio[0]:
        h = round(width / op.ratio[0])
    elif width / height > op.ratio[1]:
        w = round(height * op.ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("sides", [(64, 96), (5, 5), (1, 1), (90, 7), (8, 200)])
@pytest.mark.parametrize(
    "op",
    [
        hr.augment.RandomResizedCrop("image", 8, name="op"),
        hr.augment.RandomResizedCrop("image", 8, scale=(0.9, 1.0), ratio=(0.5, 3.0), name="op"),
        hr.augment.RandomErasing("image", p=1, name="op"),
        hr.augment.RandomErasing("image", scale=(0.5, 1.0), p=1, name="op"),
    ],
)
def test_windows_are_drawn_try_after_try(op, sides) -> None:
    """The window is the first of ten that fits; else the centre for a crop, and nothing for erasing."""
    found = draw(op, sides, 200)
    words = Draws(0).words("op", Samples(np.arange(100, 300)), 23)[:, 1:]
    expected = [first_window(own, op, sides) for own in words]
    places = np.stack([found[name] for name in ("top", "left", "height", "width")], axis=1)

    # Erasing places a rectangle of no size somewhere; that erases nothing.
    is_there = places[:, 2] > 0
    np.testing.assert_array_equal(places[is_there], np.array(expected)[is_there])
    assert all(expected[number][2] == 0 for number in np.flatnonzero(~is_there))


def test_windows_have_the_areas_and_shapes_that_are_asked_for() -> None:
    """Areas are even and ratios log-even in their ranges, where every window fits."""
    op = hr.augment.RandomResizedCrop("image", 8, scale=(0.1, 0.4), ratio=(0.5, 2.0))
    found = draw(op, (1000, 1000))
    area = found["height"] * found["width"] / 1e6
    ratio = np.log2(found["width"] / found["height"])

    for values, low, high in ((area, 0.1, 0.4), (ratio, -1, 1)):
        inner = (values - low) / (high - low)
        assert abs(inner.min()) < 0.01
        assert abs(inner.max() - 1) < 0.01
        assert inner.mean() == pytest.approx(0.5, abs=0.01)
        assert inner.std() == pytest.approx(1 / math.sqrt(12), abs=0.01)
    assert abs(np.corrcoef(area, ratio)[0, 1]) < 0.03


def test_centre_window_where_none_fits() -> None:
    """Ten windows that cannot fit leave the largest one in the centre whose ratio is allowed."""
    for sides, expected in (((20, 100), (0, 40, 20, 20)), ((100, 20), (40, 0, 20, 20))):
        found = draw(hr.augment.RandomResizedCrop("image", 8, scale=(1, 1), ratio=(1, 1)), sides, 3)
        for name, value in zip(("top", "left", "height", "width"), expected, strict=True):
            assert set(found[name].tolist()) == {value}


def test_holes_have_the_numbers_and_sides_that_are_asked_for() -> None:
    """One to three holes equally often, with sides from a tenth to a fifth, all within the image."""
    found = draw(hr.augment.Cutout("image", holes=(1, 3), p=1), (50, 100))
    is_there = found["height"] > 0

    check_even(is_there.sum(axis=1), [1, 2, 3])
    assert (is_there == (found["width"] > 0)).all()
    check_even(found["height"][:, 0], [5, 6, 7, 8, 9])
    check_even(found["width"][:, 0], list(range(10, 20)))
    assert (found["top"] >= 0).all()
    assert ((found["top"] + found["height"])[is_there] <= 50).all()
    assert (found["left"] + found["width"]).max() == 100
    check_even(found["left"][found["width"] == 10] // 13, list(range(7)))
    assert np.corrcoef(found["top"][is_there.all(axis=1)].T)[0, 1] < 0.05


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (hr.augment.HorizontalFlip("image"), 0.5),
        (hr.augment.Invert("image"), 0.5),
        (hr.augment.Posterize("image", 4), 0.5),
        (hr.augment.Solarize("image"), 0.5),
        (hr.augment.Grayscale("image"), 0.1),
        (hr.augment.RandomErasing("image"), 0.5),
        (hr.augment.Cutout("image"), 0.5),
        (hr.augment.Brightness("image", p=0.3), 0.3),
        (hr.augment.RandomResizedCrop("image", 8), 1.0),
    ],
)
def test_gates_open_as_often_as_documented(op, expected) -> None:
    """The default probabilities are those of the peers that the docstrings name."""
    applied = draw(op)["applied"]
    assert applied.mean() == pytest.approx(expected, abs=5 * math.sqrt(0.25 / COUNT) * (expected < 1))


def test_closed_gate_of_a_resized_crop_resizes_the_whole_image() -> None:
    """Where the shape must change, the gate leaves what is not random."""
    found = draw(hr.augment.RandomResizedCrop("image", 8, p=0.0), count=3)
    assert [found[name].tolist() for name in ("top", "left", "height", "width")] == [
        [0] * 3,
        [0] * 3,
        [64] * 3,
        [96] * 3,
    ]

    found = draw(hr.augment.RandomCrop("image", 60, padding=9, p=0.0), count=3)
    assert [found[name].tolist() for name in ("top", "left")] == [[2] * 3, [18] * 3]
