"""Compiled changes of the pixels of one uint8 image, in place: the arithmetic of `image.pixels`.

Changes that look at nothing but the value are composed to a table first, which the image goes through once,
or with its last step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from headrace.augment.fused.image.program import Kind, Word
from headrace.augment.image.pixels import GRAY, HALF, ONE
from headrace.copying import pointer

_KIND, _P0 = int(Word.KIND), int(Word.P0)
_PLANES, _ITEM = int(Word.PLANES), int(Word.ITEM)
_HEIGHT, _WIDTH = int(Word.NEW_HEIGHT), int(Word.NEW_WIDTH)
_BRIGHTNESS, _CONTRAST, _GAMMA = int(Kind.BRIGHTNESS), int(Kind.CONTRAST), int(Kind.GAMMA)
_INVERT, _POSTERIZE, _SOLARIZE = int(Kind.INVERT), int(Kind.POSTERIZE), int(Kind.SOLARIZE)
_SATURATION, _GRAYSCALE = int(Kind.SATURATION), int(Kind.GRAYSCALE)

_RED, _GREEN, _BLUE = (np.int64(weight) for weight in GRAY)


@njit("int64(int64, int64, int64)", nogil=True, cache=True, inline="always")
def _blend(value: Any, other: Any, factor: Any) -> Any:
    blended = (value * factor + other * (ONE - factor) + HALF) >> 16
    return max(min(blended, np.int64(255)), np.int64(0))


@njit("UniTuple(int64, 4)(int32[::1])", nogil=True, cache=True, inline="always")
def channel_places(row: Any) -> Any:
    """Return how many channels and pixels there are, and how far apart each of them lie."""
    count = np.int64(row[_HEIGHT]) * np.int64(row[_WIDTH])
    if row[_ITEM] == 1:
        return np.int64(row[_PLANES]), count, count, np.int64(1)
    return np.int64(row[_ITEM]), count, np.int64(1), np.int64(row[_ITEM])


@njit("int64(int64, int64, int64)", nogil=True, cache=True, inline="always")
def _gray(red: Any, green: Any, blue: Any) -> Any:
    return (red * _RED + green * _GREEN + blue * _BLUE + HALF) >> 16


@njit("int64(int32[::1], uint64, uint64)", nogil=True, cache=True)
def mean_gray(row: Any, image: Any, table: Any) -> Any:
    """Return how bright a uint8 image is that has not gone through the table yet."""
    channels, count, apart, step = channel_places(row)
    source, tone, total = pointer(image, types.uint8), pointer(table, types.uint8), np.int64(0)
    if channels == 3:
        for place in range(0, count * step, step):
            red, green = tone[source[place]], tone[source[place + apart]]
            total += _gray(np.int64(red), np.int64(green), np.int64(tone[source[place + 2 * apart]]))
    else:
        for place in range(count):
            total += np.int64(tone[source[place]])
    return (2 * total + count) // (2 * count)


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
    if kind in (_BRIGHTNESS, _CONTRAST):
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
        least = (drawn * 255 + ONE - 1) >> 16
        for place in range(256):
            if tone[place] >= least:
                tone[place] = np.uint8(255) - tone[place]


@njit("void(uint64)", nogil=True, cache=True)
def clear_table(table: Any) -> None:
    """Make the table of 256 uint8 at an address one that changes nothing."""
    tone = pointer(table, types.uint8)
    for value in range(256):
        tone[value] = np.uint8(value)


@njit("void(uint64, uint64, int64)", nogil=True, cache=True)
def apply_table(image: Any, table: Any, count: Any) -> None:
    """Send so many uint8 values through a table, in place."""
    values, tone = pointer(image, types.uint8), pointer(table, types.uint8)
    for place in range(count):
        values[place] = tone[values[place]]


@njit("void(int32[::1], int32[::1], uint64)", nogil=True, cache=True)
def change_colors(row: Any, record: Any, image: Any) -> None:
    """Change uint8 pixels whose channels depend on each other."""
    channels, count, apart, step = channel_places(row)
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
