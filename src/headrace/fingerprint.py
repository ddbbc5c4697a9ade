"""Settings to canonical bytes to a digest; what cannot be identified by value is refused.

A fingerprint decides whether a saved state or a cache entry still belongs to the data and the
recipe at hand. So it never guesses: two values with one digest are equal, and a value that has
no canonical bytes (an open file, a lock, a library's object) raises `FingerprintError`.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import hashlib
import math
import operator
import re
import struct
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np

from headrace.code import (
    attributes_of,
    global_names,
    imports_of,
    is_found_by_name,
    is_library,
    members_of,
    version_of,
)
from headrace.errors import FingerprintError

_SCALARS = (int, float, complex, str, bytes, bool, type(None), type(...))
# How a Python function shows within a serialized expression: by a mark of Polars before its pickle, or as the
# bytes (msgpack's array or binary) of a field that can hold nothing else.
_PYTHON_FUNCTION = re.compile(rb"PLPYFN|\xa8callback[\xc4-\xc6\xdc\xdd]")
_CONTAINERS = (tuple, list, dict, OrderedDict, types.MappingProxyType, set, frozenset)
_PLAIN = (datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal)


def digest(*values: object) -> str:
    """Digest values to 32 hexadecimal characters, equal for equal values on any machine.

    Numbers, strings, patterns, containers, dataclasses, enums, NumPy arrays and dtypes, Polars frames,
    expressions and types, Arrow schemas and functions are known. A function enters by its code, its
    defaults, the values that it closes over, and the globals and imports that it names, not by its file;
    what it calls of a user's modules counts as well, and of a library the name and the version.

    Raises:
        FingerprintError: A value cannot be identified by value.

    Example:
        >>> digest("scale", {"factor": 2.0}) == digest("scale", {"factor": 2.0})
        True
        >>> digest(1) == digest(1.0)
        False
    """
    return _digest(values, _Seen())


def digest_now(*values: object) -> str:
    """Digest values as `digest` does, and of steps with a function what that function is at this moment.

    A step is known by what its function was when it was made, so that a state fits although the function has
    filled a memo since. Whoever keeps what the function returns must know what it is now.

    Raises:
        FingerprintError: A value cannot be identified by value, or not any more.

    Example:
        >>> digest_now("scale", 2.0) == digest("scale", 2.0)
        True
    """
    return _digest(values, _Seen(now=True))


def _digest(values: object, seen: _Seen) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    for part in _encode(values, seen):
        hasher.update(part)
    return hasher.hexdigest()


def derive_key(*values: int | str) -> int:
    """Derive a 64-bit key from numbers and names, as an unsigned integer.

    Keys of related streams are hashed from (seed, epoch, stream) and never added up, because
    sums collide: seed 1 in epoch 2 must not equal seed 2 in epoch 1.

    Example:
        >>> derive_key("order", 1, 2) == derive_key("order", 2, 1)
        False
    """
    # NumPy's whole numbers are read as Python's, for a state keeps them as such.
    parts = (f"str:{value}" if isinstance(value, str) else f"int:{operator.index(value)}" for value in values)
    text = "\x1f".join(parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class _Seen:
    """Functions, classes and modules that one digest has come by, each of which enters once.

    Attributes:
        now: Whether functions that a step stands for enter as they are at this moment.
    """

    def __init__(self, now: bool = False) -> None:
        self.now = now
        self._places: dict[tuple[int, ...], int] = {}
        self._alive: list[object] = []

    def place(self, *values: object) -> int | None:
        """Return when these values were met before; None, and remember them, if they were not."""
        name = tuple(map(id, values))
        if name not in self._places:
            self._places[name] = len(self._places)
            self._alive += values
            return None
        return self._places[name]


def _encode(value: object, seen: _Seen) -> Iterator[bytes]:
    """Yield the canonical bytes of a value: a tag, a length and the content."""
    if isinstance(value, _SCALARS) and type(value) in _SCALARS:
        yield _tagged(type(value).__name__, _scalar(value))
    elif isinstance(value, (tuple, list)):
        yield _tagged("sequence", str(len(value)).encode())
        yield from _encode_kind(value, seen)
        for member in cast("list[object]", value):
            yield from _encode(member, seen)
    elif isinstance(value, Mapping):
        mapping = cast("Mapping[object, object]", value)
        yield _tagged("mapping", str(len(mapping)).encode())
        yield from _encode_kind(mapping, seen)
        for key, member in mapping.items():
            yield from _encode(key, seen)
            yield from _encode(member, seen)
    elif isinstance(value, (set, frozenset)):
        members = cast("frozenset[object]", value)
        yield _tagged("set", "".join(sorted(digest(member) for member in members)).encode())
        yield from _encode_kind(members, seen)
    elif isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
        yield from _encode_function(cast("Callable[..., Any]", value), seen)
    elif isinstance(value, types.ModuleType):
        if not is_library(value.__name__):
            raise _refusal(value)  # what of it is meant, only the code of a function tells
        yield _tagged("module", value.__name__.encode())
    elif isinstance(value, re.Pattern):  # whose own text is cut where it is long
        pattern = cast("re.Pattern[Any]", value)
        yield _tagged("pattern", b"")
        yield from _encode((pattern.pattern, pattern.flags), seen)
    else:
        yield from _encode_object(value, seen)


def _encode_object(value: object, seen: _Seen) -> Iterator[bytes]:
    """Yield the canonical bytes of what is no plain value, container or Python function."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        yield _tagged("enum", f"{kind.__qualname__}.{value.name}".encode())
        yield from _encode_kind(value, seen)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield _tagged("dataclass", kind.__qualname__.encode())
        if kind.__module__.partition(".")[0] != "headrace":
            yield from _encode_class(kind, seen)
        for field in dataclasses.fields(value):
            if _is_told(field, value, seen.now):
                yield from _encode((field.name, getattr(value, field.name)), seen)
        yield from _encode_kind(value, seen)
    elif isinstance(value, np.ndarray):
        yield from _encode_array(cast("np.ndarray[Any, np.dtype[Any]]", value), seen)
    elif isinstance(value, (np.generic, np.dtype, *_PLAIN)):
        yield _tagged(kind.__name__, repr(value).encode())
    elif isinstance(value, types.BuiltinFunctionType) and not _is_bound(value):
        yield _tagged("builtin", f"{value.__module__}.{value.__qualname__}".encode())
    elif isinstance(value, type):
        yield from _encode_class(value, seen)
    elif kind.__module__.startswith("polars.") and kind.__name__ in {"Series", "DataFrame"}:
        yield from _encode_table(value, seen)
    elif (library := kind.__module__.partition(".")[0]) in {"polars", "pyarrow"}:
        yield _tagged(f"{library}.{kind.__qualname__}", _library_bytes(value))
    else:
        raise _refusal(value)


