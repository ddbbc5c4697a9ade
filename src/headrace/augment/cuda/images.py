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
from headrace.augment.fused.image_compile import ImageProgram
from headrace.augment.fused.image_program import Kind, Word
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
            keys = [planned.element_keys[number, column] for number in launch.drawing(self.numbers)]
            launch(columns[column], planned, keys, out[column])
        return out
