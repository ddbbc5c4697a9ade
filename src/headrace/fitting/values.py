"""Settings and learned values as JSON: what JSON has no word for is an object with one key that begins with `$`.

Polars' own serialization of expressions can hold a pickle, so an expression is written and read only if it calls no
Python function.
"""

from __future__ import annotations

import datetime
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import pyarrow as pa

from headrace.errors import OptionError
from headrace.fingerprint import digest

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
    import polars as pl

    if isinstance(value, (str, bool, int, type(None))) and type(value) in (str, bool, int, type(None)):
        return value
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else {"$float": str(number)}
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()
    if isinstance(value, Mapping):
        return _encode_mapping(cast("Mapping[Any, Any]", value), arrays)
    if isinstance(value, list):
        return [encode(member, arrays) for member in cast("list[Any]", value)]
    if isinstance(value, (tuple, set, frozenset)):
        members = sorted(cast("set[Any]", value)) if isinstance(value, (set, frozenset)) else value
        return {"$tuple": [encode(member, arrays) for member in cast("tuple[Any, ...]", members)]}
    if isinstance(value, re.Pattern):
        return {"$regex": [value.pattern, value.flags]}
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return {f"${type(value).__name__}": value.isoformat()}
    if isinstance(value, datetime.timedelta):
        return {"$microseconds": value // datetime.timedelta(microseconds=1)}
    if isinstance(value, (pl.DataType, type)):
        return {"$dtype": _encode_dtype(value)}
    if isinstance(value, pl.Expr):
        digest(value)  # refuses one that calls a Python function
        return {"$expression": value.meta.serialize(format="json")}
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
        return [_encode_dtype(dtype), [encode(value, arrays) for value in series.to_list()]]
    return [_encode_dtype(dtype), arrays.add(series.rechunk().to_arrow())]


def decode(value: Any, arrays: Mapping[str, pa.Array]) -> Any:
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


def _read_expression(text: str, arrays: Mapping[str, pa.Array]) -> Any:
    import polars as pl

    if _has_code(json.loads(text)):  # looked for before Polars sees it, which would unpickle or load it
        raise ValueError("an expression calls a function, and code is not read from a file")
    return pl.Expr.deserialize(io.StringIO(text), format="json")


def _has_code(node: Any) -> bool:
    """Tell whether an expression holds a pickled function or names a library to load."""
    if isinstance(node, list):
        return any(_has_code(member) for member in cast("list[Any]", node) if not isinstance(member, int))
    if not isinstance(node, dict):
        return isinstance(node, str) and _CODE.search(node) is not None
    mapping = cast("dict[str, Any]", node)
    names = (name for name in mapping if _CODE.search(name) or name == "callback")
    return any(names) or any(_has_code(member) for name, member in mapping.items() if name not in _TEXTS)


def _read_series(content: Any, arrays: Mapping[str, pa.Array]) -> pl.Series:
    import polars as pl

    dtype, values = content
    if isinstance(values, list):
        return pl.Series(decode(values, arrays), dtype=_read_dtype(dtype))
    return cast("pl.Series", pl.from_arrow(arrays[values])).cast(_read_dtype(dtype))


def _read_array(content: Any, arrays: Mapping[str, pa.Array]) -> Any:
    shape, series = content
    return _read_series(series, arrays).to_numpy().reshape(shape)


def _read_frame(content: Any, arrays: Mapping[str, pa.Array]) -> Any:
    import polars as pl

    return pl.DataFrame({name: _read_series(series, arrays) for name, series in content})


_SIMPLE = (
    *("Int8", "Int16", "Int32", "Int64", "Int128", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float16", "Float32", "Float64", "Boolean", "String", "Binary", "Date", "Time", "Null", "Categorical"),
)


def _encode_dtype(dtype: Any) -> Any:
    """Write a Polars type: its name, or its name and what it is made of."""
    name = dtype.__name__ if isinstance(dtype, type) else type(dtype).__name__
    if name in _SIMPLE or isinstance(dtype, type):
        return name
    match name:
        case "Datetime":
            return [name, dtype.time_unit, dtype.time_zone]
        case "Duration":
            return [name, dtype.time_unit]
        case "Decimal":
            return [name, dtype.precision, dtype.scale]
        case "Enum":
            return [name, dtype.categories.to_list()]
        case "List":
            return [name, _encode_dtype(dtype.inner)]
        case "Array":
            return [name, _encode_dtype(_innermost(dtype)), list(dtype.shape)]
        case "Struct":
            return [name, [[field.name, _encode_dtype(field.dtype)] for field in dtype.fields]]
        case _:
            raise OptionError(f"the type {dtype} cannot be saved")


def _innermost(dtype: Any) -> Any:
    return _innermost(dtype.inner) if type(dtype).__name__ == "Array" else dtype


def _read_dtype(content: Any) -> Any:
    import polars as pl

    if isinstance(content, str):
        if content not in (*_SIMPLE, "Datetime", "Duration", "Decimal", "List"):
            raise ValueError(f"`{content}` is no type")
        return getattr(pl, content)
    name, *arguments = content
    match name:
        case "List":
            return pl.List(_read_dtype(arguments[0]))
        case "Array":
            return pl.Array(_read_dtype(arguments[0]), tuple(arguments[1]))
        case "Struct":
            return pl.Struct([pl.Field(field, _read_dtype(kind)) for field, kind in arguments[0]])
        case "Datetime" | "Duration" | "Decimal" | "Enum":
            return getattr(pl, name)(*arguments)
        case _:
            raise ValueError(f"`{name}` is no type")


encode_dtype = _encode_dtype
read_dtype = _read_dtype

_READERS: dict[str, Callable[[Any, Mapping[str, pa.Array]], Any]] = {
    "$float": lambda content, _: float(content),
    "$tuple": lambda content, arrays: tuple(decode(member, arrays) for member in content),
    "$pairs": lambda content, arrays: {decode(key, arrays): decode(it, arrays) for key, it in content},
    "$regex": lambda content, _: re.compile(content[0], content[1]),
    "$datetime": lambda content, _: datetime.datetime.fromisoformat(content),
    "$date": lambda content, _: datetime.date.fromisoformat(content),
    "$time": lambda content, _: datetime.time.fromisoformat(content),
    "$microseconds": lambda content, _: datetime.timedelta(microseconds=content),
    "$dtype": lambda content, _: _read_dtype(content),
    "$expression": _read_expression,
    "$series": _read_series,
    "$array": _read_array,
    "$frame": _read_frame,
}
