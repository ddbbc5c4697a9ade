"""What the options of augmentations take: numbers of any library, and nothing that cannot be meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import headrace as hr

IMAGES = {"image": np.arange(8 * 5 * 4 * 3, dtype=np.uint8).reshape(8, 5, 4, 3), "label": np.arange(8) % 3}


def first(*ops: hr.augment.Augmentation) -> dict[str, Any]:
    return hr.from_arrays(IMAGES).augment(*ops).loader(8, output="numpy", threads=0).batch(0)


@pytest.mark.parametrize("turn", [np.array, np.float32, torch.tensor, list], ids=lambda turn: turn.__name__)
def test_numbers_of_all_libraries_are_numbers(turn: Callable[[Any], Any]) -> None:
    """Means are computed by NumPy or torch, and taken as they come."""
    wanted = hr.augment.Normalize("image", (0.25, 0.5, 0.75), (0.5, 0.5, 0.25), p=1)
    given = hr.augment.Normalize("image", turn([0.25, 0.5, 0.75]), turn([0.5, 0.5, 0.25]), p=np.float32(1))

    assert given == wanted
    assert hash(given) == hash(wanted)
    assert hr.augment.RandomCrop("image", np.array([3, 2])[0]) == hr.augment.RandomCrop("image", 3)


def test_options_stay_as_they_were_given() -> None:
    """Nobody changes an augmentation by changing the list that it was given."""
    mean = [0.5, 0.5, 0.5]
    op = hr.augment.Normalize("image", mean, 1.0)
    mean[0] = 0.0

    assert op.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("option", "value"),
    [("name", 3), ("name", ""), ("same_on_batch", "yes"), ("p", "0.5"), ("columns", ["image", "image"])],
)
def test_what_cannot_be_meant_is_refused(option: str, value: Any) -> None:
    """At once, by the name of the option."""
    with pytest.raises(hr.OptionError, match=f"`{option}`"):
        replace(hr.augment.HorizontalFlip("image"), **{option: value})


def test_a_share_that_is_no_number_is_refused() -> None:
    """As any other option."""
    with pytest.raises(hr.OptionError, match="`alpha`"):
        hr.augment.MixUp("image", alpha="1")  # pyright: ignore[reportArgumentType]


def test_labels_are_cut_and_mixed_beside_images() -> None:
    """A label is no image, for all that CutMix is an augmentation of images."""
    soft = first(hr.augment.CutMix("image", label="label", num_classes=3))
    hard = first(hr.augment.HorizontalFlip("image"), hr.augment.CutMix("image", label="label"))

    assert soft["label"].shape == (8, 3)
    np.testing.assert_allclose(soft["label"].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(hard["label_b"], np.roll(IMAGES["label"], -1))


@pytest.mark.parametrize("threshold", [2, 100, 128, 254])
def test_solarize_takes_the_thresholds_of_torchvision(threshold: int) -> None:
    """What is above 1 is meant for uint8."""
    found = first(hr.augment.Solarize("image", threshold, p=1))["image"]

    np.testing.assert_array_equal(
        found, np.where(IMAGES["image"] >= threshold, 255 - IMAGES["image"], IMAGES["image"])
    )


def test_another_function_makes_another_lambda() -> None:
    """Also by `replace`: what it is known by follows the function."""
    one = hr.augment.Lambda("label", lambda columns, draws: {"label": columns["label"] + 1})
    other = replace(one, function=lambda columns, draws: {"label": columns["label"] + 2})
    dataset = hr.from_arrays(IMAGES)

    assert dataset.augment(one).fingerprint != dataset.augment(other).fingerprint


def test_a_class_derived_from_one_of_ours_does_what_it_says() -> None:
    """Compiled stages perform the classes that they know, not those that derive from them."""

    class Zero(hr.augment.Normalize):
        def apply(self, xp: Any, columns: Any, params: Any, noise: Any) -> Any:
            return {name: xp.zeros(column.shape, dtype=xp.float32) for name, column in columns.items()}

    assert not first(Zero("image", mean=0.5, std=0.25))["image"].any()


def test_what_a_small_dtype_cannot_hold_is_infinite() -> None:
    """And no warning, as it is the options that say so."""
    assert np.isinf(first(hr.augment.Normalize("image", 0.0, 1e-6, dtype="float16"))["image"]).any()


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        (hr.augment.Jitter, {"sigma": 0.25}),
        (hr.augment.Scaling, {"sigma": 0.25}),
        (hr.augment.TimeWarp, {"sigma": 0.25}),
        (hr.augment.WindowSlice, {"reduce_ratio": 0.25}),
        (hr.augment.Permutation, {"max_segments": 3}),
        (hr.augment.Shift, {"min_shift": -0.25, "max_shift": 0.25}),
        (hr.augment.TimeMask, {"mask_param": 3}),
        (hr.augment.FrequencyMask, {"mask_param": 3}),
        (hr.augment.TokenDropout, {"rate": 0.25}),
        (hr.augment.RandomWindow, {"size": 3}),
        (hr.augment.FeatureDropout, {"rate": 0.25}),
        (hr.augment.GaussianJitter, {"sigma": 0.25}),
        (hr.augment.SwapNoise, {"rate": 0.25}),
    ],
)
def test_the_main_option_may_go_without_its_name(kind: Any, option: dict[str, Any]) -> None:
    """As in the libraries that users come from."""
    assert kind("x", *option.values()) == kind("x", **option)
