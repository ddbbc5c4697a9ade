"""Compiled maps of images: crops, flips and quarter turns, composed and performed as one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from headrace.augment.fused.compiling import compiled
from headrace.augment.fused.image.block_kernels import (
    LANES,
    block_begin,
    blocks_of,
    reverse_block,
    reverse_pixels,
)
from headrace.augment.fused.image.program import Kind, Word
from headrace.copying import move_row, pointer

_CROP, _FLIP_X, _FLIP_Y, _TURN = int(Kind.CROP), int(Kind.FLIP_X), int(Kind.FLIP_Y), int(Kind.TURN)
_KIND, _P0, _P1 = int(Word.KIND), int(Word.P0), int(Word.P1)
_HEIGHT, _WIDTH = int(Word.HEIGHT), int(Word.WIDTH)
_NEW_HEIGHT, _NEW_WIDTH = int(Word.NEW_HEIGHT), int(Word.NEW_WIDTH)
_PLANES, _ITEM = int(Word.PLANES), int(Word.ITEM)

_MAPPER = types.uint64(
    types.uint64, types.uint64, types.int64, types.int64, types.int32[::1], types.int32[::1], types.uint64
)


@njit("UniTuple(int64, 6)(int32[::1], int32[::1])", nogil=True, cache=True)
def _step(row: Any, record: Any) -> Any:  # noqa: PLR0911
    """Return the map of one crop, flip or turn: y0, x0, y_dy, y_dx, x_dy, x_dx."""
    kind, drawn = row[_KIND], np.int64(record[row[_P0]])
    bottom, right = np.int64(row[_HEIGHT]) - 1, np.int64(row[_WIDTH]) - 1
    zero, one = np.int64(0), np.int64(1)
    if kind == _CROP:
        return drawn, np.int64(record[row[_P1]]), one, zero, zero, one
    if kind == _FLIP_X and drawn:
        return zero, right, one, zero, zero, -one
    if kind == _FLIP_Y and drawn:
        return bottom, zero, -one, zero, zero, one
    turns = drawn & 3 if kind == _TURN else zero
    if turns == 1:
        return zero, right, zero, one, -one, zero
    if turns == 2:
        return bottom, right, -one, zero, zero, -one
    if turns == 3:
        return bottom, zero, zero, -one, one, zero
    return zero, zero, one, zero, zero, one


@njit("UniTuple(int64, 2)(int64, int64, int64, int64)", nogil=True, cache=True)
def _before(begin: Any, end: Any, origin: Any, sign: Any) -> Any:
    """Return the interval of places v with begin <= origin + sign * v < end."""
    if sign > 0:
        return begin - origin, end - origin
    return origin - end + 1, origin - begin + 1


@njit("void(int32[:, ::1], int32[:, ::1], int64, int32[:, :, ::1])", nogil=True, cache=True)
def compose_maps(rows: Any, records: Any, number: Any, out: Any) -> None:
    """Compose crops, flips and turns to one map a sample.

    Args:
        rows: The operations, in the form of `passes`; int32 of shape [operations, 16].
        records: See `Planned.packed`; int32 of shape [n, fields].
        number: Which of the maps.
        out: See `program`; int32 of shape [n, maps, 10].
    """
    for sample in range(records.shape[0]):
        y0 = x0 = y_dx = x_dy = np.int64(0)
        y_dy = x_dx = np.int64(1)
        top = left = np.int64(0)
        bottom, right = np.int64(rows[0, _HEIGHT]), np.int64(rows[0, _WIDTH])
        for place in range(rows.shape[0]):
            b0, a0, b_dy, b_dx, a_dy, a_dx = _step(rows[place], records[sample])
            y0, x0 = y0 + y_dy * b0 + y_dx * a0, x0 + x_dy * b0 + x_dx * a0
            y_dy, y_dx = y_dy * b_dy + y_dx * a_dy, y_dy * b_dx + y_dx * a_dx
            x_dy, x_dx = x_dy * b_dy + x_dx * a_dy, x_dy * b_dx + x_dx * a_dx
            if b_dy != 0:
                top, bottom = _before(top, bottom, b0, b_dy)
                left, right = _before(left, right, a0, a_dx)
            else:
                tall, low = top, bottom
                top, bottom = _before(left, right, a0, a_dy)
                left, right = _before(tall, low, b0, b_dx)
            top, left = max(top, np.int64(0)), max(left, np.int64(0))
            bottom = max(min(bottom, np.int64(rows[place, _NEW_HEIGHT])), top)
            right = max(min(right, np.int64(rows[place, _NEW_WIDTH])), left)
        composed = (y0, x0, y_dy, y_dx, x_dy, x_dx, top, left, bottom, right)
        for word in range(10):
            out[sample, number, word] = composed[word]


@cache
def row_mapper(kind: Any) -> Callable[..., Any]:
    """Compile what finds one row of a mapped image of elements of a kind.

    The compiled function returns the address of the row: where it lies, if it lies there as it is needed, or
    that of a buffer, into which it is copied.
    """
    size = np.uint64(np.dtype(str(kind)).itemsize)
    fill_row, copy_pixels = _row_filler(kind), _pixel_copier(kind)

    @compiled(_MAPPER)
    def map_row(  # noqa: PLR0913, PLR0917
        image: Any, buffer: Any, plane: Any, y: Any, row: Any, places: Any, fill: Any
    ) -> Any:
        # row: of the passes; places: the map; fill: address of the values outside.
        item, width, new_width = np.int64(row[_ITEM]), np.int64(row[_WIDTH]), np.int64(row[_NEW_WIDTH])
        left, right = np.int64(places[7]), min(np.int64(places[9]), new_width)
        if y < places[6] or y >= places[8] or left >= right:
            fill_row(buffer, fill, plane, item, 0, new_width)
            return buffer
        source_y = places[0] + places[2] * y + places[3] * left
        source_x = places[1] + places[4] * y + places[5] * left
        begin = image + np.uint64(((plane * row[_HEIGHT] + source_y) * width + source_x) * item) * size
        step = places[3] * width + places[5]
        if step == 1 and right - left == new_width:
            return begin
        fill_row(buffer, fill, plane, item, 0, left)
        fill_row(buffer, fill, plane, item, right, new_width)
        target = buffer + np.uint64(left * item) * size
        if step == 1:
            move_row(target, begin, np.uint64((right - left) * item) * size)
        else:
            copy_pixels(begin, target, right - left, item, step)
        return buffer

    return map_row


@cache
def _row_filler(kind: Any) -> Callable[..., None]:
    @compiled(types.void(types.uint64, types.uint64, types.int64, types.int64, types.int64, types.int64))
    def fill_row(buffer: Any, fill: Any, plane: Any, item: Any, begin: Any, end: Any) -> None:
        target, values = pointer(buffer, kind), pointer(fill, kind)
        for x in range(begin, end):
            for part in range(item):
                target[item * x + part] = values[plane + part]

    return fill_row


@cache
def _pixel_copier(kind: Any) -> Callable[..., None]:
    is_uint8 = kind == types.uint8

    @compiled(types.void(types.uint64, types.uint64, types.int64, types.int64, types.int64))
    def copy_pixels(begin: Any, buffer: Any, count: Any, item: Any, step: Any) -> None:
        source, target = pointer(begin, kind), pointer(buffer, kind)
        if is_uint8 and step == -1 and count >= LANES and (item == 1 or item == 3):  # noqa: PLR1714
            for number in range(blocks_of(count)):
                place = block_begin(number, count)
                last = begin - np.uint64((place + LANES - 1) * item)
                if item == 1:
                    reverse_block(buffer + np.uint64(place), last)
                else:
                    reverse_pixels(buffer + np.uint64(3 * place), last)
        elif item == 1 and step == -1:
            for x in range(count):
                target[x] = source[-x]
        elif item == 3:
            for x in range(count):
                target[3 * x], target[3 * x + 1] = source[3 * step * x], source[3 * step * x + 1]
                target[3 * x + 2] = source[3 * step * x + 2]
        else:
            for x in range(count):
                for part in range(item):
                    target[item * x + part] = source[item * step * x + part]

    return copy_pixels


@cache
def image_copier(kind: Any) -> Callable[..., None]:
    """Compile what copies a mapped image to memory of its own, row by row."""
    size = np.uint64(np.dtype(str(kind)).itemsize)
    map_row = row_mapper(kind)

    @compiled(types.void(types.uint64, types.uint64, types.int32[::1], types.int32[::1], types.uint64))
    def copy_image(image: Any, target: Any, row: Any, places: Any, fill: Any) -> None:
        width = np.uint64(row[_NEW_WIDTH] * row[_ITEM]) * size
        for plane in range(row[_PLANES]):
            for y in range(row[_NEW_HEIGHT]):
                found = map_row(image, target, plane, y, row, places, fill)
                if found != target:
                    move_row(target, found, width)
                target += width

    return copy_image
