"""Write `augment-peers.json` and `augment-peers.npz`: what other libraries make of the same input.

tests/augment/test_peers.py holds augmentations against these files, so the suite needs none of the libraries.
The versions that the files were made with are in the JSON file; anew, in an environment of its own:

    pip install torch torchvision torchaudio transformers kornia albumentations
    python tests/golden/make_augment_peers.py

Everything stored is the result of running the libraries on numbers that are made here; none of their code or
data is copied. (torchvision and torchaudio are under BSD licences, transformers and kornia under Apache 2.0,
albumentations 2.0 under MIT.) Where a library draws for itself, its random functions are replaced by ones
that return what is stored beside the result: words of 32 bits, of which a number is word / 2^32 and a whole
number below n is (word * n) >> 32.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

TARGET = Path(__file__).with_name("augment-peers")
LIBRARIES = (
    "numpy",
    "pillow",
    "torch",
    "torchvision",
    "torchaudio",
    "transformers",
    "kornia",
    "albumentations",
)
RANDOM = np.random.default_rng(20)


def make_images() -> np.ndarray:
    """Two noisy and two smooth images with black and white in them, uint8 of shape [4, 13, 17, 3]."""
    images = RANDOM.integers(0, 256, (4, 13, 17, 3))
    rows, columns, channels = np.ogrid[:13, :17, :3]
    images[1] = (rows * 255 // 12 + columns * 17 * (channels + 1) + images[1] // 16) // 3 % 256
    images[3] = np.where((rows - 6) ** 2 + (columns - 8) ** 2 < 30, 255 - 40 * channels, images[3] // 8)
    images[:, :2, 2] = [[0], [255]]
    return images.astype(np.uint8)


IMAGES = make_images()
FLOATS = np.concatenate([IMAGES[:1] / 255, RANDOM.random((1, 13, 17, 3))]).astype(np.float32)
SERIES = RANDOM.standard_normal((3, 5, 24)).astype(np.float32)  # sample, channel, time
TOKENS = np.where(np.arange(16) < [[16], [11], [5]], RANDOM.integers(5, 40, (3, 16)), 0)
TOKENS[:, 0], TOKENS[[0, 1, 2], [15, 10, 4]] = 2, 3


class Kept:
    """The cases and arrays that are written."""

    def __init__(self) -> None:
        self.cases: dict[str, dict[str, Any]] = {}
        self.arrays: dict[str, np.ndarray] = {
            "images": IMAGES,
            "floats": FLOATS,
            "series": SERIES,
            "tokens": TOKENS.astype(np.int64),
        }
        self.signatures: dict[str, dict[str, Any]] = {}

    def keep(self, name: str, peer: str, inputs: str, given: Sequence[dict[str, Any]], **found: Any) -> None:
        """Keep one case: arguments for each sample, or one line for all, and one array or several."""
        assert name not in self.cases
        given = list(given[:1] if all(each == given[0] for each in given) else given)
        self.cases[name] = {"peer": peer, "inputs": inputs, "given": given, "found": sorted(found)}
        for key, value in found.items():
            self.arrays[f"{name}/{key}"] = np.ascontiguousarray(value)

    def write(self) -> None:
        """Write both files."""
        versions = {name: metadata.version(name) for name in LIBRARIES}
        text = json.dumps({"versions": versions, "cases": self.cases, "signatures": self.signatures})
        text = text.replace('}, "', '},\n"').replace("}, {", "},\n {")
        TARGET.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
        np.savez_compressed(TARGET.with_suffix(".npz"), **self.arrays)


# What libraries draw with, replaced


@contextmanager
def told(torch: Any, uniform: Iterable[int], whole: Iterable[int]) -> Iterator[None]:
    """Let torch draw single numbers from words: some for real numbers, others for whole ones."""
    uniforms, wholes = iter(uniform), iter(whole)

    class Empty:
        def uniform_(self, low: Any, high: Any) -> Any:
            return torch.tensor([next(uniforms) / 2**32], dtype=torch.float32) * (high - low) + low

    def randint(*bounds: int, size: Sequence[int]) -> Any:
        low, high = (0, *bounds)[-2:]
        return torch.tensor(low + (next(wholes) * (high - low) >> 32)).reshape(tuple(size))

    with (
        mock.patch.object(torch, "empty", return_value=Empty()),
        mock.patch.object(torch, "randint", randint),
    ):
        yield


def make_words(*shape: int) -> np.ndarray:
    """Words whose lower bits are 0, so that they are whole float32."""
    return RANDOM.integers(0, 1 << 24, shape, np.int64) << 8


# torchvision


@cache
def load_torchvision() -> tuple[Any, Any, Any]:
    """Import torchvision, without its compiled part, which needs the very build of torch it was made for."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms(Tensor a, Tensor b, float c) -> Tensor", "qnms(Tensor a, Tensor b, float c) -> Tensor"):
        library.define(name)
    globals()["_kept_alive"] = library
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional

    return torch, v2, functional


