"""Numbers and arrays of one shape, as NumPy has them: values without nulls, and which of them were null."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.sources.written.plain import is_null

Array = NDArray[Any]
Flags = NDArray[np.bool_]


def is_number(kind: pa.DataType) -> bool:
    """Whether values are whole numbers or floats."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def is_tensor(kind: pa.DataType) -> bool:
    """Whether values are arrays of numbers of one shape, which hold at least one number."""
    return (
        isinstance(kind, pa.FixedShapeTensorType)
        and is_number(kind.value_type)
        and 0 not in cast("Any", kind).shape
    )


def dtype_of(kind: pa.DataType) -> np.dtype[Any]:
    """Return the NumPy dtype of numbers, of the numbers of lists or tensors, and of booleans' bytes."""
    item = cast("Any", kind).value_type if not is_number(kind) and not pa.types.is_boolean(kind) else kind
    return np.dtype(np.uint8) if pa.types.is_boolean(item) else np.dtype(item.to_pandas_dtype())


def to_numbers(array: pa.Array) -> tuple[Array, Flags]:
    """Take numbers or booleans out of Arrow.

    Returns:
        The values, 0 where they are null, and which are null; both of shape [n].
    """
    null = is_null(array)
    if pa.types.is_boolean(array.type):
        values = np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)
        return values.view(np.uint8), null
    if not len(array):
        return np.empty(0, dtype_of(array.type)), null
    buffer = array.buffers()[1]
    values = np.frombuffer(buffer, dtype_of(array.type), len(array), array.offset * array.type.bit_width // 8)
    return (np.where(null, values.dtype.type(0), values) if null.any() else values), null


def from_numbers(values: Array, kind: pa.DataType, null: Flags | None = None) -> pa.Array:
    """Bring numbers or booleans (as bytes) back to Arrow; without a copy where none is null."""
    given = values.view(np.bool_) if pa.types.is_boolean(kind) else values
    return pa.array(given, kind, mask=null if null is not None and null.any() else None)


def to_rows(array: pa.Array) -> tuple[Array, Flags, Flags | None]:
    """Take arrays of one shape out of Arrow.

    Args:
        array: Of a type that `is_tensor`.

    Returns:
        The values, 0 where they are null, of shape [n, m]; which arrays are null, of shape [n]; and which
        numbers within other ones are, of shape [n, m], if any is.
    """
    storage = cast("Any", array).storage
    size, null = storage.type.list_size, is_null(array)
    values, empty = to_numbers(storage.values.slice(storage.offset * size, len(storage) * size))
    values, empty = values.reshape(len(array), size), empty.reshape(len(array), size)
    if null.any():
        values, empty = np.where(null[:, None], values.dtype.type(0), values), empty & ~null[:, None]
    return values, null, empty if empty.any() else None


def from_rows(
    values: Array, kind: pa.DataType, null: Flags | None = None, empty: Flags | None = None
) -> pa.Array:
    """Bring arrays of one shape back to Arrow.

    Args:
        values: Contiguous, of shape [n, m].
        kind: A type that `is_tensor`.
        null: Which arrays are null, of shape [n].
        empty: Which numbers within them are, of shape [n, m].
    """
    given = cast("Any", kind)
    inside = None if empty is None else empty.reshape(-1)
    items = from_numbers(values.reshape(-1), given.value_type, inside)
    valid = None if null is None or not null.any() else pa.array(~null).buffers()[1]
    storage = pa.Array.from_buffers(given.storage_type, len(values), [valid], children=[items])
    return pa.ExtensionArray.from_storage(kind, storage)


def places_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tell where runs of these lengths begin, one behind the other, and where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def to_runs(array: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Take text or binary out of Arrow, without a copy of the bytes.

    Args:
        array: Of text or binary, with offsets of 32 or 64 bits; null values are empty.

    Returns:
        Bytes, and where each value begins in them and the last one ends; int64 of shape [n + 1].
    """
    is_large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    width = np.dtype(np.int64 if is_large else np.int32)
    _, offsets, content = array.buffers()
    if offsets is None or not len(array):
        return np.empty(0, np.uint8), np.zeros(len(array) + 1, np.int64)
    places = np.frombuffer(offsets, width, len(array) + 1, array.offset * width.itemsize).astype(np.int64)
    data = np.empty(0, np.uint8) if content is None else np.frombuffer(content, np.uint8)
    return data[places[0] : places[-1]], places - places[0]


def from_runs(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> pa.Array:
    """Wrap bytes as large binary, without a copy."""
    places = np.ascontiguousarray(offsets, np.int64)
    buffers = [None, pa.py_buffer(places), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def with_nulls(array: pa.Array, null: Flags | None) -> pa.Array:
    """Return an array with some values made null."""
    if null is None or not null.any():
        return array
    return array.take(pa.array(np.arange(len(array)), mask=null))
