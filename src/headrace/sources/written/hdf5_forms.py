"""How columns lie in an HDF5 file that headrace wrote.

| column                               | in the file                                                   |
|--------------------------------------|---------------------------------------------------------------|
| numbers, booleans, dates and times   | a data set of numbers or booleans                             |
| tensors                              | a data set of shape [n, ...]                                  |
| text, decimals, categories           | a data set of variable-length UTF-8                           |
| binary, lists of numbers             | a group of `values` and `offsets`                             |
| anything else                        | the same, of bytes that are msgpack                           |

Which values are null is in the data set `_nulls`, of shape [n, columns]: 1 for null, 2 for a list that holds
nulls; such a list has its values, 0 for the null ones, and then as many numbers, 1 for the null ones. HDF5
keeps no checksum of text, so `_checksums` does. In text, a zero byte, which HDF5 cannot hold, is the two
characters U+0010 and "0", and U+0010 is there twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.batch import list_array
from headrace.errors import CorruptSourceError, SchemaError, UndecodableError
from headrace.sources.building import tensor_array
from headrace.sources.written.numbers import (
    dtype_of,
    from_numbers,
    from_rows,
    from_runs,
    is_number,
    is_tensor,
    places_of,
    to_numbers,
    to_rows,
    to_runs,
    with_nulls,
)
from headrace.sources.written.packing import check_text, pack, unpack
from headrace.sources.written.plain import from_plain, is_null, lengths_of, plain_type, to_plain

NULLS, CHECKSUMS = "_nulls", "_checksums"
_NULL, _HOLDS_NULLS = 1, 2
_SEED = 3  # of the hash of a text
_ESCAPE = "\x10"
_OWN = re.compile(r"_nulls|_checksums|_column_[0-9]+|\.\.?")
Flags = NDArray[np.bool_]


def stored_name(schema: pa.Schema, place: int) -> str:
    """Name a column in the file: as it is, unless HDF5 or this layout gives that name a meaning.

    Example:
        >>> schema = pa.schema([("age", pa.int8()), ("km/h", pa.float32())])
        >>> stored_name(schema, 0), stored_name(schema, 1)
        ('age', '_column_1')
    """
    name = schema.names[place]
    is_plain = name and "/" not in name and "\0" not in name and not _OWN.fullmatch(name)
    return name if is_plain else f"_column_{place}"


def form_of(kind: pa.DataType) -> str:
    """Tell how a type lies in the file: `nothing`, `number`, `tensor`, `text`, `bytes`, `list` or `packed`.

    Raises:
        SchemaError: It cannot.
    """
    if is_tensor(kind):
        return "tensor"
    plain = plain_type(kind)
    item = cast("Any", plain).value_type if pa.types.is_large_list(plain) else None
    if item is not None:
        return "list" if is_number(item) or pa.types.is_boolean(item) else "packed"
    return next((form for is_such, form in _FORMS if is_such(plain)), "packed")


_FORMS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (pa.types.is_null, "nothing"),
    (is_number, "number"),
    (pa.types.is_boolean, "number"),
    (pa.types.is_string, "text"),
    (pa.types.is_large_string, "text"),
    (pa.types.is_binary, "bytes"),
    (pa.types.is_large_binary, "bytes"),
)


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """Return what `Hdf5Source` reads of a file with these columns."""
    fields = [
        pa.field(stored_name(schema, place), _stored_type(schema.field(place).type))
        for place in range(len(schema))
        if form_of(schema.field(place).type) != "nothing"
    ]
    fields.append(pa.field(NULLS, pa.fixed_shape_tensor(pa.uint8(), [max(len(schema), 1)])))
    if texts := len(_texts(schema)):
        fields.append(pa.field(CHECKSUMS, pa.fixed_shape_tensor(pa.uint64(), [texts])))
    return pa.schema(fields)


def _stored_type(kind: pa.DataType) -> pa.DataType:
    match form_of(kind):
        case "number":
            return plain_type(kind)
        case "tensor":
            return pa.fixed_shape_tensor(cast("Any", kind).value_type, list(cast("Any", kind).shape))
        case "text":
            return pa.string()
        case "list":
            return pa.large_list(pa.from_numpy_dtype(dtype_of(plain_type(kind))))
        case _:
            return pa.large_list(pa.uint8())


def to_stored(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Lay columns out as they lie in the file.

    Raises:
        SchemaError: A tensor holds nulls, or a text is no UTF-8; the message names column and row.
    """
    schema = stored_schema(rows.schema)
    flags = np.zeros((rows.num_rows, max(rows.num_columns, 1)), np.uint8)
    sums: list[NDArray[np.uint64]] = []
    arrays: list[pa.Array] = []
    for place, name in enumerate(rows.schema.names):
        array = rows.column(place)
        stored, flags[:, place] = _to_stored(array, name)
        if stored is not None:
            arrays.append(stored)
        if form_of(array.type) == "text":
            sums.append(_checksums(arrays[-1]))
    arrays.append(tensor_array(flags))
    if sums:
        arrays.append(tensor_array(np.stack(sums, axis=1)))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _to_stored(array: pa.Array, name: str) -> tuple[pa.Array | None, NDArray[np.uint8]]:
    """Lay one column out, and flag its nulls."""
    form, kind = form_of(array.type), _stored_type(array.type)
    if form == "nothing":
        return None, np.full(len(array), _NULL, np.uint8)
    if form == "tensor":
        values, null, empty = to_rows(array)
        if empty is not None:
            raise SchemaError(
                f"column `{name}`, row {int(empty.any(axis=1).argmax())}: an HDF5 data set of shape [n, ...] "
                "holds no nulls within a row; fill them, or write another format"
            )
        return from_rows(values, kind), null.view(np.uint8)
    plain = to_plain(array)
    null = is_null(plain)
    flags = null.view(np.uint8)
    if form == "number":
        return from_numbers(to_numbers(plain)[0], kind), flags
    if form == "text":
        check_text(plain, name)
        return _escaped(plain.fill_null("").cast(pa.string())), flags
    if form == "list":
        return _to_lists(plain, flags)
    if form == "bytes":
        data, offsets = to_runs(plain.fill_null(b""))
    else:
        data, offsets = to_runs(pa.array(pack(array, name), pa.large_binary()))
    return list_array(pa.array(data), np.diff(offsets)), flags