def _encode_kind(value: object, seen: _Seen) -> Iterator[bytes]:
    """Yield what a container or a user's dataclass holds or does beside its members and fields."""
    kind = type(value)
    if kind in _CONTAINERS or kind.__module__.partition(".")[0] == "headrace":
        return
    factory = getattr(value, "default_factory", None)
    if factory is not None:
        yield from _encode(("factory", factory), seen)
    if is_library(kind.__module__):
        return
    if not dataclasses.is_dataclass(kind):
        yield from _encode_class(kind, seen)
    known = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    for name, member in getattr(value, "__dict__", {}).items():
        if name not in known and not isinstance(getattr(kind, name, None), functools.cached_property):
            yield from _encode((name, member), seen)


def _is_told(field: dataclasses.Field[Any], owner: Any, now: bool) -> bool:
    """Whether a field enters.

    "unless None" lets an option that came later leave old digests as they are; "now" is for functions that
    another field stands for, unless a version does.
    """
    rule = field.metadata.get("fingerprint", True)
    if rule == "now":
        return now and owner.version is None
    return getattr(owner, field.name) is not None if rule == "unless None" else bool(rule)


def _encode_array(array: np.ndarray[Any, np.dtype[Any]], seen: _Seen) -> Iterator[bytes]:
    if array.dtype.hasobject or isinstance(array, np.ma.MaskedArray):
        raise FingerprintError(
            "an array of Python objects or with a mask cannot be identified by value; use a plain array"
        )
    if type(array) is not np.ndarray:  # such as a matrix, which multiplies otherwise
        yield from _encode_class(type(array), seen)
    yield _tagged("array", f"{array.dtype.descr}{array.shape}".encode())
    yield np.ascontiguousarray(array).tobytes()


