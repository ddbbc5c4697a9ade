"""A 128-bit key of each row's values: XXH3 of their forms, the same on every machine.

What is hashed is the form of `headrace.hashing.forms`, so equal values have equal keys, however they are
held; but numbers inside of lists and N-d arrays are hashed as the bytes of their own type, so that a list
of int8 never equals one of int64. Null is a value of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.hashing.arrays import Arrays, arrays_of
from headrace.hashing.forms import (
    Decimals,
    Fields,
    Form,
    Kind,
    Lists,
    Picks,
    Runs,
    Words,
    form_of,
    unwrap,
)

Keys = NDArray[np.uint64]

_KEY_BYTES = 16


def row_keys(columns: Sequence[pa.Array], names: Sequence[str]) -> tuple[Keys, NDArray[np.bool_]]:
    """Hash the values of each row together, in the order of the columns' names.

    Returns:
        The low word of each key, then the high one, uint64 of shape [n, 2]; and whether one of the values
        is null, bool of shape [n]. One column alone has the keys of its values.

    Raises:
        SchemaError: Values of a column's type cannot be hashed; the message names it.

    Example:
        >>> text, number = pa.array(["a", "b", "a"]), pa.array([1, None, 1])
        >>> keys, has_null = row_keys([text, number], ["text", "number"])
        >>> bool((keys[0] == keys[2]).all()), bool((keys[0] == keys[1]).any()), has_null.tolist()
        (True, False, [False, True, False])
    """
    by_name = dict(zip(names, columns, strict=True))
    parts = [key_column(by_name[name], name) for name in sorted(by_name)]
    has_null = np.zeros(len(columns[0]), np.bool_)
    for part in parts:
        has_null |= _is_null(part)
    return (parts[0] if len(parts) == 1 else _join(parts, Kind.COLUMNS, len(has_null))), has_null


def key_column(column: pa.Array, name: str = "column") -> Keys:
    """Hash each value of a column, uint64 of shape [n, 2].

    Raises:
        SchemaError: Values of its type cannot be hashed; the message names the column.
    """
    arrays = arrays_of(column)
    column = unwrap(column)
    keys = _hash(form_of(column, name), name) if arrays is None else _hash_arrays(arrays)
    if column.null_count and not pa.types.is_dictionary(column.type):
        keys[column.is_null().to_numpy(zero_copy_only=False)] = _null()
    return keys


def _hash(form: Form, name: str) -> Keys:
    """Hash values; those of null are anything."""
    from headrace.hashing.xxh3_kernels import hash_rows, hash_runs

    match form:
        case Words():
            keys = hash_rows(form.words, form.kind)
            if form.is_large is not None:
                keys[form.is_large] = hash_rows(form.words[form.is_large], Kind.LARGE)
            return keys
        case Runs():
            return hash_runs(form.data, form.offsets, form.kind)
        case Decimals():
            signs = form.is_negative.astype(np.uint64)
            digits = form.digits.view(np.uint64)
            return hash_rows(np.column_stack([form.exponents.view(np.uint64), signs, digits]), Kind.DECIMAL)
        case Picks():
            return np.concatenate([key_column(form.values, name), _null()])[form.places]
        case Fields():
            parts = [key_column(column, name) for column in form.columns]
            return _join(parts, Kind.STRUCT, form.count)
        case Lists():
            return _hash_lists(form, name)


def _hash_lists(form: Lists, name: str) -> Keys:
    from headrace.hashing.xxh3_kernels import hash_runs

    keys = np.empty((len(form.lengths), 2), np.uint64)
    for rows, members, offsets in form.members():
        found = key_column(members, name).reshape(-1).view(np.uint8)
        keys[rows] = hash_runs(found, offsets * _KEY_BYTES, Kind.LIST)
    return keys


def _hash_arrays(arrays: Arrays) -> Keys:
    from headrace.hashing.kernels import hash_bytes
    from headrace.hashing.xxh3_kernels import hash_runs

    layout = np.frombuffer(arrays.layout.encode(), np.uint8)
    seed = int(hash_bytes(layout, np.array([0, len(layout)]), Kind.LIST)[0])
    keys = hash_runs(arrays.numbers.view(np.uint8), arrays.offsets * arrays.numbers.itemsize, seed)
    if arrays.holes is not None:
        rows = arrays.has_holes
        holes = hash_runs(arrays.holes, arrays.offsets, Kind.NULL)
        keys[rows] = _join([keys[rows], holes[rows]], Kind.LIST, int(rows.sum()))
    return keys


def _join(parts: Sequence[Keys], kind: Kind, count: int) -> Keys:
    from headrace.hashing.xxh3_kernels import hash_rows

    # NumPy copies items of 16 bytes much faster than rows of two words.
    rows = np.empty((count, len(parts)), np.complex128)
    for place, part in enumerate(parts):
        rows[:, place] = part.view(np.complex128)[:, 0]
    return hash_rows(rows, kind)


def _is_null(keys: Keys) -> NDArray[np.bool_]:
    (low, high), *_ = _null()
    found = keys[:, 0] == low
    return found & (keys[:, 1] == high) if found.any() else found


def _null() -> Keys:
    from headrace.hashing.xxh3_kernels import hash_rows

    return hash_rows(np.zeros((1, 1), np.uint64), Kind.NULL)