def _to_lists(plain: pa.Array, flags: NDArray[np.uint8]) -> tuple[pa.Array, NDArray[np.uint8]]:
    """Lay lists of numbers out; behind the values of a list that holds nulls is which of them are."""
    lengths = lengths_of(plain)
    values, null = to_numbers(cast("Any", plain).flatten())
    if not null.any():
        return list_array(pa.array(values), lengths), flags
    holds = np.zeros(len(plain), np.bool_)
    holds[np.repeat(np.arange(len(plain)), lengths)[null]] = True
    is_flag = _is_flag(np.where(holds, 2 * lengths, lengths), holds)
    out = np.empty(len(is_flag), values.dtype)
    out[~is_flag] = values
    out[is_flag] = null[np.repeat(holds, lengths)]
    flags = np.where(holds, np.uint8(_HOLDS_NULLS), flags)
    return list_array(pa.array(out), np.where(holds, 2 * lengths, lengths)), flags


def _is_flag(lengths: NDArray[np.int64], holds: Flags) -> Flags:
    """Tell which numbers are in the second half of a list that holds nulls."""
    places = np.arange(int(lengths.sum())) - np.repeat(places_of(lengths)[:-1], lengths)
    return np.repeat(holds, lengths) & (places >= np.repeat(lengths // 2, lengths))


def stored_columns(columns: Sequence[str], schema: pa.Schema, null_counts: Mapping[str, int]) -> list[str]:
    """Name what must be read of a file for some columns."""
    places = {name: place for place, name in enumerate(schema.names)}
    forms = {name: form_of(schema.field(name).type) for name in columns}
    found = [stored_name(schema, places[name]) for name in columns if forms[name] != "nothing"]
    needs = [name for name in columns if needs_flags(schema.field(name).type, null_counts.get(name, 0))]
    found += [NULLS] if needs or not found else []
    return [*found, CHECKSUMS] if "text" in forms.values() else found


def needs_flags(kind: pa.DataType, nulls: int) -> bool:
    """Whether a column cannot be told without its flags."""
    form = form_of(kind)
    if form in ("nothing", "packed"):
        return False
    # Nulls among the values that codes or runs stand for are in no count.
    hides = pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind)
    is_wrapped = isinstance(kind, pa.BaseExtensionType) and form != "tensor"
    return nulls > 0 or form == "list" or hides or is_wrapped


def from_stored(stored: pa.RecordBatch, schema: pa.Schema, columns: Sequence[str]) -> pa.RecordBatch:
    """Bring columns back from how they lie in the file.

    Args:
        stored: What `stored_columns` names, as read.
        schema: All columns of the file.
        columns: Those that are wanted, in order.

    Raises:
        UndecodableError: Some values are damaged.
    """
    flags = _matrix(stored, NULLS, len(schema))
    sums = _matrix(stored, CHECKSUMS, len(_texts(schema)))
    arrays: list[pa.Array] = []
    for name in columns:
        place, kind = schema.get_field_index(name), schema.field(name).type
        if form_of(kind) == "nothing":
            arrays.append(from_plain(pa.nulls(stored.num_rows), kind))
            continue
        array = stored.column(stored_name(schema, place))
        if form_of(kind) == "text" and sums is not None:
            _check_sums(array, sums[:, _texts(schema).index(name)], name)
        try:
            arrays.append(_from_stored(array, kind, None if flags is None else flags[:, place]))
        except UndecodableError as error:
            raise UndecodableError.at(error.rows, f"column `{name}`", error) from error
        except (pa.ArrowException, ValueError) as error:
            raise CorruptSourceError(f"column `{name}`: cannot be read back: {error}") from error
    wanted = pa.schema([schema.field(name) for name in columns], metadata=schema.metadata)
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * stored.num_rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _from_stored(array: pa.Array, kind: pa.DataType, flags: NDArray[np.uint8] | None) -> pa.Array:
    """Bring one column back."""
    null = None if flags is None else flags == _NULL
    plain = plain_type(kind)
    match form_of(kind):
        case "tensor":
            values, _, _ = to_rows(array)
            return from_rows(values, kind, null)
        case "number":
            return from_plain(from_numbers(to_numbers(array)[0], plain, null), kind)
        case "text":
            return from_plain(with_nulls(_unescaped(array), null).cast(plain), kind)
        case "list":
            return from_plain(_from_lists(array, plain, flags), kind)
        case form:
            lengths = lengths_of(array)
            values = from_runs(to_numbers(cast("Any", array).flatten())[0], places_of(lengths))
            if form == "packed":
                return unpack((value.as_buffer() for value in values), kind)
            return from_plain(with_nulls(values, null).cast(plain), kind)


def _from_lists(array: pa.Array, plain: pa.DataType, flags: NDArray[np.uint8] | None) -> pa.Array:
    lengths = lengths_of(array)
    values, _ = to_numbers(cast("Any", array).flatten())
    item, inside = cast("Any", plain).value_type, None
    holds = np.zeros(len(array), np.bool_) if flags is None else flags == _HOLDS_NULLS
    if holds.any():
        is_flag = _is_flag(lengths, holds)
        lengths = np.where(holds, lengths // 2, lengths)
        inside = np.zeros(int(lengths.sum()), np.bool_)
        inside[np.repeat(holds, lengths)] = values[is_flag] != 0
        values = values[~is_flag]
    null = None if flags is None else flags == _NULL
    return list_array(from_numbers(values, item, inside), lengths, null)


def _texts(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if form_of(field.type) == "text"]


def _matrix(stored: pa.RecordBatch, name: str, width: int) -> NDArray[Any] | None:
    """Take flags or checksums, of shape [n, columns]."""
    if name not in stored.schema.names:
        return None
    values, _, _ = to_rows(stored.column(name))
    if values.shape[1] != max(width, 1):
        raise CorruptSourceError(
            f"`{name}` must have {width} columns, got {values.shape[1]}; the file is of another data set"
        )
    return values


def _checksums(text: pa.Array) -> NDArray[np.uint64]:
    from headrace.hashing.xxh3_kernels import hash_runs

    return hash_runs(*to_runs(text), _SEED)[:, 0]


def _check_sums(text: pa.Array, kept: NDArray[np.uint64], name: str) -> None:
    wrong = np.flatnonzero(_checksums(text) != kept).tolist()
    if wrong:
        reason = "the text does not have the checksum that is stored; the file is damaged"
        raise UndecodableError.at(wrong, f"column `{name}`, row {wrong[0]}", reason)


def _escaped(text: pa.Array) -> pa.Array:
    content, _ = to_runs(text)
    if not bool(((content == 0) | (content == ord(_ESCAPE))).any()):
        return text
    doubled = pc.call_function("replace_substring", [text], pc.ReplaceSubstringOptions(_ESCAPE, 2 * _ESCAPE))
    return pc.call_function("replace_substring", [doubled], pc.ReplaceSubstringOptions("\0", f"{_ESCAPE}0"))


def _unescaped(text: pa.Array) -> pa.Array:
    content, _ = to_runs(text)
    if not bool((content == ord(_ESCAPE)).any()):
        return text
    found = [re.sub(f"{_ESCAPE}(.)", _plain, value, flags=re.DOTALL) for value in text.to_pylist()]
    return pa.array(found, text.type)


def _plain(match: re.Match[str]) -> str:
    return "\0" if match[1] == "0" else match[1]
