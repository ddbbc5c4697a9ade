"""Given equal parameters, the values of torchvision, torchaudio, transformers, kornia and albumentations.

tests/golden/make_augment_peers.py ran those libraries and stored what they gave and what it gave them. Where
they draw, they were given words of 32 bits, and our own draws get the same words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from chain_runs import plan

import headrace as hr
from headrace.augment import Augmentation, Mixing, Noise, Spec
from headrace.augment.image import noise as image_noise

GOLDEN = Path(__file__).parents[1] / "golden" / "augment-peers"
KEPT = json.loads(GOLDEN.with_suffix(".json").read_text(encoding="utf-8"))
with np.load(GOLDEN.with_suffix(".npz")) as _file:
    ARRAYS = dict(_file)

Given = Mapping[str, Any]


def change(
    op: Augmentation, columns: dict[str, Any], drawn: Given, noise: Any = None, partners: Any = None
) -> dict[str, Any]:
    """Run the reference of an augmentation with these parameters in place of its own draws."""
    planned = plan(op, columns)
    (path,) = planned.records.dtype.names or ()
    params = planned.params(path)
    for name, values in {"applied": 1, **drawn}.items():
        params[name][...] = values
    if isinstance(op, Mixing):
        return dict(op.mix(np, columns, partners, params, Noise(np, {}, planned.identity)))
    return dict(op.apply(np, columns, params, noise or Noise(np, {}, planned.identity)))


def draw(op: Augmentation, columns: Given, words: np.ndarray) -> dict[str, np.ndarray]:
    """Draw parameters from given words."""
    specs = {name: Spec.of(column) for name, column in columns.items()}
    assert words.shape[1] == op.words(specs)
    return {name: np.asarray(values) for name, values in op.draw(words, specs).items()}


def inputs_of(name: str) -> np.ndarray:
    return ARRAYS[KEPT["cases"][name]["inputs"]]


def given_of(name: str) -> list[dict[str, Any]]:
    """The arguments of each sample, or those of all."""
    given = KEPT["cases"][name]["given"]
    return given * len(inputs_of(name)) if len(given) == 1 else given


def function_of(name: str) -> str:
    return name.partition(" ")[0]


def cases_of(function: str) -> list[str]:
    return [name for name in KEPT["cases"] if function_of(name) == function]


# Values of images


def nothing(given: Given) -> Given:
    return {}


def window(given: Given) -> Given:
    return {name: given[name] for name in ("top", "left", "height", "width")}


def rectangle(given: Given) -> Given:
    return dict(zip(("top", "left", "height", "width"), (given[name] for name in "ijhw"), strict=True))


def holes(given: Given) -> Given:
    found = {name: [0, 0] for name in ("top", "left", "height", "width")}
    for number, (left, top, right, bottom) in enumerate(given["holes"]):
        for name, value in zip(found, (top, left, bottom - top, right - left), strict=True):
            found[name][number] = value
    return found


def make_resize(given: Given) -> Augmentation:
    mode = given.get("interpolation", "bilinear").removesuffix("-exact")
    return hr.augment.Resize("image", tuple(given["size"]), mode, antialias=given.get("antialias", True))


def make_rotate(given: Given) -> Augmentation:
    return hr.augment.Rotate(
        "image", (given["angle"],) * 2, given.get("interpolation", "nearest"), given.get("fill", 0)
    )


A = hr.augment
# A peer's function to our augmentation, made from the peer's arguments, and to parameters that are not drawn.
MAKERS: dict[str, tuple[Callable[[Given], Augmentation], Callable[[Given], Given]]] = {
    "crop": (
        lambda given: A.RandomCrop("image", (given["height"], given["width"])),
        lambda given: {name: given[name] for name in ("top", "left")},
    ),
    "center_crop": (lambda given: A.CenterCrop("image", tuple(given["output_size"])), nothing),
    "horizontal_flip": (lambda given: A.HorizontalFlip("image", p=1), nothing),
    "vertical_flip": (lambda given: A.VerticalFlip("image", p=1), nothing),
    "rot90": (lambda given: A.Rot90("image", given["factor"]), nothing),
    "erase": (lambda given: A.RandomErasing("image", value=given["v"]), rectangle),
    "cutout": (lambda given: A.Cutout("image", fill=(1, 2, 3)), holes),
    "resize": (make_resize, nothing),
    "resized_crop": (lambda given: A.RandomResizedCrop("image", tuple(given["size"])), window),
    "rotate": (make_rotate, nothing),
    "adjust_brightness": (lambda given: A.Brightness("image", (given["brightness_factor"],) * 2), nothing),
    "adjust_contrast": (lambda given: A.Contrast("image", (given["contrast_factor"],) * 2), nothing),
    "adjust_saturation": (lambda given: A.Saturation("image", (given["saturation_factor"],) * 2), nothing),
    "adjust_gamma": (lambda given: A.Gamma("image", given["gamma"]), nothing),
    "kornia_gamma": (lambda given: A.Gamma("image", given["gamma"]), nothing),
    "invert": (lambda given: A.Invert("image", p=1), nothing),
    "posterize": (lambda given: A.Posterize("image", given["bits"], p=1), nothing),
    "solarize": (lambda given: A.Solarize("image", given["threshold"], p=1), nothing),
    "albumentations_solarize": (lambda given: A.Solarize("image", given["threshold"], p=1), nothing),
    "rgb_to_grayscale": (lambda given: A.Grayscale("image", p=1), nothing),
    "kornia_gray": (lambda given: A.Grayscale("image", p=1), nothing),
    "normalize": (lambda given: A.Normalize("image", given["mean"], given["std"]), nothing),
}
# How far values may be apart, levels for bytes; what is not here is equal.
WITHIN: dict[tuple[str, str], float] = {
    ("resize", "images"): 1,  # torchvision has weights of 16 bits
    ("resize", "floats"): 1e-6,  # and adds in another order
    ("resized_crop", "images"): 1,
    ("resized_crop", "floats"): 1e-6,
    ("rotate", "images"): 1,
    ("rotate", "floats"): 5e-5,  # positions are multiples of 2^-17 pixels
    ("adjust_brightness", "images"): 1,  # torchvision cuts where we round
    ("adjust_brightness", "floats"): 1e-5,  # factors are multiples of 2^-16
    ("adjust_contrast", "images"): 1,
    ("adjust_contrast", "floats"): 2e-4,  # torchvision's weight of red is 0.2989 instead of 0.299
    ("adjust_saturation", "images"): 2,  # its gray is cut, multiplied, and cut again
    ("adjust_saturation", "floats"): 2e-4,
    ("rgb_to_grayscale", "images"): 1,
    ("rgb_to_grayscale", "floats"): 1.01e-4,
    ("kornia_gray", "floats"): 1e-6,
    ("adjust_gamma", "images"): 1,  # torchvision cuts x * 255.999
    ("adjust_gamma", "floats"): 2e-5,  # straight pieces
    ("kornia_gamma", "floats"): 2e-5,
    ("normalize", "images"): 1e-6,  # our table is rounded once, torchvision rounds three times
}
IMAGE_CASES = [name for name in KEPT["cases"] if function_of(name) in MAKERS]


def test_every_maker_has_a_case() -> None:
    """Nothing here is compared with nothing."""
    assert {function_of(name) for name in IMAGE_CASES} == set(MAKERS)
    assert {kind for kind, _ in WITHIN} <= set(MAKERS)


@pytest.mark.parametrize("name", IMAGE_CASES)
def test_images_are_the_peers(name: str) -> None:
    """Equal, or within what the table allows; of nearest pixels 2 % may come from the pixel beside."""
    function, inputs = function_of(name), KEPT["cases"][name]["inputs"]
    make, drawn = MAKERS[function]
    expected = ARRAYS[f"{name}/image"]
    found = [
        change(make(given), {"image": image[None]}, drawn(given))["image"]
        for image, given in zip(inputs_of(name), given_of(name), strict=False)
    ]
    together = np.concatenate(found)
    assert (together.shape, together.dtype) == (expected.shape, expected.dtype)
    apart = np.abs(together.astype(np.float64) - expected)
    if "nearest" in name:
        assert (apart > 0).mean() <= (0.02 if function == "rotate" else 0)
    elif "filled" in name:
        covered = change(make({**given_of(name)[0], "fill": 0}), {"image": np.ones_like(expected)}, {})[
            "image"
        ]
        assert apart[covered == 1].max() <= WITHIN[function, inputs]
    else:
        assert apart.max() <= WITHIN.get((function, inputs), 0)


def test_a_rotated_border_is_blended_once() -> None:
    """Where torchvision is given `fill`, it weighs a pixel at the border twice by how much is covered."""
    (name,) = [name for name in IMAGE_CASES if "bilinear filled" in name]
    images, given = inputs_of(name), given_of(name)[0]
    fill = np.array(given["fill"])
    covered = change(make_rotate({**given, "fill": 0}), {"image": np.ones_like(images)}, {})["image"]
    blended = change(make_rotate({**given, "fill": 0}), {"image": images}, {})["image"]

    twice = blended * covered + (1 - covered) * fill
    once = blended + (1 - covered) * fill
    np.testing.assert_allclose(ARRAYS[f"{name}/image"], twice, atol=1e-4)
    np.testing.assert_allclose(change(make_rotate(given), {"image": images}, {})["image"], once, atol=1e-4)


@pytest.mark.parametrize("name", cases_of("gaussian_noise"))
def test_noise_is_torchvisions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Floats are equal to the last digits; torchvision cuts the noise of bytes, and we round the sum."""
    drawn, expected, given = ARRAYS[f"{name}/noise"], ARRAYS[f"{name}/image"], given_of(name)[0]
    monkeypatch.setattr(image_noise, "normal", lambda words: drawn.reshape(words.shape))
    images = inputs_of(name)[: len(drawn)]
    op = hr.augment.GaussianNoise("image", mean=given["mean"], sigma=given["sigma"])
    words = np.zeros((len(images), images[0].size), np.uint32)
    found = change(op, {"image": images}, {}, SimpleNamespace(words=lambda *_: words))["image"]

    within = 1 if images.dtype == np.uint8 else 1e-6
    assert np.abs(found.astype(np.float64) - expected).max() <= within


