"""What of a column's values is compared: one of a few canonical forms, whatever Arrow type holds them.

Equal values have equal forms: whole numbers of any width, floats of any width (-0.0 is 0.0, and all NaN are
one), texts, bytes, time stamps of any unit, decimals of any scale, dictionaries. Values of different kinds
differ: 1, 1.0, True and "1". What lies under null is anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.errors import SchemaError

# Members of lists that are hashed at a time: a hash takes 8 bytes or 16, more than most members.
_MOST_MEMBERS = 1 << 21
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


@dataclass(frozen=True, slots=True)
class Words:
    """Values of one or two words.

    Attributes:
        kind: Of the values.
        words: Shape [n, 1] or [n, 2].
        is_large: Which values are of the kind `LARGE` instead, bool of shape [n]; None for none.
    """

    kind: Kind
    words: NDArray[np.uint64]
    is_large: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Runs:
    """Values that are runs of bytes.

    Attributes:
        kind: Of the values.
        data: Where the bytes lie.
        offsets: Where each run begins, then where the last one ends; int64 of shape [n + 1].
    """

    kind: Kind
    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Decimals:
    """Decimal numbers without trailing zeros.

    Attributes:
        exponents: Of ten, int64 of shape [n].
        is_negative: Bool of shape [n].
        digits: The magnitudes in 32-bit limbs, lowest first; uint32 of shape [n, 8].
    """

    exponents: NDArray[np.int64]
    is_negative: NDArray[np.bool_]
    digits: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Picks:
    """Values that are picked from others.

    Attributes:
        values: The others, some of which may be null.
        places: Of the picked ones, int64 of shape [n]; one behind the last for null.
    """

    values: pa.Array
    places: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fields:
    """Values with members of several names.

    Attributes:
        count: How many values there are.
        columns: A column for each name, in the order of the type.
    """

    count: int
    columns: tuple[pa.Array, ...]


@dataclass(frozen=True, slots=True)
class Lists:
    """Values that are lists of any values.

    Attributes:
        lengths: Of the lists, 0 for null; int64 of shape [n].
        column: The lists.
    """

    lengths: NDArray[np.int64]
    column: pa.Array

    def members(self) -> Iterator[tuple[slice, pa.Array, NDArray[np.int64]]]:
        """Flatten some lists at a time.

        Yields:
            Which lists, their members, and where each list begins among them, then where the last one ends.
        """
        ends = np.cumsum(self.lengths)
        begin = 0
        while begin < len(ends):
            before = ends[begin] - self.lengths[begin]
            end = max(int(np.searchsorted(ends, before + _MOST_MEMBERS, side="right")), begin + 1)
            # Flattened is what the lists that are not null hold. A cast of list views loses the last list.
            flat = pc.call_function("list_flatten", [self.column.slice(begin, end - begin)])
            yield slice(begin, end), flat, np.append(0, ends[begin:end] - before)
            begin = end


Form = Words | Runs | Decimals | Picks | Fields | Lists


def unwrap(column: pa.Array) -> pa.Array:
    """Return the storage of extension types, and runs as plain values."""
    while True:
        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        elif pa.types.is_run_end_encoded(column.type):
            column = pc.call_function("run_end_decode", [column])
        else:
            return column


def form_of(column: pa.Array, name: str) -> Form:
    """Tell what of an unwrapped column's values is compared.

    Raises:
        SchemaError: Values of its type cannot be compared; the message names the column.
    """
    return _former(column.type, name)(column)


def check_type(kind: pa.DataType, name: str) -> None:
    """Refuse a type whose values cannot be compared.

    Raises:
        SchemaError: Neither they nor their members can; the message names the column.
    """
    if isinstance(kind, pa.BaseExtensionType):
        check_type(kind.storage_type, name)
    elif pa.types.is_run_end_encoded(kind) or pa.types.is_dictionary(kind):
        check_type(kind.value_type, name)
    else:
        _former(kind, name)
        for number in range(kind.num_fields):
            check_type(kind.field(number).type, name)


def fixed(column: pa.Array, dtype: Any) -> NDArray[Any]:
    """Return values of fixed width without a copy; those of null are anything."""
    buffer = column.buffers()[1]
    if buffer is None or not len(column):
        return np.zeros(len(column), dtype)
    return np.frombuffer(buffer, dtype, len(column), column.offset * np.dtype(dtype).itemsize)


def lengths_of(column: pa.Array) -> NDArray[np.int64]:
    """Return the lengths of lists, 0 for null; int64 of shape [n]."""
    lengths = pc.call_function("list_value_length", [column])
    return fixed(lengths.cast(pa.int64()).fill_null(0), np.int64)


def _former(kind: pa.DataType, name: str) -> Callable[[pa.Array], Form]:
    for is_kind, former in _FORMERS:
        if is_kind(kind):
            return former
    raise SchemaError(
        f"column `{name}` of type {kind} cannot tell samples apart, for its values have no hash; "
        "name other columns"
    )


def _form_nulls(column: pa.Array) -> Words:
    return Words(Kind.NULL, np.zeros((len(column), 1), np.uint64))


def _form_booleans(column: pa.Array) -> Words:
    return _one_word(fixed(column.cast(pa.uint8()), np.uint8).astype(np.uint64), Kind.BOOLEAN)


def _form_whole(column: pa.Array) -> Words:
    values = fixed(column, column.type.to_pandas_dtype())
    if values.dtype.kind == "i":
        return _one_word(values.astype(np.int64, copy=False), Kind.WHOLE)
    words = values.astype(np.uint64, copy=False)
    is_large = words >> np.uint64(63) == 1
    return Words(Kind.WHOLE, words.reshape(-1, 1), is_large if is_large.any() else None)


def _form_floats(column: pa.Array) -> Words:
    with np.errstate(invalid="ignore"):  # signalling NaN
        wide = fixed(column, column.type.to_pandas_dtype()).astype(np.float64) + 0.0  # -0.0 + 0.0 is 0.0
    wide[np.isnan(wide)] = np.nan
    return _one_word(wide, Kind.FLOAT)


def _form_times(column: pa.Array) -> Words:
    kind, is_type = column.type, pa.types
    if is_type.is_interval(kind):
        words = fixed(column, np.dtype("<u8, <u8")).view("<u8").reshape(-1, 2)
        return Words(Kind.INTERVAL, words)
    values = fixed(column, np.dtype(f"i{kind.bit_width // 8}")).astype(np.int64)
    if is_type.is_date32(kind):
        return _one_word(values, Kind.DATE)
    if is_type.is_date64(kind):
        return _one_word(values // _DAY_MILLISECONDS, Kind.DATE)
    clock = Kind.DURATION if is_type.is_duration(kind) else Kind.TIME
    tag = Kind.INSTANT if is_type.is_timestamp(kind) else clock
    per_second = _PER_SECOND[kind.unit]
    seconds, parts = np.divmod(values, per_second)  # nanoseconds alone would not hold far seconds
    return Words(tag, np.stack([seconds, parts * (10**9 // per_second)], axis=1).view(np.uint64))


def _form_decimals(column: pa.Array) -> Decimals:
    from headrace.hashing.kernels import reduce_decimals

    width = column.type.bit_width // 32
    limbs = np.empty((len(column), 8), np.uint32)
    limbs[:, :width] = fixed(column, np.dtype((np.uint32, width))).reshape(len(column), width)
    limbs[:, width:] = np.where(limbs[:, width - 1 : width] >> 31 == 1, 0xFFFFFFFF, 0)
    return Decimals(*reduce_decimals(limbs, column.type.scale), limbs)


def _form_bytes(column: pa.Array) -> Runs:
    kind = Kind.TEXT if is_text(column.type) else Kind.BYTES
    if pa.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        offsets = np.arange(column.offset, column.offset + len(column) + 1) * width
        data = column.buffers()[1]
    else:
        column = column.cast(pa.large_string() if kind == Kind.TEXT else pa.large_binary())
        _, places, data = column.buffers()
        offsets = (
            np.frombuffer(places, np.int64, len(column) + 1, column.offset * 8)
            if len(column)
            else np.zeros(1, np.int64)
        )
    # Arrow leaves out the buffer where there are no bytes.
    return Runs(kind, np.frombuffer(b"" if data is None else data, np.uint8), offsets)


def _form_dictionary(column: pa.Array) -> Picks:
    places = column.indices.cast(pa.int64()).fill_null(len(column.dictionary))
    return Picks(column.dictionary, fixed(places, np.int64))


def _form_struct(column: pa.Array) -> Fields:
    return Fields(len(column), tuple(column.field(number) for number in range(column.type.num_fields)))


def _form_lists(column: pa.Array) -> Lists:
    kind = column.type
    if pa.types.is_map(kind):
        column = column.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
    return Lists(lengths_of(column), column)


def _one_word(values: NDArray[Any], kind: Kind) -> Words:
    return Words(kind, values.view(np.uint64).reshape(-1, 1))


def is_text(kind: pa.DataType) -> bool:
    """Tell whether values are texts, however Arrow lays them out."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


# What tells a type, and what brings its values into form.
_FORMERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], Form]], ...] = (
    (pa.types.is_null, _form_nulls),
    (pa.types.is_dictionary, _form_dictionary),
    (pa.types.is_boolean, _form_booleans),
    (pa.types.is_integer, _form_whole),
    (pa.types.is_floating, _form_floats),
    (pa.types.is_temporal, _form_times),
    (pa.types.is_decimal, _form_decimals),
    *((is_bytes, _form_bytes) for is_bytes in (
        is_text, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )),
    (pa.types.is_struct, _form_struct),
    *((is_list, _form_lists) for is_list in (
        pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_map,
        pa.types.is_list_view, pa.types.is_large_list_view,
    )),
)  # fmt: skip
