"""From what a user asks for to keys: exactly, or with an error that names column and type.

A value is compared with a column by what it is worth. A whole number finds the float that equals
it, and 2.5 finds nothing in a column of whole numbers. A float is rounded to a float32 column's
precision first, as Polars does, or 0.1 would never be found there.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import SchemaError
from headrace.index.keys import (
    Codes,
    Keys,
    encode,
    encode_floats,
    encode_whole,
    is_string,
    is_text,
    nanoseconds,
    plain_type,
    ticks,
)

Place = tuple[int, bool] | tuple[bytes, bool]
"""The least key that is not below a value, and whether it equals it."""

BEYOND = 1 << 64  # above every code
_HALF = 1 << 63
_LARGEST = (1 << 63) - 1
_EPOCH = datetime.datetime(1970, 1, 1)
_EPOCH_UTC = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_DAY = 86_400 * 10**9


@dataclass(frozen=True)
class Values:
    """Finds the keys of values in one column.

    Attributes:
        field: The column.

    Example:
        >>> hours = Values(pa.field("hour", pa.int8()))
        >>> hours.keys([5, 2.5, 7.0]).tolist() == [2**63 + 5, 2**63 + 7]
        True
        >>> hours.keys("five")
        Traceback (most recent call last):
        headrace.errors.SchemaError: column `hour` of type int8 is looked up by numbers, got 'five'
    """

    field: pa.Field

    @cached_property
    def kind(self) -> pa.DataType:
        """The type of the column's values."""
        return plain_type(self.field.type)

    def keys(self, values: Any) -> Keys:
        """Return the keys that the column may hold of some values; others and nulls are left out.

        Args:
            values: One value, or a sequence, a NumPy array, an Arrow array or a Polars series.

        Raises:
            SchemaError: A value is of another kind than the column.
        """
        array = _as_arrow(values)
        if array is not None:
            return self._keys_of_array(array)
        places = [self.place(value) for value in _listed(values) if not is_missing(value)]
        exact = [key for key, is_exact in places if is_exact]
        return pa.array(exact, pa.large_binary()) if is_text(self.kind) else np.array(exact, np.uint64)

    def place(self, value: Any) -> Place:
        """Find where a value lies among the keys.

        Raises:
            SchemaError: It is of another kind than the column.
        """
        kind = self.kind
        if is_missing(value):
            raise self._refusal(value)
        if is_text(kind):
            return self._text(value), True
        if pa.types.is_boolean(kind):
            if isinstance(value, (bool, np.bool_)):
                return int(value), True
        elif pa.types.is_temporal(kind):
            return _clamped(*_divide(self._nanoseconds(value), nanoseconds(kind)), _HALF)
        elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return self._whole(int(value))
        elif isinstance(value, (float, np.floating)):
            return self._float(float(value))
        raise self._refusal(value)

    def _whole(self, value: int) -> Place:
        if not pa.types.is_floating(self.kind):
            return _clamped(value, True, 0 if pa.types.is_unsigned_integer(self.kind) else _HALF)
        try:
            near = float(value)
        except OverflowError:
            near = math.inf if value > 0 else -math.inf
        code = int(encode_floats(np.array([near]))[0])
        # Python compares a whole number with a float exactly.
        return (code, True) if near == value else (code + (near < value), False)

    def _float(self, value: float) -> Place:
        if pa.types.is_floating(self.kind):
            with np.errstate(over="ignore"):
                rounded = float(self.kind.to_pandas_dtype()(value))
            if math.isinf(rounded) and not math.isinf(value):
                rounded = value  # beyond the largest: not infinite, and not to be found
            return int(encode_floats(np.array([rounded]))[0]), True
        if math.isnan(value) or value == math.inf:  # NaN is above all numbers
            return BEYOND, False
        if value == -math.inf:
            return 0, False
        least = math.ceil(value)
        return _clamped(least, least == value, 0 if pa.types.is_unsigned_integer(self.kind) else _HALF)

    def _text(self, value: Any) -> bytes:
        if is_string(self.kind) and isinstance(value, str):
            try:
                return value.encode()
            except UnicodeEncodeError as error:
                raise SchemaError(
                    f"column `{self.field.name}` holds text, but {value!r} is no valid Unicode"
                ) from error
        if not is_string(self.kind) and isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        raise self._refusal(value)

    def _nanoseconds(self, value: Any) -> int:
        kind = self.kind
        if pa.types.is_duration(kind):
            if isinstance(value, datetime.timedelta):
                return _of_timedelta(value)
            if isinstance(value, np.timedelta64):
                return self._of_numpy(value)
        elif pa.types.is_time(kind):
            if isinstance(value, datetime.time) and value.tzinfo is None:
                seconds = (value.hour * 60 + value.minute) * 60 + value.second
                return (seconds * 10**6 + value.microsecond) * 1000
        elif isinstance(value, datetime.datetime):
            if (value.tzinfo is not None) == _is_aware(kind):
                since = value - (_EPOCH_UTC if _is_aware(kind) else _EPOCH)
                return _of_timedelta(since) + getattr(value, "nanosecond", 0)
        elif not _is_aware(kind):
            if isinstance(value, datetime.date):
                return (value - _EPOCH.date()).days * _DAY
            if isinstance(value, np.datetime64):
                return self._of_numpy(value)
        raise self._refusal(value)

    def _of_numpy(self, value: np.datetime64 | np.timedelta64) -> int:
        unit, count = np.datetime_data(value.dtype)
        if unit in _UNITS:
            return int(value.view(np.int64)) * count * _UNITS[unit]
        if isinstance(value, np.datetime64) and unit in ("Y", "M", "W", "D"):
            return int(value.astype("datetime64[D]").view(np.int64)) * _DAY
        if unit in ("W", "D"):
            return int(value.astype("timedelta64[D]").view(np.int64)) * _DAY
        raise self._refusal(value)

    def _keys_of_array(self, array: pa.Array) -> Keys:
        array = (array.dictionary_decode() if pa.types.is_dictionary(array.type) else array).drop_null()
        asked, kind = array.type, self.kind
        if pa.types.is_null(asked):
            return encode(array.cast(kind))
        if pa.types.is_boolean(kind) and pa.types.is_boolean(asked):
            return encode(array)
        if is_text(kind) and is_text(asked) and is_string(kind) == is_string(asked):
            return encode(array)
        if _is_number(kind) and _is_number(asked):
            return self._keys_of_numbers(array.to_numpy())
        if pa.types.is_temporal(kind) and _family(kind) == _family(asked):
            counted, found = _rescale(ticks(array), nanoseconds(asked), nanoseconds(kind))
            return encode_whole(counted[found])
        raise self._refusal(array)

    def _keys_of_numbers(self, values: NDArray[Any]) -> Codes:
        if not pa.types.is_floating(self.kind):
            return _whole_keys(values, pa.types.is_unsigned_integer(self.kind))
        if values.dtype.kind == "f":
            with np.errstate(over="ignore"):
                rounded = values.astype(self.kind.to_pandas_dtype())
            return encode_floats(rounded[np.isinf(rounded) == np.isinf(values)])
        near = values.astype(np.float64)
        inside = near < (2.0**64 if values.dtype.kind == "u" else 2.0**63)
        back = np.where(inside, near, 0).astype(values.dtype)
        return encode_floats(near[inside & (back == values)])

    def _refusal(self, value: Any) -> SchemaError:
        kind = self.kind
        if is_text(kind):
            wanted = "text" if is_string(kind) else "bytes"
        elif pa.types.is_boolean(kind):
            wanted = "True and False"
        elif not pa.types.is_temporal(kind):
            wanted = "numbers"
        elif pa.types.is_duration(kind):
            wanted = "`datetime.timedelta`"
        elif pa.types.is_time(kind):
            wanted = "`datetime.time`"
        elif _is_aware(kind):
            wanted = "`datetime.datetime` with a time zone"
        else:
            wanted = "`datetime.datetime` without a time zone or `datetime.date`"
        got = f"an array of {value.type}" if isinstance(value, pa.Array) else repr(value)
        return SchemaError(
            f"column `{self.field.name}` of type {self.field.type} is looked up by {wanted}, got {got}"
        )


