"""The compiled kernel of padding, with a NumPy oracle beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Array = NDArray[Any]
Lengths = NDArray[np.int64]

# Memory out of Arrow is read-only; a type that says so takes both kinds.
_VALUES = types.Array(types.uint8, 1, "C", readonly=True)
_OUTPUT = types.Array(types.uint8, 2, "C")
_LENGTHS = types.Array(types.int64, 1, "C", readonly=True)


@njit(types.void(_VALUES, _LENGTHS, _LENGTHS, _OUTPUT), nogil=True, cache=True, boundscheck=False)
def _copy_lists(values: Any, begins: Any, sizes: Any, output: Any) -> None:
    for row in range(sizes.size):
        begin = begins[row]
        for byte in range(sizes[row]):
            output[row, byte] = values[begin + byte]


def copy_lists(values: Array, begins: Lengths, lengths: Lengths, output: Array) -> None:
    """Copy the first values of each list into a row of an array; releases the GIL.

    The kernel trusts its arguments, and leaves the rest of each row as it is.

    Args:
        values: All values, contiguous, of shape [total, ...].
        begins: Where each list begins, int64 of shape [n].
        lengths: How many of its values are copied, int64 of shape [n].
        output: Contiguous, of shape [n, width, ...] and the values' dtype.
    """
    if not output.size or not values.size:
        return
    item = values[:1].nbytes
    _copy_lists(
        values.reshape(-1).view(np.uint8),
        begins * item,
        lengths * item,
        output.reshape(len(output), -1).view(np.uint8),
    )


def copy_lists_reference(values: Array, begins: Lengths, lengths: Lengths, output: Array) -> None:
    """Do what `copy_lists` does, in plain NumPy."""
    for row, (begin, length) in enumerate(zip(begins, lengths, strict=True)):
        output[row, :length] = values[begin : begin + length]
