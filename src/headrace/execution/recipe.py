"""The recipe as execution sees it: what to read, which steps to apply, how to lay out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from headrace.errors import HeadraceError, PrepareError
from headrace.execution.fork import apply_elsewhere
from headrace.execution.stats import Stats, measured
from headrace.fingerprint import digest
from headrace.manifest import RowGroup
from headrace.prepare.base import Names, Step, from_frame, names_after, to_frame
from headrace.prepare.columns import Drop, Rename, Select
from headrace.prepare.pack import Laid, Pack, lay_out
from headrace.prepare.threads import is_polars_dead
from headrace.sources.base import Source, check_rows

# Steps that only choose and name columns need no frame.
_PROJECTIONS = (Select, Drop, Rename)


@dataclass(frozen=True)
class Recipe:
    """Everything deterministic that turns a row group into arrays.

    Immutable, thread-safe, picklable if its functions are.

    Attributes:
        source: Where the samples lie.
        steps: What is applied to each row group, in order.
        pack: Which columns form which arrays; None delivers every column by itself.
        keep_arrow: Whether columns that are not packed stay in Arrow, nulls included.
    """

    source: Source
    steps: tuple[Step, ...] = ()
    pack: Pack | None = None
    keep_arrow: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the steps and the layout; the data has its own."""
        return digest("recipe", self.steps, self.pack)

    @cached_property
    def names(self) -> Names | None:
        """The columns after the last step, or None where only running the steps can tell."""
        return names_after(self.steps, tuple(self.source.schema.names))

    @cached_property
    def _narrowed(self) -> tuple[tuple[Step, ...], tuple[str, ...]]:
        """The steps without what nobody wants, and the columns to read."""
        names: list[Names | None] = [tuple(self.source.schema.names)]
        for step in self.steps:
            before = names[-1]
            names.append(None if before is None else step.output_names(before))
        wanted = None if self.pack is None else self.pack.columns
        narrowed: list[Step] = []
        for step, before in zip(reversed(self.steps), reversed(names[:-1]), strict=True):
            kept, wanted = step.narrow(before, wanted)
            narrowed.append(kept)
        schema = tuple(self.source.schema.names)
        columns = tuple(name for name in schema if wanted is None or name in wanted)
        # One column at least, so that a row group of constants still knows its rows.
        return tuple(reversed(narrowed)), columns or schema[:1]

    @property
    def columns(self) -> tuple[str, ...]:
        """Which of the source's columns are read."""
        return self._narrowed[1]

    @cached_property
    def needs_frame(self) -> bool:
        """Whether a step computes values, so that Polars is needed."""
        return not all(isinstance(step, _PROJECTIONS) for step in self.steps)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns after the last step, found by sending no rows through the steps."""
        if not self.steps:
            return self.source.schema
        return self._apply(_empty(self.source.schema), self.steps, "an empty row group").schema

    def frame(self, row_group: RowGroup, stats: Stats | None = None) -> pa.RecordBatch:
        """Read and prepare one row group, all columns after the last step in Arrow."""
        steps, columns = self._narrowed
        with measured(stats, "read"):
            batch = self.source.read(row_group, columns)
        check_rows(batch.num_rows, row_group)  # the gather trusts that the rows it is told of are there
        with measured(stats, "prepare"):
            return self._apply(batch, steps, row_group)

    def arrays(self, row_group: RowGroup, stats: Stats | None = None) -> dict[str, Laid]:
        """Read and prepare one row group, laid out for the gather.

        Raises:
            HeadraceError: Reading or preparing failed; the message names the row group.
        """
        batch = self.frame(row_group, stats)
        with measured(stats, "prepare"):
            if self.pack is not None:
                return self.pack.lay_out(batch, row_group)
            if self.keep_arrow:
                return dict(zip(batch.schema.names, batch.columns, strict=True))
            return lay_out(batch, row_group)

    def _apply(self, batch: pa.RecordBatch, steps: tuple[Step, ...], where: object) -> pa.RecordBatch:
        if not self.needs_frame:
            return self._project(batch, steps)
        apply = apply_elsewhere if is_polars_dead() else apply_steps
        return apply(steps, batch, where)

    @staticmethod
    def _project(batch: Any, steps: tuple[Step, ...]) -> pa.RecordBatch:
        for step in steps:
            if isinstance(step, Rename):
                batch = batch.rename_columns([step.mapping.get(name, name) for name in batch.schema.names])
            else:
                batch = batch.select(list(step.output_names(tuple(batch.schema.names)) or ()))
        return batch


def apply_steps(steps: tuple[Step, ...], batch: pa.RecordBatch, where: object) -> pa.RecordBatch:
    """Send the columns of one row group through steps, as a Polars frame.

    Raises:
        PrepareError: A step failed; the message names the step and the row group.
    """
    frame = guarded(where, "the columns", to_frame, batch)
    for step in steps:
        frame = guarded(where, step, step.apply, frame)
    if frame.height != batch.num_rows:
        raise PrepareError(
            f"{where}: the steps must keep the number of rows, got {frame.height} for {batch.num_rows}"
        )
    return guarded(where, "the columns", from_frame, frame)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def guarded(where: object, what: object, function: Any, *arguments: Any) -> Any:
    """Call a step, and name the step and the row group in whatever goes wrong.

    A panic of Polars derives from BaseException alone, so it would pass `except Exception`.
    """
    try:
        return function(*arguments)
    except HeadraceError as error:
        raise type(error)(f"{where}: {error}") from error.__cause__
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise PrepareError(f"{where}: {what} failed with {type(error).__name__}: {error}") from error
