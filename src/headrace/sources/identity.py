"""The identity of columns in memory: a digest of their values, however Arrow lays them out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


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
    """Digest one array: its length, which values are null, then the values without what lies under nulls."""
    kind = array.type
    hasher.update(f"{len(array)}:{array.null_count}:".encode())
    if array.null_count:
        hasher.update(np.packbits(array.is_null().to_numpy(zero_copy_only=False)).tobytes())
    if isinstance(kind, pa.BaseExtensionType):
        _update(hasher, array.storage)
    elif pa.types.is_dictionary(kind):
        _update(hasher, array.dictionary_decode())
    elif pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            _update(hasher, pc.struct_field(array, [place]))
    elif pa.types.is_fixed_size_list(kind):
        _update(hasher, array.flatten())
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        lists = array.cast(pa.list_(kind.value_type)) if pa.types.is_map(kind) else array
        _update(hasher, pc.list_value_length(lists))
        _update(hasher, lists.flatten())
    elif _is_text(kind):
        dense = array.drop_null() if array.null_count else array
        lengths = pc.binary_length(dense)
        hasher.update(lengths.to_numpy())
        _, offsets, data = dense.buffers()
        width = np.int64 if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind) else np.int32
        edges = (
            np.frombuffer(offsets, width)[dense.offset :][: len(dense) + 1] if offsets else np.zeros(1, width)
        )
        if data is not None and len(dense):
            hasher.update(memoryview(data)[int(edges[0]) : int(edges[-1])])
    elif pa.types.is_boolean(kind):
        hasher.update(np.packbits((array.drop_null()).to_numpy(zero_copy_only=False)).tobytes())
    elif _has_width(kind):
        dense = array.drop_null() if array.null_count else array
        width = kind.bit_width // 8
        data = dense.buffers()[1]
        if data is not None:
            hasher.update(memoryview(data)[dense.offset * width : (dense.offset + len(dense)) * width])
    elif not pa.types.is_null(kind):  # unions and other layouts that no file format delivers
        hasher.update(repr(array.to_pylist()).encode())


def _is_text(kind: pa.DataType) -> bool:
    is_string = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return is_string or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _has_width(kind: pa.DataType) -> bool:
    is_union = pa.types.is_union(kind) or pa.types.is_run_end_encoded(kind)
    try:
        return not is_union and not pa.types.is_nested(kind) and kind.bit_width % 8 == 0
    except ValueError:
        return False
