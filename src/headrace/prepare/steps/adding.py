"""What steps that add columns have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from headrace.errors import SchemaError
from headrace.prepare.step import PrepareStep

if TYPE_CHECKING:
    import polars as pl

Made = Sequence[tuple[str, Sequence[str]]]
"""New columns, each with the columns that it is made of."""


@dataclass(frozen=True)
class AddingStep(PrepareStep):
    """A step that keeps the columns that come in, and adds others behind them.

    Learned: `made_`, the new columns in order, and `inputs_`, what each of them is made of.
    """

    def makes(self, schema: pl.Schema) -> Made:
        """Name the new columns; called when the treated ones are known."""
        raise NotImplementedError

    def compute(self, frame: pl.DataFrame) -> Sequence[pl.Series]:
        """Return the columns in `made_`."""
        raise NotImplementedError

    def bound(self, schema: pl.Schema) -> Self:
        """Return the step for the columns of a schema.

        Raises:
            SchemaError: A column of that name is already there.
        """
        step = super().bound(schema)
        made = step.makes(schema)
        names = [name for name, _ in made]
        for place, name in enumerate(names):
            if name in schema or name in names[:place]:
                raise SchemaError(
                    f"{type(self).__name__} adds column `{name}`, but there is one; rename that one before"
                )
        return step.with_learned({"made_": names, "inputs_": {name: list(inputs) for name, inputs in made}})

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Send no samples through the step."""
        return self.apply(schema.to_frame()).schema

    @property
    def reads(self) -> tuple[str, ...]:
        """What the new columns are made of."""
        inputs = [name for names in self.inputs_.values() for name in names]
        return tuple(dict.fromkeys((*self.names, *inputs)))

    @property
    def rewrites(self) -> tuple[str, ...]:
        """No column that came in is changed."""
        return ()

    def outputs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The new columns come last."""
        return (*names, *self.made_)

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """Make only the new columns that are wanted."""
        kept = [name for name in self.made_ if name in wanted]
        if not kept:
            return None, wanted
        inputs = {name: self.inputs_[name] for name in kept}
        needed = frozenset(name for names in inputs.values() for name in names)
        columns = [name for name in self.names if name in needed]
        step = self.with_learned({"made_": kept, "inputs_": inputs, "columns_": columns})
        return step, (wanted - set(kept)) | needed

    def inverse(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Leave the new columns out again."""
        return frame.drop(self.made_, strict=False)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the columns added; thread-safe."""
        return frame.with_columns(self.compute(frame))