# Draws of images


@pytest.mark.parametrize("name", [*cases_of("RandomResizedCrop"), *cases_of("RandomErasing")])
def test_windows_are_drawn_as_by_torchvision(name: str) -> None:
    """Equal numbers between 0 and 1 give equal windows: ten tries, the same roundings, the same fallback."""
    kind, options = function_of(name), given_of(name)[0]
    size = (8,) if kind == "RandomResizedCrop" else ()
    op = getattr(hr.augment, kind)("image", *size, **options)
    found = draw(op, {"image": inputs_of(name)}, ARRAYS[f"{name}/words"])
    expected = ARRAYS[f"{name}/found"]

    np.testing.assert_array_equal(found["height"], expected[:, 2])
    np.testing.assert_array_equal(found["width"], expected[:, 3])
    is_there = expected[:, 2] > 0  # where nothing is erased, no place counts
    for number, side in enumerate(("top", "left")):
        np.testing.assert_array_equal(found[side][is_there], expected[is_there, number])


@pytest.mark.parametrize("name", cases_of("RandomCrop"))
def test_crops_are_drawn_as_by_torchvision(name: str) -> None:
    """Padding by one, two and four numbers, or as far as needed: equal whole numbers give equal images."""
    options = given_of(name)[0]
    op = hr.augment.RandomCrop("image", **options)
    columns = {"image": inputs_of(name)}
    drawn = draw(op, columns, ARRAYS[f"{name}/words"])

    np.testing.assert_array_equal(change(op, columns, drawn)["image"], ARRAYS[f"{name}/image"])


