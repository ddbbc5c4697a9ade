"""Lists that differ in length: which columns they are, what is refused, and the way to `Ragged`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.batch import Ragged, list_array
from headrace.errors import SchemaError
from headrace.prepare.tensors import tensor_shape, tensor_to_numpy, tensor_values


def is_list(kind: pa.DataType) -> bool:
    """Whether samples of a type are lists that may differ in length."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def has_fixed_width(kind: pa.DataType) -> bool:
    """Whether a type is that of numbers, booleans or times, which NumPy holds as they are."""
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return is_number or pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_date(kind)


def is_ragged(kind: pa.DataType) -> bool:
    """Whether samples are lists of numbers, booleans, times or arrays of one shape.

    Example:
        >>> is_ragged(pa.list_(pa.int32())), is_ragged(pa.list_(pa.list_(pa.float32(), 4)))
        (True, True)
        >>> is_ragged(pa.list_(pa.string())), is_ragged(pa.list_(pa.list_(pa.int32())))
        (False, False)
    """
    return is_list(kind) and (has_fixed_width(kind.value_type) or bool(tensor_shape(kind.value_type)))


def lay_out_ragged(column: pa.Array, name: str, where: object, null_mask: bool = False) -> pa.Array:
    """Refuse nulls in a column of lists, or empty the lists that a mask marks as null.

    Raises:
        SchemaError: A list or a value is null; the message says which and what to do.
    """
    values = column.flatten()  # without whatever lies under null lists
    is_null = _find_nulls(values)
    if is_null.any():
        row = int(np.searchsorted(np.cumsum(_lengths(column)), int(np.argmax(is_null)), side="right"))
        raise SchemaError(
            f"{where}, column `{name}`, row {row}: the list holds a null, for which an array of type "
            f"{values.type} has no place; leave nulls out by "
            f'`with_columns(pl.col("{name}").list.drop_nulls())`, or fill them'
        )
    if null_mask:
        return list_array(values, _lengths(column))
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise SchemaError(
            f"{where}, column `{name}`: {column.null_count} of {len(column)} lists are null (the first in "
            f"row {row}), and a null list is not an empty one; make them empty by "
            f'`with_columns(pl.col("{name}").fill_null([]))`, or use `pack(null_mask=True)`'
        )
    return column


def to_ragged(column: pa.Array) -> Ragged:
    """Return a column of lists without nulls, of which slices are taken as what they show.

    Without a copy, but for booleans.

    Example:
        >>> to_ragged(pa.array([[1, 2], [], [3]]).slice(1))
        Ragged(values=array([3]), offsets=array([0, 0, 1]))
    """
    values = column.flatten()
    offsets = np.zeros(len(column) + 1, np.int64)
    np.cumsum(_lengths(column), out=offsets[1:])
    if not tensor_shape(values.type):
        return Ragged(values.to_numpy(zero_copy_only=False), offsets)
    numbers = tensor_values(values)
    assert numbers is not None, "`lay_out_ragged` refuses nulls"
    return Ragged(tensor_to_numpy(values, numbers), offsets)


def nest_tensors(column: pa.Array) -> pa.Array:
    """Turn lists of fixed-shape tensors into lists of nested lists of fixed size; others are left alone.

    Polars knows no tensors, and would take one for the flat list that it is stored as.
    """
    shape = tensor_shape(column.type.value_type) if is_list(column.type) else ()
    if not shape or not isinstance(column.type.value_type, pa.FixedShapeTensorType):
        return column
    storage = column.flatten().storage
    size = math.prod(shape)
    nested = storage.values.slice(storage.offset * size, len(storage) * size)
    for side in reversed(shape[1:]):
        nested = pa.FixedSizeListArray.from_arrays(nested, side)
    mask = storage.is_null() if storage.null_count else None
    nested = pa.FixedSizeListArray.from_arrays(nested, shape[0], mask=mask)
    return list_array(nested, _lengths(column), column.is_null().to_numpy(zero_copy_only=False))


def to_lists(ragged: Ragged) -> pa.Array:
    """Return the lists of a `Ragged` as Arrow holds them."""
    return list_array(to_array(ragged.values), np.diff(ragged.offsets))


def to_array(array: NDArray[Any]) -> pa.Array:
    """Wrap an array of shape [n, ...] for Arrow: of more dimensions than one as fixed-shape tensors."""
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    if array.ndim == 1:
        return flat
    kind = pa.fixed_shape_tensor(flat.type, array.shape[1:])
    if not array.size:  # a length cannot be told from no values
        return pa.ExtensionArray.from_storage(kind, pa.array([[]] * len(array), kind.storage_type))
    return pa.ExtensionArray.from_storage(
        kind, pa.FixedSizeListArray.from_arrays(flat, math.prod(array.shape[1:]))
    )


def _lengths(column: pa.Array) -> NDArray[np.int64]:
    lengths = pc.call_function("list_value_length", [column])
    return lengths.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _find_nulls(values: pa.Array) -> NDArray[np.bool_]:
    """Tell which values are null, or hold a null where they are arrays themselves."""
    lists = values.storage if isinstance(values.type, pa.FixedShapeTensorType) else values
    is_null = lists.is_null().to_numpy(zero_copy_only=False)
    while len(lists) and pa.types.is_fixed_size_list(lists.type):
        size = lists.type.list_size
        lists = lists.values.slice(lists.offset * size, len(lists) * size)
        if lists.null_count:
            inner = lists.is_null().to_numpy(zero_copy_only=False)
            is_null = is_null | inner.reshape(len(values), -1).any(axis=1)
    return is_null
