"""Samples as rows of elements, for kernels that read them where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.chain import Bound
from headrace.augment.stage import Picked


def as_rows(column: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return samples as rows of elements, of shape [rows, elements], and which of them are wanted.

    Nothing is copied, unless the memory is in another order or not aligned.
    """
    if isinstance(column, Picked):
        array, rows = column.array, np.ascontiguousarray(column.places, np.int64)
        if array.flags.c_contiguous and array.flags.aligned:
            return array.reshape(len(array), -1), rows
        column = column.copy()
    array = np.require(column, requirements=["C", "ALIGNED"])
    return array.reshape(len(array), -1), np.arange(len(array))


def gate_of(bound: Bound, number: int) -> int:
    """Return where in a packed record the gate of an augmentation is; its parameters follow."""
    fields: Any = bound.dtype.fields
    return fields[bound.chain.paths[number]][1] // 4
