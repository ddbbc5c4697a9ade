"""Arrow's types in terms of few plain ones, without loss, and back.

Formats that know neither time zones nor categories nor decimals hold the plain form: whole numbers for dates,
times and durations, text for decimals, values for categories. Lists of all kinds become large lists, structs
stay structs, and nulls stay where they are at every depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.batch import list_array
from headrace.errors import SchemaError

_types = pa.types
_LISTS = (
    _types.is_list,
    _types.is_large_list,
    _types.is_fixed_size_list,
    _types.is_list_view,
    _types.is_large_list_view,
    _types.is_map,
)
_SAME = (
    _types.is_null,
    _types.is_boolean,
    _types.is_integer,
    _types.is_floating,
    _types.is_string,
    _types.is_large_string,
    _types.is_binary,
    _types.is_large_binary,
)
_SMALL = 32  # bits of the shorter times
_FAMILIES: Mapping[str, Sequence[Callable[[Any], bool]]] = {
    "same": _SAME,
    "list": _LISTS,
    "struct": (_types.is_struct,),
    "dictionary": (_types.is_dictionary,),
    "runs": (_types.is_run_end_encoded,),
    "decimal": (_types.is_decimal,),
    "view": (_types.is_string_view, _types.is_binary_view),
    "bytes": (_types.is_fixed_size_binary, _types.is_interval),
    "time": (_types.is_temporal,),
}


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return what a type becomes.

    Raises:
        SchemaError: It has no plain form: it is a union, or holds one.

    Example:
        >>> plain_type(pa.list_(pa.timestamp("ns", "Europe/Berlin")))
        LargeListType(large_list<item: int64>)
    """
    given: Any = kind
    match _family(kind):
        case "same":
            plain = kind
        case "extension":
            plain = plain_type(given.storage_type)
        case "list":
            plain = pa.large_list(plain_type(_value_type(kind)))
        case "struct":
            members = map(plain_type, _member_types(kind))
            plain = pa.struct(list(zip(_member_names(kind), members, strict=True)))
        case "dictionary" | "runs":
            plain = plain_type(given.value_type)
        case "decimal":
            plain = pa.string() if given.scale >= 0 else pa.binary()
        case "view":
            plain = pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary()
        case "bytes":
            plain = pa.binary()
        case _:
            plain = pa.int32() if kind.bit_width == _SMALL else pa.int64()
    return plain


def to_plain(array: pa.Array) -> pa.Array:
    """Bring an array to its plain form."""
    given: Any = array
    plain = plain_type(array.type)
    match _family(array.type):
        case _ if array.type == plain:
            result = array
        case "extension":
            result = to_plain(given.storage)
        case "list":
            result = _list_to_plain(array)
        case "struct":
            result = _struct_to_plain(array)
        case "dictionary":
            result = to_plain(given.dictionary_decode())
        case "runs":
            result = to_plain(pc.call_function("run_end_decode", [array]))
        case "time":
            result = array.view(plain)
        case "bytes":
            result = _bytes_to_plain(array)
        case _:
            is_text = plain != pa.binary()  # of a decimal
            result = array.cast(plain) if is_text else _bytes_to_plain(array)
    return result


def from_plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Bring an array back from its plain form.

    Raises:
        ValueError: Its values are none of this type (pyarrow's errors are such).
    """
    given: Any = kind
    match _family(kind):
        case _ if array.type == kind:
            result = array
        case "extension":
            result = pa.ExtensionArray.from_storage(kind, from_plain(array, given.storage_type))
        case "list":
            result = _to_lists(array, kind)
        case "struct":
            result = _to_struct(array, kind)
        case "dictionary":
            result = _to_dictionary(from_plain(array, given.value_type), kind)
        case "runs":
            options = pc.RunEndEncodeOptions(given.run_end_type)
            result = pc.call_function("run_end_encode", [from_plain(array, given.value_type)], options)
        case "time":
            result = array.view(kind)
        case "bytes":
            result = _to_bytes(array, kind)
        case _:
            is_bytes = array.type == pa.binary() and pa.types.is_decimal(kind)
            result = _to_bytes(array, kind) if is_bytes else array.cast(kind)
    return result


def _family(kind: pa.DataType) -> str:
    if isinstance(kind, pa.BaseExtensionType):
        return "extension"
    for name, tests in _FAMILIES.items():
        if any(is_such(kind) for is_such in tests):
            return name
    raise SchemaError(
        f"{kind} can be written to Arrow IPC files alone; take the column apart, or leave it out"
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists of any kind, maps among them."""
    return any(is_such(kind) for is_such in _LISTS)


def lengths_of(array: pa.Array) -> NDArray[np.int64]:
    """Tell how many values each list holds, 0 where it is null; int64 of shape [n]."""
    return np.asarray(pc.fill_null(pc.call_function("list_value_length", [array]), 0), np.int64)


def is_null(array: pa.Array) -> NDArray[np.bool_]:
    """Tell which values are null, of shape [n]."""
    if not array.null_count and not pa.types.is_run_end_encoded(array.type):
        return np.zeros(len(array), np.bool_)
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False), np.bool_)


def _list_to_plain(array: Any) -> pa.Array:
    if pa.types.is_map(array.type):
        return to_plain(array.view(pa.list_(array.type.field(0))))
    lengths, null = lengths_of(array), is_null(array)
    if pa.types.is_list_view(array.type) or pa.types.is_large_list_view(array.type):
        # Values lie in any order, and `flatten` of a slice miscounts those that are null.
        begins = np.asarray(array.offsets, np.int64) - (np.cumsum(lengths) - lengths)
        places = np.repeat(begins, lengths) + np.arange(int(lengths.sum()))
        return list_array(to_plain(array.values).take(pa.array(places)), lengths, null)
    return list_array(to_plain(array.flatten()), lengths, null)


def _struct_to_plain(array: Any) -> pa.Array:
    parts = [to_plain(array.field(place)) for place in range(array.type.num_fields)]
    fields: Any = list(cast("Any", plain_type(array.type)))
    return pa.StructArray.from_arrays(parts, fields=fields, mask=_mask(array))


def _bytes_to_plain(array: Any) -> pa.Array:
    return array.view(pa.binary(array.type.bit_width // 8)).cast(pa.binary())


def _to_lists(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return _to_fixed_lists(array, kind)
    given, mask, lengths = cast("Any", kind), _mask(array), lengths_of(array)
    values = from_plain(cast("Any", array).flatten(), _value_type(kind))
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
    lengths = lengths_of(array)
    wrong = np.flatnonzero(~null & (lengths != size))
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


def _to_struct(array: Any, kind: Any) -> pa.Array:
    members = zip(array.flatten(), _member_types(kind), strict=True)  # null where the struct is
    parts = [from_plain(part, member) for part, member in members]
    return pa.StructArray.from_arrays(parts, fields=list(kind), mask=_mask(array))


def _to_bytes(array: pa.Array, kind: Any) -> pa.Array:
    return array.cast(pa.binary(kind.bit_width // 8)).view(kind)


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
