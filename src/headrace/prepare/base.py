"""What a step is: a deterministic operation on the Polars frame of one row group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl

Names = tuple[str, ...]


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

    def narrow(self, names: Names | None, wanted: frozenset[str] | None) -> tuple[Step, frozenset[str] | None]:
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
    """
    import polars as pl

    shapes: dict[str, tuple[int, ...]] = {}
    arrays: list[pa.Array] = []
    for field, array in zip(batch.schema, batch.columns, strict=True):
        if isinstance(field.type, pa.FixedShapeTensorType):
            shapes[field.name] = tuple(field.type.shape)
            arrays.append(array.storage)
        else:
            arrays.append(array)
    frame = pl.from_arrow(pa.RecordBatch.from_arrays(arrays, names=batch.schema.names))
    assert isinstance(frame, pl.DataFrame)
    wide = {name: shape for name, shape in shapes.items() if len(shape) > 1}
    if not wide:
        return frame
    return frame.with_columns_seq([pl.col(name).reshape((-1, *shape)) for name, shape in wide.items()])


def from_frame(frame: pl.DataFrame) -> pa.RecordBatch:
    """Wrap a Polars frame's columns as Arrow columns; `pl.Array` becomes a fixed-shape tensor."""
    table = frame.rechunk().to_arrow()
    arrays = [_tensor(column) for column in table.itercolumns()]
    return pa.RecordBatch.from_arrays(arrays, names=table.schema.names)


def _tensor(column: pa.ChunkedArray) -> pa.Array:
    """Flatten nested lists of fixed size into one tensor column."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    kind, shape = array.type, list[int]()
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    if not shape or array.null_count or not pa.types.is_primitive(kind):
        return array
    values = array
    for _ in shape:
        values = values.flatten()
    size = 1
    for side in shape:
        size *= side
    storage = pa.FixedSizeListArray.from_arrays(values, size)
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(kind, shape), storage)


def names_after(steps: Sequence[Step], names: Names) -> Names | None:
    """Follow the column names through steps; None once only running them can tell."""
    known: Names | None = names
    for step in steps:
        known = None if known is None else step.output_names(known)
    return known
