"""`tf.train.Example` messages, many at a time: each feature's bytes of all rows first, then the rows.

A message is lengths within lengths. All that stands before the bytes of a feature follows from how many they
are, so it is made once for each number of bytes and taken from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.sources.protobuf import pack_varint
from headrace.sources.tf_example import BYTES_LIST
from headrace.sources.written.numbers import places_of, to_runs, with_nulls

_FIRST, _SECOND = b"\x0a", b"\x12"  # the tags of fields 1 and 2 that hold bytes


def write_feature(name: str, kind: int, values: pa.Array) -> pa.Array:
    """Write one feature of each row.

    Args:
        name: The feature's name.
        kind: Which list it is, as `tf_example` numbers them.
        values: The packed numbers of each row, or its one value of bytes; null where the row lacks it.
            Of large binary.

    Returns:
        Large binary, null where `values` is.
    """
    return _framed(values, lambda length: _prefix(name, kind, _list_head(kind, length), length))


def write_bytes_lists(
    name: str, values: pa.Array, lengths: NDArray[np.int64], null: NDArray[np.bool_]
) -> pa.Array:
    """Write a feature of any number of values of bytes in each row.

    Args:
        name: The feature's name.
        values: All values of all rows, large binary without nulls.
        lengths: How many each row has, int64 of shape [n].
        null: Which rows lack the feature, of shape [n].
    """
    single = _framed(values, lambda length: _FIRST + pack_varint(length))
    data, offsets = to_runs(single)
    places = np.ascontiguousarray(offsets[places_of(lengths)])
    buffers = [None, pa.py_buffer(places), pa.py_buffer(np.ascontiguousarray(data))]
    rows = pa.Array.from_buffers(pa.large_binary(), len(lengths), buffers)
    framed = _framed(rows, lambda length: _prefix(name, BYTES_LIST, b"", length))
    return with_nulls(framed, null)


def write_examples(features: Sequence[pa.Array], rows: int) -> pa.Array:
    """Join the features of each row to its message, as large binary."""
    if not features:
        return pa.array([_FIRST + b"\x00"] * rows, pa.large_binary())
    joined = _joined([*features], "replace") if len(features) > 1 else features[0].fill_null(b"")
    return _framed(joined, lambda length: _FIRST + pack_varint(length))


def _list_head(kind: int, length: int) -> bytes:
    """What stands before one value, or before packed numbers, of which none need no place."""
    return b"" if length == 0 and kind != BYTES_LIST else _FIRST + pack_varint(length)


def _prefix(name: str, kind: int, head: bytes, length: int) -> bytes:
    """What stands before a feature's values, from its own length on."""
    key = name.encode()
    size = len(head) + length
    inside = bytes([kind << 3 | 2]) + pack_varint(size) + head
    feature = _SECOND + pack_varint(len(inside) + length) + inside
    entry = _FIRST + pack_varint(len(key)) + key + feature
    return _FIRST + pack_varint(len(entry) + length) + entry


def _framed(values: pa.Array, prefix: Callable[[int], bytes]) -> pa.Array:
    """Put before each value what follows from its length."""
    lengths = np.asarray(pc.fill_null(pc.call_function("binary_length", [values]), 0), np.int64)
    sizes, places = np.unique(lengths, return_inverse=True)
    prefixes = pa.array([prefix(size) for size in sizes.tolist()], pa.large_binary())
    return _joined([prefixes.take(pa.array(places)), values], "emit_null")


def _joined(parts: Sequence[pa.Array], null_handling: str) -> pa.Array:
    options = pc.JoinOptions(null_handling=null_handling, null_replacement="")
    separator = pa.scalar(b"", pa.large_binary())
    return pc.call_function("binary_join_element_wise", [*parts, separator], options)
