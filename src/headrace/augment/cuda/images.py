"""The image stage on a device: the same programs as on the CPU, by one launch or a few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.chain import Planned
from headrace.augment.cuda.module import Launcher
from headrace.augment.fused.image.compile import ImageProgram
from headrace.augment.fused.image.program import Kind, Word
from headrace.augment.stage import Allocate, Columns
from headrace.draws.tables import normal_table

_BY_SIZE = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}


@dataclass(frozen=True, eq=False)
class DeviceImageStage:
    """Neighbouring augmentations of images, performed together.

    Attributes:
        numbers: Which augmentations of the chain.
        programs: What becomes of each column.
        launcher: Runs the kernels.
    """

    numbers: range
    programs: Mapping[str, ImageProgram]
    launcher: Launcher

    @property
    def picks(self) -> frozenset[str]:
        """None: all rows are on the device."""
        return frozenset()

    @cached_property
    def _launches(self) -> dict[str, _Launch]:
        return {column: _Launch(program, self.launcher) for column, program in self.programs.items()}

    def run(
        self, columns: Columns, partners: Columns | None, planned: Planned, allocate: Allocate
    ) -> Columns:
        """Return the columns that change, as fresh arrays."""
        count = len(planned.identity)
        out = allocate(
            {
                column: ((count, *program.after.shape), program.after.dtype)
                for column, program in self.programs.items()
            }
        )
        for column, launch in self._launches.items():
            launch(columns[column], planned, out[column])
        return out


class _Launch:
    """The launches for one column, with all that they need besides a batch."""

    def __init__(self, program: ImageProgram, launcher: Launcher) -> None:
        self._program = program
        self._launcher = launcher
        self._kind = "f32" if program.before.dtype == np.float32 else "u8"
        passes, self._rows = program.all_passes(), program.all_passes()
        moves = [np.stack(rows) for rows in program.moves]
        # In the order of the kernels' parameters, but for what belongs to a batch.
        self._passes = launcher.constant(passes)
        self._moves = launcher.constant(np.concatenate(moves) if moves else passes[:0])
        self._ends = launcher.constant(np.cumsum([len(rows) for rows in moves]).astype(np.int32))
        self._fills = launcher.constant(program.values())
        self._gammas = launcher.constant(_gammas(program))
        self._normals = launcher.constant(normal_table())
        self._table = launcher.constant(program.numbers())
        self._keys: dict[bytes, Any] = {}
        self._contrasts = [number for number, row in enumerate(passes) if row[Word.KIND] == Kind.CONTRAST]

    def __call__(self, column: Any, planned: Any, out: Any) -> None:
        """Change the images of a batch."""
        xp, launch, count = self._launcher.xp, self._launcher.launch, len(planned.identity)
        records, grays = planned.packed, self._launcher.zeros((count, len(self._contrasts)), np.uint64)
        program = (
            self._passes, self._moves, self._ends, records, planned.identity, self._element_keys(planned),
            self._fills, self._gammas, self._normals, grays,
            len(self._rows), int(records.shape[1]), len(self._contrasts),
        )  # fmt: skip
        images = xp.ascontiguousarray(column)
        last = self._rows[-1]
        pixels = count * int(last[Word.NEW_HEIGHT]) * int(last[Word.NEW_WIDTH])
        if self._program.only_moves and len(self._rows) == _ONE_MAP:
            launch(f"image_moves_{_BY_SIZE[out.dtype.itemsize]}", pixels, *program, images, out, count)
            return
        for number, contrast in enumerate(self._contrasts):
            lines = count * int(self._rows[contrast][Word.HEIGHT])
            launch(f"image_gray_{self._kind}", lines, *program, images, contrast, number, count)
        name, size = f"image_pixels_{self._kind}", int(out.dtype.itemsize)
        launch(name, pixels, *program, images, self._table, out, size, count)

    def _element_keys(self, planned: Any) -> Any:
        """Return a key for each table, on the device; they stay the same for all batches of an epoch."""
        tables = self._program.tables
        keys = [planned.element_keys[each] if isinstance(each, tuple) else _NO_KEY for each in tables]
        found = np.array(keys or [_NO_KEY], np.uint32)
        if found.tobytes() not in self._keys:
            self._keys[found.tobytes()] = self._launcher.constant(found)
        return self._keys[found.tobytes()]


_NO_KEY = np.zeros(2, np.uint32)
_ONE_MAP = 2  # passes, COPY among them


def _gammas(program: ImageProgram) -> NDArray[Any]:
    """Return the tables of gamma, one for each table that the program names."""
    found = [each for each in program.tables if isinstance(each, np.ndarray)]
    if not found:
        return np.zeros(1, program.before.dtype)
    empty = np.zeros_like(found[0])
    return np.stack([each if isinstance(each, np.ndarray) else empty for each in program.tables])
