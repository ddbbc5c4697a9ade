"""A 64-bit hash of any column's values, the same on every machine and with every library version.

What is hashed is the form of `headrace.hashing.forms`, so equal values have equal hashes, however they
are held. Null is a value of its own. Lists and structs are hashed by their members.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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

Hashes = NDArray[np.uint64]
Ids = NDArray[np.int64]


def hash_column(column: pa.Array, name: str = "column") -> Hashes:
    """Hash each value of a column, uint64 of shape [n].

    Raises:
        SchemaError: Values of its type cannot be hashed; the message names the column.

    Example:
        >>> short, long = pa.array([7, None], pa.int8()), pa.array([7, None], pa.int64())
        >>> bool((hash_column(short) == hash_column(long)).all())
        True
    """
    column = unwrap(column)
    hashes = _hash(form_of(column, name), name)
    if column.null_count and not pa.types.is_dictionary(column.type):
        hashes[column.is_null().to_numpy(zero_copy_only=False)] = _null()
    return hashes


def hash_columns(columns: Sequence[pa.Array], names: Sequence[str]) -> tuple[Hashes, NDArray[np.bool_]]:
    """Hash the values of each row together, in the order of the columns' names.

    One column alone has the hashes of `hash_column`.

    Returns:
        The hashes, uint64 of shape [n], and whether one of the values is null, bool of shape [n].
    """
    from headrace.hashing.kernels import hash_pairs

    by_name = dict(zip(names, columns, strict=True))
    first, *rest = (hash_column(by_name[name], name) for name in sorted(by_name))
    state, has_null = first, first == _null()
    for hashes in rest:
        state = hash_pairs(state, hashes, Kind.COLUMNS)
        has_null |= hashes == _null()
    return state, has_null


def hash_ids(ids: Ids) -> Hashes:
    """Hash samples by their ids, uint64 of shape [n]."""
    from headrace.hashing.kernels import hash_words

    return hash_words(ids.view(np.uint64), Kind.SAMPLE)


def keyed(hashes: Hashes, key: int) -> Hashes:
    """Hash again by a key, so that each key deals the same values otherwise; uint64 of shape [n]."""
    from headrace.hashing.kernels import hash_words

    return hash_words(hashes, key)


def _hash(form: Form, name: str) -> Hashes:
    """Hash values; those of null are anything."""
    from headrace.hashing.kernels import hash_bytes, hash_decimals

    match form:
        case Words():
            return _hash_words(form)
        case Runs():
            return hash_bytes(form.data, form.offsets, form.kind)
        case Decimals():
            return hash_decimals(form.exponents, form.is_negative, form.digits, Kind.DECIMAL)
        case Picks():
            return np.append(hash_column(form.values, name), _null())[form.places]
        case Fields():
            return _hash_fields(form, name)
        case Lists():
            return _hash_lists(form, name)


def _hash_words(form: Words) -> Hashes:
    from headrace.hashing.kernels import hash_pairs, hash_words

    first, *second = form.words.T
    if second:
        return hash_pairs(first, second[0], form.kind)
    hashes = hash_words(first, form.kind)
    if form.is_large is not None:
        hashes[form.is_large] = hash_words(first[form.is_large], Kind.LARGE)
    return hashes


def _hash_fields(form: Fields, name: str) -> Hashes:
    from headrace.hashing.kernels import hash_pairs

    state = np.full(form.count, len(form.columns), np.uint64)
    for column in form.columns:
        state = hash_pairs(state, hash_column(column, name), Kind.STRUCT)
    return state


def _hash_lists(form: Lists, name: str) -> Hashes:
    from headrace.hashing.kernels import hash_lists

    hashes = np.empty(len(form.lengths), np.uint64)
    for rows, members, offsets in form.members():
        hashes[rows] = hash_lists(hash_column(members, name), offsets, Kind.LIST)
    return hashes


def _null() -> np.uint64:
    from headrace.hashing.kernels import hash_words

    return hash_words(np.zeros(1, np.uint64), Kind.NULL)[0]
