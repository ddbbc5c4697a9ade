"""The recipe as execution sees it: what to read, which steps to apply, how to lay out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.augment.chain import Chain
from headrace.batch import Batch
from headrace.draws.draws import DRAWS_VERSION
from headrace.errors import HeadraceError, PrepareError, SchemaError
from headrace.execution.fork import apply_elsewhere
from headrace.execution.stats import Stats, measured
from headrace.fingerprint import digest
from headrace.manifest import RowGroup
from headrace.prepare.base import Names, Step, from_frame, names_after, to_frame
from headrace.prepare.columns import Drop, Rename, Select, WithColumns
from headrace.prepare.pack import Laid, Pack, lay_out
from headrace.prepare.step import SAMPLE_ID
from headrace.prepare.steps.join import Join
from headrace.prepare.threads import is_polars_dead
from headrace.sources.base import Layout, Source, SupportsCopy, SupportsReadRows, check_rows
from headrace.stores.base import Store
from headrace.stores.counts import Counts

Rows = NDArray[np.int64]

# Steps that only choose and name columns need no frame.
_PROJECTIONS = (Select, Drop, Rename)
# Steps that name the columns which they make, and leave all others as they are.
_ADDITIONS = (WithColumns, Join)


@dataclass(frozen=True, slots=True)
class Untouched:
    """A column that no step changes, so that the source copies its rows right into the batch.

    Attributes:
        source: Who copies them.
        column: What the source calls it.
        layout: Dtype and shape of one sample.
    """

    source: SupportsCopy
    column: str
    layout: Layout


@dataclass(frozen=True)
class Recipe:
    """Everything deterministic that turns a row group into arrays.

    Immutable, thread-safe, picklable if its functions are.

    Attributes:
        source: Where the samples lie.
        steps: What is applied to each row group, in order.
        pack: Which columns form which arrays; None delivers every column by itself.
        keep_arrow: Whether columns that are not packed stay in Arrow, nulls included.
        cache: Where prepared row groups are kept; None keeps nothing. No part of the fingerprint, as it
            changes no batch.
        augment: What changes samples at random, after the gather; None changes nothing.
    """

    source: Source
    steps: tuple[Step, ...] = ()
    pack: Pack | None = None
    keep_arrow: bool = False
    cache: Store | None = None
    augment: Chain | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the steps, the layout and the augmentations; the data has its own."""
        random = () if self.augment is None else (self.augment, DRAWS_VERSION)
        return digest("recipe", self.steps, self.pack, *random)

    @cached_property
    def names(self) -> Names | None:
        """The columns after the last step, or None where only running the steps can tell."""
        return names_after(self.steps, tuple(self.source.schema.names))

    @cached_property
    def origins(self) -> Mapping[str, str]:
        """Columns after the last step that no step has changed, and what the source calls each of them."""
        origins = {name: name for name in self.source.schema.names}
        for step in self.steps:
            made = step.made if isinstance(step, _ADDITIONS) else ()
            if not isinstance(step, (*_PROJECTIONS, *_ADDITIONS)) or made is None:
                return {}
            if isinstance(step, Rename):
                origins = {step.mapping.get(name, name): origin for name, origin in origins.items()}
            elif isinstance(step, (Select, Drop)):
                kept = step.columns if isinstance(step, Select) else origins.keys() - set(step.columns)
                origins = {name: origin for name, origin in origins.items() if name in kept}
            else:
                origins = {name: origin for name, origin in origins.items() if name not in made}
        return origins

    @cached_property
    def untouched(self) -> Mapping[str, Untouched]:
        """The delivered columns that are copied as they lie, by the name of their array."""
        source, pack = self.source, self.pack
        if self.needs_frame or self.keep_arrow or not isinstance(source, SupportsCopy) or self.names is None:
            return {}
        layouts, origins = source.layouts, self.origins
        alone = {name: name for name in origins} if pack is None else pack.unchanged
        found = {
            array: Untouched(source, origins[name], layouts[origins[name]])
            for array, name in alone.items()
            if origins.get(name) in layouts
        }
        if pack is not None and pack.padding is not None and len(found) == len(pack.groups):
            return {}  # nothing is left to pad, which `lay_out` refuses
        return found

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
            if not isinstance(kept, WithColumns) or kept.expressions:
                narrowed.append(kept)
        schema = tuple(self.source.schema.names)
        columns = tuple(name for name in schema if wanted is None or name in wanted)
        # One column at least, so that a row group of constants still knows its rows.
        return tuple(reversed(narrowed)), columns or schema[:1]

    @property
    def columns(self) -> tuple[str, ...]:
        """Which of the source's columns are read."""
        return self._narrowed[1]

    @property
    def needed(self) -> tuple[Step, ...]:
        """The steps without what nobody wants."""
        return self._narrowed[0]

    @cached_property
    def needs_frame(self) -> bool:
        """Whether a step computes values, so that Polars is needed."""
        return not all(isinstance(step, _PROJECTIONS) for step in self.steps)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns after the last step, found by sending no rows through the steps."""
        if not self.steps:
            return self.source.schema
        none = np.zeros(0, np.int64)
        return self._apply(_empty(self.source.schema), self.steps, "an empty row group", none).schema

    def frame(
        self, row_group: RowGroup, stats: Stats | None = None, rows: Rows | None = None
    ) -> pa.RecordBatch:
        """Read and prepare one row group, all columns after the last step in Arrow."""
        steps, columns = self._narrowed
        with measured(stats, "read"):
            batch = self._read(row_group, columns, rows)
        with measured(stats, "prepare"):
            ids = row_group.first + (np.arange(batch.num_rows) if rows is None else rows)
            return self._apply(batch, steps, row_group, ids)

    @cached_property
    def _rest(self) -> Recipe | None:
        """What yields the columns that are not copied as they lie; None if there are no others."""
        if self.pack is None:
            rest = tuple(name for name in self.names or () if name not in self.untouched)
            return replace(self, steps=(*self.steps, Select(rest))) if rest else None
        pack = self.pack.without(self.untouched)
        return None if pack is None else replace(self, pack=pack)

    @property
    def decoded(self) -> tuple[str, ...]:
        """Which of the source's columns are decoded, rather than copied as they lie."""
        if not self.untouched:
            return self.columns
        return () if self._rest is None else self._rest.columns

    def _read(self, row_group: RowGroup, columns: Sequence[str], rows: Rows | None) -> pa.RecordBatch:
        if rows is None:
            batch = self.source.read(row_group, columns)
            check_rows(batch.num_rows, row_group)  # the gather trusts that the rows it is told of are there
            return batch
        assert isinstance(self.source, SupportsReadRows)
        batch = self.source.read_rows(row_group, rows, columns)
        check_rows(batch.num_rows + row_group.rows - len(rows), row_group)
        return batch

    def arrays(
        self,
        row_group: RowGroup,
        wanted: Rows | None = None,
        stats: Stats | None = None,
        rows: Rows | None = None,
    ) -> tuple[dict[str, Laid | Untouched], Rows | None]:
        """Read and prepare one row group, laid out for the gather.

        Args:
            row_group: Which one.
            wanted: The rows that will be gathered; all by default. Nulls elsewhere do no harm.
            stats: Where to count seconds.
            rows: Only these of its rows, of a source that supports it; all by default.

        Returns:
            The columns, and which rows of the row group they hold, rising; None for all.

        Raises:
            HeadraceError: Reading or preparing failed; the message names the row group.
        """
        if self.untouched:
            laid, held = (
                ({}, rows) if self._rest is None else self._rest.arrays(row_group, wanted, stats, rows)
            )
            columns = {**laid, **self.untouched}
            names = self.names or () if self.pack is None else self.pack.ordered(columns)
            return {name: columns[name] for name in names}, held
        batch = self.frame(row_group, stats, rows)
        with measured(stats, "prepare"):
            try:
                return {**self.lay_out(batch, row_group)}, rows
            except SchemaError as error:
                # Samples that were left out may hold what no array can, such as nulls.
                held = np.arange(row_group.rows) if rows is None else rows
                kept = held if wanted is None else np.intersect1d(held, wanted)
                chosen = batch.take(pa.array(np.searchsorted(held, kept)))
                try:
                    return {**self.lay_out(chosen, row_group)}, kept
                except SchemaError:
                    raise error from None

    def lay_out(self, batch: pa.RecordBatch, row_group: RowGroup) -> dict[str, Laid]:
        """Turn the columns after the last step into arrays.

        Raises:
            SchemaError: A column has nulls or no fixed width; the message names it.
        """
        if self.pack is not None:
            return self.pack.lay_out(batch, row_group)
        if self.keep_arrow:
            return dict(zip(batch.schema.names, batch.columns, strict=True))
        return lay_out(batch, row_group)

    @property
    def counts(self) -> Counts:
        """What a store did for this recipe; nothing without one."""
        return Counts()

    def refresh(self) -> None:
        """Begin an epoch; see `CachedRecipe`."""

    def close(self) -> None:
        """Let go of what was opened; see `CachedRecipe`."""

    def finish(self, batch: Batch) -> Batch:
        """Lay out what depends on the samples that a batch holds together."""
        return batch if self.pack is None else self.pack.finish(batch)

    def _apply(
        self, batch: pa.RecordBatch, steps: tuple[Step, ...], where: object, ids: Rows
    ) -> pa.RecordBatch:
        if not self.needs_frame:
            return self._project(batch, steps)
        if needs_ids(steps):
            batch = batch.append_column(SAMPLE_ID, pa.array(ids))
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

    Samples' ids come as a last column if a step needs them, and only such a step sees it.

    Raises:
        PrepareError: A step failed; the message names the step and the row group.
    """
    frame = guarded(where, "the columns", to_frame, batch)
    ids = frame.drop_in_place(SAMPLE_ID) if needs_ids(steps) else None
    for step in steps:
        if ids is not None and needs_ids((step,)):
            frame = guarded(where, step, step.apply, frame.with_columns(ids)).drop(SAMPLE_ID)
        else:
            frame = guarded(where, step, step.apply, frame)
    if frame.height != batch.num_rows:
        raise PrepareError(
            f"{where}: the steps must keep the number of rows, got {frame.height} for {batch.num_rows}"
        )
    return guarded(where, "the columns", from_frame, frame)


def needs_ids(steps: Sequence[Step]) -> bool:
    """Tell whether what a step makes depends on the samples' ids."""
    return any(getattr(step, "needs_ids", False) for step in steps)


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
