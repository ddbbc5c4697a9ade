"""The stage of series: neighbouring augmentations of series in one pass over the samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.chain import Bound, Planned
from headrace.augment.fused.rows import as_rows
from headrace.augment.fused.series.program import SeriesProgram, Word, is_series, write_program
from headrace.augment.stage import Allocate, Columns
from headrace.draws.tables import normal_table


@dataclass(frozen=True, eq=False)
class SeriesStage:
    """Neighbouring augmentations of series, compiled. Thread-safe.

    Each sample goes through all passes while it is in the processor's cache; it is read once and written
    once.
    Samples may be `Picked`.

    Attributes:
        bound: The chain.
        numbers: Which of its augmentations.
    """

    bound: Bound
    numbers: range

    @cached_property
    def programs(self) -> Mapping[str, SeriesProgram]:
        """What becomes of each column."""
        columns = (column for number in self.numbers for column in self.bound.chain.ops[number].changed)
        return {column: write_program(self.bound, self.numbers, column) for column in dict.fromkeys(columns)}

    @property
    def picks(self) -> frozenset[str]:
        """All of its columns."""
        return frozenset(self.programs)

    def run(
        self, columns: Columns, partners: Columns | None, planned: Planned, allocate: Allocate
    ) -> Columns:
        """Return the columns that change."""
        n = len(planned.identity)
        formats = {
            column: ((n, *program.after.shape), program.after.dtype)
            for column, program in self.programs.items()
        }
        found = allocate(formats)
        for column, program in self.programs.items():
            _run(program, columns[column], planned, column, found[column])
        return found


def find_series_stage(bound: Bound, first: int) -> SeriesStage | None:
    """Return the stage that performs as many augmentations as can be from one on; None if there is none."""
    end = first
    while end < len(bound.chain.ops) and is_series(bound.chain.ops[end]):
        end += 1
    return SeriesStage(bound, range(first, end)) if end > first else None


def _run(program: SeriesProgram, column: Any, planned: Planned, name: str, out: NDArray[Any]) -> None:
    # Numba loads with the first use.
    from headrace.augment.fused.series.kernels import kind_of, move_kernel, series_kernel

    if out.size == 0:
        return
    source, rows = as_rows(column)
    kind = kind_of(source.dtype)
    dtype = np.dtype(str(kind))
    keys = np.array([planned.element_keys[number, name] for number in program.keyed], np.uint32)
    passes, values, target = program.passes, program.values.view(dtype), out.reshape(len(out), -1).view(dtype)
    scratch, source = np.empty((2, program.longest), dtype), source.view(dtype)
    if dtype.kind == "u":
        move_kernel(kind)(passes, values, planned.packed, source, rows, target, scratch)
        return
    places = np.empty(int(passes[:, Word.BEFORE].max()), np.int64)
    drawn = planned.packed, planned.identity, keys.reshape(-1, 2)
    series_kernel(kind)(passes, values, drawn, normal_table(), source, rows, target, scratch, places)
