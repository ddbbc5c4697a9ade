"""Fitted steps, one after another, as one step of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.errors import SchemaError, UnknownColumnError
from headrace.prepare.base import Names, Step
from headrace.prepare.programs import Operation, run_programs
from headrace.prepare.step import PrepareStep

if TYPE_CHECKING:
    import polars as pl

Dtype = str
"""What new floats are delivered as: "float32", "float64" or "float16"."""


@dataclass(frozen=True)
class Chain:
    """Applies fitted steps to frames.

    Operations on numbers wait, column by column, until a step needs the numbers or the chain
    ends, and then run in one pass.

    Attributes:
        steps: Each fitted to what those before it yield.
        dtype: Of all floats that steps have made; cleaned ones keep theirs.
        columns: Names and types that the first step was fitted to, for errors.
    """

    steps: tuple[PrepareStep, ...]
    dtype: Dtype = "float32"
    columns: tuple[tuple[str, Any], ...] = field(default=(), repr=False)

    def output_names(self, names: Names) -> Names:
        """Follow the names through the steps."""
        for step in self.steps:
            missing = [name for name in step.reads if name not in names]
            if missing:
                raise UnknownColumnError.from_names(missing, names, f"{type(step).__name__}:")
            names = step.outputs(names)
        return names

    @property
    def needs_ids(self) -> bool:
        """Whether a step needs the samples' ids."""
        return any(step.needs_ids for step in self.steps)

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Leave out the columns that nobody wants, and the steps that only make such."""
        if wanted is None:
            return self, None
        kept: list[PrepareStep] = []
        for step in reversed(self.steps):
            narrowed, wanted = step.narrowed(wanted)
            if narrowed is not None:
                kept.append(narrowed)
        return Chain(tuple(reversed(kept)), self.dtype, self.columns), wanted

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with all steps applied; thread-safe."""
        return self.apply_some(frame, self.steps, is_last=True)

    def apply_some(self, frame: pl.DataFrame, steps: Sequence[PrepareStep], is_last: bool) -> pl.DataFrame:
        """Apply some of the steps; only after the last one floats get their dtype."""
        import polars as pl

        waiting: dict[str, list[Operation]] = {}
        made: set[str] = set()
        for step in steps:
            self._check_types(step, frame)
            operations = _operations(step, frame, waiting)
            before = frame.columns
            if operations is None:
                frame = step.apply(run_programs(frame, waiting))
                waiting = {}
            else:
                for name, more in operations.items():
                    waiting.setdefault(name, []).extend(more)
            if step.makes_floats:
                made |= set(step.rewrites) | (set(frame.columns) - set(before))
        frame = run_programs(frame, waiting)
        if not is_last:
            return frame
        kind = {"float16": pl.Float16, "float32": pl.Float32, "float64": pl.Float64}[self.dtype]
        changed = [name for name in frame.columns if name in made and frame.schema[name].is_float()]
        return frame.with_columns(pl.col(changed).cast(kind)) if changed else frame

    def _check_types(self, step: PrepareStep, frame: pl.DataFrame) -> None:
        missing = [name for name in step.reads if name not in frame.columns]
        if missing:
            raise UnknownColumnError.from_names(missing, frame.columns, f"{type(step).__name__}:")
        for name in step.names:
            if not step.treats(frame.schema[name]):
                raise SchemaError(
                    f"{type(step).__name__} cannot treat column `{name}` of type {frame.schema[name]}"
                )


def _operations(
    step: PrepareStep, frame: pl.DataFrame, waiting: dict[str, list[Operation]]
) -> dict[str, list[Operation]] | None:
    """Write a step as operations on numbers; None if it has to see the frame."""
    import polars as pl

    if not step.names:  # a step that treats no column may still add some
        return None
    operations: dict[str, list[Operation]] = {}
    for name in step.names:
        dtype = pl.Float64() if name in waiting else frame.schema[name]
        found = step.operations(name, dtype)
        if found is None:
            return None
        operations[name] = list(found)
    return operations
