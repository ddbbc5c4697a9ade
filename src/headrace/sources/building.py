"""Arrow arrays built from values that were decoded one by one, and the types of such values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import SchemaError

Failures = dict[int, "BaseException | str"]


def item_type(dtype: np.dtype[Any]) -> pa.DataType:
    """Return the Arrow type of single numbers.

    Raises:
        SchemaError: Arrow has no such numbers.
    """
    if dtype.kind not in "iufb" or dtype.itemsize > 8:
        raise SchemaError(f"whole numbers, floats and booleans can be read, got {dtype}")
    return pa.from_numpy_dtype(dtype.newbyteorder("="))


def tensor_type(dtype: np.dtype[Any], shape: Sequence[int]) -> pa.DataType:
    """Return the type of a column of arrays of one shape; arrays of booleans become uint8."""
    if not shape:
        return item_type(dtype)
    if 0 in shape:
        raise SchemaError(f"an array without values cannot be a sample, got the shape {list(shape)}")
    kind = pa.uint8() if dtype.kind == "b" else item_type(dtype)
    return pa.fixed_shape_tensor(kind, list(shape))


def value_bytes(kind: pa.DataType) -> int:
    """Bytes of one value, 0 where they differ."""
    try:
        return max(kind.bit_width // 8, 1)
    except ValueError:
        return 0


def tensor_array(array: NDArray[Any]) -> pa.Array:
    """Wrap an array of shape [n, ...], in native byte order, without a copy where it has it."""
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    if native.ndim == 1:
        return pa.array(native)
    flat = native.view(np.uint8).reshape(-1) if native.dtype.kind == "b" else native.reshape(-1)
    kind = tensor_type(native.dtype, native.shape[1:])
    width = int(np.prod(native.shape[1:], dtype=np.int64))
    return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(pa.array(flat), width))


def infer_columns(found: Mapping[str, Any], shape: tuple[int, ...] | None) -> dict[str, pa.DataType]:
    """Tell the columns of decoded values.

    Args:
        found: What errors call a value, to the value.
        shape: `(-1,)` where lists may differ in length.

    Returns:
        Types by name; a value that is a mapping becomes several columns, any other one `""`.
    """
    values = list(found.values())
    if not all(isinstance(value, Mapping) for value in values):
        return {"": _infer(found, shape)}
    names = dict.fromkeys(str(name) for value in values for name in value)
    if not names:
        raise SchemaError(f"{next(iter(found))}: an empty mapping has no columns")
    parts = {name: {label: value[name] for label, value in found.items() if name in value} for name in names}
    return {name: _infer(part, shape) for name, part in parts.items()}


def _infer(found: Mapping[str, Any], shape: tuple[int, ...] | None) -> pa.DataType:
    arrays = [value for value in found.values() if isinstance(value, (np.ndarray, np.generic))]
    if not arrays:
        try:
            return pa.infer_type(list(found.values()))
        except pa.ArrowException as error:
            raise SchemaError(f"{next(iter(found))}: has no type that Arrow knows: {error}") from error
    first = np.asarray(arrays[0])
    if shape == (-1,) and first.ndim == 1:
        return pa.list_(item_type(first.dtype))
    for label, value in found.items():
        array = np.asarray(value)
        if array.dtype != first.dtype or array.ndim != first.ndim:
            raise _mismatch(label, _described(array), _described(first))
        if array.shape != first.shape and array.ndim == 1:
            return pa.list_(item_type(first.dtype))
        if array.shape != first.shape:
            raise _mismatch(label, _described(array), _described(first))
    return tensor_type(first.dtype, first.shape)


def build_column(
    parts: Sequence[Any], kind: pa.DataType, skipped: frozenset[int]
) -> tuple[pa.Array, Failures]:
    """Build one column, and tell the rows that do not fit and why.

    Args:
        parts: The values, one a row.
        kind: What the column is.
        skipped: Rows without a value, whose place holds anything.
    """
    if isinstance(kind, pa.FixedShapeTensorType):
        return _build_tensor(parts, kind, skipped)
    if any(isinstance(part, np.ndarray) for part in parts):
        return _build_lists(parts, kind, skipped)
    unfit = {row: reason for row, part in enumerate(parts) if (reason := _unknown(part, kind))}
    if not unfit:
        try:
            return pa.array(parts, kind), {}
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
    failures: Failures = dict(unfit)
    for row, part in enumerate(parts):
        try:
            pa.scalar(part, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            failures.setdefault(row, SchemaError(f"{kind} is needed, as in other samples: {error}"))
    return pa.nulls(len(parts), kind), failures


def _build_tensor(parts: Sequence[Any], kind: Any, skipped: frozenset[int]) -> tuple[pa.Array, Failures]:
    dtype, shape = np.dtype(kind.value_type.to_pandas_dtype()), tuple(kind.shape)
    out = np.zeros((len(parts), *shape), dtype)
    failures: Failures = {}
    for row, part in enumerate(parts):
        if row in skipped:
            continue
        array = np.asarray(part)
        is_flag = array.dtype.kind == "b" and dtype == np.uint8
        if array.shape != shape or (array.dtype.newbyteorder("=") != dtype and not is_flag):
            failures[row] = _mismatch("", _described(array), f"{dtype} of shape {list(shape)}")
        else:
            out[row] = array
    return (tensor_array(out) if len(out) else pa.nulls(0, kind)), failures


def _build_lists(
    parts: Sequence[Any], kind: pa.DataType, skipped: frozenset[int]
) -> tuple[pa.Array, Failures]:
    """Join arrays of one dimension to a column of lists, or single numbers to a column of numbers."""
    is_list = pa.types.is_list(kind)
    dtype = np.dtype((kind.value_type if is_list else kind).to_pandas_dtype())
    arrays: list[NDArray[Any]] = []
    failures: Failures = {}
    for row, part in enumerate(parts):
        array = (
            np.asarray(part)
            if row not in skipped
            else np.zeros(0 if is_list else 1, dtype)[0 if not is_list else slice(None)]
        )
        if array.ndim != int(is_list) or array.dtype.newbyteorder("=") != dtype:
            failures[row] = _mismatch("", _described(array), str(kind))
            array = np.zeros(0, dtype) if is_list else np.zeros((), dtype)
        arrays.append(array)
    if not is_list:
        return tensor_array(np.array(arrays, dtype)), failures
    offsets = np.zeros(len(arrays) + 1, np.int32)
    np.cumsum([len(array) for array in arrays], out=offsets[1:])
    return pa.ListArray.from_arrays(
        pa.array(offsets), tensor_array(np.concatenate(arrays).astype(dtype))
    ), failures


def _unknown(value: Any, kind: pa.DataType) -> str:
    """Name a part that a struct has no place for: Arrow would leave it out in silence."""
    if pa.types.is_struct(kind) and isinstance(value, Mapping):
        members = {member.name: member.type for member in cast("Any", kind)}
        for name, part in value.items():
            if name not in members:
                return f"has {name!r}, which the first samples ({list(members)}) lack; give all by `dtype=`"
            if reason := _unknown(part, members[name]):
                return reason
    if pa.types.is_list(kind) and isinstance(value, list):
        return next((reason for part in value if (reason := _unknown(part, kind.value_type))), "")
    return ""


def _mismatch(label: str, found: str, wanted: str) -> SchemaError:
    return SchemaError(
        f"{label}{': ' if label else ''}every sample must hold {wanted}, as others do, got {found}; leave "
        "the values "
        'as they are (`decode="raw"`) and bring them to one shape in a step, or, for lists, pass '
        "`shape=(-1,)`"
    )


def _described(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {list(array.shape)}"
