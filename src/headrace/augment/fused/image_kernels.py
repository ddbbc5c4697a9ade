"""The compiled loop of an image stage: all passes over one sample while it is in the caches, then the next."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from headrace.augment.fused.image_program import Kind, Word
from headrace.augment.fused.map_kernels import compose_maps, image_copier
from headrace.augment.fused.pixel_kernels import (
    apply_table,
    change_colors,
    change_floats,
    change_table,
    mean_gray,
)
from headrace.augment.fused.row_kernels import image_writer
from headrace.copying import move_row, pointer


class Constant(IntEnum):
    """Which address of the constants is what."""

    FILLS = 0
    NUMBERS = 1
    LINE = 2  # m and factor of each channel, if those make of uint8 what the table says; else 0
    GAMMAS = 3


class Memory(IntEnum):
    """Which address of a thread's own memory is what."""

    FIRST = 0
    SECOND = 1
    ROW = 2
    TABLE = 3
    COMPOSED = 4


_FILLS, _NUMBERS, _LINE = int(Constant.FILLS), int(Constant.NUMBERS), int(Constant.LINE)
_GAMMAS = int(Constant.GAMMAS)
_FIRST, _SECOND, _ROW = int(Memory.FIRST), int(Memory.SECOND), int(Memory.ROW)
_TABLE, _COMPOSED = int(Memory.TABLE), int(Memory.COMPOSED)
_KIND, _APPLIED, _A, _B = int(Word.KIND), int(Word.APPLIED), int(Word.A), int(Word.B)
_PLANES, _ITEM = int(Word.PLANES), int(Word.ITEM)
_NEW_HEIGHT, _NEW_WIDTH, _HEIGHT, _WIDTH = (
    int(word) for word in (Word.NEW_HEIGHT, Word.NEW_WIDTH, Word.HEIGHT, Word.WIDTH)
)
_MAP, _ROTATE, _CONTRAST, _SOLARIZE = (
    int(kind) for kind in (Kind.MAP, Kind.ROTATE, Kind.CONTRAST, Kind.SOLARIZE)
)
_COPY, _NORMALIZE = int(Kind.COPY), int(Kind.NORMALIZE)

_NUMBERS_OF_PASS, _ADDRESSES = types.int32[::1], types.Array(types.uint64, 1, "C", readonly=True)
_CHANGER = types.Tuple((types.uint64, types.int64, types.boolean))(
    types.uint64, types.int32[:, ::1], types.int32[::1], types.int32[:, ::1], _ADDRESSES, _ADDRESSES
)
_RUNNER = types.void(
    types.uint64, types.int64[::1], types.int32[:, ::1], types.int32[:, ::1], types.int32[:, :, ::1],
    _ADDRESSES, _ADDRESSES, types.uint64,
)  # fmt: skip


@njit("uint64(int32[::1], int64, int64)", nogil=True, cache=True)
def _elements(row: Any, height: Any, width: Any) -> Any:
    return np.uint64(np.int64(row[_PLANES]) * row[_ITEM] * row[height] * row[width])


@cache
def image_runner(old: Any, new: Any) -> Callable[..., None]:
    """Compile the loop over samples, for elements of one kind that become such of another.

    Args:
        old: Kind of the images' elements.
        new: Kind of what is written; if tables make it of uint8, any kind of its size.
    """
    is_uint8, may_be_line = old == types.uint8, new == types.uint32
    size, written = (np.uint64(np.dtype(str(kind)).itemsize) for kind in (old, new))
    copy_image, change, compose = image_copier(old), image_changer(old), _composer(new)
    write_image = image_writer(old, new, "table" if is_uint8 else "standard")
    write_line = image_writer(old, types.float32, "line") if may_be_line else write_image

    @njit(_RUNNER, nogil=True, cache=True, boundscheck=False)
    def run(
        source: Any, places: Any, passes: Any, records: Any, maps: Any, constants: Any, memory: Any, out: Any
    ) -> None:
        last = passes[passes.shape[0] - 1]
        width = _elements(passes[0], _HEIGHT, _WIDTH) * size
        step = _elements(last, _NEW_HEIGHT, _NEW_WIDTH) * written
        for sample in range(places.size):
            begin = source + np.uint64(places[sample]) * width
            image, mapped, is_toned = change(begin, passes, records[sample], maps[sample], constants, memory)
            row = passes[mapped]
            where = maps[sample, row[_A] if row[_KIND] == _MAP else maps.shape[1] - 1]
            fill = constants[_FILLS] + np.uint64(row[_B] * row[_PLANES] * row[_ITEM]) * size
            numbers = constants[_NUMBERS]
            if is_toned:
                numbers = memory[_COMPOSED]
                compose(constants[_NUMBERS], memory[_TABLE], numbers, last[_PLANES] * last[_ITEM])
            if last[_KIND] == _COPY and not is_toned:
                copy_image(image, out, row, where, fill)
            elif may_be_line and not is_toned and constants[_LINE] != 0:
                write_line(image, memory[_ROW], out, row, where, fill, constants[_LINE], last[_A])
            else:
                write_image(image, memory[_ROW], out, row, where, fill, numbers, last[_A])
            out += step

    return run


