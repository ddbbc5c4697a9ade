"""N-d columns: lists of fixed size, nested or flat, as one run of numbers and a shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def tensor_shape(kind: pa.DataType) -> tuple[int, ...]:
    """Tell the shape of one sample of an N-d column, () for a column of another kind.

    Example:
        >>> tensor_shape(pa.list_(pa.list_(pa.float32(), 4), 3)), tensor_shape(pa.int64())
        ((3, 4), ())
    """
    if isinstance(kind, pa.FixedShapeTensorType):
        is_plain = kind.permutation is None or list(kind.permutation) == list(range(len(kind.shape)))
        return tuple(kind.shape) if is_plain else ()
    shape: list[int] = []
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return tuple(shape) if is_number and math.prod(shape) else ()


def to_tensor(column: pa.Array) -> pa.Array:
    """Return nested lists of fixed size as a fixed-shape tensor, null samples included.

    Any other column comes back as it is, and so does one with null lists inside a sample, which a
    tensor cannot hold.
    """
    shape = tensor_shape(column.type)
    if not shape or isinstance(column.type, pa.FixedShapeTensorType):
        return column
    values = tensor_values(column)
    if values is None:
        return column
    mask = column.is_null() if column.null_count else None
    storage = pa.FixedSizeListArray.from_arrays(values, math.prod(shape), mask=mask)
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(values.type, shape), storage)


def tensor_values(column: pa.Array) -> pa.Array | None:
    """All numbers of an N-d column in a row, with whatever lies under null samples.

    None if a list inside a sample is null.
    """
    lists: Any = column.storage if isinstance(column.type, pa.FixedShapeTensorType) else column
    samples = len(column)
    while pa.types.is_fixed_size_list(lists.type):
        size = lists.type.list_size
        inner = lists.values.slice(lists.offset * size, len(lists) * size)
        if pa.types.is_fixed_size_list(inner.type) and _count_nulls(
            inner, column, len(inner) // max(samples, 1)
        ):
            return None
        lists = inner
    return lists


def count_null_numbers(column: pa.Array, values: pa.Array) -> int:
    """How many numbers are null inside samples that are not."""
    return _count_nulls(values, column, len(values) // max(len(column), 1))


def _count_nulls(inner: pa.Array, column: pa.Array, each: int) -> int:
    """Count nulls among the parts of samples, of which each has so many, but not in null samples."""
    if not inner.null_count:
        return 0
    nulls = inner.is_null().to_numpy(zero_copy_only=False)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    return int(np.count_nonzero(nulls & np.repeat(valid, each)))


def tensor_to_numpy(column: pa.Array, values: pa.Array) -> NDArray[Any]:
    """Lay an N-d column's numbers out as [n, ...], without a copy where nothing is null.

    Null numbers and null samples become NaN in floats and 0 in all else.
    """
    numbers: NDArray[Any]
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
    else:
        filler = False if pa.types.is_boolean(values.type) else 0
        numbers = (values.fill_null(filler) if values.null_count else values).to_numpy(zero_copy_only=False)
    array = numbers.reshape(len(column), *tensor_shape(column.type))
    if column.null_count:
        array = array.copy()
        array[column.is_null().to_numpy(zero_copy_only=False)] = np.nan if array.dtype.kind == "f" else 0
    return array
