"""Compiled changes of the pixels of one image, in place: the arithmetic of `image.pixels`, one value at a time.

Changes of uint8 that look at nothing but the value are composed to a table first, which the image goes through
once, or with its last step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from headrace.augment.fused.image_program import Kind, Word
from headrace.augment.image.pixels import GRAY, GRAY_FLOATS, HALF, MEAN_BITS, ONE
from headrace.copying import pointer

_KIND, _P0 = int(Word.KIND), int(Word.P0)
_PLANES, _ITEM = int(Word.PLANES), int(Word.ITEM)
_HEIGHT, _WIDTH = int(Word.NEW_HEIGHT), int(Word.NEW_WIDTH)
_BRIGHTNESS, _CONTRAST, _GAMMA = int(Kind.BRIGHTNESS), int(Kind.CONTRAST), int(Kind.GAMMA)
_INVERT, _POSTERIZE, _SOLARIZE = int(Kind.INVERT), int(Kind.POSTERIZE), int(Kind.SOLARIZE)
_SATURATION, _GRAYSCALE = int(Kind.SATURATION), int(Kind.GRAYSCALE)

_RED, _GREEN, _BLUE = (np.int64(weight) for weight in GRAY)
_RED_FLOAT, _GREEN_FLOAT, _BLUE_FLOAT = (np.float32(weight) for weight in GRAY_FLOATS)
_MEAN_ONE = np.float32(1 << MEAN_BITS)
_PART = np.float32(1.0 / ONE)

_CHANGE = types.void(types.int32[::1], types.int32[::1], types.uint64)


@njit("int64(int64, int64, int64)", nogil=True, cache=True, inline="always")
def _blend(value: Any, other: Any, factor: Any) -> Any:
    blended = (value * factor + other * (ONE - factor) + HALF) >> 16
    return max(min(blended, np.int64(255)), np.int64(0))


@njit("float32(float32)", nogil=True, cache=True, inline="always")
def _clip(value: Any) -> Any:
    # By comparisons, so that NaN stays.
    return np.float32(1) if value > 1 else (np.float32(0) if value < 0 else value)


@njit("UniTuple(int64, 4)(int32[::1])", nogil=True, cache=True, inline="always")
def _places(row: Any) -> Any:
    """Return how many channels and pixels there are, and how far apart each of them lie."""
    count = np.int64(row[_HEIGHT]) * np.int64(row[_WIDTH])
    if row[_ITEM] == 1:
        return np.int64(row[_PLANES]), count, count, np.int64(1)
    return np.int64(row[_ITEM]), count, np.int64(1), np.int64(row[_ITEM])


@njit("int64(int64, int64, int64)", nogil=True, cache=True, inline="always")
def _gray(red: Any, green: Any, blue: Any) -> Any:
    return (red * _RED + green * _GREEN + blue * _BLUE + HALF) >> 16


@njit("float32(float32, float32, float32)", nogil=True, cache=True, inline="always")
def _gray_floats(red: Any, green: Any, blue: Any) -> Any:
    return (red * _RED_FLOAT + green * _GREEN_FLOAT) + blue * _BLUE_FLOAT


@njit("int64(int32[::1], uint64, uint64)", nogil=True, cache=True)
def mean_gray(row: Any, image: Any, table: Any) -> Any:
    """Return how bright a uint8 image is that has not gone through the table yet."""
    channels, count, apart, step = _places(row)
    source, tone, total = pointer(image, types.uint8), pointer(table, types.uint8), np.int64(0)
    if channels == 3:
        for place in range(0, count * step, step):
            red, green = tone[source[place]], tone[source[place + apart]]
            total += _gray(np.int64(red), np.int64(green), np.int64(tone[source[place + 2 * apart]]))
    else:
        for place in range(count):
            total += np.int64(tone[source[place]])
    return (2 * total + count) // (2 * count)


@njit("float32(int32[::1], uint64)", nogil=True, cache=True)
def mean_gray_floats(row: Any, image: Any) -> Any:
    """Return how bright a float32 image is."""
    channels, count, apart, step = _places(row)
    source, total = pointer(image, types.float32), np.int64(0)
    for place in range(0, count * step, step):
        if channels == 3:
            gray = _gray_floats(source[place], source[place + apart], source[place + 2 * apart])
        else:
            gray = source[place]
        above = gray if gray > 0 else np.float32(0)
        total += np.int64((above if above < 1 else np.float32(1)) * _MEAN_ONE)
    return np.float32(np.float64(total) / np.float64(count << MEAN_BITS))


@njit("void(int32[::1], int32[::1], uint64, int64, uint64)", nogil=True, cache=True)
def change_table(row: Any, record: Any, table: Any, gray: Any, gammas: Any) -> None:
    """Compose a change of uint8 values to the table of those before it.

    Args:
        row: The pass.
        record: The sample's parameters.
        table: Address of 256 uint8, changed in place.
        gray: The mean brightness, where contrast is changed.
        gammas: Address of the tables of all steps of gamma.
    """
    tone, kind, drawn = pointer(table, types.uint8), row[_KIND], np.int64(record[row[_P0]])
    if kind == _BRIGHTNESS or kind == _CONTRAST:
        for place in range(256):
            tone[place] = np.uint8(_blend(np.int64(tone[place]), gray, drawn))
    elif kind == _GAMMA:
        steps = pointer(gammas, types.uint8)
        for place in range(256):
            tone[place] = steps[256 * drawn + tone[place]]
    elif kind == _INVERT and drawn:
        for place in range(256):
            tone[place] = np.uint8(255) - tone[place]
    elif kind == _POSTERIZE:
        kept = np.uint8(256 - (1 << (8 - drawn)))
        for place in range(256):
            tone[place] &= kept
    elif kind == _SOLARIZE:
        for place in range(256):
            if tone[place] >= drawn:
                tone[place] = np.uint8(255) - tone[place]


@njit("void(uint64, uint64, int64)", nogil=True, cache=True)
def apply_table(image: Any, table: Any, count: Any) -> None:
    """Send so many uint8 values through a table, in place."""
    values, tone = pointer(image, types.uint8), pointer(table, types.uint8)
    for place in range(count):
        values[place] = tone[values[place]]


@njit("void(int32[::1], int32[::1], uint64)", nogil=True, cache=True)
def change_colors(row: Any, record: Any, image: Any) -> None:
    """Change uint8 pixels whose channels depend on each other."""
    channels, count, apart, step = _places(row)
    if channels != 3:
        return  # gray as they are
    values = pointer(image, types.uint8)
    drawn = np.int64(record[row[_P0]]) if row[_KIND] == _SATURATION else np.int64(0)
    if row[_KIND] == _GRAYSCALE and not record[row[_P0]]:
        return
    for place in range(0, count * step, step):
        red, green, blue = values[place], values[place + apart], values[place + 2 * apart]
        gray = _gray(np.int64(red), np.int64(green), np.int64(blue))
        values[place] = np.uint8(_blend(np.int64(red), gray, drawn))
        values[place + apart] = np.uint8(_blend(np.int64(green), gray, drawn))
        values[place + 2 * apart] = np.uint8(_blend(np.int64(blue), gray, drawn))


@njit(
    "void(int32[::1], int32[::1], uint64, uint64, int64)", nogil=True, cache=True
)
def change_floats(row: Any, record: Any, image: Any, curve: Any, steps: Any) -> None:
    """Change float32 values, each by itself.

    Args:
        row: The pass.
        record: The sample's parameters.
        image: Address of the values, changed in place.
        curve: Address of what gamma makes of the multiples of 1 / steps, for all steps of gamma.
        steps: How many such multiples there are, 0 among them not counted.
    """
    values, kind = pointer(image, types.float32), row[_KIND]
    count = np.int64(row[_PLANES]) * row[_ITEM] * row[_HEIGHT] * row[_WIDTH]
    drawn = record[row[_P0]]
    if kind == _BRIGHTNESS:
        factor = np.float32(drawn) * _PART
        for place in range(count):
            values[place] = _clip(values[place] * factor)
    elif kind == _CONTRAST:
        factor, rest = np.float32(drawn) * _PART, np.float32(ONE - drawn) * _PART
        other = mean_gray_floats(row, image) * rest
        for place in range(count):
            values[place] = _clip(values[place] * factor + other)
