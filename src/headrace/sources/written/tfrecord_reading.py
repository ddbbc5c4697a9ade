"""Columns of `tf.train.Example` messages that headrace wrote, by the types that they had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.batch import list_array
from headrace.errors import CorruptSourceError, UndecodableError
from headrace.sources.decoding import Values
from headrace.sources.protobuf import unpack_varints
from headrace.sources.tf_example import BYTES_LIST, EMPTY, INT_LIST, MISSING, Feature, parse_examples
from headrace.sources.written.numbers import (
    dtype_of,
    from_numbers,
    from_rows,
    from_runs,
    to_runs,
    with_nulls,
)
from headrace.sources.written.packing import unpack
from headrace.sources.written.plain import from_plain, plain_type
from headrace.sources.written.tfrecord_forms import COLUMN, Flags, Form, form_of

Lengths = NDArray[np.int64]


def from_stored(stored: pa.RecordBatch, schema: pa.Schema, columns: Sequence[str]) -> pa.RecordBatch:
    """Build columns of records.

    Args:
        stored: The records, as read.
        schema: All columns of the file.
        columns: Those that are wanted, in order.

    Raises:
        UndecodableError: Some records are damaged.
    """
    wanted = pa.schema([schema.field(name) for name in columns], metadata=schema.metadata)
    if not columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * stored.num_rows, pa.struct([])))
    data, offsets = to_runs(stored.column(COLUMN))
    values = Values(data, offsets[:-1], np.diff(offsets), lambda row: f"row {row}")
    features, failures = parse_examples(values)
    if failures:
        rows = sorted(failures)
        raise UndecodableError.at(rows, f"row {rows[0]}", failures[rows[0]])
    arrays: list[pa.Array] = []
    for field in wanted:
        feature = features.get(field.name, Feature.of(len(values)))
        try:
            arrays.append(_Column(feature, data, field.type).read())
        except UndecodableError as error:
            raise UndecodableError.at(error.rows, f"column `{field.name}`", error) from error
        except (pa.ArrowException, ValueError) as error:
            raise CorruptSourceError(f"column `{field.name}`: cannot be read back: {error}") from error
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


class _Column:
    """One feature of all records, which becomes a column of a type."""

    def __init__(self, feature: Feature, data: NDArray[np.uint8], kind: pa.DataType) -> None:
        self.feature, self.data, self.kind = feature, data, kind
        self.form: Form = form_of(kind)
        self.rows = len(feature.kinds)
        self.null = feature.kinds == MISSING
        self.is_usual = feature.kinds == self.form.kind

    def read(self) -> pa.Array:
        """Build the column."""
        form, kinds = self.form, self.feature.kinds
        may_be_packed = form.shape in ("list", "tensor")
        carrier = INT_LIST if form.kind == BYTES_LIST else BYTES_LIST
        packed = (kinds == carrier) if may_be_packed else np.zeros(self.rows, np.bool_)
        is_empty = (kinds == EMPTY) if form.shape == "list" else np.zeros(self.rows, np.bool_)
        self._refuse(~(self.null | self.is_usual | packed | is_empty), "it is a list of another kind")
        if pa.types.is_null(plain_type(self.kind)):
            return from_plain(pa.nulls(self.rows), self.kind)
        if form.shape == "packed":
            values = unpack(
                (value.as_buffer() for value in self._bytes(self.is_usual)), plain_type(self.kind)
            )
            places = pa.array(np.cumsum(self.is_usual) - 1, mask=~self.is_usual)
            return from_plain(values.take(places), self.kind)
        array = {"one": self._single, "list": self._lists, "tensor": self._tensors}[form.shape]()
        if packed.any():
            array = self._with_packed(array, packed)
        if form.shape == "tensor":
            return pa.ExtensionArray.from_storage(self.kind, array)
        return from_plain(array, self.kind)

    def _single(self) -> pa.Array:
        """Values, one in each record, in plain form."""
        plain, dtype = plain_type(self.kind), self.form.dtype
        if dtype is None:
            self._refuse_loose()
            return with_nulls(self._bytes(np.ones(self.rows, np.bool_)), self.null).cast(plain)
        numbers, counts = self._numbers(dtype)
        wrong = np.zeros(self.rows, np.bool_)
        wrong[self.is_usual] = counts != 1
        self._refuse(wrong, "it must hold one number")
        out = np.zeros(self.rows, numbers.dtype)
        out[self.is_usual] = numbers
        return from_numbers(_as_stored(out, plain), plain, self.null)

    def _lists(self) -> pa.Array:
        """Lists, in plain form; those that hold nulls are null."""
        item, dtype = cast("Any", plain_type(self.kind)).value_type, self.form.dtype
        missing = self.null | (
            self.feature.kinds == (INT_LIST if self.form.kind == BYTES_LIST else BYTES_LIST)
        )
        lengths = np.zeros(self.rows, np.int64)
        if dtype is None:
            loose = self.feature.loose
            lengths[self.is_usual] = 1
            for row, found in loose.items():
                lengths[row] = len(found) if self.is_usual[row] else 0
            values = self._bytes(self.is_usual)
            if loose:
                singles = zip(np.flatnonzero(self.is_usual).tolist(), values.to_pylist(), strict=True)
                pieces = [piece for row, value in singles for piece in loose.get(row, [value])]
                values = pa.array(pieces, pa.large_binary())
            return list_array(values.cast(item), lengths, missing)
        numbers, lengths[self.is_usual] = self._numbers(dtype)
        return list_array(from_numbers(_as_stored(numbers, item), item), lengths, missing)

    def _tensors(self) -> pa.Array:
        """Arrays of one shape, as they are stored; those that hold nulls are null."""
        assert self.form.dtype is not None
        size = cast("Any", self.kind).storage_type.list_size
        numbers, counts = self._numbers(self.form.dtype)
        wrong = np.zeros(self.rows, np.bool_)
        wrong[self.is_usual] = counts != size
        self._refuse(wrong, f"it must hold {size} numbers of {self.form.dtype}")
        rows = numbers.reshape(-1, size)
        if not self.is_usual.all():
            rows = np.zeros((self.rows, size), numbers.dtype)
            rows[self.is_usual] = numbers.reshape(-1, size)
        return cast("Any", from_rows(rows, self.kind, ~self.is_usual)).storage

    def _numbers(self, dtype: np.dtype[Any]) -> tuple[NDArray[Any], Lengths]:
        """The numbers of all usual records, and how many each of them has."""
        self._refuse_loose()
        content, places = self._values(self.is_usual).packed()
        raw = content.to_numpy()
        if self.form.kind == INT_LIST:
            ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(raw < 0x80)])
            return unpack_varints(raw), np.diff(ends[places])
        uneven = np.zeros(self.rows, np.bool_)
        uneven[self.is_usual] = np.diff(places) % dtype.itemsize != 0
        self._refuse(uneven, f"its bytes are no whole number of {dtype}")
        return raw.view(dtype), np.diff(places) // dtype.itemsize

    def _values(self, chosen: Flags) -> Values:
        lengths = np.where(self.is_usual, self.feature.lengths, 0)
        return Values(self.data, self.feature.offsets[chosen], lengths[chosen], str)

    def _bytes(self, chosen: Flags) -> pa.Array:
        content, places = self._values(chosen).packed()
        return from_runs(content.to_numpy(), places)

    def _with_packed(self, array: pa.Array, packed: Flags) -> pa.Array:
        """Put the values that hold nulls where they belong."""
        rows = np.flatnonzero(packed)
        found = [self.feature.value(self.data, row) for row in rows.tolist()]
        if self.form.kind == BYTES_LIST:
            values = [np.asarray(value).astype(np.uint8).tobytes() for value in found]
        else:
            values = [value[0] for value in found]
        kind = array.type if self.form.shape == "list" else self.kind
        unpacked = unpack(values, kind)
        if self.form.shape == "tensor":
            unpacked = cast("Any", unpacked).storage
        places = np.arange(self.rows)
        places[rows] = self.rows + np.arange(len(rows))
        return pa.concat_arrays([array, unpacked]).take(pa.array(places))

    def _refuse_loose(self) -> None:
        loose = np.zeros(self.rows, np.bool_)
        loose[list(self.feature.loose)] = True
        self._refuse(loose & self.is_usual, "it must hold its values in one piece")

    def _refuse(self, wrong: Flags, reason: str) -> None:
        if wrong.any():
            rows = np.flatnonzero(wrong).tolist()
            raise UndecodableError.at(rows, f"row {rows[0]}", reason)


def _as_stored(numbers: NDArray[Any], kind: pa.DataType) -> NDArray[Any]:
    """Bring numbers from the dtype in the file to that of the column."""
    dtype = dtype_of(kind)
    if dtype == np.uint64:
        return numbers.view(np.uint64)
    return numbers.astype(dtype, copy=False)
