"""Lists and N-d arrays of numbers as runs of bytes of their own type, not number by number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.hashing.forms import fixed, lengths_of


@dataclass(frozen=True, slots=True)
class Arrays:
    """An array of numbers for each row; equal ones have equal bytes, for -0.0 is 0.0 and all NaN are one.

    Attributes:
        layout: The numbers' type, and the shape of an array but for its first dimension, as text.
        numbers: Those of all arrays, one behind the other; 0 for null.
        offsets: Where each array begins among them, then where the last one ends; int64 of shape [n + 1].
        holes: How many levels above each number is what is null there, 1 for the number itself and 0 for
            none; uint8, one for each number. None if nothing is null.
    """

    layout: str
    numbers: NDArray[Any]
    offsets: NDArray[np.int64]
    holes: NDArray[np.uint8] | None

    @property
    def has_holes(self) -> NDArray[np.bool_]:
        """Whether something is null inside of each array, bool of shape [n]."""
        if self.holes is None:
            return np.zeros(len(self.offsets) - 1, np.bool_)
        return counts(self.holes > 0, self.offsets) > 0


def counts(flags: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count what is true in each run, int64 of shape [n]."""
    return np.diff(np.append(0, np.cumsum(flags))[offsets])


def arrays_of(column: pa.Array) -> Arrays | None:
    """Lay out lists of numbers, lists of arrays of fixed shape, and tensors; None for any other column.

    An array of one dimension is laid out like a list. Null rows are empty.
    """
    shape, order = (), ()
    while isinstance(column.type, pa.BaseExtensionType):
        if isinstance(column.type, pa.FixedShapeTensorType):
            shape, order = tuple(column.type.shape[1:]), tuple(column.type.permutation or ())
        column = column.storage
    if not _is_list(column.type):
        return None
    sizes: list[int] = []
    kind = column.type.value_type
    while pa.types.is_fixed_size_list(kind):
        sizes.append(kind.list_size)
        kind = kind.value_type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not is_number or 0 in sizes:
        return None
    flat, holes = _flatten(pc.call_function("list_flatten", [column]), sizes)
    numbers = _numbers(flat, holes)
    each = int(np.prod(sizes, dtype=np.int64))
    order = () if order == tuple(range(len(order))) else order
    layout = f"{np.dtype(kind.to_pandas_dtype()).name} {[*shape, *sizes]} {[*order]}"
    return Arrays(layout, numbers, np.append(0, np.cumsum(lengths_of(column)) * each), holes)


def _flatten(column: pa.Array, sizes: list[int]) -> tuple[pa.Array, NDArray[np.uint8] | None]:
    """Return what nested lists of fixed sizes hold, with what lies under null, and what is null there."""
    found: list[tuple[int, NDArray[np.bool_]]] = []
    for level, size in zip(range(len(sizes) + 1, 0, -1), [*sizes, 0], strict=True):
        if column.null_count:
            found.append((level, column.is_null().to_numpy(zero_copy_only=False)))
        if size:
            column = column.values.slice(column.offset * size, len(column) * size)
    if not found:
        return column, None
    holes = np.zeros(len(column), np.uint8)
    for level, is_null in reversed(found):  # the outermost null is what counts
        holes[np.repeat(is_null, len(column) // len(is_null))] = level
    return column, holes


def _numbers(column: pa.Array, holes: NDArray[np.uint8] | None) -> NDArray[Any]:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    numbers = fixed(column, column.type.to_pandas_dtype())
    if numbers.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # signalling NaN
            numbers = numbers + numbers.dtype.type(0)  # -0.0 + 0.0 is 0.0
        numbers[np.isnan(numbers)] = np.nan
    return numbers if holes is None else np.where(holes > 0, numbers.dtype.type(0), numbers)


def _is_list(kind: pa.DataType) -> bool:
    is_type = pa.types
    is_plain = is_type.is_list(kind) or is_type.is_large_list(kind) or is_type.is_fixed_size_list(kind)
    return is_plain or is_type.is_list_view(kind) or is_type.is_large_list_view(kind)
