"""The compiled loop of an image stage: all passes over one sample while it is in the caches, then the next."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from headrace.augment.fused.image_program import Kind, Word
from headrace.augment.fused.map_kernels import row_mapper
from headrace.augment.fused.row_kernels import plane_writer, row_writer
from headrace.copying import ask_for, move_row, rows_ahead

_KIND, _APPLIED, _A, _B = int(Word.KIND), int(Word.APPLIED), int(Word.A), int(Word.B)
_PLANES, _ITEM = int(Word.PLANES), int(Word.ITEM)
_HEIGHT, _WIDTH = int(Word.HEIGHT), int(Word.WIDTH)
_NEW_HEIGHT, _NEW_WIDTH = int(Word.NEW_HEIGHT), int(Word.NEW_WIDTH)
_MAP, _NORMALIZE = int(Kind.MAP), int(Kind.NORMALIZE)

_AS_IT_IS = np.array([0, 0, 1, 0, 0, 1, 0, 0, 1 << 30, 1 << 30], np.int32)  # a map

_COPIER = types.void(
    types.uint64, types.uint64, types.int32[::1], types.int32[::1], types.uint64
)  # fmt: skip


@cache
def image_copier(kind: Any) -> Callable[..., None]:
    """Compile what copies a mapped image to memory of its own, row by row."""
    size = np.uint64(np.dtype(str(kind)).itemsize)
    map_row = row_mapper(kind)

    @njit(_COPIER, nogil=True, cache=True, boundscheck=False)
    def copy_image(image: Any, target: Any, row: Any, places: Any, fill: Any) -> None:
        width = np.uint64(row[_NEW_WIDTH] * row[_ITEM]) * size
        for plane in range(row[_PLANES]):
            for y in range(row[_NEW_HEIGHT]):
                found = map_row(image, target, plane, y, row, places, fill)
                if found != target:
                    move_row(target, found, width)
                target += width

    return copy_image


@cache
def image_writer(old: Any, new: Any, way: Any) -> Callable[..., None]:
    """Compile what converts a mapped image row by row, and writes it into the batch."""
    size = np.uint64(np.dtype(str(new)).itemsize)
    map_row, write_row, write_plane = row_mapper(old), row_writer(old, new, way), plane_writer(old, new, way)

    @njit(
        types.void(
            types.uint64, types.uint64, types.uint64, types.int32[::1], types.int32[::1], types.uint64,
            types.uint64, types.int64,
        ),
        nogil=True,
        cache=True,
        boundscheck=False,
    )  # fmt: skip
    def write_image(
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