@cache
def image_mover(kind: Any) -> Callable[..., None]:
    """Compile the loop over samples where pixels of elements of a kind are moved and nothing else."""
    copy_image, size = image_copier(kind), np.uint64(np.dtype(str(kind)).itemsize)

    @njit(_RUNNER, nogil=True, cache=True, boundscheck=False)
    def move(
        source: Any, places: Any, passes: Any, records: Any, maps: Any, constants: Any, memory: Any, out: Any
    ) -> None:
        row = passes[0]
        width = _elements(row, _HEIGHT, _WIDTH) * size
        step = _elements(row, _NEW_HEIGHT, _NEW_WIDTH) * size
        fill = constants[_FILLS] + np.uint64(row[_B] * row[_PLANES] * row[_ITEM]) * size
        for sample in range(places.size):
            copy_image(source + np.uint64(places[sample]) * width, out, row, maps[sample, 0], fill)
            out += step

    return move


@cache
def image_changer(kind: Any) -> Callable[..., Any]:
    """Compile all passes but the last map and what comes after the pixels."""
    is_uint8, size = kind == types.uint8, np.uint64(np.dtype(str(kind)).itemsize)
    copy_image = image_copier(kind)

    @njit(_CHANGER, nogil=True, cache=True, boundscheck=False)
    def change(image: Any, passes: Any, record: Any, maps: Any, constants: Any, memory: Any) -> Any:
        # Returns where the image is, which pass maps it still or is the last one, whether the table is needed.
        mapped, is_own, is_toned = np.int64(-1), False, False
        table = pointer(memory[_TABLE], types.uint8)
        if is_uint8:
            for value in range(256):
                table[value] = np.uint8(value)
        for number in range(passes.shape[0] - 1):
            row = passes[number]
            kind_of = row[_KIND]
            if kind_of == _MAP:
                mapped = number
                continue
            if row[_APPLIED] >= 0 and record[row[_APPLIED]] == 0:
                continue
            if is_uint8 and kind_of != _CONTRAST and _ROTATE < kind_of and kind_of <= _SOLARIZE:
                change_table(row, record, memory[_TABLE], 0, constants[_GAMMAS])
                is_toned = True
                continue
            if mapped >= 0:
                before = passes[mapped]
                fill = constants[_FILLS] + np.uint64(before[_B] * before[_PLANES] * before[_ITEM]) * size
                target = memory[_SECOND] if image == memory[_FIRST] else memory[_FIRST]
                copy_image(image, target, before, maps[before[_A]], fill)
                image, mapped, is_own = target, np.int64(-1), True
            elif not is_own:
                move_row(memory[_FIRST], image, _elements(row, _HEIGHT, _WIDTH) * size)
                image, is_own = memory[_FIRST], True
            if is_uint8 and kind_of == _CONTRAST:
                gray = mean_gray(row, image, memory[_TABLE])
                change_table(row, record, memory[_TABLE], gray, constants[_GAMMAS])
                is_toned = True
                continue
            if is_uint8:
                if is_toned:
                    apply_table(image, memory[_TABLE], np.int64(_elements(row, _HEIGHT, _WIDTH)))
                    for value in range(256):
                        table[value] = np.uint8(value)
                    is_toned = False
                change_colors(row, record, image)
            else:
                change_floats(row, record, image, constants[_GAMMAS], 0)
        return image, mapped if mapped >= 0 else np.int64(passes.shape[0] - 1), is_toned

    return change


@cache
def _composer(new: Any) -> Callable[..., None]:
    """Compile what makes the tables of channels out of one of uint8 and those of what comes after it."""

    @njit(types.void(types.uint64, types.uint64, types.uint64, types.int64), nogil=True, cache=True)
    def compose(numbers: Any, table: Any, out: Any, channels: Any) -> None:
        values, tone, found = pointer(numbers, new), pointer(table, types.uint8), pointer(out, new)
        for channel in range(channels):
            for value in range(256):
                found[256 * channel + value] = values[256 * channel + tone[value]]

    return compose
