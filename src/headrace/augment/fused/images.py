"""The image stage: one pass over the images of a batch, whatever they go through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.chain import Bound, Planned
from headrace.augment.fused.image_compile import ImageProgram
from headrace.augment.fused.image_program import AS_IT_IS, MAP_WORDS, Word
from headrace.augment.image.base import ImageAugmentation
from headrace.augment.stage import Allocate, Columns, Picked

_LINE = 64  # bytes of a cache line
_NEITHER = np.zeros(0, np.uint8)


@dataclass(frozen=True, eq=False)
class ImageStage:
    """Neighbouring augmentations of images, performed together. Thread-safe.

    Attributes:
        numbers: Which augmentations of the chain.
        programs: What becomes of each column.
    """

    numbers: range
    programs: Mapping[str, ImageProgram]

    @property
    def picks(self) -> frozenset[str]:
        """All of its columns."""
        return frozenset(self.programs)

    @cached_property
    def _loops(self) -> dict[str, _Loop]:
        return {column: _Loop(program) for column, program in self.programs.items()}

    def run(
        self, columns: Columns, partners: Columns | None, planned: Planned, allocate: Allocate
    ) -> Columns:
        """Return the columns that change, as fresh arrays."""
        count = len(planned.records)
        out = allocate(
            {
                column: ((count, *program.after.shape), program.after.dtype)
                for column, program in self.programs.items()
            }
        )
        for column, loop in self._loops.items():
            loop(columns[column], planned, out[column])
        return out


def find_image_stage(bound: Bound, first: int) -> ImageStage | None:
    """Return the stage that performs as many augmentations as can be from one on; None if it performs none."""
    programs: dict[str, ImageProgram] = {}
    number = first
    for number in range(first, len(bound.chain.ops) + 1):
        if number == len(bound.chain.ops):
            break
        op = bound.chain.ops[number]
        if not isinstance(op, ImageAugmentation):
            break
        extended: dict[str, ImageProgram] = {}
        for column in op.changed:
            program = programs.get(column) or ImageProgram.empty(op, bound.states[number][column])
            longer = program.extended(bound, number, column)
            if longer is not None:
                extended[column] = longer
        if len(extended) < len(op.changed):
            break
        programs |= extended
    return ImageStage(range(first, number), programs) if number > first else None


class _Loop:
    """The compiled loop for one column, with all that it needs besides a batch."""

    def __init__(self, program: ImageProgram) -> None:
        from numba import types

        from headrace.augment.fused import image_kernels as kernels

        self._program = program
        self._passes = program.all_passes()
        self._moves = [np.stack(rows) for rows in program.moves]
        line = program.line()
        self._arrays = [program.values(), program.numbers(), _NEITHER if line is None else line, _NEITHER]
        self._constants = np.array(
            [_address(array) if array.size else 0 for array in self._arrays], np.uint64
        )
        by_size = {1: types.uint8, 2: types.uint16, 4: types.uint32, 8: types.uint64}
        old, new = program.before.dtype, program.after.dtype
        if program.only_moves:
            self._run = kernels.image_mover(by_size[old.itemsize])
        elif old == np.uint8:
            self._run = kernels.image_runner(types.uint8, by_size[new.itemsize])
        else:
            self._run = kernels.image_runner(types.float32, types.float32)
        self._compose = kernels.compose_maps
        rows = self._passes
        most = int((rows[:, Word.PLANES] * rows[:, Word.ITEM]).max()) * old.itemsize
        sides = (rows[:, Word.HEIGHT] * rows[:, Word.WIDTH]).max()
        sides = max(sides, (rows[:, Word.NEW_HEIGHT] * rows[:, Word.NEW_WIDTH]).max())
        wide = max(rows[:, Word.WIDTH].max(), rows[:, Word.NEW_WIDTH].max())
        sizes = [most * sides, most * sides, most * wide, 256, 256 * program.channels * new.itemsize]
        self._ends = np.cumsum([_rounded(int(size)) for size in sizes])

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
        maps[:, -1] = AS_IT_IS
        for number, rows in enumerate(self._moves):
            self._compose(rows, records, number, maps)
        memory = np.empty(int(self._ends[-1]) + _LINE, np.uint8)
        begin = _rounded(_address(memory))
        addresses = np.array([begin, *(begin + self._ends[:-1])], np.uint64)
        self._run(
            _address(source), places, self._passes, records, maps, self._constants, addresses, _address(out)
        )


def _address(array: NDArray[Any]) -> int:
    return array.__array_interface__["data"][0]


def _rounded(size: int) -> int:
    return -(-size // _LINE) * _LINE