def _encode_table(value: Any, seen: _Seen) -> Iterator[bytes]:
    """Yield the columns of a Polars frame, or the one of a series: type, which are null, and the values."""
    if type(value).__name__ == "DataFrame":
        yield from _encode([(column.name, column) for column in value.iter_columns()], seen)
        return
    yield _tagged("series", f"{value.dtype}:{len(value)}".encode())
    if value.null_count():
        yield from _encode_array(value.is_null().to_numpy(), seen)
        value = value.drop_nulls()
    kind = str(value.dtype)
    if kind == "String":
        yield from _encode_array(value.str.len_bytes().to_numpy(), seen)
        yield _tagged("text", "".join(value).encode())
    elif kind.startswith(("Decimal", "Int128", "UInt128")):  # NumPy has no such numbers
        yield from _encode(value.to_list(), seen)
    elif value.dtype.is_numeric() or value.dtype.is_temporal():
        yield from _encode_array(value.to_physical().to_numpy(), seen)
    else:
        yield from _encode(value.to_list(), seen)


def _encode_function(function: Callable[..., Any], seen: _Seen) -> Iterator[bytes]:
    """Yield a function's code, defaults, closure and the globals that it names."""
    if isinstance(function, functools.partial):
        partial = cast("functools.partial[Any]", function)
        keywords = dict(sorted(partial.keywords.items()))
        yield from _encode(("partial", partial.func, partial.args, keywords), seen)
        return
    if isinstance(function, types.MethodType):
        yield from _encode(("method", function.__self__, function.__func__), seen)
        return
    plain = cast("types.FunctionType", function)
    place = seen.place(plain)
    if place is not None:
        yield _tagged("seen", str(place).encode())
        return
    module = str(plain.__globals__.get("__name__", ""))
    of_library = is_library(module)
    if of_library and is_found_by_name(plain):
        yield _tagged("foreign", f"{plain.__module__}.{plain.__qualname__} {version_of(module)}".encode())
        yield from _encode_code(plain.__code__, seen)
        return
    yield _tagged("function", b"")
    yield from _encode_code(plain.__code__, seen)
    defaults = dict(enumerate(plain.__defaults__ or ())) | (plain.__kwdefaults__ or {})
    yield _tagged("defaults", str(len(defaults)).encode())
    for name, held in defaults.items():
        yield from _encode(name, seen)
        yield from _encode_named(held, plain, seen)
    for name, cell in zip(plain.__code__.co_freevars, plain.__closure__ or (), strict=True):
        try:
            held = cell.cell_contents
        except ValueError as error:
            raise FingerprintError(f"`{plain.__qualname__}` closes over `{name}`, which is empty") from error
        yield from _encode_named(held, plain, seen)
    if not of_library:  # to follow a library through all that it names would end in its internals
        yield from _encode_globals(plain, seen)


def _encode_globals(function: types.FunctionType, seen: _Seen) -> Iterator[bytes]:
    """Yield what a user's function finds in its module, in modules that it imports, and on itself."""
    for name in sorted(global_names(function.__code__)):
        if name in function.__globals__:
            yield from _encode(name, seen)
            yield from _encode_named(function.__globals__[name], function, seen)
    for module in imports_of(function):
        yield from _encode_named(module, function, seen)
    for name, value in vars(function).items():
        if not name.startswith("__"):
            yield from _encode((name, value), seen)


