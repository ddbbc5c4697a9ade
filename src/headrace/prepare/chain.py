"""Fitted steps, one after another, as one step of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.errors import PrepareError, SchemaError, UnknownColumnError
from headrace.prepare.base import Names, Step
from headrace.prepare.fitted_types import as_fitted
from headrace.prepare.numbers.bfloat16 import to_bfloat16
from headrace.prepare.numbers.operations import Operation
from headrace.prepare.numbers.programs import dtype_after, run_programs
from headrace.prepare.step import PrepareStep

if TYPE_CHECKING:
    import polars as pl

Dtype = str
"""What new floats are delivered as: "float32", "float64", "float16", in which finite numbers beyond 65504
become 65504, or "bfloat16": float32 columns whose numbers are those of bfloat16."""


@dataclass(frozen=True)
class Chain:
    """Applies fitted steps to frames.

    Operations on numbers wait, column by column, until a step needs the numbers or the chain
    ends, and then run in one pass.

    Attributes:
        steps: Each fitted to what those before it yield.
        dtype: Of all floats that steps have made; cleaned ones keep theirs.
        columns: Names and types of numbers that the first step was fitted to, to which they are brought.
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
        return self.apply_some(as_fitted(frame, self.columns), self.steps, is_last=True)

    def apply_some(self, frame: pl.DataFrame, steps: Sequence[PrepareStep], is_last: bool) -> pl.DataFrame:
        """Apply some of the steps; only after the last one floats get their dtype."""
        import polars as pl

        waiting = _Waiting(frame)
        made: set[str] = set()
        for step in steps:
            self._check_types(step, waiting)
            before = waiting.frame.columns
            made |= waiting.take(step)
            if step.makes_floats:
                made |= set(step.rewrites) | (set(waiting.frame.columns) - set(before))
        if not is_last:
            return waiting.run()
        wanted = {"float16": pl.Float16(), "float64": pl.Float64()}.get(self.dtype, pl.Float32())
        frame = waiting.run(dict.fromkeys(made, wanted))
        if self.dtype != "bfloat16":
            return frame
        short = [name for name in frame.columns if name in made and frame.schema[name] == pl.Float32]
        return frame.with_columns([to_bfloat16(frame[name]) for name in short])

    def _check_types(self, step: PrepareStep, waiting: _Waiting) -> None:
        missing = [name for name in step.reads if name not in waiting]
        if missing:
            raise UnknownColumnError.from_names(missing, waiting.frame.columns, f"{type(step).__name__}:")
        for name in step.names:
            dtype = waiting.dtype_of(name)
            if not step.treats(dtype):
                raise SchemaError(f"{type(step).__name__} cannot treat column `{name}` of type {dtype}")


class _Waiting:
    """A frame, and operations on its columns that still wait to be run."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self._schema = frame.schema  # which Polars makes anew at each call
        self._operations: dict[str, list[Operation]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._schema

    def dtype_of(self, name: str) -> pl.DataType:
        """The type of a column after its operations."""
        return dtype_after(self._schema[name], self._operations.get(name, ()))

    def take(self, step: PrepareStep) -> set[str]:
        """Let a step wait, as far as it is operations on numbers, and apply the rest of it.

        Returns:
            Columns of other types that become floats.
        """
        before = {name: self.dtype_of(name) for name in step.names}
        found = {name: step.operations(name, dtype) for name, dtype in before.items()}
        others = [name for name, operations in found.items() if operations is None]
        if others or not found:  # a step that treats no column may still add some
            rest = step if len(others) == len(found) else step.with_learned({"columns_": others})
            self.frame = _applied(rest, self.run())
            self._schema = self.frame.schema
        for name, operations in found.items():
            if operations is not None:
                self._operations.setdefault(name, []).extend(operations)
        now = {name for name in found if name not in others and self.dtype_of(name).is_float()}
        return {name for name in now if not before[name].is_float()}

    def run(self, dtypes: Mapping[str, pl.DataType] | None = None) -> pl.DataFrame:
        """Run what waits, and bring floats among some columns to a type."""
        wanted = {
            name: dtype
            for name, dtype in (dtypes or {}).items()
            if name in self and self.dtype_of(name).is_float()
        }
        programs = {name: self._operations.get(name, []) for name in [*self._operations, *wanted]}
        self.frame = run_programs(self.frame, programs, wanted)
        self._schema = self.frame.schema
        self._operations = {}
        return self.frame


def _applied(step: PrepareStep, frame: pl.DataFrame) -> pl.DataFrame:
    """Apply a step, and name it in what Polars has to say; a panic derives from BaseException alone."""
    import polars as pl

    try:
        return step.apply(frame)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise PrepareError(f"{type(step).__name__} failed with {type(error).__name__}: {error}") from error
