"""From a column's values to keys that compare like them.

A value of fixed width becomes an unsigned 64-bit code, in the order of the values; text and bytes
are their own keys, in the order of their bytes, which for UTF-8 is the order of the code points.
As in Polars, NaN equals itself and is the largest float, and -0.0 equals 0.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import SchemaError

Codes = NDArray[np.uint64]
Keys = Any
"""Codes of shape [n], or an Arrow array of large binaries of that length."""

SIGN = np.uint64(1 << 63)
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_DAY = 86_400 * 10**9


def is_text(kind: pa.DataType) -> bool:
    """Whether keys of this type are bytes."""
    return is_string(kind) or any(
        test(kind)
        for test in (
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )


def is_string(kind: pa.DataType) -> bool:
    """Whether it is text, rather than bytes."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values, for a dictionary those that it stands for."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def check_key_type(field: pa.Field, purpose: str) -> None:
    """Refuse a column whose values cannot be keys.

    Raises:
        SchemaError: The message names the column and its type.
    """
    kind = plain_type(field.type)
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_temporal, is_text)
    if not any(test(kind) for test in known) or pa.types.is_interval(kind):
        raise SchemaError(
            f"column `{field.name}` of type {field.type} cannot be in {purpose}: its values must be whole "
            "numbers, floats, booleans, text, bytes, dates or times; turn it into one of these by "
            "`with_columns`"
        )


def encode(column: pa.Array) -> Keys:
    """Turn the values of a column without nulls into keys.

    Example:
        >>> encode(pa.array([-1, 0, 1])).tolist() == [2**63 - 1, 2**63, 2**63 + 1]
        True
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if is_text(kind):
        return (
            column.cast(pa.large_string()).cast(pa.large_binary()) if is_string(kind) else to_binary(column)
        )
    if pa.types.is_boolean(kind):
        return column.cast(pa.uint8()).to_numpy().astype(np.uint64)
    if pa.types.is_floating(kind):
        return encode_floats(column.to_numpy())
    if pa.types.is_temporal(kind):
        return encode_whole(ticks(column))
    return encode_whole(column.to_numpy())


def encode_whole(values: NDArray[Any]) -> Codes:
    """Encode whole numbers: signed ones shifted, so that they compare as unsigned ones do."""
    if values.dtype.kind == "u":
        return values.astype(np.uint64)
    return values.astype(np.int64).view(np.uint64) ^ SIGN


def encode_floats(values: NDArray[Any]) -> Codes:
    """Encode floats by their bits as float64, with one zero and one NaN.

    Example:
        >>> codes = encode_floats(np.array([-np.inf, -1.0, -0.0, 0.0, np.inf, -np.nan, np.nan]))
        >>> np.unique(codes, return_inverse=True)[1].tolist()
        [0, 1, 2, 2, 3, 4, 4]
    """
    wide = np.asarray(values, np.float64) + 0.0  # turns -0.0 into 0.0
    bits = np.where(np.isnan(wide), np.nan, wide).view(np.uint64)
    return np.where(bits & SIGN != 0, ~bits, bits | SIGN)


def ticks(column: pa.Array) -> NDArray[np.int64]:
    """View dates and times as whole numbers of their unit."""
    narrow = pa.types.is_date32(column.type) or pa.types.is_time32(column.type)
    return column.view(pa.int32() if narrow else pa.int64()).to_numpy().astype(np.int64)


def nanoseconds(kind: pa.DataType) -> int:
    """Nanoseconds of one tick of a temporal type."""
    if pa.types.is_date32(kind):
        return _DAY
    return _NANOSECONDS["ms" if pa.types.is_date64(kind) else kind.unit]


def to_binary(column: pa.Array) -> pa.Array:
    """Turn bytes of any layout into large binaries."""
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    return column.cast(pa.large_binary())


def join_keys(parts: list[Keys], text: bool) -> Keys:
    """Lay keys end to end."""
    if text:
        return pa.concat_arrays(parts) if parts else pa.array([], pa.large_binary())
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def spans(keys: pa.LargeBinaryArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """View large binaries as their bytes, and where each begins, then where the last one ends."""
    _, offsets, data = keys.buffers()
    if not len(keys):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    starts = np.frombuffer(offsets, np.int64)[keys.offset :][: len(keys) + 1]
    return np.frombuffer(data or b"", np.uint8), starts


def to_arrays(keys: Keys) -> dict[str, NDArray[Any]]:
    """Return keys as arrays by name, as they are stored."""
    if isinstance(keys, np.ndarray):
        return {"keys": keys}
    data, starts = spans(keys)
    return {"keys": data[int(starts[0]) : int(starts[-1])], "key_starts": starts - starts[0]}


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Keys:
    """Return the keys of such arrays, without a copy."""
    if "key_starts" not in arrays:
        return arrays["keys"]
    starts, data = arrays["key_starts"], arrays["keys"]
    buffers = [None, pa.py_buffer(starts), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(starts) - 1, buffers)


def unique_keys(keys: Keys) -> Keys:
    """Return each key once."""
    return np.unique(keys) if isinstance(keys, np.ndarray) else keys.unique()


def hash_keys(keys: Keys) -> Codes:
    """Hash keys to 64 bits; codes one to one."""
    from headrace.index.kernels import hash_bytes, mix

    if isinstance(keys, np.ndarray):
        return mix(keys)
    data, starts = spans(keys)
    hashes = np.empty(len(keys), np.uint64)
    hash_bytes(data, np.ascontiguousarray(starts), hashes)
    return mix(hashes)
