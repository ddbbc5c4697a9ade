"""The compiled loop of an image stage: all passes over one sample while it is in the caches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from headrace.augment.fused.compiling import compiled
from headrace.augment.fused.image.byte_kernels import (
    apply_table,
    change_colors,
    change_table,
    clear_table,
    mean_gray,
)
from headrace.augment.fused.image.element_kernels import eraser, noise_adder
from headrace.augment.fused.image.float_kernels import change_float_colors, change_floats
from headrace.augment.fused.image.map_kernels import image_copier
from headrace.augment.fused.image.program import Constant, Kind, Memory, Word
from headrace.augment.fused.image.resample_kernels import image_resizer
from headrace.augment.fused.image.rotate_kernels import image_rotator
from headrace.augment.fused.image.row_kernels import image_writer
from headrace.copying import ask_for, move_row, pointer

_FILLS, _NUMBERS, _LINE = int(Constant.FILLS), int(Constant.NUMBERS), int(Constant.LINE)
_NORMAL, _IDENTITY, _TABLES = int(Constant.NORMAL), int(Constant.IDENTITY), int(Constant.TABLES)
_FIRST, _SECOND, _ROW = int(Memory.FIRST), int(Memory.SECOND), int(Memory.ROW)
_TABLE, _COMPOSED, _RESIZE_MEMORY = int(Memory.TABLE), int(Memory.COMPOSED), int(Memory.RESIZE)
_KIND, _APPLIED = int(Word.KIND), int(Word.APPLIED)
_A, _B, _C = int(Word.A), int(Word.B), int(Word.C)
_PLANES, _ITEM = int(Word.PLANES), int(Word.ITEM)
_NEW_HEIGHT, _NEW_WIDTH, _HEIGHT, _WIDTH = (
    int(word) for word in (Word.NEW_HEIGHT, Word.NEW_WIDTH, Word.HEIGHT, Word.WIDTH)
)
_MAP, _RESIZE, _ROTATE = int(Kind.MAP), int(Kind.RESIZE), int(Kind.ROTATE)
_CONTRAST, _SOLARIZE, _ERASE, _NOISE = (
    int(kind) for kind in (Kind.CONTRAST, Kind.SOLARIZE, Kind.ERASE, Kind.NOISE)
)
_COPY, _NORMALIZE = int(Kind.COPY), int(Kind.NORMALIZE)

_IDENTITY_BYTES = np.uint64(20)
_ADDRESSES = types.Array(types.uint64, 1, "C", readonly=True)
_CHANGER = types.Tuple((types.uint64, types.int64, types.boolean))(
    types.uint64, types.int32[:, ::1], types.int32[::1], types.int32[:, ::1], _ADDRESSES, _ADDRESSES,
    types.int64,
)  # fmt: skip
_RUNNER = types.void(
    types.uint64, types.int64[::1], types.int32[:, ::1], types.int32[:, ::1], types.int32[:, :, ::1],
    _ADDRESSES, _ADDRESSES, types.uint64,
)  # fmt: skip


@njit("uint64(int32[::1], int64, int64)", nogil=True, cache=True)
def _elements(row: Any, height: Any, width: Any) -> Any:
    return np.uint64(np.int64(row[_PLANES]) * row[_ITEM] * row[height] * row[width])


@njit(types.uint64(types.int32[::1], _ADDRESSES, types.uint64), nogil=True, cache=True)
def fill_of(row: Any, constants: Any, size: Any) -> Any:
    """Return the address of what a pass fills in."""
    return constants[_FILLS] + np.uint64(row[_B] * row[_PLANES] * row[_ITEM]) * size


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

    @compiled(_RUNNER)
    def run(  # noqa: PLR0913, PLR0917
        source: Any, places: Any, passes: Any, records: Any, maps: Any, constants: Any, memory: Any, out: Any
    ) -> None:
        last = passes[passes.shape[0] - 1]
        width = _elements(passes[0], _HEIGHT, _WIDTH) * size
        step = _elements(last, _NEW_HEIGHT, _NEW_WIDTH) * written
        for sample in range(places.size):
            if sample + 1 < places.size:
                ask_for(source + np.uint64(places[sample + 1]) * width, width)
            begin = source + np.uint64(places[sample]) * width
            image, mapped, is_toned = change(
                begin, passes, records[sample], maps[sample], constants, memory, sample
            )
            row = passes[mapped]
            where = maps[sample, row[_A] if row[_KIND] == _MAP else maps.shape[1] - 1]
            fill = fill_of(row, constants, size)
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

    @compiled(_RUNNER)
    def move(  # noqa: PLR0913, PLR0917
        source: Any, places: Any, passes: Any, records: Any, maps: Any, constants: Any, memory: Any, out: Any
    ) -> None:
        row = passes[0]
        width = _elements(row, _HEIGHT, _WIDTH) * size
        step = _elements(row, _NEW_HEIGHT, _NEW_WIDTH) * size
        fill = fill_of(row, constants, size)
        for sample in range(places.size):
            if sample + 1 < places.size:
                ask_for(source + np.uint64(places[sample + 1]) * width, width)
            copy_image(source + np.uint64(places[sample]) * width, out, row, maps[sample, 0], fill)
            out += step

    return move


@cache
def image_changer(kind: Any) -> Callable[..., Any]:
    """Compile all passes but the last map and what comes after the pixels."""
    is_uint8, size = kind == types.uint8, np.uint64(np.dtype(str(kind)).itemsize)
    copy_image, resize, rotate = image_copier(kind), image_resizer(kind), image_rotator(kind)
    change_pixels = _pixel_changer(kind)

    @compiled(_CHANGER)
    def change(  # noqa: PLR0912, PLR0913, PLR0917
        image: Any, passes: Any, record: Any, maps: Any, constants: Any, memory: Any, sample: Any
    ) -> Any:
        # Returns where the image is, which pass still maps it or is the last, whether the table is needed.
        last = passes.shape[0] - 1
        mapped, is_own, is_toned = last, False, False
        if is_uint8:
            clear_table(memory[_TABLE])
        for number in range(last):
            row = passes[number]
            if row[_KIND] == _MAP and mapped == last:
                mapped = number
                continue
            if row[_APPLIED] >= 0 and record[row[_APPLIED]] == 0:
                continue
            if is_uint8 and row[_KIND] > _ROTATE and row[_KIND] <= _SOLARIZE and row[_KIND] != _CONTRAST:
                change_table(row, record, memory[_TABLE], 0, constants[_TABLES + row[_C]])
                is_toned = True
                continue
            other = memory[_SECOND] if image == memory[_FIRST] else memory[_FIRST]
            if mapped < last:
                before = passes[mapped]
                copy_image(image, other, before, maps[before[_A]], fill_of(before, constants, size))
                image, mapped, is_own = other, last, True
            if row[_KIND] == _MAP:
                mapped = number  # nothing made new pixels between two maps
                continue
            if row[_KIND] <= _ROTATE:
                other = memory[_SECOND] if image == memory[_FIRST] else memory[_FIRST]
                if row[_KIND] == _RESIZE:
                    resize(row, record, image, other, memory[_RESIZE_MEMORY])
                else:
                    rotate(row, record, image, other, fill_of(row, constants, size))
                image, is_own = other, True
                continue
            if is_uint8 and row[_KIND] == _CONTRAST:
                gray = mean_gray(row, image, memory[_TABLE])
                change_table(row, record, memory[_TABLE], gray, constants[_NUMBERS])
                is_toned = True
                continue
            if not is_own:
                move_row(other, image, _elements(row, _HEIGHT, _WIDTH) * size)
                image, is_own = other, True
            if is_uint8 and is_toned:
                apply_table(image, memory[_TABLE], np.int64(_elements(row, _HEIGHT, _WIDTH)))
                clear_table(memory[_TABLE])
                is_toned = False
            change_pixels(row, record, image, constants, sample)
        return image, mapped, is_toned

    return change


@cache
def _pixel_changer(kind: Any) -> Callable[..., None]:
    """Compile the passes that change an image where it is."""
    is_uint8, size = kind == types.uint8, np.uint64(np.dtype(str(kind)).itemsize)
    erase, add_noise = eraser(kind), noise_adder(kind)

    @compiled(types.void(types.int32[::1], types.int32[::1], types.uint64, _ADDRESSES, types.int64))
    def change_pixels(row: Any, record: Any, image: Any, constants: Any, sample: Any) -> None:
        if row[_KIND] == _ERASE:
            erase(row, record, image, fill_of(row, constants, size))
        elif row[_KIND] == _NOISE:
            identity = constants[_IDENTITY] + np.uint64(sample) * _IDENTITY_BYTES
            add_noise(row, record, image, constants[_TABLES + row[_C]], identity, constants[_NORMAL])
        elif is_uint8:
            change_colors(row, record, image)
        elif row[_KIND] > _SOLARIZE:
            change_float_colors(row, record, image)
        else:
            change_floats(row, record, image, constants[_TABLES + row[_C]])

    return change_pixels


@cache
def _composer(new: Any) -> Callable[..., None]:
    """Compile what makes the tables of channels out of one of uint8 and those of what comes after it."""

    @compiled(types.void(types.uint64, types.uint64, types.uint64, types.int64))
    def compose(numbers: Any, table: Any, out: Any, channels: Any) -> None:
        values, tone, found = pointer(numbers, new), pointer(table, types.uint8), pointer(out, new)
        for channel in range(channels):
            for value in range(256):
                found[256 * channel + value] = values[256 * channel + tone[value]]

    return compose
