"""Compiled last steps of an image: each row is converted and written where it belongs in the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
from numba import njit, types

from headrace.augment.fused.compiling import compiled
from headrace.augment.fused.image_program import Word
from headrace.augment.fused.map_kernels import row_mapper
from headrace.copying import pointer

_PLANES, _ITEM = int(Word.PLANES), int(Word.ITEM)
_NEW_HEIGHT, _NEW_WIDTH = int(Word.NEW_HEIGHT), int(Word.NEW_WIDTH)

_WRITER = types.void(
    types.uint64, types.uint64, types.uint64, types.int32[::1], types.int32[::1], types.uint64, types.uint64,
    types.int64,
)  # fmt: skip

Way = Literal["table", "line", "standard"]
"""How elements are converted: by the table of their channel; or, uint8, as (x - m) * factor in float64; or,
floats, as (x - mean) / deviation."""


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

    @compiled(_WRITER)
    def write_image(  # noqa: PLR0913, PLR0917
        image: Any, buffer: Any, target: Any, row: Any, places: Any, fill: Any, numbers: Any, layout: Any
    ) -> None:
        planes, item = np.int64(row[_PLANES]), np.int64(row[_ITEM])
        height, width = np.int64(row[_NEW_HEIGHT]), np.int64(row[_NEW_WIDTH])
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
        if item == 1:
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

    @compiled(types.void(types.uint64, types.uint64, types.uint64, types.int64, types.int64, types.int64))
    def write_plane(row: Any, numbers: Any, target: Any, width: Any, item: Any, channel: Any) -> None:
        source, out = pointer(row, old), pointer(target, new)
        own = begin(numbers, channel)
        if item == 3:
            for x in range(width):
                out[x] = value(source[3 * x + channel], own)
        else:
            for x in range(width):
                out[x] = value(source[item * x + channel], own)

    return write_plane


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


_PAIRS: dict[str, Any] = {"line": (_begin_line, _line), "standard": (_begin_standard, _standard)}