@pytest.mark.parametrize("name", [*cases_of("ColorJitter"), *cases_of("RandomRotation")])
def test_ranges_are_torchvisions(name: str) -> None:
    """A number or a pair means the same range; ours is drawn in steps."""
    options, words, expected = given_of(name)[0], ARRAYS[f"{name}/words"], ARRAYS[f"{name}/found"]
    columns = {"image": inputs_of(name)}
    if "brightness" in options:
        found = draw(hr.augment.Brightness("image", options["brightness"]), columns, words)["factor"] / 65536
        assert np.abs(found - expected).max() <= 2 / 65536
    else:
        found = draw(hr.augment.Rotate("image", options["degrees"]), columns, words)["angle"]
        assert np.abs(found - expected).max() <= 100 / 4096


# Mixes


@pytest.mark.parametrize("name", [*cases_of("MixUp"), *cases_of("CutMix")])
def test_mixes_are_torchvisions(name: str) -> None:
    """With the same share, partner and centre of the box: images, and labels by the area of the box."""
    given, kind = given_of(name)[0], function_of(name)
    expected, labels = ARRAYS[f"{name}/image"], np.array(given["labels"])
    columns = {"image": inputs_of(name)[: len(labels)], "label": labels}
    partners = {key: np.roll(column, 1, axis=0) for key, column in columns.items()}
    op, drawn = getattr(hr.augment, kind)("image", label="label", num_classes=3), {"lam": given["lam"]}
    if kind == "CutMix":
        share = min(int(given["lam"] * 2**32), 2**32 - 1)  # alpha is 1, so the share is the word over 2^32
        drawn = draw(op, columns, np.array([[share, *ARRAYS[f"{name}/words"]]], np.uint32))
    found = change(op, columns, drawn, partners=partners)

    np.testing.assert_allclose(found["label"], ARRAYS[f"{name}/label"], atol=1e-6)
    # torchvision mixes no bytes, they were given as floats: ours are the nearest.
    within = 0 if kind == "CutMix" else 0.5001 if columns["image"].dtype == np.uint8 else 1e-6
    assert np.abs(found["image"].astype(np.float64) - expected).max() <= within


