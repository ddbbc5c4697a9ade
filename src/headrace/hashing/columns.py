"""A 64-bit hash of any column's values, the same on every machine and with every library version.

Equal values have equal hashes, however they are held: whole numbers of any width, floats of any
width (-0.0 is 0.0, and all NaN are one), texts, bytes, time stamps of any unit, decimals of any
scale, dictionaries. Values of different kinds differ: 1, 1.0, True and "1". Null is a value of its
own. Lists and structs are hashed by their members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.errors import SchemaError

Hashes = NDArray[np.uint64]
Ids = NDArray[np.int64]

_MOST_MEMBERS = 1 << 21  # of lists, hashed at a time: each takes 8 bytes, more than the pixel that it is
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_MILLISECONDS = 86_400_000


class Kind(IntEnum):
    """What tells values of different kinds apart: the seed of their hash. Never renumber."""

    NULL = 1
    WHOLE = 2
    LARGE = 3  # whole numbers from 2**63 on, whose bits are those of a negative one
    FLOAT = 4
    BOOLEAN = 5
    TEXT = 6
    BYTES = 7
    INSTANT = 8
    DATE = 9
    TIME = 10
    DURATION = 11
    INTERVAL = 12
    DECIMAL = 13
    LIST = 14
    STRUCT = 15
    SAMPLE = 16
    COLUMNS = 17


def hash_column(column: pa.Array, name: str = "column") -> Hashes:
    """Hash each value of a column, uint64 of shape [n].

    Raises:
        SchemaError: Values of its type cannot be hashed; the message names the column.

    Example:
        >>> short, long = pa.array([7, None], pa.int8()), pa.array([7, None], pa.int64())
        >>> bool((hash_column(short) == hash_column(long)).all())
        True
    """
    hashes = _hash_values(column, name)
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
    return _words(ids.view(np.uint64), Kind.SAMPLE)


def keyed(hashes: Hashes, key: int) -> Hashes:
    """Hash again by a key, so that each key deals the same values otherwise; uint64 of shape [n]."""
    from headrace.hashing.kernels import hash_words

    return hash_words(hashes, key)


def _hash_values(column: pa.Array, name: str) -> Hashes:
    """Hash values; those of null are anything."""
    if isinstance(column.type, pa.BaseExtensionType):
        return hash_column(column.storage, name)
    for is_kind, hash_kind in _HASHERS:
        if is_kind(column.type):
            return hash_kind(column, name)
    raise SchemaError(
        f"column `{name}` of type {column.type} cannot tell samples apart, for its values have no hash; "
        "name other columns"
    )


def _hash_booleans(column: pa.Array, name: str) -> Hashes:
    return _words(_fixed(column.cast(pa.uint8()), np.uint8).astype(np.uint64), Kind.BOOLEAN)


def _hash_whole(column: pa.Array, name: str) -> Hashes:
    values = _fixed(column, column.type.to_pandas_dtype())
    if values.dtype.kind == "i":
        return _words(values.astype(np.int64).view(np.uint64), Kind.WHOLE)
    words = values.astype(np.uint64)
    hashes = _words(words, Kind.WHOLE)
    is_large = words >> np.uint64(63) == 1
    if is_large.any():
        hashes[is_large] = _words(words[is_large], Kind.LARGE)
    return hashes


def _hash_floats(column: pa.Array, name: str) -> Hashes:
    with np.errstate(invalid="ignore"):  # signalling NaN
        wide = _fixed(column, column.type.to_pandas_dtype()).astype(np.float64) + 0.0  # -0.0 + 0.0 is 0.0
    wide[np.isnan(wide)] = np.nan
    return _words(wide.view(np.uint64), Kind.FLOAT)


def _hash_times(column: pa.Array, name: str) -> Hashes:
    from headrace.hashing.kernels import hash_pairs

    kind, is_type = column.type, pa.types
    if is_type.is_interval(kind):
        months_days, nanoseconds = _fixed(column, np.dtype("<u8, <u8")).view("<u8").reshape(-1, 2).T
        return hash_pairs(months_days, nanoseconds, Kind.INTERVAL)
    values = _fixed(column, np.dtype(f"i{kind.bit_width // 8}")).astype(np.int64)
    if is_type.is_date32(kind):
        return _words(values.view(np.uint64), Kind.DATE)
    if is_type.is_date64(kind):
        return _words((values // _DAY_MILLISECONDS).view(np.uint64), Kind.DATE)
    clock = Kind.DURATION if is_type.is_duration(kind) else Kind.TIME
    tag = Kind.INSTANT if is_type.is_timestamp(kind) else clock
    per_second = _PER_SECOND[kind.unit]
    seconds, parts = np.divmod(values, per_second)  # nanoseconds alone would not hold far seconds
    nanoseconds = parts * (10**9 // per_second)
    return hash_pairs(seconds.view(np.uint64), nanoseconds.view(np.uint64), tag)


def _hash_decimals(column: pa.Array, name: str) -> Hashes:
    from headrace.hashing.kernels import hash_decimals

    width = column.type.bit_width // 32
    limbs = np.empty((len(column), 8), np.uint32)
    limbs[:, :width] = _fixed(column, np.dtype((np.uint32, width))).reshape(len(column), width)
    limbs[:, width:] = np.where(limbs[:, width - 1 : width] >> 31 == 1, 0xFFFFFFFF, 0)
    return hash_decimals(limbs, column.type.scale, Kind.DECIMAL)


def _hash_bytes(column: pa.Array, name: str) -> Hashes:
    from headrace.hashing.kernels import hash_bytes

    seed = Kind.TEXT if _is_text(column.type) else Kind.BYTES
    if pa.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        offsets = np.arange(column.offset, column.offset + len(column) + 1) * width
        data = column.buffers()[1]
    else:
        wide = pa.large_string() if seed == Kind.TEXT else pa.large_binary()
        column = column.cast(wide)
        _, places, data = column.buffers()
        offsets = (
            np.frombuffer(places, np.int64, len(column) + 1, column.offset * 8)
            if len(column)
            else np.zeros(1, np.int64)
        )
    # Arrow leaves out the buffer where there are no bytes.
    content = np.frombuffer(b"" if data is None else data, np.uint8)
    return hash_bytes(content, offsets, seed)


def _hash_dictionary(column: pa.Array, name: str) -> Hashes:
    # A place for null behind the dictionary's values, some of which may be null as well.
    hashes = np.append(hash_column(column.dictionary, name), _null())
    places = column.indices.cast(pa.int64()).fill_null(len(column.dictionary))
    return hashes[_fixed(places, np.int64)]


def _hash_struct(column: pa.Array, name: str) -> Hashes:
    from headrace.hashing.kernels import hash_pairs

    state = np.full(len(column), len(column.type), np.uint64)
    for number in range(len(column.type)):
        state = hash_pairs(state, hash_column(column.field(number), name), Kind.STRUCT)
    return state


def _hash_lists(column: pa.Array, name: str) -> Hashes:
    from headrace.hashing.kernels import hash_lists

    kind = column.type
    if pa.types.is_map(kind):
        column = column.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
    lengths = _fixed(pc.call_function("list_value_length", [column]).cast(pa.int64()).fill_null(0), np.int64)
    ends = np.cumsum(lengths)
    hashes = np.empty(len(column), np.uint64)
    begin = 0
    while begin < len(column):
        before = ends[begin] - lengths[begin]
        end = max(int(np.searchsorted(ends, before + _MOST_MEMBERS, side="right")), begin + 1)
        # Flattened is what the lists that are not null hold. A cast of list views loses the last list.
        members = hash_column(pc.call_function("list_flatten", [column.slice(begin, end - begin)]), name)
        offsets = np.append(0, ends[begin:end] - before)
        hashes[begin:end] = hash_lists(members, offsets, Kind.LIST)
        begin = end
    return hashes


def _fixed(column: pa.Array, dtype: Any) -> NDArray[Any]:
    """Return values of fixed width without a copy; those of null are anything."""
    buffer = column.buffers()[1]
    if buffer is None or not len(column):
        return np.zeros(len(column), dtype)
    width = np.dtype(dtype).itemsize
    return np.frombuffer(buffer, dtype, len(column), column.offset * width)


def _words(words: Hashes, kind: Kind) -> Hashes:
    from headrace.hashing.kernels import hash_words

    return hash_words(words, kind)


def _null() -> np.uint64:
    return _words(np.zeros(1, np.uint64), Kind.NULL)[0]


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _decode_runs(column: pa.Array, name: str) -> Hashes:
    return hash_column(pc.call_function("run_end_decode", [column]), name)


def _hash_nulls(column: pa.Array, name: str) -> Hashes:
    return np.full(len(column), _null())


# What tells a type, and what hashes its values.
_HASHERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array, str], Hashes]], ...] = (
    (pa.types.is_null, _hash_nulls),
    (pa.types.is_dictionary, _hash_dictionary),
    (pa.types.is_run_end_encoded, _decode_runs),
    (pa.types.is_boolean, _hash_booleans),
    (pa.types.is_integer, _hash_whole),
    (pa.types.is_floating, _hash_floats),
    (pa.types.is_temporal, _hash_times),
    (pa.types.is_decimal, _hash_decimals),
    *((is_bytes, _hash_bytes) for is_bytes in (
        _is_text, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )),
    (pa.types.is_struct, _hash_struct),
    *((is_list, _hash_lists) for is_list in (
        pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_map,
        pa.types.is_list_view, pa.types.is_large_list_view,
    )),
)  # fmt: skip
