"""Settings and learned values as JSON; what JSON has no word for is an object with one key like `$dtype`.

Polars' own serialization of expressions can hold a pickle, so an expression is written and read only if it
calls no Python function.
"""

from __future__ import annotations

import datetime
import decimal
import io
import json
import math
import re
import zoneinfo
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from headrace.errors import OptionError
from headrace.fingerprint import digest

if TYPE_CHECKING:
    import polars as pl

Known = Mapping[str, pa.Array]

# What expressions call functions by that are no part of Polars; user's own texts stand where `_TEXTS` says.
_CODE = re.compile("Anonymous|Plugin|Python|Opaque")
_TEXTS = ("Column", "Alias", "String", "Literal")
_MOST_INLINE = 256  # values of an array that are written as JSON; longer ones go to the Arrow file


class Arrays(dict[str, pa.Array]):
    """Arrays too long for JSON, by the name under which JSON refers to them."""

    def add(self, array: pa.Array) -> str:
        """Keep an array and return its name."""
        name = str(len(self))
        self[name] = array
        return name


def encode(value: Any, arrays: Arrays) -> Any:
    """Write a value as JSON.

    Raises:
        OptionError: It is none of the kinds that a step's settings and learned values have.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, Mapping):
        return _encode_mapping(cast("Mapping[Any, Any]", value), arrays)
    if isinstance(value, list):
        return [encode(member, arrays) for member in cast("list[Any]", value)]
    if isinstance(value, tuple):
        return {"$tuple": [encode(member, arrays) for member in cast("tuple[Any, ...]", value)]}
    return _encode_object(value, arrays)


def _encode_object(value: Any, arrays: Arrays) -> Any:
    import polars as pl
    import polars.selectors as cs

    for kind, key, write in _WRITERS:
        if isinstance(value, kind):
            return {key: write(value)}
    if isinstance(value, (pl.DataType, type)):
        return {"$dtype": encode_dtype(value)}
    if isinstance(value, pl.Expr):
        digest(value)  # refuses one that calls a Python function
        return {"$selector" if cs.is_selector(value) else "$expression": value.meta.serialize(format="json")}
    return _encode_array(value, arrays)


def _encode_mapping(mapping: Mapping[Any, Any], arrays: Arrays) -> Any:
    if all(isinstance(key, str) and not key.startswith("$") for key in mapping):
        return {key: encode(member, arrays) for key, member in mapping.items()}
    return {"$pairs": [[encode(key, arrays), encode(member, arrays)] for key, member in mapping.items()]}


def _encode_array(value: Any, arrays: Arrays) -> Any:
    import polars as pl

    if isinstance(value, np.ndarray):
        flat = pl.Series(cast("np.ndarray[Any, Any]", value).reshape(-1))
        return {"$array": [list(cast("np.ndarray[Any, Any]", value).shape), _encode_series(flat, arrays)]}
    if isinstance(value, pl.Series):
        return {"$series": _encode_series(value, arrays)}
    if isinstance(value, pl.DataFrame):
        return {"$frame": [[it.name, _encode_series(it, arrays)] for it in value.iter_columns()]}
    raise OptionError(f"a value of type {type(value).__name__} cannot be saved: {value!r}")


def _encode_series(series: pl.Series, arrays: Arrays) -> Any:
    dtype = series.dtype
    is_plain = dtype.is_numeric() or str(dtype) in ("String", "Boolean")
    if len(series) <= _MOST_INLINE and is_plain and not dtype.is_decimal():
        return [encode_dtype(dtype), [encode(value, arrays) for value in series.to_list()]]
    return [encode_dtype(dtype), arrays.add(series.rechunk().to_arrow())]


def decode(value: Any, arrays: Known) -> Any:
    """Read a value that `encode` wrote.

    Raises:
        ValueError: It is not; or KeyError, TypeError.
    """
    if isinstance(value, list):
        return [decode(member, arrays) for member in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    mapping = cast("dict[str, Any]", value)
    if len(mapping) != 1 or not next(iter(mapping)).startswith("$"):
        return {key: decode(member, arrays) for key, member in mapping.items()}
    (kind, content), *_ = mapping.items()
    return _READERS[kind](content, arrays)


def _read_expression(text: str, arrays: Known) -> Any:
    import polars as pl

    if _has_code(json.loads(text)):  # looked for before Polars sees it, which would unpickle or load it
        raise ValueError("an expression calls a function, and code is not read from a file")
    try:
        return pl.Expr.deserialize(io.StringIO(text), format="json")
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"no expression: {error}") from error


def _has_code(node: Any) -> bool:
    """Tell whether an expression holds a pickled function or names a library to load."""
    if isinstance(node, list):
        return any(_has_code(member) for member in cast("list[Any]", node) if not isinstance(member, int))
    if not isinstance(node, dict):
        return isinstance(node, str) and _CODE.search(node) is not None
    mapping = cast("dict[str, Any]", node)
    names = (name for name in mapping if _CODE.search(name) or name == "callback")
    return any(names) or any(_has_code(member) for name, member in mapping.items() if name not in _TEXTS)


def _read_selector(text: str, arrays: Known) -> Any:
    import polars as pl

    try:
        return _read_expression(text, arrays).meta.as_selector()
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"no selector: {error}") from error


def _read_series(content: Any, arrays: Known) -> pl.Series:
    import polars as pl

    dtype, values = content
    try:
        if isinstance(values, list):
            return pl.Series(decode(values, arrays), dtype=read_dtype(dtype))
        return cast("pl.Series", pl.from_arrow(arrays[values])).cast(read_dtype(dtype))
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"no values of type {dtype}: {error}") from error


def _read_array(content: Any, arrays: Known) -> Any:
    shape, series = content
    return _read_series(series, arrays).to_numpy().reshape(shape)


def _read_frame(content: Any, arrays: Known) -> Any:
    import polars as pl

    return pl.DataFrame({name: _read_series(series, arrays) for name, series in content})


_SIMPLE = (
    *("Int8", "Int16", "Int32", "Int64", "Int128", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float16", "Float32", "Float64", "Boolean", "String", "Binary", "Date", "Time", "Null", "Categorical"),
)


def encode_dtype(dtype: Any) -> Any:
    """Write a Polars type: its name, or its name and what it is made of."""
    name = dtype.__name__ if isinstance(dtype, type) else type(dtype).__name__
    if name in _SIMPLE or isinstance(dtype, type):
        return name
    made_of: list[Any]
    match name:
        case "Datetime":
            made_of = [dtype.time_unit, dtype.time_zone]
        case "Duration":
            made_of = [dtype.time_unit]
        case "Decimal":
            made_of = [dtype.precision, dtype.scale]
        case "Enum":
            made_of = [dtype.categories.to_list()]
        case "List":
            made_of = [encode_dtype(dtype.inner)]
        case "Array":
            made_of = [encode_dtype(_innermost(dtype)), list(dtype.shape)]
        case "Struct":
            made_of = [[[field.name, encode_dtype(field.dtype)] for field in dtype.fields]]
        case _:
            raise OptionError(f"the type {dtype} cannot be saved")
    return [name, *made_of]


def _innermost(dtype: Any) -> Any:
    return _innermost(dtype.inner) if type(dtype).__name__ == "Array" else dtype


def read_dtype(content: Any) -> Any:
    """Read a Polars type that `encode_dtype` wrote.

    Raises:
        ValueError: It is none.
    """
    import polars as pl

    if isinstance(content, str):
        if content not in (*_SIMPLE, "Datetime", "Duration", "Decimal", "List"):
            raise ValueError(f"`{content}` is no type")
        return pl.Categorical() if content == "Categorical" else getattr(pl, content)
    name, *arguments = content
    match name:
        case "List":
            return pl.List(read_dtype(arguments[0]))
        case "Array":
            return pl.Array(read_dtype(arguments[0]), tuple(arguments[1]))
        case "Struct":
            return pl.Struct([pl.Field(field, read_dtype(kind)) for field, kind in arguments[0]])
        case "Datetime" | "Duration" | "Decimal" | "Enum":
            return getattr(pl, name)(*arguments)
        case _:
            raise ValueError(f"`{name}` is no type")


def _read_tuple(content: Any, arrays: Known) -> tuple[Any, ...]:
    return tuple(decode(member, arrays) for member in content)


def _read_pairs(content: Any, arrays: Known) -> dict[Any, Any]:
    return {decode(key, arrays): decode(member, arrays) for key, member in content}


def _alone(read: Callable[[Any], Any]) -> Callable[[Any, Known], Any]:
    """Turn a function of the content into one that also takes the arrays."""

    def read_content(content: Any, arrays: Known) -> Any:
        return read(content)

    return read_content


def _read_regex(content: Any) -> re.Pattern[str]:
    return re.compile(content[0], content[1])


def _write_moment(moment: datetime.datetime) -> Any:
    """The text of a moment, and the name of its time zone if it has one."""
    zone = moment.tzinfo
    if not isinstance(zone, zoneinfo.ZoneInfo) or not zone.key:
        return moment.isoformat()
    return [moment.astimezone(datetime.UTC).isoformat(), zone.key]


def _read_moment(content: Any) -> datetime.datetime:
    if isinstance(content, str):
        return datetime.datetime.fromisoformat(content)
    text, zone = content
    return datetime.datetime.fromisoformat(text).astimezone(zoneinfo.ZoneInfo(zone))


def _read_duration(content: int) -> datetime.timedelta:
    return datetime.timedelta(microseconds=content)


_WRITERS: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (re.Pattern, "$regex", lambda it: [it.pattern, it.flags]),
    (datetime.datetime, "$datetime", _write_moment),  # which is a date, too
    (datetime.date, "$date", datetime.date.isoformat),
    (datetime.time, "$time", datetime.time.isoformat),
    (datetime.timedelta, "$microseconds", lambda it: it // datetime.timedelta(microseconds=1)),
    (bytes, "$bytes", bytes.hex),
    (decimal.Decimal, "$decimal", str),
)

_READERS: dict[str, Callable[[Any, Known], Any]] = {
    "$float": _alone(float),
    "$tuple": _read_tuple,
    "$pairs": _read_pairs,
    "$regex": _alone(_read_regex),
    "$datetime": _alone(_read_moment),
    "$date": _alone(datetime.date.fromisoformat),
    "$time": _alone(datetime.time.fromisoformat),
    "$microseconds": _alone(_read_duration),
    "$bytes": _alone(bytes.fromhex),
    "$decimal": _alone(decimal.Decimal),
    "$dtype": _alone(read_dtype),
    "$expression": _read_expression,
    "$selector": _read_selector,
    "$series": _read_series,
    "$array": _read_array,
    "$frame": _read_frame,
}
