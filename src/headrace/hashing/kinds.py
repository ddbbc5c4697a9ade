"""Which types hold values that can be equal, as `headrace.hashing` compares them."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from headrace.hashing.arrays import arrays_of
from headrace.hashing.forms import is_text

NULL = "null"  # the kind of a column of nothing else


def kind_of(type_: pa.DataType) -> str:
    """Name the kind of a type's values; those of different kinds are never equal.

    Example:
        >>> kind_of(pa.int8()), kind_of(pa.dictionary(pa.int8(), pa.string()))
        ('whole number', 'text')
        >>> kind_of(pa.list_(pa.int8())) == kind_of(pa.list_(pa.int64()))
        False
    """
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return kind_of(type_.value_type)
    arrays = arrays_of(pa.nulls(0, type_))
    if arrays is not None:
        return f"array of {arrays.layout}"
    if isinstance(type_, pa.BaseExtensionType):
        return kind_of(type_.storage_type)
    if pa.types.is_struct(type_):
        return f"struct of {', '.join(f'{field.name}: {kind_of(field.type)}' for field in type_)}"
    if pa.types.is_nested(type_) and not pa.types.is_map(type_) and not pa.types.is_union(type_):
        return f"list of {kind_of(type_.value_type)}"
    return next((kind for kind, is_kind in _KINDS if is_kind(type_)), str(type_))


# Values of these are compared with each other, whatever their width or unit.
_KINDS: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
    (NULL, pa.types.is_null),
    ("boolean", pa.types.is_boolean),
    ("whole number", pa.types.is_integer),
    ("float", pa.types.is_floating),
    ("decimal", pa.types.is_decimal),
    ("text", is_text),
    ("bytes", pa.types.is_binary),
    ("bytes", pa.types.is_large_binary),
    ("bytes", pa.types.is_binary_view),
    ("bytes", pa.types.is_fixed_size_binary),
    ("time stamp", pa.types.is_timestamp),
    ("date", pa.types.is_date),
    ("time", pa.types.is_time),
    ("duration", pa.types.is_duration),
)
