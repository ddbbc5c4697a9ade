"""Compiled resizing of one image: the arithmetic of `image.resample`, one window at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from headrace.augment.fused.compiling import compiled
from headrace.augment.fused.image.program import Sampling, Word
from headrace.augment.image.resample import WEIGHT_BITS
from headrace.copying import pointer

_P0, _P1, _P2, _P3, _A = int(Word.P0), int(Word.P1), int(Word.P2), int(Word.P3), int(Word.A)
_PLANES, _ITEM = int(Word.PLANES), int(Word.ITEM)
_HEIGHT, _WIDTH = int(Word.HEIGHT), int(Word.WIDTH)
_NEW_HEIGHT, _NEW_WIDTH = int(Word.NEW_HEIGHT), int(Word.NEW_WIDTH)
_NEAREST, _ANTIALIAS = int(Sampling.NEAREST), int(Sampling.ANTIALIAS)

_HALF = np.int32(1 << (WEIGHT_BITS - 1))

_FILTER = types.void(types.uint64, types.uint64, types.uint64, types.uint64, types.int64, types.int64)
_RESIZER = types.void(types.int32[::1], types.int32[::1], types.uint64, types.uint64, types.uint64)


def resizer_bytes(row: NDArray[np.int32]) -> int:
    """Tell how much memory a pass of RESIZE takes besides its images."""
    sides = [
        (int(row[Word.HEIGHT]), int(row[Word.NEW_HEIGHT])),
        (int(row[Word.WIDTH]), int(row[Word.NEW_WIDTH])),
    ]
    weights = sum(8 * count * (2 + -(-2 * max(side, count) // count)) for side, count in sides)
    return weights + 4 * (sides[0][0] + 1) * sides[1][1] * int(row[Word.ITEM]) + 64


@cache
def image_resizer(kind: Any) -> Callable[..., None]:
    """Compile what resizes the window of an image of elements of a kind."""
    weigh, filter_row, filter_columns = _weigher(kind), _row_filter(kind), _column_filter(kind)
    size = np.uint64(np.dtype(str(kind)).itemsize)

    @compiled(_RESIZER)
    def resize(row: Any, record: Any, image: Any, target: Any, memory: Any) -> None:
        # memory: for the weights of both axes, then for the image between them and a row of sums.
        top, left = np.int64(record[row[_P0]]), np.int64(record[row[_P1]])
        height, width = np.int64(record[row[_P2]]), np.int64(record[row[_P3]])
        planes, item, line = np.int64(row[_PLANES]), np.int64(row[_ITEM]), np.int64(row[_WIDTH])
        new_height, new_width = np.int64(row[_NEW_HEIGHT]), np.int64(row[_NEW_WIDTH])
        if row[_A] == _NEAREST:
            source, out = pointer(image, kind), pointer(target, kind)
            place = np.int64(0)
            for plane in range(planes):
                for y in range(new_height):
                    from_y = top + (2 * y + 1) * height // (2 * new_height)
                    begin = (plane * row[_HEIGHT] + from_y) * line
                    for x in range(new_width):
                        from_x = left + (2 * x + 1) * width // (2 * new_width)
                        for part in range(item):
                            out[place] = source[(begin + from_x) * item + part]
                            place += 1
            return
        is_smooth = row[_A] == _ANTIALIAS
        across = memory
        down = across + weigh(across, line, width, new_width, is_smooth)
        sums = down + weigh(down, np.int64(row[_HEIGHT]), height, new_height, is_smooth)
        between = sums + np.uint64(4 * new_width * item)
        step = np.uint64(new_width * item) * size
        for plane in range(planes):
            begin = image + np.uint64(((plane * row[_HEIGHT] + top) * line + left) * item) * size
            for y in range(height):
                filter_row(begin, between + np.uint64(y) * step, across, down, new_width, item)
                begin += np.uint64(line * item) * size
            filter_columns(between, target, down, sums, new_height, new_width * item)
            target += np.uint64(new_height) * step

    return resize


@cache
def _weigher(kind: Any) -> Callable[..., Any]:
    """Compile what finds the weights of one axis.

    For each output pixel: the first source pixel and how many there are, int64 each, then as many weights of
    8 bytes as there can be, in the lower half of each: int32 in 2^-22 for uint8, else float32.
    """
    is_uint8 = kind == types.uint8
    number = types.int32 if is_uint8 else types.float32

    @compiled(types.uint64(types.uint64, types.int64, types.int64, types.int64, types.boolean))
    def weigh(memory: Any, side: Any, length: Any, count: Any, is_smooth: Any) -> Any:
        taps, reach = np.int64(2), 2 * count
        if is_smooth:
            taps, reach = -(-2 * max(side, count) // count), 2 * max(length, count)
        pixel = np.uint64(8 * (2 + taps))
        for x in range(count):
            doubled = (2 * x + 1) * length
            first = (doubled - reach - count) // (2 * count) + 1
            found = pointer(memory + np.uint64(x) * pixel, types.int64)
            weights = pointer(memory + np.uint64(x) * pixel + np.uint64(16), number)
            begin, used, total = np.int64(0), np.int64(0), np.int64(0)
            for source in range(max(first, np.int64(0)), min(first + taps, length)):
                weight = reach - abs((2 * source + 1) * count - doubled)
                if weight > 0:
                    begin = source if used == 0 else begin
                    found[2 + used] = weight
                    used += 1
                    total += weight
            found[0], found[1] = begin, used
            for tap in range(used):
                if is_uint8:
                    whole = ((found[2 + tap] << (WEIGHT_BITS + 1)) + total) // (2 * total)
                    weights[2 * tap] = np.int32(whole)
                else:
                    weights[2 * tap] = np.float32(np.float64(found[2 + tap]) / np.float64(total))
        return np.uint64(count) * pixel

    return weigh


@cache
def _row_filter(kind: Any) -> Callable[..., None]:
    """Compile what resizes one row of an image."""
    number, half = _sums_of(kind)
    finish = _finisher(kind)

    @compiled(_FILTER)
    def filter_row(begin: Any, target: Any, weights: Any, end: Any, count: Any, item: Any) -> None:
        source, out, pixel = pointer(begin, kind), pointer(target, kind), (end - weights) // np.uint64(count)
        for x in range(count):
            own, where = pointer(weights + np.uint64(16), number), pointer(weights, types.int64)
            first, used = where[0] * item, where[1]
            weights += pixel
            if item == 3:
                red = green = blue = half
                for tap in range(used):
                    weight, place = own[2 * tap], first + 3 * tap
                    red = red + number(source[place]) * weight
                    green = green + number(source[place + 1]) * weight
                    blue = blue + number(source[place + 2]) * weight
                out[3 * x], out[3 * x + 1], out[3 * x + 2] = finish(red), finish(green), finish(blue)
                continue
            for part in range(item):
                total = half
                for tap in range(used):
                    total = total + number(source[first + tap * item + part]) * own[2 * tap]
                out[x * item + part] = finish(total)

    return filter_row


@cache
def _column_filter(kind: Any) -> Callable[..., None]:
    """Compile what resizes all columns of an image, a row of them at a time."""
    number, half = _sums_of(kind)
    finish, size = _finisher(kind), np.uint64(np.dtype(str(kind)).itemsize)

    @compiled(_FILTER)
    def filter_columns(begin: Any, target: Any, weights: Any, sums: Any, count: Any, width: Any) -> None:
        pixel, total, step = (
            (sums - weights) // np.uint64(count),
            pointer(sums, number),
            np.uint64(width) * size,
        )
        for _ in range(count):
            own, where = pointer(weights + np.uint64(16), number), pointer(weights, types.int64)
            for x in range(width):
                total[x] = half
            for tap in range(where[1]):
                weight, source = own[2 * tap], pointer(begin + np.uint64(where[0] + tap) * step, kind)
                for x in range(width):
                    total[x] += number(source[x]) * weight
            out = pointer(target, kind)
            for x in range(width):
                out[x] = finish(total[x])
            weights += pixel
            target += step

    return filter_columns


def _sums_of(kind: Any) -> tuple[Any, Any]:
    """Return in what products of a kind are summed, and from what on."""
    return (types.int32, _HALF) if kind == types.uint8 else (types.float32, np.float32(0))


@cache
def _finisher(kind: Any) -> Any:
    """Compile what turns a sum into a pixel."""
    if kind != types.uint8:
        return _as_it_is

    @njit("uint8(int32)", nogil=True, cache=True, inline="always")
    def finish(total: Any) -> Any:
        return np.uint8(min(max(total >> np.int32(WEIGHT_BITS), np.int32(0)), np.int32(255)))

    return finish


@njit("float32(float32)", nogil=True, cache=True, inline="always")
def _as_it_is(total: Any) -> Any:
    return total
