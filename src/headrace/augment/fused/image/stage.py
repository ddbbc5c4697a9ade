"""The image stage: one pass over the images of a batch, whatever they go through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from headrace.augment.base import Mixing
from headrace.augment.chain import Bound, Planned
from headrace.augment.fused.image.compile import ImageProgram
from headrace.augment.image.base import ImageAugmentation
from headrace.augment.stage import Allocate, Columns

if TYPE_CHECKING:
    from headrace.augment.fused.image.loop import ImageLoop


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
    def _loops(self) -> dict[str, ImageLoop]:
        from headrace.augment.fused.image.loop import ImageLoop  # numba loads with the first use

        return {column: ImageLoop(program) for column, program in self.programs.items()}

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
    """Return the stage that performs as many augmentations as it can from one on; None if it can none."""
    programs: dict[str, ImageProgram] = {}
    number = first
    for number in range(first, len(bound.chain.ops) + 1):
        if number == len(bound.chain.ops):
            break
        op = bound.chain.ops[number]
        if not isinstance(op, ImageAugmentation) or isinstance(op, Mixing):
            break  # a mix needs partners, and its label is no image
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
