"""Values of any type as msgpack, one value a row: what has no natural form in a file, and rows of LMDB."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.errors import MissingDependencyError, SchemaError, UndecodableError
from headrace.sources.written.plain import from_plain, plain_type, to_plain


def pack(array: pa.Array, name: str) -> list[bytes]:
    """Pack each value.

    Args:
        array: A column.
        name: Its name, for errors.

    Raises:
        SchemaError: A text is no UTF-8.
    """
    pack_one = _packer()
    return [pack_one(value) for value in to_python(to_plain(array), name)]


def unpack(values: Iterable[bytes | memoryview], kind: pa.DataType) -> pa.Array:
    """Build a column of values that were packed.

    Raises:
        UndecodableError: Some are damaged; its `rows` are their places.
    """
    return from_python(unpack_rows(values), kind)


def pack_rows(names: list[str], columns: list[list[Any]]) -> list[bytes]:
    """Pack each row as a map of names to values."""
    pack_one = _packer()
    if not columns:
        return []
    return [pack_one(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def unpack_rows(values: Iterable[bytes | memoryview]) -> list[Any]:
    """Unpack each value.

    Raises:
        UndecodableError: Some are damaged; its `rows` are their places.
    """
    unpack_one = _unpacker()
    found: list[Any] = []
    failures: dict[int, Exception] = {}
    for row, value in enumerate(values):
        try:
            found.append(unpack_one(value))
        except Exception as error:
            failures[row] = error
            found.append(None)
    if failures:
        rows = sorted(failures)
        raise UndecodableError.at(rows, f"row {rows[0]}", failures[rows[0]])
    return found


def to_python(plain: pa.Array, name: str) -> list[Any]:
    """List a plain column's values as Python objects.

    Raises:
        SchemaError: A text is no UTF-8; the message names the row.
    """
    try:
        return plain.to_pylist()
    except UnicodeDecodeError:
        for row in range(len(plain)):
            try:
                plain[row].as_py()
            except UnicodeDecodeError as error:
                raise SchemaError(f"column `{name}`, row {row}: {_NO_TEXT}: {error}") from error
        raise


def from_python(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Build a column of Python objects in plain form.

    Raises:
        UndecodableError: Some are of another type; its `rows` are their places.
    """
    plain = plain_type(kind)
    try:
        return from_plain(pa.array(values, plain), kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        rows, reason = _unfit(values, plain)
        raise UndecodableError.at(rows, f"row {rows[0]}", reason or error) from error


def check_text(array: pa.Array, name: str) -> None:
    """Refuse text that is no UTF-8, which no reader would take.

    Raises:
        SchemaError: The message names the row.
    """
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        to_python(array, name)
        raise


_NO_TEXT = "text must be UTF-8; make the column binary, or leave the row out"


def _unfit(values: list[Any], plain: pa.DataType) -> tuple[list[int], Exception | None]:
    """Find the values that are of another type."""
    failures: dict[int, Exception] = {}
    for row, value in enumerate(values):
        try:
            pa.scalar(value, plain)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            failures[row] = error
    rows = sorted(failures)
    return (rows, failures[rows[0]]) if rows else (list(np.arange(len(values)).tolist()), None)


def _packer() -> Callable[[Any], bytes]:
    try:
        import msgpack
    except ImportError as error:
        raise MissingDependencyError.from_extra("msgpack", "msgpack", "writing nested columns") from error
    return msgpack.Packer(use_bin_type=True).pack


def _unpacker() -> Callable[[bytes | memoryview], Any]:
    try:
        import msgpack
    except ImportError as error:
        raise MissingDependencyError.from_extra("msgpack", "msgpack", "reading nested columns") from error

    def unpack_one(value: bytes | memoryview) -> Any:
        return msgpack.unpackb(value, raw=False, strict_map_key=True, ext_hook=_refuse)

    return unpack_one


def _refuse(code: int, data: bytes) -> Any:
    raise ValueError(f"msgpack extension types are never written, got type {code} of {len(data)} bytes")
