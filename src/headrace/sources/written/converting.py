"""Columns turned into other types that hold the same values, there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.batch import list_array

_types: Any = pa.types
_Test = Callable[[Any, Any], bool]
_Way = Callable[[Any, Any], Any]


def convert(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Turn a column into another type that holds the same values.

    Raises:
        pyarrow.ArrowException: It cannot hold one of them.

    Example:
        >>> convert(pa.array([1, None], pa.timestamp("s")), pa.timestamp("ms")).cast("int64").to_pylist()
        [1000, None]
    """
    if array.type == kind:
        return array
    way = next((way for test, way in _WAYS if test(array.type, kind)), None)
    return array.cast(kind) if way is None else way(array, kind)


def to_entries(array: Any) -> Any:
    """Return maps as the lists of keys and values that they are, without a copy."""
    kind = array.type.field(0)
    entries = pa.StructArray.from_arrays([array.keys, array.items], fields=list(kind.type))
    buffers = array.buffers()[:2]
    return pa.Array.from_buffers(pa.list_(kind), len(array), buffers, -1, array.offset, [entries])


def is_list_view(kind: pa.DataType) -> bool:
    """Whether a type is that of lists as views."""
    return _types.is_list_view(kind) or _types.is_large_list_view(kind)


def _is_extension(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType)


def _from_extension(array: Any, kind: Any) -> pa.Array:
    return convert(array.storage, kind)


def _to_extension(array: Any, kind: Any) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, convert(array, kind.storage_type))


def _from_runs(array: Any, kind: Any) -> pa.Array:
    return convert(pc.call_function("run_end_decode", [array]), kind)


def _to_runs(array: Any, kind: Any) -> pa.Array:
    settings = pc.RunEndEncodeOptions(run_end_type=kind.run_end_type)
    return pc.call_function("run_end_encode", [convert(array, kind.value_type)], settings)


def _from_dictionary(array: Any, kind: Any) -> pa.Array:
    return convert(array.dictionary_decode(), kind)


def _to_dictionary(array: Any, kind: Any) -> pa.Array:
    if not _types.is_dictionary(array.type):
        array = convert(array, kind.value_type).dictionary_encode()
    values = convert(array.dictionary, kind.value_type)
    return pa.DictionaryArray.from_arrays(array.indices.cast(kind.index_type), values, ordered=kind.ordered)


def _to_struct(array: Any, kind: Any) -> pa.Array:
    parts = [convert(array.field(place), field.type) for place, field in enumerate(kind)]
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(parts, fields=list(kind), mask=mask)


def _from_views(array: Any, kind: Any) -> pa.Array:
    # Not by a cast, which leaves the last offset unwritten (Arrow 26).
    lengths = pc.call_function("list_value_length", [array]).fill_null(0).to_numpy()
    is_null = array.is_null().to_numpy(zero_copy_only=False)
    return convert(list_array(array.flatten(), lengths, is_null), kind)


def _to_views(array: Any, kind: Any) -> pa.Array:
    is_large = _types.is_large_list_view(kind)
    width, views = (pa.int64(), pa.LargeListViewArray) if is_large else (pa.int32(), pa.ListViewArray)
    sizes = pc.call_function("list_value_length", [array]).fill_null(0).cast(width)
    values = convert(array.values, kind.value_type)
    mask = array.is_null() if array.null_count else None
    starts = array.offsets.slice(0, len(array)).cast(width)
    return views.from_arrays(starts, sizes, values, type=kind, mask=mask)


def _to_map(array: Any, kind: Any) -> pa.Array:
    return _around(array, kind, convert(to_entries(array).values, kind.field(0).type))


def _to_lists(array: Any, kind: Any) -> pa.Array:
    if _types.is_large_list(kind) != _types.is_large_list(array.type):
        return convert(array.cast(_list_type(kind, array.type.value_field)), kind)
    return _around(array, kind, convert(array.values, kind.value_type))


def _list_type(kind: pa.DataType, field: pa.Field) -> pa.DataType:
    return pa.large_list(field) if _types.is_large_list(kind) else pa.list_(field)


def _around(array: Any, kind: pa.DataType, values: pa.Array) -> pa.Array:
    """Put other values into lists of the same lengths."""
    own = array.buffers()[: 1 if _types.is_fixed_size_list(kind) else 2]
    return pa.Array.from_buffers(kind, len(array), own, -1, array.offset, [values])


# The first test that holds for the given type and the wanted one says how; where none does, Arrow casts.
_WAYS: tuple[tuple[_Test, _Way], ...] = (
    (lambda given, kind: _is_extension(given), _from_extension),
    (lambda given, kind: _is_extension(kind), _to_extension),
    (lambda given, kind: _types.is_run_end_encoded(given), _from_runs),
    (lambda given, kind: _types.is_run_end_encoded(kind), _to_runs),
    (lambda given, kind: _types.is_dictionary(kind), _to_dictionary),
    (lambda given, kind: _types.is_dictionary(given), _from_dictionary),
    (lambda given, kind: _types.is_struct(given), _to_struct),
    (lambda given, kind: is_list_view(given), _from_views),
    (lambda given, kind: is_list_view(kind), _to_views),
    (lambda given, kind: _types.is_map(given), _to_map),
    (lambda given, kind: _types.is_nested(given), _to_lists),
)