def turn(image: np.ndarray) -> Any:
    """Make a tensor of shape [C, H, W] from an image of shape [H, W, C]."""
    torch, _, _ = load_torchvision()
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def run(kept: Kept, name: str, inputs: str, given: Sequence[dict[str, Any]]) -> None:
    """Run the functional that the name begins with on each image, with its own arguments."""
    _, _, functional = load_torchvision()
    from torchvision.transforms import InterpolationMode

    function, found = name.partition(" ")[0], []
    for image, arguments in zip(kept.arrays[inputs], given, strict=False):
        options, tensor = dict(arguments), turn(image)
        if "interpolation" in options:
            options["interpolation"] = InterpolationMode(options["interpolation"])
        if "v" in options:
            options["v"] = tensor.new_tensor(options["v"])[:, None, None]
        found.append(getattr(functional, function)(tensor, **options).numpy().transpose(1, 2, 0))
    peer = f"torchvision.transforms.v2.functional.{function}"
    kept.keep(name, peer, inputs, given[: len(found)], image=np.stack(found))


def keep_places(kept: Kept) -> None:
    """Run what moves and resamples pixels."""
    go = partial(run, kept)
    places = [(0, 0), (5, 8), (-3, -2), (7, 12)]
    go("crop", "images", [{"top": top, "left": left, "height": 8, "width": 9} for top, left in places])
    for size in ([8, 9], [10, 14], [13, 12], [16, 20], [5, 21]):
        go(f"center_crop {size}", "images", [{"output_size": size}] * 4)
    go("horizontal_flip", "images", [{}] * 4)
    go("vertical_flip", "images", [{}] * 4)
    boxes = [(0, 0, 4, 5), (3, 11, 10, 6), (12, 16, 1, 1), (5, 2, 7, 12)]
    go("erase", "images", [{**dict(zip("ijhw", box, strict=True)), "v": [0, 7, 255]} for box in boxes])
    windows = [(0, 0, 13, 17), (2, 5, 9, 7), (6, 1, 3, 14), (12, 16, 1, 1)]
    names = ("top", "left", "height", "width")
    several = [{**dict(zip(names, window, strict=True)), "size": [6, 8]} for window in windows]
    for inputs in ("images", "floats"):
        for size in ([7, 9], [17, 24], [4, 23], [13, 5]):
            go(f"resize {size} {inputs}", inputs, [{"size": size, "antialias": True}] * 4)
        go(f"resize plain {inputs}", inputs, [{"size": [7, 23], "antialias": False}] * 4)
        go(f"resized_crop {inputs}", inputs, several if inputs == "images" else several[1:])
    go("resize nearest-exact", "images", [{"size": [7, 25], "interpolation": "nearest-exact"}] * 4)
    for mode in ("nearest", "bilinear"):
        turns = [{"angle": angle, "interpolation": mode} for angle in (30.0, -62.5, 90.0, 171.0)]
        go(f"rotate {mode} images", "images", turns)
        go(f"rotate {mode} floats", "floats", turns)
    go("rotate nearest filled", "images", [{"angle": 20.0, "fill": [9, 0, 200]}] * 4)
    filled = {"angle": 20.0, "interpolation": "bilinear", "fill": [0.25, 0.0, 1.0]}
    go("rotate bilinear filled", "floats", [filled] * 2)


