"""The series stage on a device: the same programs as on the CPU, by one launch for each column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from headrace.augment.chain import Bound
from headrace.augment.cuda.module import Launcher
from headrace.augment.fused.series.program import Kind, SeriesProgram, Word
from headrace.augment.fused.series.stage import find_series_stage
from headrace.augment.stage import Allocate, Columns
from headrace.draws.tables import normal_table

_MOST_PAIRS = 3  # passes that read two places each, as many as the kernel has room for
_BY_NAME = {"float32": "f32", "float64": "f64"}


@dataclass(frozen=True, eq=False)
class DeviceSeriesStage:
    """Neighbouring augmentations of series, performed together.

    Attributes:
        numbers: Which augmentations of the chain.
        programs: What becomes of each column.
        launcher: Runs the kernels.
    """

    numbers: range
    programs: Mapping[str, SeriesProgram]
    launcher: Launcher

    @property
    def picks(self) -> frozenset[str]:
        """None: all rows are on the device."""
        return frozenset()

    @cached_property
    def _launches(self) -> dict[str, _Launch]:
        return {name: _Launch(program, name, self.launcher) for name, program in self.programs.items()}

    def run(self, columns: Columns, partners: Columns | None, planned: Any, allocate: Allocate) -> Columns:
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


def find_device_series_stage(bound: Bound, first: int, launcher: Launcher) -> DeviceSeriesStage | None:
    """Return the stage that performs as many augmentations as can be from one on; None if there is none."""
    found = find_series_stage(bound, first)
    if found is None:
        return None
    pairs = [int((program.passes[:, Word.KIND] >= Kind.WARP).sum()) for program in found.programs.values()]
    return None if max(pairs) > _MOST_PAIRS else DeviceSeriesStage(found.numbers, found.programs, launcher)


class _Launch:
    """The launch for one column, with all that it needs besides a batch."""

    def __init__(self, program: SeriesProgram, column: str, launcher: Launcher) -> None:
        dtype = program.before.dtype
        self._program, self._column, self._launcher = program, column, launcher
        self._kind = _BY_NAME.get(dtype.name, f"u{8 * dtype.itemsize}")
        self._passes = launcher.constant(program.passes)
        self._values = launcher.constant(program.values if len(program.values) else np.zeros(1, dtype))
        self._normals = launcher.constant(normal_table())
        self._keys: dict[bytes, Any] = {}

    def __call__(self, column: Any, planned: Any, out: Any) -> None:
        """Change the series of a batch."""
        count, passes = len(planned.identity), self._program.passes
        threads = count * int(passes[-1][Word.AFTER]) * int(passes[-1][Word.CHANNELS])
        self._launcher.launch(
            f"series_{self._kind}",
            threads,
            self._passes,
            self._values,
            planned.packed,
            planned.identity,
            self._element_keys(planned),
            self._normals,
            self._launcher.xp.ascontiguousarray(column),
            out,
            len(passes),
            int(planned.packed.shape[1]),
            count,
        )

    def _element_keys(self, planned: Any) -> Any:
        """Return the keys of the element draws, on the device; they are those of all batches of an epoch."""
        keys = [planned.element_keys[number, self._column] for number in self._program.keyed]
        found = np.array(keys or [(0, 0)], np.uint32)
        if found.tobytes() not in self._keys:
            self._keys[found.tobytes()] = self._launcher.constant(found)
        return self._keys[found.tobytes()]