def _encode_named(value: object, owner: types.FunctionType, seen: _Seen) -> Iterator[bytes]:
    """Yield a value that a function names; of a user's module, what has one of the names in its code."""
    if not isinstance(value, types.ModuleType) or is_library(value.__name__):
        yield from _encode(value, seen)
        return
    place = seen.place(value, owner.__code__)
    yield _tagged("module", b"" if place is None else str(place).encode())
    if place is None:
        for name, member in attributes_of(value, owner.__code__).items():
            yield from _encode(name, seen)
            yield from _encode_named(member, owner, seen)


def _encode_class(kind: type, seen: _Seen) -> Iterator[bytes]:
    """Yield a class's name, methods and attributes, bases included; of a library's class, the code."""
    module = "" if kind.__module__ in {"__main__", "__mp_main__"} else kind.__module__  # one script
    yield _tagged("class", f"{module}.{kind.__qualname__}".encode())
    for base in kind.__mro__:
        if base.__module__ == "builtins":
            continue
        place = seen.place(base)
        if place is not None:
            yield _tagged("seen", str(place).encode())
            continue
        of_library = is_library(base.__module__)
        for name, member, is_generated in members_of(base):
            if isinstance(member, types.FunctionType) and (of_library or is_generated):
                yield _tagged("method", name.encode())
                yield from _encode_code(member.__code__, seen)
            elif not of_library or type(member) in _SCALARS:
                yield from _encode((name, member), seen)


def _encode_code(code: types.CodeType, seen: _Seen) -> Iterator[bytes]:
    """Yield what a code object does; its file, its lines and its name do not matter."""
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars)
    # Which statements lie within `try` is told by the exception table alone.
    yield from _encode((shape, code.co_code, code.co_exceptiontable, *names), seen)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _encode_code(constant, seen)
        else:
            yield from _encode(constant, seen)


def _library_bytes(value: Any) -> bytes:
    """Canonical bytes of a Polars or Arrow object."""
    try:
        if type(value).__name__ == "LazyFrame":  # names files, not what they hold
            raise _refusal(value)
        if type(value).__name__ == "Col":  # `pl.col` itself, which takes any attribute for a column
            return b"col"
        if hasattr(value, "meta"):
            content = cast("bytes", value.meta.serialize())
        elif hasattr(value, "serialize"):
            content = bytes(value.serialize())
        elif any(base.__name__ in {"DataType", "Field"} for base in type(value).__mro__):
            content = str(value).encode()
        else:  # the text of a series, an array or a table leaves out its middle
            raise _refusal(value)
    except FingerprintError:
        raise
    except Exception as error:
        raise _python_in(value) from error
    if _PYTHON_FUNCTION.search(content):  # a pickle holds paths, or just the function's name
        raise _python_in(value)
    return content


def _python_in(value: object) -> FingerprintError:
    return FingerprintError(
        f"the expression {value} calls a Python function and so cannot be identified by value; "
        "use `ds.map(function)`, which can"
    )


def _refusal(value: object) -> FingerprintError:
    return FingerprintError(
        f"{value!r} of type {type(value).__qualname__} cannot be identified by value; close over plain "
        "values instead, or pass `version=` with a text that you change whenever the behaviour changes"
    )


def _is_bound(value: types.BuiltinFunctionType) -> bool:
    owner = value.__self__
    return owner is not None and not isinstance(owner, types.ModuleType)


def _scalar(value: object) -> bytes:
    if isinstance(value, float):  # its bits tell apart -0.0 from 0.0; all NaN are one
        return struct.pack("<d", math.nan if math.isnan(value) else value)
    return repr(value).encode()


def _tagged(tag: str, content: bytes) -> bytes:
    return f"{tag}:{len(content)}:".encode() + content