# Series


@pytest.mark.parametrize("name", cases_of("mask"))
def test_masks_are_torchaudios(name: str) -> None:
    """Equal numbers between 0 and 1 give equal bands; `alike` is one band for all samples."""
    given, words = given_of(name)[0], ARRAYS[f"{name}/words"]
    kind = hr.augment.TimeMask if given["axis"] == 2 else hr.augment.FrequencyMask
    is_alike = "alike" in name
    op = kind(
        "x",
        mask_param=given["mask_param"],
        value=given["mask_value"],
        layout="NCT",
        same_on_batch=is_alike,
    )
    columns = {"x": inputs_of(name)}
    drawn = draw(op, columns, words)

    np.testing.assert_array_equal(change(op, columns, drawn)["x"], ARRAYS[f"{name}/x"])


# Tokens


@pytest.mark.parametrize("name", cases_of("torch_mask_tokens"))
def test_tokens_are_masked_as_by_transformers(name: str) -> None:
    """With the same tokens chosen, masked and replaced, ids and labels are equal; others stay."""
    options, ids, gates = given_of(name)[0], inputs_of(name), ARRAYS[f"{name}/gates"]
    op = hr.augment.MaskTokens("ids", mask_id=4, vocab_size=40, special_ids=(2, 3), pad_id=0, **options)
    is_chosen, is_masked = gates[:2]
    is_other = gates[2] if len(gates) > 2 else np.zeros_like(is_masked)
    masked, replaced, chosen = op.thresholds
    words = np.full((*ids.shape, 2), chosen)  # not chosen
    words[is_chosen, 0] = chosen - 1
    words[is_chosen & is_other, 0] = replaced - 1
    words[is_chosen & is_masked, 0] = masked - 1
    words[..., 1] = -(-(ARRAYS[f"{name}/others"] << 32) // 40)
    noise = SimpleNamespace(words=lambda _, count: words.astype(np.uint32).reshape(len(ids), count))

    found = change(op, {"ids": ids}, {}, noise)
    np.testing.assert_array_equal(found["ids"], ARRAYS[f"{name}/ids"])
    np.testing.assert_array_equal(found["labels"], ARRAYS[f"{name}/labels"])
    assert is_masked.any()
    assert (found["labels"] != -100).sum() > 5


# Names and defaults

EVERY = {"columns", "name", "same_on_batch", "layout", "partner"}  # what peers have no word for
JITTER = {"brightness", "contrast", "saturation", "hue"}
# Ours, theirs, our names of their arguments, what only one of both has, and in what defaults differ. `p` is
# left out where the peer has none: then all samples are changed.
SIGNATURES: list[tuple[str, str, dict[str, str], set[str], dict[str, tuple[Any, Any]]]] = [
    ("RandomCrop", "torchvision.RandomCrop", {}, {"padding_mode"}, {}),
    ("CenterCrop", "torchvision.CenterCrop", {}, {"fill"}, {}),
    ("RandomResizedCrop", "torchvision.RandomResizedCrop", {}, set(), {}),
    ("Resize", "torchvision.Resize", {}, {"max_size"}, {}),
    ("HorizontalFlip", "torchvision.RandomHorizontalFlip", {}, set(), {}),
    ("VerticalFlip", "torchvision.RandomVerticalFlip", {}, set(), {}),
    ("Rotate", "torchvision.RandomRotation", {}, {"center", "expand"}, {}),
    # 0.2 is (0.8, 1.2), and torchvision changes nothing by default.
    *(
        (kind.title(), "torchvision.ColorJitter", {}, JITTER - {kind}, {kind: (0.2, None)})
        for kind in ("brightness", "contrast", "saturation")
    ),
    *(
        (
            kind.title(),
            "albumentations.ColorJitter",
            {},
            JITTER - {kind},
            {kind: (0.2, [0.8, 1.2]), "p": (1.0, 0.5)},
        )
        for kind in ("brightness", "contrast", "saturation")
    ),
    # albumentations' are percentages.
    (
        "Gamma",
        "albumentations.RandomGamma",
        {"gamma_limit": "gamma"},
        set(),
        {"gamma": ([0.8, 1.2], [80, 120]), "p": (1.0, 0.5)},
    ),
    ("Invert", "torchvision.RandomInvert", {}, set(), {}),
    ("Posterize", "torchvision.RandomPosterize", {}, set(), {}),
    ("Solarize", "torchvision.RandomSolarize", {}, set(), {"threshold": (0.5, "required")}),
    (
        "Solarize",
        "albumentations.Solarize",
        {"threshold_range": "threshold"},
        set(),
        {"threshold": (0.5, [0.5, 0.5])},
    ),
    ("Grayscale", "torchvision.RandomGrayscale", {}, set(), {}),
    ("GaussianNoise", "torchvision.GaussianNoise", {}, set(), {}),
    ("RandomErasing", "torchvision.RandomErasing", {}, {"inplace"}, {}),
    (
        "Cutout",
        "albumentations.CoarseDropout",
        {"num_holes_range": "holes", "hole_height_range": "size"},
        {"hole_width_range", "fill_mask"},
        {},
    ),
    ("Normalize", "torchvision.Normalize", {}, {"inplace", "dtype", "scale", "to_layout"}, {}),
    *((kind, f"torchvision.{kind}", {}, {"label", "labels_getter"}, {}) for kind in ("MixUp", "CutMix")),
    # Their `p` is the largest share of a series that a band takes; ours is never wider than the series.
    *(
        (
            kind,
            f"torchaudio.{kind}ing",
            {f"{word}_mask_param": "mask_param", "p": "largest"},
            {"masks", "value", "iid_masks"} | ({"largest"} if word == "time" else set()),
            {"mask_param": (width, "required")},
        )
        for kind, word, width in (("TimeMask", "time", 40), ("FrequencyMask", "freq", 30))
    ),
    *(
        (
            kind,
            f"albumentations.{kind}ing",
            {f"{word}_mask_param": "mask_param"},
            {"masks", "value"},
            {"p": (1.0, 0.5)},
        )
        for kind, word in (("TimeMask", "time"), ("FrequencyMask", "freq"))
    ),
    (
        "MaskTokens",
        "transformers.DataCollatorForLanguageModeling",
        {},
        {"tokenizer", "mlm", "whole_word_mask", "pad_to_multiple_of", "return_tensors", "seed"}
        | {"mask_id", "vocab_size", "special_ids", "pad_id", "lengths", "labels", "ignore_index"},
        {},
    ),
]


def default_of(option: Any) -> Any:
    if option.default is MISSING:
        return "required"
    return list(option.default) if isinstance(option.default, tuple) else option.default


@pytest.mark.parametrize(("ours", "theirs", "renamed", "lone", "unlike"), SIGNATURES)
def test_names_and_defaults_are_the_peers(ours, theirs, renamed, lone, unlike) -> None:
    """Options and defaults are those of the peer, but for what is listed."""
    own = {each.name: default_of(each) for each in fields(getattr(hr.augment, ours))}
    peer = {renamed.get(name, name): default for name, default in KEPT["signatures"][theirs].items()}
    own = {name: default for name, default in own.items() if name not in EVERY}
    if "p" not in peer:
        assert own.pop("p") == 1.0

    assert own.keys() ^ peer.keys() == lone
    both = own.keys() & peer.keys()
    assert {name: (own[name], peer[name]) for name in both if own[name] != peer[name]} == unlike