def keep_values(kept: Kept) -> None:
    """Run what changes values where they are."""
    torch, _, functional = load_torchvision()
    factors = {
        "brightness": (0.3, 1.6, 1.0, 2.5),
        "contrast": (0.4, 1.7, 0.0, 3.0),
        "saturation": (0.5, 1.8, 0.0, 2.6),
    }
    for inputs in ("images", "floats"):
        go = partial(run, kept, inputs=inputs)
        for kind, values in factors.items():
            go(f"adjust_{kind} {inputs}", given=[{f"{kind}_factor": value} for value in values])
        go(f"adjust_gamma {inputs}", given=[{"gamma": gamma} for gamma in (0.45, 1.8, 0.9, 3.0)])
        go(f"invert {inputs}", given=[{}] * 4)
        go(f"posterize {inputs}", given=[{"bits": bits} for bits in (3, 5, 1, 8)])
        full = 255 if inputs == "images" else 1.0
        go(f"solarize {inputs}", given=[{"threshold": full * k / 255} for k in (200, 51, 0, 255)])
        go(f"rgb_to_grayscale {inputs}", given=[{"num_output_channels": 3}] * 4)
    given = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    run(kept, "normalize floats", "floats", [given] * 2)
    scaled = [functional.to_dtype(turn(image), torch.float32, scale=True) for image in IMAGES]
    image = np.stack([functional.normalize(each, **given).numpy().transpose(1, 2, 0) for each in scaled])
    peer = "torchvision.transforms.v2.functional."
    kept.keep("normalize images", f"{peer}normalize", "images", [given] * 4, image=image)
    given = {"mean": 0.05, "sigma": 0.2}
    for inputs in ("images", "floats"):
        images, found = kept.arrays[inputs][:2], []
        noise = RANDOM.standard_normal(images.shape).astype(np.float32)
        for each, own in zip(images, noise, strict=True):
            with mock.patch.object(torch, "randn_like", return_value=turn(own)):
                found.append(functional.gaussian_noise(turn(each), **given).numpy().transpose(1, 2, 0))
        found = {"image": np.stack(found), "noise": noise}
        kept.keep(f"gaussian_noise {inputs}", f"{peer}gaussian_noise", inputs, [given] * len(images), **found)


