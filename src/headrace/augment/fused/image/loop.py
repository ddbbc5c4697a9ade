"""The compiled loop of an image stage for one column, with all that it needs besides a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from headrace.augment.chain import Planned
from headrace.augment.fused.image.compile import ImageProgram
from headrace.augment.fused.image.kernels import image_mover, image_runner
from headrace.augment.fused.image.map_kernels import compose_maps
from headrace.augment.fused.image.program import AS_IT_IS, MAP_WORDS, Constant, Kind, Word
from headrace.augment.fused.image.resample_kernels import resizer_bytes
from headrace.augment.stage import Picked
from headrace.draws.tables import normal_table

_LINE = 64  # bytes of a cache line
_AS_IT_IS = np.array(AS_IT_IS, np.int32)
_BY_SIZE = {1: types.uint8, 2: types.uint16, 4: types.uint32, 8: types.uint64}


class ImageLoop:
    """The compiled loop for one column, with all that it needs besides a batch."""

    def __init__(self, program: ImageProgram) -> None:
        self._program = program
        self._passes = program.all_passes()
        self._moves = [np.stack(rows) for rows in program.moves]
        line = program.line()
        has_noise = any(row[Word.KIND] == Kind.NOISE for row in program.passes)
        arrays = [program.values(), program.numbers(), line, normal_table() if has_noise else None, None]
        tables = [each if isinstance(each, np.ndarray) else None for each in program.tables]
        self._arrays = [*arrays, *tables, None]  # held, as the constants are their addresses
        self._constants = np.array(
            [0 if array is None else _address(array) for array in self._arrays], np.uint64
        )
        old, new = program.before.dtype, program.after.dtype
        if program.only_moves:
            self._run = image_mover(_BY_SIZE[old.itemsize])
        elif old == np.uint8:
            self._run = image_runner(types.uint8, _BY_SIZE[new.itemsize])
        else:
            self._run = image_runner(types.float32, types.float32)
        ends = np.cumsum([0, *(_rounded(int(size)) for size in self._sizes(old, new))])
        self._begins, self._size = ends[:-1].astype(np.uint64), int(ends[-1]) + _LINE

    def _sizes(self, old: np.dtype[Any], new: np.dtype[Any]) -> list[int]:
        """How many bytes of memory a thread needs; see `Memory`."""
        rows, program = self._passes, self._program
        most = int((rows[:, Word.PLANES] * rows[:, Word.ITEM]).max()) * old.itemsize
        sides = (rows[:, Word.HEIGHT] * rows[:, Word.WIDTH]).max()
        sides = max(sides, (rows[:, Word.NEW_HEIGHT] * rows[:, Word.NEW_WIDTH]).max())
        wide = max(rows[:, Word.WIDTH].max(), rows[:, Word.NEW_WIDTH].max())
        resizing = sum(resizer_bytes(row) for row in program.passes if row[Word.KIND] == Kind.RESIZE)
        tables = [256, 256 * program.channels * new.itemsize]
        return [most * sides, most * sides, most * wide, *tables, resizing]

    def __call__(self, column: Any, planned: Planned, out: NDArray[Any]) -> None:
        """Change the images of a batch."""
        count = len(planned.records)
        if isinstance(column, Picked):
            source, places = column.array, column.places
        else:
            source, places = np.ascontiguousarray(column), np.arange(count)
        if not source.flags.c_contiguous:
            source, places = column.copy(), np.arange(count)
        records = planned.packed
        maps = np.empty((count, len(self._moves) + 1, MAP_WORDS), np.int32)
        maps[:, -1] = _AS_IT_IS
        for number, rows in enumerate(self._moves):
            compose_maps(rows, records, number, maps)
        memory = np.empty(self._size, np.uint8)
        addresses = self._begins + np.uint64(_rounded(_address(memory)))
        constants = self._constants.copy()
        constants[Constant.IDENTITY] = _address(planned.identity)
        for number, table in enumerate(self._program.tables):
            if isinstance(table, tuple):
                constants[Constant.TABLES + number] = planned.element_keys[table].view(np.uint64)[0]
        self._run(_address(source), places, self._passes, records, maps, constants, addresses, _address(out))


def _address(array: NDArray[Any]) -> int:
    return array.__array_interface__["data"][0]


def _rounded(size: int) -> int:
    return -(-size // _LINE) * _LINE