def is_missing(value: Any) -> bool:
    """Whether a value stands for null."""
    return value is None or (isinstance(value, (np.datetime64, np.timedelta64)) and bool(np.isnat(value)))


def _listed(values: Any) -> list[Any]:
    if isinstance(values, np.ndarray):
        array = cast("NDArray[Any]", values)
        return list(array.ravel()) if array.ndim else [array[()]]
    if isinstance(values, (str, bytes, bytearray, memoryview)) or not isinstance(values, Iterable):
        return [values]
    return list(cast("Iterable[Any]", values))


def _as_arrow(values: Any) -> pa.Array | None:
    """Wrap an array of a plain type, for which no value needs to be looked at by itself."""
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, np.ndarray):
        array = cast("NDArray[Any]", values)
        return pa.array(array.astype(array.dtype.newbyteorder("="))) if _is_plain(array) else None
    if hasattr(values, "to_arrow"):  # a Polars series
        return values.to_arrow()
    return None


def _is_plain(array: NDArray[Any]) -> bool:
    if array.ndim != 1:
        return False
    is_time = array.dtype.kind in "mM" and np.datetime_data(array.dtype) in {
        (unit, 1) for unit in ("s", "ms", "us", "ns")
    }
    return is_time or array.dtype.kind in "iufb"


def _whole_keys(values: NDArray[Any], unsigned: bool) -> Codes:
    """Encode those of some numbers that are whole and lie in the range of the codes."""
    least, beyond = (0.0, 2.0**64) if unsigned else (-(2.0**63), 2.0**63)
    target = np.uint64 if unsigned else np.int64
    if values.dtype.kind == "f":
        wide = values.astype(np.float64)
        kept = wide[(wide >= least) & (wide < beyond) & (np.floor(wide) == wide)]
        return encode_whole(kept.astype(target))
    if unsigned:
        return encode_whole(values[values >= 0].astype(target))
    return encode_whole(
        values[values <= np.uint64(_LARGEST)].astype(target) if values.dtype.kind == "u" else values
    )


def _rescale(
    counted: NDArray[np.int64], given: int, wanted: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Count in another unit, and tell which counts stay whole and within 64 bits."""
    if given >= wanted:
        factor = given // wanted
        found = np.abs(np.clip(counted, -_LARGEST, _LARGEST)) <= _LARGEST // factor
        return np.where(found, counted, 0) * factor, found
    divisor = wanted // given
    return counted // divisor, counted % divisor == 0


def _clamped(value: int, is_exact: bool, shift: int) -> Place:
    code = value + shift
    if 0 <= code < BEYOND:
        return code, is_exact
    return (0 if code < 0 else BEYOND), False


def _divide(value: int, divisor: int) -> tuple[int, bool]:
    return -(-value // divisor), value % divisor == 0


def _of_timedelta(value: datetime.timedelta) -> int:
    return ((value.days * 86_400 + value.seconds) * 10**6 + value.microseconds) * 1000


def _is_aware(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is not None


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _family(kind: pa.DataType) -> str:
    """What a temporal value can be compared with."""
    if pa.types.is_timestamp(kind):
        return "aware" if kind.tz is not None else "instant"
    if pa.types.is_date(kind):
        return "instant"
    return "time" if pa.types.is_time(kind) else str(pa.types.is_duration(kind))
