"""Values in the names of folders: `year=2013/place=New%20York`, there and back with their exact types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from headrace.errors import CorruptSourceError, SchemaError, UnknownColumnError
from headrace.sources.names import NULL_PARTITION, partitions_of

_LONGEST = 255  # bytes of a folder's name, on most file systems
_types: Any = pa.types


def check_partitions(schema: pa.Schema, partition_by: Sequence[str]) -> None:
    """Refuse columns whose values cannot name folders.

    Raises:
        UnknownColumnError: There is no such column.
        SchemaError: A column has another type than those that folders' names tell exactly, is named twice, or
            no other columns are left.

    Example:
        >>> check_partitions(pa.schema({"year": pa.int32(), "x": pa.float32()}), ["year"])
    """
    missing = [name for name in partition_by if name not in schema.names]
    if missing:
        raise UnknownColumnError.from_names(missing, schema.names, "`partition_by`: the data set")
    if len(set(partition_by)) != len(partition_by):
        raise SchemaError(f"`partition_by` must name each column once, got {list(partition_by)}")
    if partition_by and len(partition_by) == len(schema.names):
        raise SchemaError(
            f"`partition_by` must leave at least one column for the files, got all of {schema.names}"
        )
    for name in partition_by:
        kind = schema.field(name).type
        if not _is_told(kind):
            raise SchemaError(
                "`partition_by` takes columns of whole numbers, decimals, truth values, text, categories of "
                f"text, dates and timestamps, but column `{name}` has the type {kind}; cast it before"
            )


def partition_folder(values: Mapping[str, Any]) -> str:
    """Name the folders of samples that have some values in common.

    Args:
        values: Arrow's scalars, or Python's values, by column, from the outermost folder inwards.

    Returns:
        The folders, each with "/" at its end; what file systems or URLs treat as special is percent-encoded.

    Raises:
        SchemaError: A name gets longer than file systems allow.

    Example:
        >>> partition_folder({"year": 2013, "place": "a/b", "day": None})
        'year=2013/place=a%2Fb/day=__HIVE_DEFAULT_PARTITION__/'
    """
    return "".join(f"{_folder(name, value)}/" for name, value in values.items())


def partition_values(name: str, schema: pa.Schema, partition_by: Sequence[str]) -> dict[str, pa.Array]:
    """Read the values that a file's name gives, each as an array of one value.

    Args:
        name: The file's path below the data set's folder.
        schema: The data set's columns.
        partition_by: Which of them folders tell.

    Raises:
        CorruptSourceError: The file lies elsewhere, or a value is none of its column's type.
    """
    found = partitions_of(name.split("/")[:-1])
    if list(found) != list(partition_by):
        raise CorruptSourceError(
            f"{name}: a file must lie below folders for {list(partition_by)}, but this one lies below those "
            f"for {list(found)}; the manifest is damaged, so write the data set again"
        )
    arrays: dict[str, pa.Array] = {}
    for column, text in found.items():
        kind = schema.field(column).type
        try:
            arrays[column] = _read(text, kind)
        except pa.ArrowException as error:
            raise CorruptSourceError(
                f"{name}: its folder says {text!r} for column `{column}`, which is no {kind}: {error}"
            ) from error
    return arrays


def _folder(name: str, value: Any) -> str:
    scalar = value if isinstance(value, pa.Scalar) else pa.scalar(value)
    text = _text(scalar)
    encoded = NULL_PARTITION if text is None else _encoded(text)
    folder = f"{_encoded(name)}={encoded}"
    if len(folder) > _LONGEST:
        raise SchemaError(
            f"column `{name}`: the folder of the value {text!r} would have a name of {len(folder)} bytes, "
            f"and {_LONGEST} are the most; partition by another column"
        )
    return folder


def _encoded(text: str) -> str:
    """Encode what is special, and what would make the name a hidden one or another one's null."""
    encoded = quote(text, safe=" ") if text.strip() == text else quote(text, safe="")
    if encoded.startswith(".") or encoded == NULL_PARTITION:
        return f"%{ord(encoded[0]):02X}{encoded[1:]}"
    return encoded


def _text(scalar: Any) -> str | None:
    """Write a value as text that `_read` turns back into it."""
    if not scalar.is_valid:
        return None
    if _types.is_dictionary(scalar.type):
        return _text(scalar.value)
    return scalar.cast(pa.string()).as_py()


def _read(text: str | None, kind: Any) -> pa.Array:
    if _types.is_dictionary(kind):
        values = _read(text, kind.value_type).dictionary_encode()
        return pa.DictionaryArray.from_arrays(
            values.indices.cast(kind.index_type), values.dictionary, ordered=kind.ordered
        )
    array = pa.array([text], pa.string())
    if _types.is_timestamp(kind):  # which may be written with more digits of a second than it has
        digits = 0 if text is None else len(text.partition(".")[2])
        array = array.cast(pa.timestamp("ns" if digits > len("000000") else "us", kind.tz))
    return array.cast(kind)


def _is_told(kind: Any) -> bool:
    if _types.is_dictionary(kind):
        return _is_text(kind.value_type) and not kind.ordered
    is_date = _types.is_date32(kind) or _types.is_timestamp(kind)
    is_decimal = _types.is_decimal(kind) and kind.scale >= 0
    return _types.is_integer(kind) or _types.is_boolean(kind) or _is_text(kind) or is_date or is_decimal


def _is_text(kind: Any) -> bool:
    return _types.is_string(kind) or _types.is_large_string(kind) or _types.is_string_view(kind)
