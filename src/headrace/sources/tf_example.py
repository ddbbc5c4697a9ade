"""`tf.train.Example` messages, many at a time: where in the bytes each feature's values lie.

Records that were written alike differ in their values alone. So one record is read as a protocol
buffer, and all others of its length whose remaining bytes are the same have their values at the
same places; only records of lengths or layouts of their own are read one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.sources.decoding import Values
from headrace.sources.mapped import windows
from headrace.sources.protobuf import BYTES, FIXED32, VARINT, read_fields, to_signed, unpack_varints

MISSING, BYTES_LIST, FLOAT_LIST, INT_LIST, EMPTY = range(5)  # 1 to 3 are the message's own numbers
KIND_NAMES = {BYTES_LIST: "bytes", FLOAT_LIST: "float", INT_LIST: "int64"}
_MOST_LAYOUTS = 16  # of records of one length; a writer may order its features at random


@dataclass(frozen=True, slots=True)
class Span:
    """One feature's values in one record.

    Attributes:
        kind: Which of the three lists it is, or `EMPTY`.
        begin: Where the bytes, or the packed numbers, begin.
        end: Where they end.
        loose: The values themselves, where they do not lie together in one piece.
    """

    kind: int
    begin: int = 0
    end: int = 0
    loose: Any = None


@dataclass(eq=False)
class Feature:
    """One feature of many records.

    Attributes:
        kinds: Which list each record holds, int64 of shape [n]; 0 where the feature is `MISSING`.
        offsets: Where its bytes or packed numbers begin, int64 of shape [n].
        lengths: How many bytes they have, int64 of shape [n].
        loose: Values that do not lie in one piece, by row.
    """

    kinds: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    loose: dict[int, Any] = field(default_factory=dict[int, Any])

    @staticmethod
    def of(rows: int) -> Feature:
        """Begin with no values."""
        return Feature(np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.int64))

    def values(self, buffer: NDArray[np.uint8], label: Callable[[int], str]) -> Values:
        """View what lies in one piece."""
        return Values(buffer, self.offsets, self.lengths, label)

    def value(self, buffer: NDArray[np.uint8], row: int) -> Any:
        """Read one record's values: an array of numbers, a list of bytes, or None."""
        if row in self.loose:
            return self.loose[row]
        kind = int(self.kinds[row])
        piece = buffer[self.offsets[row] : self.offsets[row] + self.lengths[row]]
        if kind == BYTES_LIST:
            return [piece.tobytes()]
        if kind == FLOAT_LIST:
            return np.frombuffer(piece.tobytes(), "<f4")
        if kind == INT_LIST:
            return unpack_varints(piece)
        return [] if kind == EMPTY else None


def parse_examples(values: Values) -> tuple[dict[str, Feature], dict[int, Exception]]:
    """Find the features of all records.

    Returns:
        The features by name, and for rows that are no `Example` what is wrong with them.
    """
    features: dict[str, Feature] = {}
    failures: dict[int, Exception] = {}
    for length in np.unique(values.lengths).tolist():
        remaining = np.flatnonzero(values.lengths == length)
        layouts = 0
        while len(remaining):
            row = int(remaining[0])
            try:
                spans = parse_example(values.value(row).tobytes())
            except Exception as error:
                failures[row] = error
                remaining = remaining[1:]
                continue
            fits = np.zeros(len(remaining), np.bool_)
            fits[0] = True
            layouts += 1
            if (
                len(remaining) > 1
                and layouts <= _MOST_LAYOUTS
                and all(span.loose is None for span in spans.values())
            ):
                fits = _same_layout(values, remaining, spans, length)
            alike = remaining[fits] if len(remaining) > 1 else row
            _record(features, spans, values, alike)
            remaining = remaining[~fits]
    return features, failures


def _same_layout(
    values: Values, rows: NDArray[np.int64], spans: dict[str, Span], length: int
) -> NDArray[np.bool_]:
    """Tell which records equal the first of them, the features' values apart."""
    fits = np.ones(len(rows), np.bool_)
    pieces = sorted((span.begin, span.end) for span in spans.values())
    begin = 0
    for piece_begin, piece_end in [*pieces, (length, length)]:
        if piece_begin > begin:
            runs = windows(values.buffer, piece_begin - begin)[values.offsets[rows] + begin]
            fits &= (runs == runs[0]).all(1)
        begin = piece_end
    return fits


def _record(
    features: dict[str, Feature], spans: dict[str, Span], values: Values, rows: NDArray[np.int64] | int
) -> None:
    """Note where the features of some records lie, which all have the same layout."""
    begins = values.offsets[rows]
    for name, span in spans.items():
        feature = features.get(name)
        if feature is None:
            feature = features[name] = Feature.of(len(values))
        feature.kinds[rows] = span.kind
        feature.offsets[rows] = begins + span.begin
        feature.lengths[rows] = span.end - span.begin
        if span.loose is not None:
            feature.loose[rows if isinstance(rows, int) else int(rows[0])] = span.loose


def parse_example(record: bytes) -> dict[str, Span]:
    """Read one record as a protocol buffer.

    Raises:
        ValueError: It is no sound message.
    """
    spans: dict[str, Span] = {}
    for number, wire, begin, end in read_fields(record):
        if number != 1 or wire != BYTES:
            raise ValueError(f"an Example holds features (field 1), got field {number} of wire type {wire}")
        for entry, entry_wire, entry_begin, entry_end in read_fields(record, begin, end):
            if entry == 1 and entry_wire == BYTES:
                name, span = _parse_entry(record, entry_begin, entry_end)
                spans[name] = span
    return spans


def _parse_entry(record: bytes, begin: int, end: int) -> tuple[str, Span]:
    name, span = "", Span(EMPTY)
    for number, wire, first, last in read_fields(record, begin, end):
        if number == 1 and wire == BYTES:
            name = str(record[first:last], "utf-8")
        elif number == 2 and wire == BYTES:
            for kind, kind_wire, list_begin, list_end in read_fields(record, first, last):
                if kind in KIND_NAMES and kind_wire == BYTES:
                    span = _parse_list(record, kind, list_begin, list_end)
    return name, span


def _parse_list(record: bytes, kind: int, begin: int, end: int) -> Span:
    """Find the values of one list; numbers usually lie packed in one piece."""
    pieces = [piece for piece in read_fields(record, begin, end) if piece[0] == 1]
    if not pieces:
        return Span(EMPTY)
    if len(pieces) == 1 and pieces[0][1] == BYTES:
        _, _, first, last = pieces[0]
        if kind == FLOAT_LIST and (last - first) % 4:
            raise ValueError(f"{last - first} bytes are no whole number of floats")
        return Span(kind, first, last) if last > first or kind == BYTES_LIST else Span(EMPTY)
    if kind == BYTES_LIST:
        return Span(kind, loose=[record[first:last] for _, _, first, last in pieces])
    numbers: list[Any] = []
    for _, wire, first, last in pieces:
        if wire == VARINT:
            numbers.append(to_signed(first))
        elif kind == INT_LIST:
            numbers.extend(unpack_varints(np.frombuffer(record[first:last], np.uint8)).tolist())
        elif wire in (BYTES, FIXED32):
            numbers.extend(np.frombuffer(record[first:last], "<f4").tolist())
    return Span(kind, loose=np.array(numbers, "<f4" if kind == FLOAT_LIST else np.int64))
