"""The identity of columns in memory: a digest of their values, however Arrow lays them out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa


def identify(columns: Mapping[str, pa.Array]) -> str:
    """Digest names, types and values; large arrays take about a second for every GB.

    Equal columns have equal digests, also if one is a slice of something larger or holds other
    bytes under its nulls.

    Example:
        >>> identify({"x": pa.array([1, 2, 3]).slice(1)}) == identify({"x": pa.array([2, 3])})
        True
    """
    hasher = hashlib.blake2b(digest_size=16)
    for name, column in columns.items():
        hasher.update(f"{len(name)}:{name}:{column.type}:".encode())
        _update(hasher, column)
    return hasher.hexdigest()


def _update(hasher: Any, array: pa.Array) -> None:
    """Digest one array: its length, which values are null, then the values that are not."""
    hasher.update(f"{len(array)}:{array.null_count}:".encode())
    if array.null_count:
        hasher.update(np.packbits(array.is_null().to_numpy(zero_copy_only=False)))
        array = array.drop_null()
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        _update(hasher, array.storage)
    elif pa.types.is_dictionary(kind):
        _update(hasher, array.dictionary_decode())
    elif pa.types.is_struct(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        parts = array.flatten() if pa.types.is_struct(kind) else [array.value_lengths(), array.flatten()]
        for part in parts:
            _update(hasher, part)
    elif pa.types.is_fixed_size_list(kind):
        _update(hasher, array.flatten())
    elif _is_text(kind):
        _update_text(hasher, array)
    elif pa.types.is_boolean(kind):
        hasher.update(np.packbits(array.to_numpy(zero_copy_only=False)))
    elif _has_width(kind):
        width, data = kind.bit_width // 8, array.buffers()[1]
        if data is not None:
            hasher.update(memoryview(data)[array.offset * width : (array.offset + len(array)) * width])
    else:  # maps, unions and other layouts that are rare
        hasher.update(repr(array.to_pylist()).encode())


def _update_text(hasher: Any, array: pa.Array) -> None:
    _, offsets, data = array.buffers()
    is_large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    if not len(array) or offsets is None:
        return
    edges = np.frombuffer(offsets, np.int64 if is_large else np.int32)[array.offset :][: len(array) + 1]
    hasher.update(np.diff(edges).astype(np.int64))
    if data is not None:
        hasher.update(memoryview(data)[int(edges[0]) : int(edges[-1])])


def _is_text(kind: pa.DataType) -> bool:
    is_string = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return is_string or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _has_width(kind: pa.DataType) -> bool:
    is_plain = pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind)
    try:
        return is_plain and kind.bit_width % 8 == 0
    except ValueError:
        return False
