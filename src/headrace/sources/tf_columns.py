"""Columns of `tf.train.Example` features: their types by the first records, their values by many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import SchemaError, UndecodableError
from headrace.sources.building import Failures, build_column, infer_columns, tensor_array, tensor_type
from headrace.sources.decoding import Binary, Decoder, Types, Values
from headrace.sources.protobuf import unpack_varints
from headrace.sources.tf_example import (
    BYTES_LIST,
    EMPTY,
    FLOAT_LIST,
    INT_LIST,
    KIND_NAMES,
    MISSING,
    Feature,
    parse_examples,
)

_NUMBERS = {FLOAT_LIST: np.dtype(np.float32), INT_LIST: np.dtype(np.int64)}


@dataclass(frozen=True, slots=True)
class Examples:
    """Decodes records that are `tf.train.Example` messages.

    Attributes:
        features: Which features are wanted; None takes those of the first records.
        decoders: What decodes the bytes of a feature, by name; others stay bytes.
        shapes: Shape of one sample of a number feature, by name; `(-1,)` for lists.
        is_strict: Whether a missing feature is an error instead of null.
    """

    features: tuple[str, ...] | None
    decoders: Mapping[str, Decoder]
    shapes: Mapping[str, tuple[int, ...]]
    is_strict: bool

    def infer(self, values: Values) -> Types:
        """Tell the columns by the first records."""
        first = values.head(16)
        found, failures = parse_examples(first)
        if failures and len(failures) == len(first):
            raise UndecodableError.at([0], first.label(0), failures[0])
        names = tuple(found) if self.features is None else self.features
        types: Types = {}
        for name in names:
            if name not in found:
                raise SchemaError(f"{first.label(0)}: none of the first records has the feature `{name}`")
            for part, kind in self._infer_feature(name, found[name], first).items():
                types[f"{name}.{part}" if part else name] = kind
        return types

    def _infer_feature(self, name: str, feature: Feature, values: Values) -> Types:
        present = np.flatnonzero((feature.kinds != MISSING) & (feature.kinds != EMPTY))
        kinds = np.unique(feature.kinds[present]).tolist()
        if not kinds:
            return {"": pa.null()}
        if len(kinds) > 1:
            raise SchemaError(f"`{name}` must be of one kind, got {[KIND_NAMES[kind] for kind in kinds]}")
        parts = _parts_of(feature, values, present.tolist())
        if kinds == [BYTES_LIST]:
            if any(len(part) != 1 for part in parts.values()):
                return {"": pa.list_(pa.binary())}
            return self._decoder(name).infer(_chosen(feature, values, present))
        shape = self.shapes.get(name, (-1,) if bool((feature.kinds == EMPTY).any()) else None)
        if shape is not None and shape != (-1,):
            return {"": tensor_type(_NUMBERS[kinds[0]], shape)}
        if shape is None and all(len(part) == 1 for part in parts.values()):
            parts = {label: part[0] for label, part in parts.items()}
        return infer_columns(parts, shape)

    def _decoder(self, name: str) -> Decoder:
        return self.decoders.get(name, Binary())

    def decode(self, values: Values, types: Types) -> dict[str, pa.Array]:
        """Decode all records to these columns."""
        found, broken = parse_examples(values)
        failures: dict[int, Any] = dict(broken)
        columns: dict[str, pa.Array] = {}
        known = {name.split(".")[0] for name in types} | set(types)
        for name, feature in found.items():
            if name not in known and self.features is None:
                row = int(np.flatnonzero(feature.kinds)[0]) if feature.kinds.any() else 0
                failures.setdefault(
                    row,
                    f"has the feature `{name}`, which the first records lack; name what is wanted "
                    "by `features=`",
                )
        for name in dict.fromkeys(_owner(column, found, self.decoders) for column in types):
            feature = found.get(name, Feature.of(len(values)))
            parts = {
                column: kind for column, kind in types.items() if _owner(column, found, self.decoders) == name
            }
            missing = np.flatnonzero(feature.kinds == MISSING).tolist()
            if self.is_strict:
                failures |= {row: f"lacks the feature `{name}`" for row in missing if row not in failures}
            columns |= self._decode_feature(name, feature, values, parts, failures)
        if failures:
            rows = sorted(failures)
            raise UndecodableError.at(rows, values.label(rows[0]), failures[rows[0]])
        return columns

    def _decode_feature(
        self, name: str, feature: Feature, values: Values, types: Types, failures: dict[int, Any]
    ) -> dict[str, pa.Array]:
        """Decode one feature to its columns, and add to the failures."""
        kind = types.get(name)
        is_bytes = kind is None or name in self.decoders or kind == pa.binary()
        if is_bytes:
            return self._decode_bytes(name, feature, values, types, failures)
        kinds = np.unique(feature.kinds[feature.kinds != EMPTY]).tolist()
        if len(kinds) == 1 and kinds[0] in _NUMBERS and not feature.loose:
            column = _numbers(feature, values, kind, kinds[0])
            if column is not None:
                return {name: column}
        column, wrong = _rows(feature, values, kind)
        failures |= {row: reason for row, reason in wrong.items() if row not in failures}
        return {name: column}

    def _decode_bytes(
        self, name: str, feature: Feature, values: Values, types: Types, failures: dict[int, Any]
    ) -> dict[str, pa.Array]:
        """Decode a feature that holds one value of bytes in each record."""
        is_single = feature.kinds == BYTES_LIST
        is_single[list(feature.loose)] = False
        for row in np.flatnonzero(~is_single & (feature.kinds % EMPTY != MISSING)).tolist():
            failures.setdefault(row, f"`{name}` must hold one value of bytes, as in other records")
        rows = np.flatnonzero(is_single)
        parts = {column[len(name) + 1 :]: kind for column, kind in types.items()}
        try:
            decoded = self._decoder(name).decode(_chosen(feature, values, rows), parts)
        except UndecodableError as error:
            for row in error.rows:
                failures.setdefault(int(rows[row]), error.__cause__ or error)
            return {column: pa.nulls(len(values), kind) for column, kind in types.items()}
        if len(rows) < len(values):
            places = np.zeros(len(values), np.int64)
            places[rows] = np.arange(len(rows))
            indices = pa.array(places, mask=~is_single)
            decoded = {part: _spread(array, indices) for part, array in decoded.items()}
        return {f"{name}.{part}" if part else name: array for part, array in decoded.items()}


def _parts_of(feature: Feature, values: Values, rows: Sequence[int]) -> dict[str, Any]:
    """Decode one feature of some records, by their labels."""
    parts: dict[str, Any] = {}
    for row in rows:
        try:
            parts[values.label(row)] = feature.value(values.buffer, row)
        except ValueError as error:
            raise UndecodableError.at([row], values.label(row), error) from error
    return parts


def _owner(column: str, found: Mapping[str, Feature], decoders: Mapping[str, Decoder]) -> str:
    """Tell which feature a column comes from: parts of a mapping are named `feature.part`."""
    if column in found:
        return column
    return next((name for name in decoders if column.startswith(f"{name}.")), column)


def _chosen(feature: Feature, values: Values, rows: NDArray[np.int64]) -> Values:
    return Values(
        values.buffer, feature.offsets[rows], feature.lengths[rows], partial(_label_of, values.label, rows)
    )


def _label_of(label: Callable[[int], str], rows: NDArray[np.int64], row: int) -> str:
    return label(int(rows[row]))


def _numbers(feature: Feature, values: Values, kind: pa.DataType, found: int) -> pa.Array | None:
    """Decode packed numbers as a whole; None where some record does not fit the column."""
    content, places = feature.values(values.buffer, values.label).packed()
    raw = content.to_numpy()
    if found == FLOAT_LIST:
        numbers, counts = raw.view("<f4"), feature.lengths // 4
    else:
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(raw < 0x80)])
        counts = np.diff(ends[places])
        if len(raw) and bool((raw[places[1:] - 1] >= 0x80).any()):
            return None  # a damaged number, which is found record by record
        try:
            numbers = unpack_varints(raw)
        except ValueError:
            return None
    if pa.types.is_list(kind) and kind.value_type == pa.from_numpy_dtype(numbers.dtype):
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(numbers))
    shape: Sequence[int] = tuple(kind.shape) if isinstance(kind, pa.FixedShapeTensorType) else ()
    if (
        bool((counts != int(np.prod(shape, dtype=np.int64))).any())
        or tensor_type(numbers.dtype, shape) != kind
    ):
        return None
    return tensor_array(numbers.reshape(len(values), *shape))


def _rows(feature: Feature, values: Values, kind: pa.DataType) -> tuple[pa.Array, Failures]:
    """Decode record by record, where some are missing or written in another way."""
    is_tensor, is_list = isinstance(kind, pa.FixedShapeTensorType), pa.types.is_list(kind)
    shape = tuple(cast("Any", kind).shape) if is_tensor else ()
    failures: Failures = {}
    parts: list[Any] = []
    for row in range(len(values)):
        try:
            value = feature.value(values.buffer, row)
        except ValueError as error:
            failures[row] = error
            value = None
        if isinstance(value, np.ndarray) and is_tensor and value.size == np.prod(shape):
            value = value.reshape(shape)
        elif isinstance(value, np.ndarray) and not is_tensor:
            value = value.tolist()
        if isinstance(value, list) and not value and not is_list:
            value = None
        parts.append(value[0] if isinstance(value, list) and not is_list and len(value) == 1 else value)
    is_null = np.array([part is None for part in parts])
    skipped = frozenset(np.flatnonzero(is_null).tolist()) if is_tensor else frozenset(failures)
    column, wrong = build_column(parts, kind, skipped)
    if is_tensor and bool(is_null.any()):
        column = _spread(column, pa.array(np.arange(len(parts)), mask=is_null))
    return column, failures | wrong


def _spread(array: pa.Array, indices: pa.Array) -> pa.Array:
    if isinstance(array.type, pa.FixedShapeTensorType):
        return pa.ExtensionArray.from_storage(array.type, array.storage.take(indices))
    return array.take(indices)
