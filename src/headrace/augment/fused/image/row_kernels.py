"""Compiled last steps of an image: each row is converted and written where it belongs in the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
from numba import njit, types

from headrace.augment.fused.compiling import compiled
from headrace.augment.fused.image.block_kernels import (
    LANES,
    block_begin,
    blocks_of,
    blue_block,
    green_block,
    line_block,
    lines_block,
    red_block,
    reversed_line_block,
)
from headrace.augment.fused.image.map_kernels import row_mapper
from headrace.augment.fused.image.program import Word
from headrace.copying import pointer

_PLANES, _ITEM = int(Word.PLANES), int(Word.ITEM)
_HEIGHT, _WIDTH = int(Word.HEIGHT), int(Word.WIDTH)
_NEW_HEIGHT, _NEW_WIDTH = int(Word.NEW_HEIGHT), int(Word.NEW_WIDTH)

_WRITER = types.void(
    types.uint64, types.uint64, types.uint64, types.int32[::1], types.int32[::1], types.uint64, types.uint64,
    types.int64,
)  # fmt: skip

Way = Literal["table", "line", "standard"]
"""How elements are converted: by the table of their channel; or, uint8, as (x - m) * factor in float64; or,
floats, as (x - mean) / deviation."""


@cache
def _by_table(new: Any) -> Any:
    """Look elements up in the table of their channel: 256 elements of the new kind."""
    size = np.uint64(256 * np.dtype(str(new)).itemsize)

    @njit(inline="always")
    def begin(numbers: Any, channel: Any) -> Any:
        return numbers + np.uint64(channel) * size

    @njit(inline="always")
    def value(element: Any, own: Any) -> Any:
        return pointer(own, new)[element]

    return begin, value


@njit(inline="always")
def _begin_line(numbers: Any, channel: Any) -> Any:
    found = pointer(numbers, types.float64)
    return found[2 * channel], found[2 * channel + 1]


@njit(inline="always")
def _line(element: Any, own: Any) -> Any:
    return np.float32((np.float64(element) - own[0]) * own[1])


@njit(inline="always")
def _begin_standard(numbers: Any, channel: Any) -> Any:
    found = pointer(numbers, types.float32)
    return found[2 * channel], found[2 * channel + 1]


@njit(inline="always")
def _standard(element: Any, own: Any) -> Any:
    return (element - own[0]) / own[1]


@njit(
    types.void(types.uint64, types.uint64, types.uint64, types.int64, types.int64, types.int64),
    nogil=True,
    cache=True,
    boundscheck=False,
)
def _write_blocks(row: Any, numbers: Any, target: Any, width: Any, item: Any, channel: Any) -> None:
    """Convert uint8 to float32 in blocks; behind the numbers of the channels lie those of all lanes."""
    if item == 1:
        shift, factor = _begin_line(numbers, channel)
        for number in range(blocks_of(width)):
            place = np.uint64(block_begin(number, width))
            line_block(target + np.uint64(4) * place, row + place, shift, factor)
        return
    lanes = numbers + np.uint64(16 * item)
    for number in range(blocks_of(width * item)):
        begin = block_begin(number, width * item)
        place, own = np.uint64(begin), lanes + np.uint64(16 * LANES * (begin % item))
        lines_block(target + np.uint64(4) * place, row + place, own)


@njit(
    types.void(types.uint64, types.UniTuple(types.float64, 2), types.uint64, types.int64, types.int64),
    nogil=True,
    cache=True,
    boundscheck=False,
)
def _write_channel(row: Any, own: Any, target: Any, width: Any, channel: Any) -> None:
    """Convert one channel of pixels of three."""
    for number in range(blocks_of(width)):
        place = np.uint64(block_begin(number, width))
        begin, out = row + np.uint64(3) * place, target + np.uint64(4) * place
        if channel == 0:
            red_block(out, begin, own[0], own[1])
        elif channel == 1:
            green_block(out, begin, own[0], own[1])
        else:
            blue_block(out, begin, own[0], own[1])


_PAIRS: dict[str, Any] = {"line": (_begin_line, _line), "standard": (_begin_standard, _standard)}


@njit("boolean(int32[::1], int32[::1])", nogil=True, cache=True)
def can_write_planes(row: Any, places: Any) -> Any:
    """Tell whether planes can be converted without their rows being copied first: no pixel lies outside."""
    is_whole = places[6] == 0 and places[7] == 0
    is_whole = is_whole and places[8] >= row[_NEW_HEIGHT] and places[9] >= row[_NEW_WIDTH]
    return is_whole and places[3] == 0 and row[_ITEM] == 1 and row[_NEW_WIDTH] >= LANES


@njit(
    types.void(types.uint64, types.uint64, types.int32[::1], types.int32[::1], types.uint64),
    nogil=True,
    cache=True,
    boundscheck=False,
)
def write_planes(image: Any, target: Any, row: Any, places: Any, numbers: Any) -> None:
    """Convert planes of uint8 to float32, whose rows may be in any order and reversed, as lines of blocks."""
    height, width, line = np.int64(row[_NEW_HEIGHT]), np.int64(row[_NEW_WIDTH]), np.int64(row[_WIDTH])
    step, blocks = places[2] * line, blocks_of(width)
    for plane in range(row[_PLANES]):
        shift, factor = _begin_line(numbers, plane)
        place = (plane * np.int64(row[_HEIGHT]) + places[0]) * line + places[1]
        for _ in range(height):
            if places[5] > 0:
                begin = image + np.uint64(place)
                for number in range(blocks):
                    x = np.uint64(block_begin(number, width))
                    line_block(target + np.uint64(4) * x, begin + x, shift, factor)
            else:
                begin = image + np.uint64(place - (LANES - 1))
                for number in range(blocks):
                    x = np.uint64(block_begin(number, width))
                    reversed_line_block(target + np.uint64(4) * x, begin - x, shift, factor)
            target += np.uint64(4 * width)
            place += step


@cache
def image_writer(old: Any, new: Any, way: Way) -> Callable[..., None]:
    """Compile what converts a mapped image row by row, and writes it into the batch.

    Args:
        old: Kind of the elements.
        new: Kind of what is written; for tables any kind of its size.
        way: How it is converted.
    """
    size = np.uint64(np.dtype(str(new)).itemsize)
    map_row, write_row, write_plane = row_mapper(old), row_writer(old, new, way), plane_writer(old, new, way)
    has_blocks = way == "line"

    @compiled(_WRITER)
    def write_image(  # noqa: PLR0913, PLR0917
        image: Any, buffer: Any, target: Any, row: Any, places: Any, fill: Any, numbers: Any, layout: Any
    ) -> None:
        planes, item = np.int64(row[_PLANES]), np.int64(row[_ITEM])
        height, width = np.int64(row[_NEW_HEIGHT]), np.int64(row[_NEW_WIDTH])
        if has_blocks and layout == 0 and can_write_planes(row, places):
            write_planes(image, target, row, places, numbers)
            return
        for plane in range(planes):
            for y in range(height):
                found = map_row(image, buffer, plane, y, row, places, fill)
                if layout == 0:
                    begin = (plane * height + y) * width * item
                    write_row(found, numbers, target + np.uint64(begin) * size, width, item, plane, 1)
                elif layout == 1:
                    begin = y * width * planes + plane
                    write_row(found, numbers, target + np.uint64(begin) * size, width, item, plane, planes)
                else:
                    for part in range(item):
                        begin = (part * height + y) * width
                        write_plane(found, numbers, target + np.uint64(begin) * size, width, item, part)

    return write_image


@cache
def row_writer(old: Any, new: Any, way: Way) -> Callable[..., None]:
    """Compile what converts one row of an image and writes it.

    Args:
        old: Kind of the elements.
        new: Kind of what is written; for tables any kind of its size.
        way: How it is converted.
    """
    begin, value = _by_table(new) if way == "table" else _PAIRS[way]
    has_blocks = way == "line"
    write_blocks = _write_blocks

    @compiled(
        types.void(
            types.uint64, types.uint64, types.uint64, types.int64, types.int64, types.int64, types.int64
        )
    )
    def write_row(  # noqa: PLR0913, PLR0917
        row: Any, numbers: Any, target: Any, width: Any, item: Any, channel: Any, apart: Any
    ) -> None:
        # numbers: address of what the channels are converted by; apart: elements from one pixel of a channel
        # to the next in the target; channels of one pixel lie side by side if that is over 1.
        source, out = pointer(row, old), pointer(target, new)
        if has_blocks and apart == 1 and width * item >= LANES:
            write_blocks(row, numbers, target, width, item, channel)
        elif item == 1:
            own = begin(numbers, channel)
            if apart == 1:
                for x in range(width):
                    out[x] = value(source[x], own)
            else:
                for x in range(width):
                    out[x * apart] = value(source[x], own)
        elif item == 3:
            red, green, blue = begin(numbers, 0), begin(numbers, 1), begin(numbers, 2)
            for x in range(width):
                out[3 * x] = value(source[3 * x], red)
                out[3 * x + 1] = value(source[3 * x + 1], green)
                out[3 * x + 2] = value(source[3 * x + 2], blue)
        else:
            for part in range(item):
                own = begin(numbers, part)
                for x in range(width):
                    out[x * item + part] = value(source[x * item + part], own)

    return write_row


@cache
def plane_writer(old: Any, new: Any, way: Way) -> Callable[..., None]:
    """Compile what converts one channel of a row of items and writes it to a plane of its own."""
    begin, value = _by_table(new) if way == "table" else _PAIRS[way]

    has_blocks, write_channel = way == "line", _write_channel

    @compiled(types.void(types.uint64, types.uint64, types.uint64, types.int64, types.int64, types.int64))
    def write_plane(row: Any, numbers: Any, target: Any, width: Any, item: Any, channel: Any) -> None:
        source, out = pointer(row, old), pointer(target, new)
        own = begin(numbers, channel)
        if has_blocks and item == 3 and width >= LANES:
            write_channel(row, own, target, width, channel)
        elif item == 3:
            for x in range(width):
                out[x] = value(source[3 * x + channel], own)
        else:
            for x in range(width):
                out[x] = value(source[item * x + channel], own)

    return write_plane
