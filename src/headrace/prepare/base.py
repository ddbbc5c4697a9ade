"""What a step is: a deterministic operation on the Polars frame of one row group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pyarrow as pa

from headrace.errors import PrepareError, SchemaError
from headrace.prepare.ragged import nest_tensors
from headrace.prepare.tensors import to_tensor
from headrace.prepare.threads import is_polars_dead

if TYPE_CHECKING:
    import polars as pl

Names = tuple[str, ...]


@runtime_checkable
class Step(Protocol):
    """A deterministic operation on the frame of one row group.

    A frozen dataclass of plain settings, so that it can be fingerprinted and pickled. It keeps
    the number and the order of the rows.
    """

    def output_names(self, names: Names) -> Names | None:
        """Name the columns that come out, or None where only running it can tell.

        Raises:
            UnknownColumnError: A column that the step names is not there.
        """
        ...

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Say what is needed to yield the wanted columns.

        Args:
            names: The columns that go in, or None where they are not known.
            wanted: The columns that must come out, or None for all.

        Returns:
            A step that yields at least the wanted columns, and the columns that it takes, None
            for all.
        """
        ...

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the operation applied; thread-safe, without side effects."""
        ...


def to_frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """Wrap Arrow columns in a Polars frame, without a copy for plain types.

    N-d columns arrive as `pl.Array`.

    Raises:
        PrepareError: Polars would wait for ever in this process, which was forked.
    """
    if is_polars_dead():
        raise PrepareError(
            "Polars cannot be used in a process that was forked after Polars was used; start processes by "
            '"forkserver" or "spawn", or before Polars is first used'
        )
    import polars as pl

    shapes: dict[str, tuple[int, ...]] = {}
    arrays: list[pa.Array] = []
    for field, array in zip(batch.schema, batch.columns, strict=True):
        if isinstance(field.type, pa.FixedShapeTensorType):
            shapes[field.name] = tuple(field.type.shape)
            arrays.append(array.storage)
        else:
            arrays.append(nest_tensors(array))
    try:
        frame = pl.from_arrow(pa.RecordBatch.from_arrays(arrays, names=batch.schema.names))
    except (Exception, pl.exceptions.PanicException) as error:
        raise SchemaError(f"{_culprit(arrays, batch.schema)} cannot be held by Polars: {error}") from error
    assert isinstance(frame, pl.DataFrame)
    if not any(len(shape) > 1 for shape in shapes.values()):
        return frame
    return frame.with_columns_seq(
        [_reshaped(frame, name, shape) for name, shape in shapes.items() if len(shape) > 1]
    )


def frame_schema(schema: pa.Schema) -> pl.Schema:
    """Return Arrow's columns and types as Polars has them."""
    arrays = [pa.nulls(0, field.type) for field in schema]
    return to_frame(pa.RecordBatch.from_arrays(arrays, schema=schema)).schema


def _reshaped(frame: pl.DataFrame, name: str, shape: tuple[int, ...]) -> pl.Expr:
    import polars as pl

    wide = pl.col(name).reshape((-1, *shape))
    if not frame[name].has_nulls():
        return wide
    is_null = frame[name].is_null()  # reshaping keeps null numbers, but forgets which samples are null
    return pl.when(is_null).then(None).otherwise(wide).alias(name)


def _culprit(arrays: Sequence[pa.Array], schema: pa.Schema) -> str:
    """Name the first column that Polars does not take by itself."""
    import polars as pl

    for field, array in zip(schema, arrays, strict=True):
        try:
            pl.from_arrow(pa.RecordBatch.from_arrays([array], names=[field.name]))
        except (Exception, pl.exceptions.PanicException):
            return f"column `{field.name}` of type {field.type}"
    return f"columns {schema.names}"


def from_frame(frame: pl.DataFrame) -> pa.RecordBatch:
    """Wrap a Polars frame's columns as Arrow columns; `pl.Array` becomes a fixed-shape tensor.

    Raises:
        SchemaError: It is no frame, or Arrow has no type for one of its columns.
    """
    import polars as pl

    if not isinstance(frame, pl.DataFrame):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SchemaError(
            f"a Polars DataFrame is needed, got {type(frame).__name__}; collect a lazy frame before"
        )
    arrays: dict[str, pa.Array] = {}
    for column in frame.iter_columns():
        if column.dtype == pl.Object:
            raise SchemaError(f"column `{column.name}` holds Python objects, which Arrow has no type for")
        try:
            arrays[column.name] = to_tensor(column.rechunk().to_arrow())
        except (Exception, pl.exceptions.PanicException) as error:
            raise SchemaError(
                f"column `{column.name}` of type {column.dtype} has no Arrow type: {error}"
            ) from error
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def names_after(steps: Sequence[Step], names: Names) -> Names | None:
    """Follow the column names through steps; None once only running them can tell."""
    known: Names | None = names
    for step in steps:
        known = None if known is None else step.output_names(known)
    return known
