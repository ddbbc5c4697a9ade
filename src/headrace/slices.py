"""Rows of slices, of all Arrow types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def unsliced(array: Any) -> Any:
    """Return an array of which Arrow takes the right rows.

    Arrow 26 takes others where fixed-size lists of fixed-size lists are a slice that does not begin at the
    first row, also within structs. Such an array is copied, any other one comes back as it is.

    Example:
        >>> pairs = pa.array([[[row, row]] for row in range(4)], pa.list_(pa.list_(pa.int8(), 2), 1))
        >>> unsliced(pairs.slice(2)).take(pa.array([1])).to_pylist()
        [[[3, 3]]]
    """
    if not array.offset or not _is_deep(array.type):
        return array
    return pa.concat_arrays([array.slice(0, 0), array])


def unsliced_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a record batch of which Arrow takes the right rows."""
    return pa.RecordBatch.from_arrays([unsliced(column) for column in batch.columns], schema=batch.schema)


def take_rows(batch: pa.RecordBatch, rows: NDArray[np.int64]) -> pa.RecordBatch:
    """Copy the rows of a record batch at these places, in this order."""
    return unsliced_rows(batch).take(pa.array(rows))


def _is_deep(kind: Any) -> bool:
    """Tell whether fixed-size lists lie within fixed-size lists."""
    if isinstance(kind, pa.BaseExtensionType):
        return _is_deep(kind.storage_type)
    if not pa.types.is_nested(kind):
        return False
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    if pa.types.is_fixed_size_list(kind) and pa.types.is_nested(inner[0]):
        return True
    return any(_is_deep(one) for one in inner)