def keep_draws(kept: Kept) -> None:
    """Run what draws parameters, with words in place of torch's generator."""
    torch, v2, _ = load_torchvision()
    flat = [torch.zeros(3, 13, 17, dtype=torch.uint8)]

    def draw(words: Sequence[int], tries: int, transform: Any) -> dict[str, Any]:
        with told(torch, words[: 2 * tries], words[2 * tries :]):
            return transform.make_params(flat)

    ranges = {
        "": {},
        " wide": {"scale": (0.5, 1.0), "ratio": (1.3, 2.6)},
        " too wide": {"scale": (0.7, 1.0), "ratio": (2.0, 3.0)},
        " too narrow": {"scale": (0.9, 1.0), "ratio": (0.2, 0.5)},
    }
    for name, options in ranges.items():
        words = make_words(40, 22)
        drawn = [draw(row.tolist(), 10, v2.RandomResizedCrop(8, **options)) for row in words]
        keys = ("top", "left", "height", "width")
        found = np.array([[params[key] for key in keys] for params in drawn])
        peer = "torchvision.transforms.v2.RandomResizedCrop"
        kept.keep(
            f"RandomResizedCrop{name}", peer, "images", [options], words=words.astype(np.uint32), found=found
        )
    for name, options in {"": {}, " large": {"scale": (0.6, 1.0)}}.items():
        words = make_words(40, 22)
        drawn = [draw(row.tolist(), 10, v2.RandomErasing(1, **options)) for row in words]
        found = np.array([[params[key] * (params["v"] is not None) for key in "ijhw"] for params in drawn])
        peer = "torchvision.transforms.v2.RandomErasing"
        kept.keep(
            f"RandomErasing{name}", peer, "images", [options], words=words.astype(np.uint32), found=found
        )
    crops: dict[str, dict[str, Any]] = {
        "": {"size": (9, 8)},
        " padded": {"size": (13, 17), "padding": 3},
        " padded by two": {"size": (14, 15), "padding": (2, 4), "fill": 7},
        " padded by four": {"size": (12, 18), "padding": (1, 2, 3, 4), "fill": (9, 0, 200)},
        " if needed": {"size": (20, 16), "padding": 1, "pad_if_needed": True},
    }
    for name, options in crops.items():
        words, transform, found = make_words(4, 2), v2.RandomCrop(**options), []
        for row, image in zip(words.tolist(), IMAGES, strict=True):
            with told(torch, (), row):
                cropped = transform(torch.from_numpy(image.transpose(2, 0, 1).copy()))
            found.append(cropped.numpy().transpose(1, 2, 0))
        peer = "torchvision.transforms.v2.RandomCrop"
        kept.keep(
            f"RandomCrop{name}",
            peer,
            "images",
            [options],
            words=words.astype(np.uint32),
            image=np.stack(found),
        )
    for amount in (0.4, 1.5, (0.2, 0.7)):
        words = make_words(8, 1)
        found = [
            draw(row.tolist(), 1, v2.ColorJitter(brightness=amount))["brightness_factor"] for row in words
        ]
        peer = "torchvision.transforms.v2.ColorJitter"
        kept.keep(
            f"ColorJitter {amount}",
            peer,
            "images",
            [{"brightness": amount}],
            words=words.astype(np.uint32),
            found=found,
        )
    for amount in (25, (-10, 80)):
        words = make_words(8, 1)
        found = [draw(row.tolist(), 1, v2.RandomRotation(amount))["angle"] for row in words]
        peer = "torchvision.transforms.v2.RandomRotation"
        kept.keep(
            f"RandomRotation {amount}",
            peer,
            "images",
            [{"degrees": amount}],
            words=words.astype(np.uint32),
            found=found,
        )


def keep_mixes(kept: Kept) -> None:
    """Run MixUp and CutMix with given shares and centres of boxes; the partner is the sample before."""
    torch, v2, _ = load_torchvision()
    labels = torch.tensor([2, 0, 1, 2])
    images = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())
    # Two samples, uint8 as floats, since torchvision cannot mix uint8.
    for inputs, batch in (
        ("images", images[:2]),
        ("floats", torch.from_numpy(FLOATS.transpose(0, 3, 1, 2).copy())),
    ):
        for number, share in enumerate((0.25, 0.8125)):
            mix = v2.MixUp(num_classes=3)
            with mock.patch.object(mix._dist, "sample", return_value=torch.tensor(share)):
                found, shares = mix(batch.float(), labels[:2])
            given = [{"lam": share, "labels": labels[:2].tolist()}]
            kept.keep(
                f"MixUp {number} {inputs}",
                "torchvision.transforms.v2.MixUp",
                inputs,
                given,
                image=found.numpy().transpose(0, 2, 3, 1),
                label=shares.numpy(),
            )
    for number, share in enumerate((0.25, 0.8125, 0.33251953125, 1.0, 0.0)):
        words, mix = make_words(2), v2.CutMix(num_classes=3)
        row, column = words.tolist()
        with (
            mock.patch.object(mix._dist, "sample", return_value=torch.tensor(share)),
            told(torch, (), (column, row)),
        ):
            found, shares = mix(images, labels)
        given = [{"lam": share, "labels": labels.tolist()}]
        kept.keep(
            f"CutMix {number}",
            "torchvision.transforms.v2.CutMix",
            "images",
            given,
            image=found.numpy().transpose(0, 2, 3, 1),
            label=shares.numpy(),
            words=words.astype(np.uint32),
        )


# torchaudio and transformers


