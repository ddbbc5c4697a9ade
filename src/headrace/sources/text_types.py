"""The types that users give to columns of text, and what parsers need instead of some of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.errors import OptionError

_PYTHON = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string(), bytes: pa.binary()}


def to_types(types: Any) -> dict[str, pa.DataType]:
    """Read a mapping from column to type: of Arrow, Polars, NumPy or Python, or the name of one.

    Raises:
        OptionError: It is no mapping, or a type is not known.

    Example:
        >>> to_types({"a": "int8", "b": float, "c": np.uint16})["c"]
        DataType(uint16)
    """
    if not isinstance(types, Mapping):
        raise OptionError(f"`types` must map columns to types, got {types!r}")
    return {str(name): _to_type(str(name), kind) for name, kind in types.items()}


def _to_type(name: str, kind: Any) -> pa.DataType:
    if isinstance(kind, pa.DataType):
        found = kind
    elif isinstance(kind, type) and kind in _PYTHON:
        found = _PYTHON[kind]
    elif getattr(kind, "__module__", type(kind).__module__).startswith("polars"):
        import polars as pl

        found = pl.DataFrame(schema={name: kind}).to_arrow().schema.field(0).type
    else:
        try:
            is_alias = isinstance(kind, str) and not kind.startswith(("<", ">", "|"))
            found = pa.type_for_alias(kind) if is_alias else pa.from_numpy_dtype(np.dtype(kind))
        except (TypeError, ValueError, NotImplementedError, pa.ArrowException) as error:
            raise OptionError(f"`types` must give column `{name}` a known type, got {kind!r}") from error
    if pa.types.is_string_view(found):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(found) else found


def is_plain(kind: pa.DataType) -> bool:
    """Whether a type is one of numbers, text, dates or times, which a text can hold."""
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal128(kind)
    is_time = pa.types.is_date32(kind) or pa.types.is_timestamp(kind)
    return is_text or is_number or is_time or pa.types.is_boolean(kind) or pa.types.is_null(kind)
