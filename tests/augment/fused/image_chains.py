"""Random chains of augmentations of images, for images of many shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import headrace.augment as aug
from headrace.augment.base import Augmentation, Spec
from headrace.augment.chain import Chain
from headrace.errors import SchemaError

Draw = np.random.Generator
Maker = Callable[[Draw, dict[str, Any]], Augmentation]


def _sides(draw: Draw, most: int) -> tuple[int, int]:
    return int(draw.integers(1, most)), int(draw.integers(1, most))


def _one(draw: Draw, *choices: Any) -> Any:
    return choices[draw.integers(len(choices))]


def _crop(draw: Draw, options: dict[str, Any]) -> Augmentation:
    padding, fill = _one(draw, None, 3, (7, 0, 2, 1)), _one(draw, 0, 0, 1)
    size = _sides(draw, 24)
    return aug.RandomCrop("image", size, padding=padding, pad_if_needed=True, fill=fill, **options)


def _resized_crop(draw: Draw, options: dict[str, Any]) -> Augmentation:
    how = _one(draw, "bilinear", "bilinear", "nearest")
    antialias = bool(draw.integers(2))
    return aug.RandomResizedCrop("image", _sides(draw, 24), interpolation=how, antialias=antialias, **options)


def _resize(draw: Draw, options: dict[str, Any]) -> Augmentation:
    how, antialias = _one(draw, "bilinear", "nearest"), bool(draw.integers(2))
    return aug.Resize(
        "image", _sides(draw, 24), interpolation=how, antialias=antialias, layout=options["layout"]
    )


def _normalize(draw: Draw, options: dict[str, Any]) -> Augmentation:
    dtype = _one(draw, "float32", "float32", "float16", "float64")
    # 0.4 is 102 / 255: a value that becomes exactly 0.
    mean, std = _one(draw, 0.485, 0.4, 0.0), _one(draw, 0.229, -0.5)
    to_layout, scale = _one(draw, None, "NHWC", "NCHW"), bool(draw.integers(2))
    layout = options["layout"]
    return aug.Normalize("image", mean, std, dtype=dtype, scale=scale, to_layout=to_layout, layout=layout)


MAKERS: tuple[Maker, ...] = (
    _crop,
    _resized_crop,
    _resize,
    _normalize,
    lambda draw, options: aug.CenterCrop("image", _sides(draw, 24), layout=options["layout"]),
    lambda draw, options: aug.HorizontalFlip("image", **options),
    lambda draw, options: aug.VerticalFlip("image", **options),
    lambda draw, options: aug.Rot90("image", k=_one(draw, (0, 2), (0, 1, 2, 3)), **options),
    lambda draw, options: aug.Rotate(
        "image", 180, interpolation=_one(draw, "bilinear", "nearest"), fill=_one(draw, 0, 1), **options
    ),
    lambda draw, options: aug.Brightness("image", 0.9, **options),
    lambda draw, options: aug.Contrast("image", 0.9, **options),
    lambda draw, options: aug.Saturation("image", 0.9, **options),
    lambda draw, options: aug.Gamma("image", (0.3, 3.0), **options),
    lambda draw, options: aug.Invert("image", **options),
    lambda draw, options: aug.Posterize("image", (1, 8), **options),
    lambda draw, options: aug.Solarize("image", (0.0, 1.0), **options),
    lambda draw, options: aug.Grayscale("image", **options),
    lambda draw, options: aug.RandomErasing("image", value=_one(draw, 0, 1), **options),
    lambda draw, options: aug.Cutout("image", holes=(1, 3), **options),
    lambda draw, options: aug.GaussianNoise(
        "image", 0.05, (0.0, 0.4), clip=_one(draw, True, False), **options
    ),
)


def random_images(draw: Draw, count: int) -> tuple[np.ndarray[Any, Any], str]:
    """Images of any shape, uint8 or float32 (out of range, or no numbers, among them), and their layout."""
    layout, sides = _one(draw, "NHWC", "NCHW"), _sides(draw, 40)
    channels = _one(draw, 3, 3, 1, 2, 4)
    shape = (*sides, channels) if layout == "NHWC" else (channels, *sides)
    images = draw.integers(0, 256, (count, *_one(draw, shape, shape, shape, sides)), np.uint8)
    if draw.random() < 0.6:
        return images, layout
    floats = ((images / 255 - 0.1) * 1.2).astype(np.float32)
    if draw.random() < 0.3:
        floats.reshape(-1)[::5] = np.nan
    return floats, layout


def random_chain(draw: Draw, spec: Spec, layout: str) -> list[Augmentation]:
    """One to eight augmentations that these images can go through."""
    ops: list[Augmentation] = []
    while len(ops) < draw.integers(1, 9):
        options = {"layout": layout, "p": float(_one(draw, 1.0, 0.5))}
        op = _one(draw, *MAKERS)(draw, options)
        try:
            Chain((*ops, op)).bind({"image": spec})
        except SchemaError:
            continue  # another number of channels, or sides
        ops.append(op)
        if isinstance(op, aug.Normalize) and op.to_layout is not None:
            layout = op.to_layout
    return ops
