"""Arrow's types in terms of few plain ones, without loss, and back.

Formats that know neither time zones nor categories nor decimals hold the plain form: whole numbers for dates,
times and durations, text for decimals, values for categories. Lists of all kinds become large lists, structs
stay structs, and nulls stay where they are at every depth.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.batch import list_array
from headrace.errors import SchemaError

_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
    pa.types.is_map,
)
_SMALL_TIMES = (pa.types.is_date32, pa.types.is_time32)
_SAME = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return what a type becomes.

    Raises:
        SchemaError: It has no plain form: it is a union, or holds one.

    Example:
        >>> plain_type(pa.list_(pa.timestamp("ns", "Europe/Berlin")))
        LargeListType(large_list<item: int64>)
    """
    given = cast("Any", kind)
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if any(is_same(kind) for is_same in _SAME):
        return kind
    if is_list(kind):
        return pa.large_list(plain_type(_value_type(kind)))
    if pa.types.is_struct(kind):
        return pa.struct(list(zip(_member_names(kind), map(plain_type, _member_types(kind)), strict=True)))
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(given.value_type)
    if pa.types.is_decimal(kind):
        return pa.string() if given.scale >= 0 else pa.binary()
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_interval(kind):
        return pa.binary()
    if pa.types.is_temporal(kind):
        return pa.int32() if any(is_small(kind) for is_small in _SMALL_TIMES) else pa.int64()
    raise SchemaError(
        f"{kind} can be written to Arrow IPC files alone; take the column apart, or leave it out"
    )


def to_plain(array: pa.Array) -> pa.Array:
    """Bring an array to its plain form."""
    kind, plain = array.type, plain_type(array.type)
    given = cast("Any", array)
    if kind == plain:
        return array
    if isinstance(kind, pa.BaseExtensionType):
        return to_plain(given.storage)
    if pa.types.is_map(kind):
        return to_plain(array.view(pa.list_(cast("Any", kind).field(0))))
    if is_list(kind):
        lengths = pc.fill_null(pc.call_function("list_value_length", [array]), 0)
        return list_array(to_plain(given.flatten()), np.asarray(lengths, np.int64), is_null(array))
    if pa.types.is_struct(kind):
        parts = [to_plain(given.field(place)) for place in range(kind.num_fields)]
        return pa.StructArray.from_arrays(parts, fields=list(cast("Any", plain)), mask=_mask(array))
    if pa.types.is_dictionary(kind):
        return to_plain(given.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return to_plain(pc.run_end_decode(given))
    if plain == pa.binary() and not pa.types.is_fixed_size_binary(kind):
        return array.view(pa.binary(kind.bit_width // 8)).cast(pa.binary())
    if pa.types.is_temporal(kind):
        return array.view(plain)
    return array.cast(plain)


def from_plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Bring an array back from its plain form.

    Raises:
        ValueError: Its values are none of this type (pyarrow's errors are such).
    """
    given = cast("Any", kind)
    if array.type == kind:
        return array
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, from_plain(array, kind.storage_type))
    if is_list(kind):
        return _to_lists(array, kind)
    if pa.types.is_struct(kind):
        parts = [
            from_plain(cast("Any", array).field(place), member)
            for place, member in enumerate(_member_types(kind))
        ]
        return pa.StructArray.from_arrays(parts, fields=list(given), mask=_mask(array))
    if pa.types.is_dictionary(kind):
        return _to_dictionary(from_plain(array, given.value_type), kind)
    if pa.types.is_run_end_encoded(kind):
        return pc.run_end_encode(from_plain(array, given.value_type), run_end_type=given.run_end_type)
    if pa.types.is_binary(array.type) and not pa.types.is_binary_view(kind):
        if pa.types.is_fixed_size_binary(kind):
            return array.cast(kind)
        return array.cast(pa.binary(kind.bit_width // 8)).view(kind)
    if pa.types.is_temporal(kind):
        return array.view(kind)
    return array.cast(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists of any kind, maps among them."""
    return any(is_such(kind) for is_such in _LISTS)


def is_null(array: pa.Array) -> NDArray[np.bool_]:
    """Tell which values are null, of shape [n]."""
    if not array.null_count and not pa.types.is_run_end_encoded(array.type):
        return np.zeros(len(array), np.bool_)
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False), np.bool_)


def _to_lists(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return _to_fixed_lists(array, kind)
    given, mask = cast("Any", kind), _mask(array)
    values = from_plain(cast("Any", array).flatten(), _value_type(kind))
    lengths = np.asarray(pc.fill_null(pc.call_function("list_value_length", [array]), 0), np.int64)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if pa.types.is_large_list(kind):
        return pa.LargeListArray.from_arrays(pa.array(offsets), values, type=kind, mask=mask)
    if pa.types.is_large_list_view(kind):
        parts = pa.array(offsets[:-1]), pa.array(lengths)
        return pa.LargeListViewArray.from_arrays(*parts, values, type=kind, mask=mask)
    if int(offsets[-1]) >= 1 << 31:
        raise ValueError(f"{offsets[-1]:,} values in one row group are more than {kind} can hold")
    places = pa.array(offsets.astype(np.int32))
    if pa.types.is_list_view(kind):
        sizes = pa.array(lengths.astype(np.int32))
        return pa.ListViewArray.from_arrays(places[:-1], sizes, values, type=kind, mask=mask)
    if pa.types.is_map(kind):
        lists = pa.ListArray.from_arrays(places, values, type=pa.list_(given.field(0)), mask=mask)
        return lists.view(kind)
    return pa.ListArray.from_arrays(places, values, type=kind, mask=mask)


def _to_fixed_lists(array: pa.Array, kind: pa.DataType) -> pa.Array:
    size, null = cast("Any", kind).list_size, is_null(array)
    lengths = np.asarray(pc.fill_null(pc.call_function("list_value_length", [array]), size), np.int64)
    wrong = np.flatnonzero(lengths != size)
    if len(wrong):
        raise ValueError(f"row {wrong[0]} holds {lengths[wrong[0]]} values instead of {size}")
    values, valid = cast("Any", array).flatten(), None
    if null.any():  # whose places there are nulls in
        places = (np.cumsum(~null) - 1)[:, None] * size + np.arange(size)
        values = values.take(pa.array(places.reshape(-1), mask=np.repeat(null, size)))
        valid = pa.array(~null).buffers()[1]
    items = from_plain(values, _value_type(kind))
    return pa.Array.from_buffers(kind, len(array), [valid], children=[items])


def _to_dictionary(values: pa.Array, kind: pa.DataType) -> pa.Array:
    given = cast("Any", kind)
    try:
        encoded = cast("Any", values).dictionary_encode()
        indices, held = encoded.indices, encoded.dictionary
    except pa.ArrowNotImplementedError:  # of values that Arrow cannot look up each is its own
        indices, held = pa.array(np.arange(len(values)), mask=is_null(values)), values
    return pa.DictionaryArray.from_arrays(indices.cast(given.index_type), held, ordered=given.ordered)


def _mask(array: pa.Array) -> pa.Array | None:
    return pa.array(is_null(array)) if array.null_count else None


def _value_type(kind: pa.DataType) -> pa.DataType:
    return cast("Any", kind).field(0).type if pa.types.is_map(kind) else cast("Any", kind).value_type


def _member_types(kind: pa.DataType) -> list[pa.DataType]:
    return [member.type for member in cast("Any", kind)]


def _member_names(kind: pa.DataType) -> list[str]:
    """The names of a struct's members; their numbers where two have one name."""
    names = [member.name for member in cast("Any", kind)]
    return names if len(set(names)) == len(names) else [str(place) for place in range(len(names))]