@cache
def load_torchaudio() -> tuple[Any, Any]:
    """Import torchaudio's functions that are Python, without its compiled part."""
    empty: Any = ModuleType("torchaudio._extension")
    empty._IS_TORCHAUDIO_EXT_AVAILABLE = False
    empty.fail_if_no_align = lambda function: function
    sys.modules["torchaudio._extension"] = empty
    import torchaudio
    from torchaudio import functional, transforms

    assert torchaudio.__version__
    return functional, transforms


def keep_torchaudio(kept: Kept) -> None:
    """Run SpecAugment's masks, one for each sample and one for all."""
    import torch

    functional, _ = load_torchaudio()
    series = torch.from_numpy(SERIES)
    for name, axis, length, value in (("time", 2, 9, 0.0), ("frequency", 1, 4, -1.5)):
        words = make_words(3, 2)
        drawn = [torch.from_numpy((words[:, place] / 2**32).astype(np.float32)) for place in (0, 1)]
        given = [{"mask_param": length, "mask_value": value, "axis": axis}]
        with mock.patch.object(torch, "rand", side_effect=drawn):
            found = functional.mask_along_axis_iid(series, **given[0])
        peer = "torchaudio.functional.mask_along_axis_iid"
        kept.keep(f"mask {name}", peer, "series", given, words=words.astype(np.uint32), x=found.numpy())
        with mock.patch.object(torch, "rand", side_effect=[each[:1] for each in drawn]):
            found = functional.mask_along_axis(series, **given[0])
        peer = "torchaudio.functional.mask_along_axis"
        kept.keep(
            f"mask {name} alike", peer, "series", given, words=words[:1].astype(np.uint32), x=found.numpy()
        )


def keep_transformers(kept: Kept) -> None:
    """Run the collator for masked language models, told which tokens to choose and what to do with them."""
    import torch
    from transformers import DataCollatorForLanguageModeling

    class Tokenizer:
        mask_token, pad_token_id = "[MASK]", 0

        def __len__(self) -> int:
            return 40

        def convert_tokens_to_ids(self, _: str) -> int:
            return 4

        def get_special_tokens_mask(self, ids: list[int], already_has_special_tokens: bool) -> list[int]:
            assert already_has_special_tokens
            return [int(token in (0, 2, 3)) for token in ids]

    for name, options in {
        "": {},
        " no random": {"mask_replace_prob": 0.5, "random_replace_prob": 0.0},
    }.items():
        rule: Any = DataCollatorForLanguageModeling(Tokenizer(), **options)  # type: ignore[arg-type]
        words, thresholds = make_words(3, *TOKENS.shape), []

        def bernoulli(chances: Any, words: Any = words, thresholds: Any = thresholds, **_: Any) -> Any:
            drawn = torch.from_numpy(words[len(thresholds)] / 2**32)
            thresholds.append(float(chances.max()))
            return (drawn < chances * (4 if len(thresholds) == 1 else 1)).double()  # more are chosen

        others = torch.from_numpy(RANDOM.integers(0, 40, TOKENS.shape))
        with (
            mock.patch.object(torch, "bernoulli", bernoulli),
            mock.patch.object(torch, "randint", return_value=others),
        ):
            ids, labels = rule.torch_mask_tokens(torch.from_numpy(TOKENS.copy()))
        gates = [words[at] / 2**32 < thresholds[at] * (4 if at == 0 else 1) for at in range(len(thresholds))]
        kept.keep(
            f"torch_mask_tokens{name}",
            "transformers.DataCollatorForLanguageModeling.torch_mask_tokens",
            "tokens",
            [options],
            ids=ids.numpy(),
            labels=labels.numpy(),
            others=others.numpy(),
            gates=np.stack(gates),
        )


# kornia, albumentations and torch itself


