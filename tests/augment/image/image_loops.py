"""Oracles of the augmentations of images: plain loops over one image, by fractions or single operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment import Augmentation
from headrace.augment.base import Spec
from headrace.augment.chain import Bound, Chain, Planned
from headrace.augment.stage import ReferenceStage
from headrace.draws import Draws, Samples

Array = NDArray[Any]
Params = Mapping[str, Any]
HALF = Fraction(1, 2)


def plan(op: Augmentation, columns: Mapping[str, Array], seed: int = 0) -> tuple[Bound, Planned]:
    """Bind one augmentation and draw for samples with the ids 100, 101..."""
    bound = Chain((op,)).bind({name: Spec.of(column) for name, column in columns.items()})
    ids = np.arange(100, 100 + len(next(iter(columns.values()))))
    return bound, bound.plan(Draws(seed), Samples(ids))


def params_of(op: Augmentation, columns: Mapping[str, Array], seed: int = 0) -> dict[str, Array]:
    """The parameters of one augmentation, field to array."""
    bound, planned = plan(op, columns, seed)
    return planned.params(bound.chain.paths[0])


def run(op: Augmentation, columns: Mapping[str, Array], seed: int = 0, xp: Any = np) -> dict[str, Array]:
    """Change columns by the reference, on any array library; check that it keeps what was said of it."""
    bound, planned = plan(op, columns, seed)
    kept = {name: column.copy() for name, column in columns.items()}
    arrays = {name: xp.asarray(column) for name, column in columns.items()}
    changed = ReferenceStage(bound, 0, xp).run(arrays, None, planned)
    found = {name: np.asarray(column) for name, column in changed.items()}
    for name, column in found.items():
        assert Spec.of(column) == bound.states[-1][name]
    for name, column in columns.items():
        assert column.tobytes() == kept[name].tobytes(), "what was given is not written to"
    return found


def loop(
    op: Augmentation, column: Array, change: Callable[[Array, dict[str, Any]], Array], seed: int = 0
) -> Array:
    """Change the images of a column in layout NHWC one by one."""
    params = params_of(op, {"image": column}, seed)
    images = [
        change(image, {name: values[number].tolist() for name, values in params.items()})
        for number, image in enumerate(column)
    ]
    return np.stack(images)


def pixels(column: str | np.dtype[Any], shape: Sequence[int], seed: int = 0) -> Array:
    """Random pixels: uint8, whole numbers, or floats a little beyond 0..1."""
    values = np.random.default_rng(seed).integers(0, 256, tuple(shape))
    dtype = np.dtype(column)
    return (values / 200 - 0.1).astype(dtype) if dtype.kind == "f" else values.astype(dtype)


def swap_layout(column: Array, layout: str) -> Array:
    """From NHWC to another layout."""
    return np.ascontiguousarray(np.moveaxis(column, 3, 1)) if layout == "NCHW" else column


def clip_whole(value: Fraction) -> int:
    """Round half up and clip to a byte."""
    return min(max(math.floor(value + HALF), 0), 255)


def clip_float(value: Any) -> Any:
    """Clip a float to 0..1, in its own precision."""
    return type(value)(min(max(value, type(value)(0)), type(value)(1)))


def crop(image: Array, params: Params, size: tuple[int, int], fill: float = 0) -> Array:
    found = np.full((*size, image.shape[2]), fill, image.dtype)
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = params["top"] + row, params["left"] + column
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                found[row, column] = image[y, x]
    return found


def triangle(source: int, length: int, place: int, count: int, antialias: bool) -> Fraction:
    """How much a source pixel counts for an output pixel, before the weights are made to sum to 1."""
    scale = Fraction(length, count)
    width = max(scale, Fraction(1)) if antialias else Fraction(1)
    distance = abs(source + HALF - (place + HALF) * scale) / width
    return max(Fraction(0), 1 - distance)


def resize_line(line: Array, count: int, antialias: bool) -> list[Any]:
    """Filter one line of pixels, bytes or floats of the precision that is computed in."""
    found: list[Any] = []
    for place in range(count):
        weights = [triangle(source, len(line), place, count, antialias) for source in range(len(line))]
        whole = sum(weights)
        if line.dtype == np.uint8:
            fixed = [math.floor(weight / whole * 2**22 + HALF) for weight in weights]
            total = sum(weight * int(value) for weight, value in zip(fixed, line, strict=True))
            found.append(clip_whole(Fraction(total, 2**22)))
            continue
        kind = line.dtype.type
        total = kind(0)
        for weight, value in zip(weights, line, strict=True):
            if weight:
                total = total + value * kind(float(weight / whole))
        found.append(total)
    return found


def resize(image: Array, params: Params, size: tuple[int, int], antialias: bool = True) -> Array:
    """Cut out a window and resize it, first its rows, then its columns."""
    window = image[params["top"] :, params["left"] :][: params["height"], : params["width"]]
    working = window.astype(np.float32) if window.dtype == np.float16 else window
    channels: list[Array] = []
    for channel in range(image.shape[2]):
        rows = [resize_line(row, size[1], antialias) for row in working[:, :, channel]]
        across = np.array(rows, working.dtype)
        columns = [resize_line(line, size[0], antialias) for line in across.T]
        channels.append(np.array(columns, working.dtype).T)
    return np.stack(channels, axis=2).astype(image.dtype)


def resize_nearest(image: Array, params: Params, size: tuple[int, int]) -> Array:
    """Take the pixel that holds the centre of each output pixel."""
    found = np.zeros((*size, image.shape[2]), image.dtype)
    for row in range(size[0]):
        for column in range(size[1]):
            y = math.floor((row + HALF) * Fraction(params["height"], size[0]))
            x = math.floor((column + HALF) * Fraction(params["width"], size[1]))
            found[row, column] = image[params["top"] + y, params["left"] + x]
    return found


def rotate(image: Array, params: Params, mode: str, fill: float = 0) -> Array:
    """Look up where each pixel comes from, about the centre."""
    height, width, channels = image.shape
    cosine, sine = Fraction(params["cos"], 65536), Fraction(params["sin"], 65536)
    found = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            right, down = column - Fraction(width - 1, 2), row - Fraction(height - 1, 2)
            x = Fraction(width - 1, 2) + cosine * right - sine * down
            y = Fraction(height - 1, 2) + sine * right + cosine * down
            for channel in range(channels):

                def at(row: int, column: int, channel: int = channel) -> Any:
                    if 0 <= row < height and 0 <= column < width:
                        return image[row, column, channel]
                    return image.dtype.type(fill)

                if mode == "nearest":
                    found[row, column, channel] = at(math.floor(y + HALF), math.floor(x + HALF))
                else:
                    found[row, column, channel] = blend_four(at, y, x)
    return found


def blend_four(at: Callable[[int, int], Any], y: Fraction, x: Fraction) -> Any:
    """Blend the four pixels around a place."""
    row, column = math.floor(y), math.floor(x)
    near = [at(row, column), at(row, column + 1), at(row + 1, column), at(row + 1, column + 1)]
    if isinstance(near[0], np.uint8):
        down, across = (Fraction(math.floor((place % 1) * 2048), 2048) for place in (y, x))
        top, bottom = (int(near[k]) * (1 - across) + int(near[k + 1]) * across for k in (0, 2))
        return clip_whole(top * (1 - down) + bottom * down)
    kind = np.float64 if isinstance(near[0], np.float64) else np.float32
    near = [kind(value) for value in near]
    down, across = (kind(float(place % 1)) for place in (y, x))
    top, bottom = (near[k] + (near[k + 1] - near[k]) * across for k in (0, 2))
    return top + (bottom - top) * down


def gray(pixel: Array) -> Any:
    """How bright a pixel is: a whole number for bytes, else a float of the precision that is computed in."""
    if pixel.dtype == np.uint8:
        if len(pixel) == 1:
            return int(pixel[0])
        weights = (19595, 38470, 7471)
        total = sum(weight * int(value) for weight, value in zip(weights, pixel, strict=True))
        return math.floor(Fraction(total, 65536) + HALF)
    kind = np.float64 if pixel.dtype == np.float64 else np.float32
    if len(pixel) == 1:
        return kind(pixel[0])
    red, green, blue = (kind(value) for value in pixel)
    return (red * kind(0.299) + green * kind(0.587)) + blue * kind(0.114)


def mean_gray(image: Array) -> Any:
    """The mean brightness of an image."""
    grays = [gray(pixel) for row in image for pixel in row]
    if image.dtype == np.uint8:
        return math.floor(Fraction(sum(grays), len(grays)) + HALF)
    kind = type(grays[0])
    cut = [int(min(max(float(each), 0.0), 1.0) * 2**24) for each in grays]
    return kind(float(sum(cut)) / float(len(cut) * 2**24))


def blend(image: Array, params: Params, other: Callable[[Array], Any] | None) -> Array:
    """Blend all values with what `other` says of their pixel; None is black."""
    found = np.zeros_like(image)
    factor = Fraction(params["factor"], 65536)
    for place in np.ndindex(*image.shape):
        value, toward = image[place], other(image[place[:2]]) if other else None
        if image.dtype == np.uint8:
            found[place] = clip_whole(int(value) * factor + (toward or 0) * (1 - factor))
            continue
        kind = np.float64 if image.dtype == np.float64 else np.float32
        total = kind(value) * kind(float(factor))
        if toward is not None:
            total = total + toward * kind(float(1 - factor))
        found[place] = clip_float(total)
    return found


def erase(image: Array, rectangles: Sequence[tuple[int, int, int, int]], fill: float = 0) -> Array:
    found = image.copy()
    for top, left, height, width in rectangles:
        for row in range(top, top + height):
            for column in range(left, left + width):
                found[row, column] = fill
    return found
