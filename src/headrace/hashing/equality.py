"""Whether values are equal by what they are, not by a hash."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.hashing.arrays import Arrays, arrays_of, counts
from headrace.hashing.forms import Decimals, Fields, Form, Kind, Lists, Runs, Words, form_of, unwrap

Flags = NDArray[np.bool_]


def equal_rows(first: pa.RecordBatch, second: pa.RecordBatch) -> Flags:
    """Compare the rows of two batches with the same columns, one by one; bool of shape [n].

    Values are equal where `headrace.hashing.keys` promises equal keys; null equals null.
    """
    equal = np.ones(len(first), np.bool_)
    for name in first.schema.names:
        equal &= equal_values(first.column(name), second.column(name), name)
    return equal


def equal_values(first: pa.Array, second: pa.Array, name: str = "column") -> Flags:
    """Compare the values of two columns, row by row; bool of shape [n].

    Raises:
        SchemaError: Values of their types cannot be compared; the message names the column.

    Example:
        >>> equal_values(pa.array([0.0, float("nan"), 1.0]), pa.array([-0.0, float("nan"), None])).tolist()
        [True, True, False]
    """
    first, second = _plain(first), _plain(second)
    arrays = arrays_of(first), arrays_of(second)
    first, second = unwrap(first), unwrap(second)
    if arrays[0] is not None and arrays[1] is not None:
        equal = _compare_arrays(arrays[0], arrays[1])
    else:
        equal = _compare(form_of(first, name), form_of(second, name), name)
    nulls = [column.is_null().to_numpy(zero_copy_only=False) for column in (first, second)]
    return np.where(nulls[0] | nulls[1], nulls[0] & nulls[1], equal)


def _plain(column: pa.Array) -> pa.Array:
    """Unwrap all but tensors, and put values in the place of picks."""
    while not isinstance(column.type, pa.FixedShapeTensorType):
        if pa.types.is_dictionary(column.type):
            column = column.dictionary.take(column.indices)
        elif isinstance(column.type, pa.BaseExtensionType) or pa.types.is_run_end_encoded(column.type):
            column = unwrap(column)
        else:
            break
    return column


def _compare(first: Form, second: Form, name: str) -> Flags:
    """Compare values; for null the answer is anything."""
    match first, second:
        case Words(), Words():
            return _compare_words(first, second)
        case Runs(), Runs() if first.kind == second.kind:
            return _compare_runs(first, second)
        case Decimals(), Decimals():
            heads = (first.exponents == second.exponents) & (first.is_negative == second.is_negative)
            return heads & (first.digits == second.digits).all(axis=1)
        case Fields(), Fields():
            equal = np.full(first.count, len(first.columns) == len(second.columns))
            for one, other in zip(first.columns, second.columns, strict=False):
                equal &= equal_values(one, other, name)
            return equal
        case Lists(), Lists():
            return _compare_lists(first, second, name)
        case _:  # of different kinds
            return np.zeros(_count(first), np.bool_)


def _compare_words(first: Words, second: Words) -> Flags:
    if first.kind != second.kind:
        return np.zeros(len(first.words), np.bool_)
    large = [np.False_ if form.is_large is None else form.is_large for form in (first, second)]
    return (first.words == second.words).all(axis=1) & (large[0] == large[1])


def _compare_lists(first: Lists, second: Lists, name: str) -> Flags:
    equal = first.lengths == second.lengths
    rows = np.flatnonzero(equal & (first.lengths > 0))
    members, others = (
        pc.call_function("list_flatten", [lists.column.take(pa.array(rows))]) for lists in (first, second)
    )
    offsets = np.append(0, np.cumsum(first.lengths[rows]))
    equal[rows] = counts(~equal_values(members, others, name), offsets) == 0
    return equal


def _compare_arrays(first: Arrays, second: Arrays) -> Flags:
    if first.layout != second.layout:
        return np.zeros(len(first.offsets) - 1, np.bool_)
    (numbers, holes), (other_numbers, other_holes) = _runs_of(first), _runs_of(second)
    return _compare_runs(numbers, other_numbers) & _compare_runs(holes, other_holes)


def _runs_of(arrays: Arrays) -> tuple[Runs, Runs]:
    numbers = Runs(Kind.LIST, arrays.numbers.view(np.uint8), arrays.offsets * arrays.numbers.itemsize)
    holes = np.zeros(len(arrays.numbers), np.uint8) if arrays.holes is None else arrays.holes
    return numbers, Runs(Kind.NULL, holes, arrays.offsets)


def _compare_runs(first: Runs, second: Runs) -> Flags:
    """Compare runs of bytes."""
    binary = [
        pa.Array.from_buffers(
            pa.large_binary(),
            len(form.offsets) - 1,
            [None, pa.py_buffer(form.offsets), pa.py_buffer(form.data)],
        )
        for form in (first, second)
    ]
    return pc.call_function("equal", binary).to_numpy(zero_copy_only=False)


def _count(form: Form) -> int:
    match form:
        case Words():
            return len(form.words)
        case Runs():
            return len(form.offsets) - 1
        case Decimals():
            return len(form.exponents)
        case Fields():
            return form.count
        case Lists():
            return len(form.lengths)
        case _:
            return len(form.places)
