"""How columns lie in TFRecord files that headrace wrote: `tf.train.Example` messages, a feature a column.

| column                                  | feature                                        |
|-----------------------------------------|------------------------------------------------|
| whole numbers, booleans, dates, times   | int64; uint64 by its bits                      |
| float16, float32                        | float                                          |
| float64                                 | bytes of 8, as no feature holds such numbers   |
| text, decimals, categories, binary      | bytes                                          |
| tensors                                 | bytes of the numbers, row-major, little-endian |
| lists of the above but tensors          | a list of the same; of float64 one value of bytes |
| anything else                           | bytes that are msgpack                         |

A feature that a record lacks is null. A list or tensor that holds nulls is msgpack in that record: bytes
where the others are numbers, and an int64 for each byte where the others are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.sources.protobuf import pack_varints
from headrace.sources.tf_example import BYTES_LIST, FLOAT_LIST, INT_LIST
from headrace.sources.tfrecord import TfRecordOptions
from headrace.sources.written.example_writing import write_bytes_lists, write_examples, write_feature
from headrace.sources.written.numbers import (
    dtype_of,
    from_runs,
    is_number,
    is_tensor,
    places_of,
    to_numbers,
    to_rows,
    to_runs,
    with_nulls,
)
from headrace.sources.written.packing import check_text, pack
from headrace.sources.written.plain import is_null, lengths_of, plain_type, to_plain

COLUMN = "record"
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Form:
    """How one column lies in a record.

    Attributes:
        kind: Which list its feature is, as `tf_example` numbers them.
        shape: `one` value, a `list` of them, a `tensor`, or `packed`.
        dtype: Of the numbers, as they lie there; None for bytes.
    """

    kind: int
    shape: str
    dtype: np.dtype[Any] | None = None


def form_of(kind: pa.DataType) -> Form:
    """Tell how a column of a type lies in a record.

    Raises:
        SchemaError: It cannot.
    """
    if is_tensor(kind):
        return Form(BYTES_LIST, "tensor", dtype_of(kind))
    plain = plain_type(kind)
    shape = "list" if pa.types.is_large_list(plain) else "one"
    item = cast("Any", plain).value_type if shape == "list" else plain
    if pa.types.is_boolean(item) or pa.types.is_integer(item):
        return Form(INT_LIST, shape, np.dtype(np.int64))
    if pa.types.is_float64(item):
        return Form(BYTES_LIST, shape, np.dtype("<f8"))
    if is_number(item):
        return Form(FLOAT_LIST, shape, np.dtype("<f4"))
    if any(is_such(item) for is_such in _BYTES):
        return Form(BYTES_LIST, shape)
    return Form(BYTES_LIST, "packed")


_BYTES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """Return what `TfRecordSource` reads of a file with these columns."""
    return pa.schema([(COLUMN, pa.binary())])


def reader_options() -> TfRecordOptions:
    """How a file is read: the bytes of each record."""
    return TfRecordOptions(content="bytes")


def to_stored(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Write each row as a message.

    Raises:
        SchemaError: A column cannot be written, or a text is no UTF-8; the message names column and row.
    """
    schema = stored_schema(rows.schema)
    features = [
        feature
        for place, name in enumerate(rows.schema.names)
        for feature in _features(rows.column(place), name)
    ]
    records = write_examples(features, rows.num_rows)
    return pa.RecordBatch.from_arrays([records.cast(pa.binary())], schema=schema)


def _features(array: pa.Array, name: str) -> list[pa.Array]:
    """Write one column: a feature, and where some values hold nulls another one for those alone."""
    form = form_of(array.type)
    if pa.types.is_null(plain_type(array.type)):
        return []
    holds, null = np.zeros(len(array), np.bool_), None
    if form.shape == "packed":
        null = is_null(to_plain(array))
        feature = write_feature(
            name, BYTES_LIST, with_nulls(pa.array(pack(array, name), pa.large_binary()), null)
        )
        return [feature]
    if form.shape == "tensor":
        values, null, empty = to_rows(array)
        holds = holds if empty is None else np.asarray(empty.any(axis=1))
        feature = write_feature(name, form.kind, _cells(values, null | holds))
    elif form.shape == "list":
        feature, holds = _write_lists(to_plain(array), form, name)
    else:
        feature = _write_single(to_plain(array), form, name)
    if not holds.any():
        return [feature]
    return [feature, _write_packed(array, form, name, holds)]


def _write_single(plain: pa.Array, form: Form, name: str) -> pa.Array:
    null = is_null(plain)
    if form.dtype is None:
        check_text(plain, name)
        return write_feature(name, form.kind, plain.cast(_as_binary(plain.type)).cast(pa.large_binary()))
    values = _numbers(plain, form)
    if form.kind == INT_LIST:
        data, lengths = pack_varints(values)
        return write_feature(name, form.kind, with_nulls(from_runs(data, places_of(lengths)), null))
    return write_feature(name, form.kind, _cells(values[:, None], null))


def _write_lists(plain: pa.Array, form: Form, name: str) -> tuple[pa.Array, Flags]:
    """Write lists, and tell which hold nulls and are left out."""
    null, items = is_null(plain), cast("Any", plain).flatten()
    lengths = lengths_of(plain)
    holds = np.zeros(len(plain), np.bool_)
    holds[np.repeat(np.arange(len(plain)), lengths)[is_null(items)]] = True
    missing = null | holds
    if form.dtype is None:
        check_text(items, name)
        values = items.fill_null("" if _as_binary(items.type) != items.type else b"")
        values = values.cast(_as_binary(items.type)).cast(pa.large_binary())
        return write_bytes_lists(name, values, lengths, missing), holds
    numbers = _numbers(items, form)
    if form.kind == INT_LIST:
        data, sizes = pack_varints(numbers)
        places = places_of(sizes)[places_of(lengths)]
    else:
        data, places = numbers.view(np.uint8), places_of(lengths) * numbers.itemsize
    return write_feature(name, form.kind, with_nulls(from_runs(data, places), missing)), holds


def _write_packed(array: pa.Array, form: Form, name: str, holds: Flags) -> pa.Array:
    """Write the values that hold nulls, in a list of another kind than the others."""
    places = np.full(len(array), -1)
    chosen = pa.array(np.flatnonzero(holds))
    packed = pa.array(pack(to_plain(array).take(chosen), name), pa.large_binary())
    kind = BYTES_LIST
    if form.kind == BYTES_LIST:
        kind = INT_LIST
        data, offsets = to_runs(packed)
        varints, sizes = pack_varints(data.astype(np.int64))
        packed = from_runs(varints, places_of(sizes)[offsets])
    places[holds] = np.arange(len(packed))
    return write_feature(name, kind, packed.take(pa.array(places, mask=~holds)))


def _numbers(plain: pa.Array, form: Form) -> NDArray[Any]:
    assert form.dtype is not None
    values = to_numbers(plain)[0]
    is_bits = values.dtype == np.uint64
    return values.view(np.int64) if is_bits else np.ascontiguousarray(values, form.dtype)


def _cells(values: NDArray[Any], null: Flags) -> pa.Array:
    """Take the bytes of each row of numbers, of shape [n, m]."""
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    width = values.shape[1] * values.itemsize
    return with_nulls(from_runs(data, np.arange(len(values) + 1) * width), null)


def _as_binary(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string(kind):
        return pa.binary()
    return pa.large_binary() if pa.types.is_large_string(kind) else kind
