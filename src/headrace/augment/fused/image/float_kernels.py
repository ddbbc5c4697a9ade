"""Compiled changes of the pixels of one float32 image, in place: the arithmetic of `image.pixels`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from headrace.augment.fused.image.byte_kernels import channel_places
from headrace.augment.fused.image.program import Kind, Word
from headrace.augment.image.pixels import GRAY_FLOATS, MEAN_BITS, ONE
from headrace.augment.image.tone import GAMMA_CELLS
from headrace.copying import pointer

_KIND, _P0 = int(Word.KIND), int(Word.P0)
_BRIGHTNESS, _CONTRAST, _GAMMA = int(Kind.BRIGHTNESS), int(Kind.CONTRAST), int(Kind.GAMMA)
_INVERT, _POSTERIZE, _SOLARIZE = int(Kind.INVERT), int(Kind.POSTERIZE), int(Kind.SOLARIZE)
_SATURATION, _GRAYSCALE = int(Kind.SATURATION), int(Kind.GRAYSCALE)

_RED, _GREEN, _BLUE = (np.float32(weight) for weight in GRAY_FLOATS)
_MEAN_ONE, _PART = np.float32(1 << MEAN_BITS), np.float32(1.0 / ONE)
_ZERO, _ONE = np.float32(0), np.float32(1)


@njit("float32(float32)", nogil=True, cache=True, inline="always")
def _clip(value: Any) -> Any:
    # By comparisons, so that NaN stays.
    return np.float32(1) if value > 1 else (np.float32(0) if value < 0 else value)


@njit("float32(float32, float32, float32)", nogil=True, cache=True, inline="always")
def _gray(red: Any, green: Any, blue: Any) -> Any:
    return (red * _RED + green * _GREEN) + blue * _BLUE


@njit("float32(int32[::1], uint64)", nogil=True, cache=True)
def _mean_gray(row: Any, image: Any) -> Any:
    """Return how bright a float32 image is."""
    channels, count, apart, step = channel_places(row)
    source, total = pointer(image, types.float32), np.int64(0)
    for place in range(0, count * step, step):
        if channels == 3:
            gray = _gray(source[place], source[place + apart], source[place + 2 * apart])
        else:
            gray = source[place]
        above = gray if gray > 0 else np.float32(0)
        total += np.int64((above if above < 1 else np.float32(1)) * _MEAN_ONE)
    return np.float32(np.float64(total) / np.float64(count << MEAN_BITS))


@njit(types.float32(types.float32, types.CPointer(types.float32)), nogil=True, cache=True, inline="always")
def _raise(value: Any, curve: Any) -> Any:
    value = _clip(value)
    if np.isnan(value):
        return value
    cells = np.sqrt(value) * np.float32(GAMMA_CELLS)
    cell = min(np.int64(cells), np.int64(GAMMA_CELLS - 1))
    return curve[cell] + (curve[cell + 1] - curve[cell]) * (cells - np.float32(cell))


@njit("void(int32[::1], int32[::1], uint64, uint64)", nogil=True, cache=True)
def change_floats(row: Any, record: Any, image: Any, curves: Any) -> None:  # noqa: PLR0912
    """Change float32 values, each by itself.

    Args:
        row: The pass.
        record: The sample's parameters.
        image: Address of the values, changed in place.
        curves: Address of the tables of all steps of gamma; 0 for other passes.
    """
    values, kind, drawn = pointer(image, types.float32), row[_KIND], record[row[_P0]]
    channels, count, _, _ = channel_places(row)
    count *= channels
    if kind in (_BRIGHTNESS, _CONTRAST):
        factor = np.float32(drawn) * _PART
        if kind == _BRIGHTNESS:
            for place in range(count):
                values[place] = _clip(values[place] * factor)
        else:
            other = _mean_gray(row, image) * (np.float32(ONE - drawn) * _PART)
            for place in range(count):
                values[place] = _clip(values[place] * factor + other)
    elif kind == _GAMMA:
        curve = pointer(curves + np.uint64(4 * (GAMMA_CELLS + 1)) * np.uint64(drawn), types.float32)
        for place in range(count):
            values[place] = _raise(values[place], curve)
    elif kind == _INVERT and drawn:
        for place in range(count):
            values[place] = _ONE - values[place]
    elif kind == _POSTERIZE:
        levels = np.float32(1 << drawn)
        for place in range(count):
            level = np.floor(values[place] * levels)
            level = levels - _ONE if level > levels - _ONE else (_ZERO if level < 0 else level)
            values[place] = level * (_ONE / levels)
    elif kind == _SOLARIZE:
        least = np.float32(drawn) * _PART
        for place in range(count):
            if values[place] >= least:
                values[place] = _ONE - values[place]


@njit("void(int32[::1], int32[::1], uint64)", nogil=True, cache=True)
def change_float_colors(row: Any, record: Any, image: Any) -> None:
    """Change float32 pixels whose channels depend on each other; red, green and blue."""
    _, count, apart, step = channel_places(row)
    values, drawn = pointer(image, types.float32), record[row[_P0]]
    factor, rest = np.float32(drawn) * _PART, np.float32(ONE - drawn) * _PART
    if row[_KIND] == _GRAYSCALE and not drawn:
        return
    for place in range(0, count * step, step):
        red, green, blue = values[place], values[place + apart], values[place + 2 * apart]
        gray = _gray(red, green, blue)
        if row[_KIND] == _SATURATION:
            red, green, blue = (
                _clip(red * factor + gray * rest),
                _clip(green * factor + gray * rest),
                _clip(blue * factor + gray * rest),
            )
        else:
            red = green = blue = gray
        values[place], values[place + apart], values[place + 2 * apart] = red, green, blue
