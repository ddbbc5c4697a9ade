"""Compiled rotation of one image about its centre: the arithmetic of `image.rotate`, one pixel at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from headrace.augment.fused.compiling import compiled
from headrace.augment.fused.image.program import Sampling, Word
from headrace.augment.image.pixels import ONE
from headrace.augment.image.rotate import POSITION_BITS, WEIGHT_BITS
from headrace.copying import pointer

_P0, _P1, _A = int(Word.P0), int(Word.P1), int(Word.A)
_PLANES, _ITEM = int(Word.PLANES), int(Word.ITEM)
_HEIGHT, _WIDTH = int(Word.HEIGHT), int(Word.WIDTH)
_NEAREST = int(Sampling.NEAREST)

_MIDDLE, _REST = 1 << (POSITION_BITS - 1), (1 << POSITION_BITS) - 1
_PART = np.float32(2.0**-POSITION_BITS)
_WHOLE, _HALF = 1 << WEIGHT_BITS, 1 << (2 * WEIGHT_BITS - 1)


@njit("uint8(uint8, uint8, uint8, uint8, int64, int64)", nogil=True, cache=True)
def _mix_whole(first: Any, second: Any, third: Any, fourth: Any, down: Any, across: Any) -> Any:
    down, across = down >> (POSITION_BITS - WEIGHT_BITS), across >> (POSITION_BITS - WEIGHT_BITS)
    top = np.int64(first) * (_WHOLE - across) + np.int64(second) * across
    bottom = np.int64(third) * (_WHOLE - across) + np.int64(fourth) * across
    return np.uint8((top * (_WHOLE - down) + bottom * down + _HALF) >> (2 * WEIGHT_BITS))


@njit("float32(float32, float32, float32, float32, int64, int64)", nogil=True, cache=True)
def _mix_floats(first: Any, second: Any, third: Any, fourth: Any, down: Any, across: Any) -> Any:
    way = np.float32(across) * _PART
    top, bottom = first + (second - first) * way, third + (fourth - third) * way
    return top + (bottom - top) * (np.float32(down) * _PART)


@cache
def _blender(kind: Any) -> Any:
    """Compile what blends the four pixels around a position."""

    @njit(inline="always")
    def near(source: Any, y: Any, x: Any, sides: Any, value: Any) -> Any:
        if y < 0 or y >= sides[0] or x < 0 or x >= sides[1]:
            return value
        return source[(y * sides[1] + x) * sides[2] + sides[3]]

    @njit
    def blend(source: Any, line: Any, column: Any, sides: Any, value: Any) -> Any:
        y, x = line >> POSITION_BITS, column >> POSITION_BITS
        first, second = near(source, y, x, sides, value), near(source, y, x + 1, sides, value)
        third, fourth = near(source, y + 1, x, sides, value), near(source, y + 1, x + 1, sides, value)
        return mix(first, second, third, fourth, line & _REST, column & _REST)

    mix = _mix_whole if kind == types.uint8 else _mix_floats
    return blend


@cache
def image_rotator(kind: Any) -> Callable[..., None]:
    """Compile what rotates an image of elements of a kind."""
    blend, size = _blender(kind), np.uint64(np.dtype(str(kind)).itemsize)

    @compiled(types.void(types.int32[::1], types.int32[::1], types.uint64, types.uint64, types.uint64))
    def rotate(row: Any, record: Any, image: Any, target: Any, fill: Any) -> None:
        cosine, sine = np.int64(record[row[_P0]]), np.int64(record[row[_P1]])
        planes, item = np.int64(row[_PLANES]), np.int64(row[_ITEM])
        height, width = np.int64(row[_HEIGHT]), np.int64(row[_WIDTH])
        values, out, is_nearest = pointer(fill, kind), pointer(target, kind), row[_A] == _NEAREST
        place = np.int64(0)
        for plane in range(planes):
            source = pointer(image + np.uint64(plane * height * width) * size, kind)
            for y in range(height):
                down = 2 * y - (height - 1)
                for x in range(width):
                    across = 2 * x - (width - 1)
                    column = (width - 1) * ONE + cosine * across - sine * down
                    line = (height - 1) * ONE + sine * across + cosine * down
                    if is_nearest:
                        old_y, old_x = (line + _MIDDLE) >> POSITION_BITS, (column + _MIDDLE) >> POSITION_BITS
                        is_inside = old_y >= 0 and old_y < height and old_x >= 0 and old_x < width
                        begin = (old_y * width + old_x) * item
                        for part in range(item):
                            out[place + part] = source[begin + part] if is_inside else values[plane + part]
                    else:
                        for part in range(item):
                            sides, value = (height, width, item, part), values[plane + part]
                            out[place + part] = blend(source, line, column, sides, value)
                    place += item

    return rotate