def keep_others(kept: Kept) -> None:
    """Run what torchvision has not, or what others define in the same way."""
    import kornia
    import torch
    from albumentations.augmentations.dropout import functional as dropout
    from albumentations.augmentations.geometric import functional as geometric
    from albumentations.augmentations.pixel import functional as pixel

    squares = kept.arrays["squares"] = IMAGES[:, :, :13]
    turned = [geometric.rot90(each, k) for k, each in enumerate(squares)]
    peer = "albumentations.augmentations.geometric.functional.rot90"
    kept.keep("rot90", peer, "squares", [{"factor": k} for k in range(4)], image=np.stack(turned))
    holes = [
        [[0, 0, 5, 4]],
        [[11, 3, 17, 13], [2, 2, 6, 12]],
        [[16, 12, 17, 13]],
        [[2, 5, 14, 12], [4, 0, 9, 8]],
    ]
    found = [
        dropout.cutout(image.copy(), np.array(own), (1, 2, 3), np.random.default_rng(0))
        for image, own in zip(IMAGES, holes, strict=True)
    ]
    peer = "albumentations.augmentations.dropout.functional.cutout"
    kept.keep("cutout", peer, "images", [{"holes": own} for own in holes], image=np.stack(found))
    thresholds = (0.77, 0.1, 0.5, 0.3)
    found = [pixel.solarize(image.copy(), each) for image, each in zip(IMAGES, thresholds, strict=True)]
    peer = "albumentations.augmentations.pixel.functional.solarize"
    kept.keep(
        "albumentations_solarize",
        peer,
        "images",
        [{"threshold": each} for each in thresholds],
        image=np.stack(found),
    )
    floats = torch.from_numpy(FLOATS.transpose(0, 3, 1, 2).copy())
    gammas = (0.45, 1.8)
    found = [kornia.enhance.adjust_gamma(image, gamma) for image, gamma in zip(floats, gammas, strict=True)]
    image = torch.stack(found).numpy().transpose(0, 2, 3, 1)
    kept.keep(
        "kornia_gamma", "kornia.enhance.adjust_gamma", "floats", [{"gamma": g} for g in gammas], image=image
    )
    image = kornia.color.rgb_to_grayscale(floats).repeat(1, 3, 1, 1).numpy().transpose(0, 2, 3, 1)
    kept.keep("kornia_gray", "kornia.color.rgb_to_grayscale", "floats", [{}] * 2, image=image)


def keep_signatures(kept: Kept) -> None:
    """Keep names and defaults of the arguments of classes."""
    import albumentations
    from transformers import DataCollatorForLanguageModeling

    _, v2, _ = load_torchvision()
    _, audio = load_torchaudio()
    classes: dict[str, Any] = {
        f"torchvision.{name}": getattr(v2, name)
        for name in (
            "CenterCrop",
            "ColorJitter",
            "CutMix",
            "GaussianNoise",
            "MixUp",
            "Normalize",
            "RandomCrop",
            "RandomErasing",
            "RandomGrayscale",
            "RandomHorizontalFlip",
            "RandomInvert",
            "RandomPosterize",
            "RandomResizedCrop",
            "RandomRotation",
            "RandomSolarize",
            "RandomVerticalFlip",
            "Resize",
        )
    }
    classes |= {f"torchaudio.{name}": getattr(audio, name) for name in ("FrequencyMasking", "TimeMasking")}
    classes |= {
        f"albumentations.{name}": getattr(albumentations, name)
        for name in (
            "CoarseDropout",
            "ColorJitter",
            "FrequencyMasking",
            "RandomGamma",
            "Solarize",
            "TimeMasking",
        )
    }
    classes["transformers.DataCollatorForLanguageModeling"] = DataCollatorForLanguageModeling
    for name, kind in classes.items():
        kept.signatures[name] = {
            each.name: "required" if each.default is each.empty else plain(each.default)
            for each in inspect.signature(kind.__init__).parameters.values()
            if each.name != "self" and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        }


def plain(value: Any) -> Any:
    """Return a default as JSON has it."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value if isinstance(value, (int, float, str, type(None))) else str(getattr(value, "value", value))


def main() -> None:
    """Write the files."""
    kept = Kept()
    for keep in (
        keep_places,
        keep_values,
        keep_draws,
        keep_mixes,
        keep_torchaudio,
        keep_transformers,
        keep_others,
        keep_signatures,
    ):
        keep(kept)
    kept.write()


if __name__ == "__main__":
    main()
