"""The compiled kernels of the gather, with a NumPy oracle beside each.

The copies bring rows of one row group into the batches that they belong to: row `rows[i]` goes to slot
`slots[i]` of the output whose memory begins at `outputs[steps[i]]`. The gathers fill one batch after the
other: row `rows[i]` becomes the next row. Memory is passed by address, since the number of columns and of
open batches is known only at run time. The kernels trust their arguments: whoever calls allocates the
outputs and checks shapes and bounds before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from headrace.copying import ask_for, copy_row, fence, move_row, pointer, prefetch_write, rows_ahead

Array = NDArray[Any]
Ids = NDArray[np.int64]
Addresses = NDArray[np.uint64]


_LINE = 64  # bytes of a cache line
_AHEAD = 8  # rows: far enough to hide the way to memory, near enough that the lines are still there
_BLOCK = 512  # rows that are gathered from one column after the other


def _column_kernel(kind: Any) -> Callable[..., None]:
    """Compile the copy of k columns of one item size into rows of k items."""
    size = np.dtype(str(kind)).itemsize

    @njit(
        "void(uint64[::1], uint64[::1], int64[::1], int64[::1], int64[::1])",
        nogil=True,
        cache=True,
        boundscheck=False,
    )
    def copy(columns: Any, outputs: Any, rows: Any, steps: Any, slots: Any) -> None:
        # One row at a time: each output line is written whole, and the columns are read as streams.
        sources = pointer(columns.ctypes.data, types.uint64)
        width = np.uint64(columns.size * size)
        for place in range(rows.size):
            if place + _AHEAD < rows.size:
                coming = outputs[steps[place + _AHEAD]] + np.uint64(slots[place + _AHEAD]) * width
                for line in range(np.uint64(0), width + np.uint64(_LINE - 1), np.uint64(_LINE)):
                    prefetch_write(coming + line)
            row = rows[place]
            target = pointer(outputs[steps[place]] + np.uint64(slots[place]) * width, kind)
            for number in range(columns.size):
                target[number] = pointer(sources[number], kind)[row]

    return copy


_COLUMN_KERNELS = {
    np.dtype(str(kind)).itemsize: _column_kernel(kind)
    for kind in (types.uint8, types.uint16, types.uint32, types.uint64)
}


def _gather_columns_kernel(kind: Any) -> Callable[..., None]:
    """Compile the gather of k columns of one item size into rows of k items."""
    size = np.dtype(str(kind)).itemsize

    @njit("void(uint64[::1], int64[::1], int64[::1], uint64[::1])", nogil=True, cache=True, boundscheck=False)
    def gather(columns: Any, rows: Any, ends: Any, outputs: Any) -> None:
        # One column at a time over as many rows as stay in the caches until all columns are in place.
        ahead = np.int64(rows_ahead(np.uint64(_LINE)))
        begin = 0
        for step in range(ends.size):
            output = pointer(outputs[step], kind)
            for first in range(begin, ends[step], _BLOCK):
                last = min(first + _BLOCK, ends[step])
                for number in range(columns.size):
                    source = pointer(columns[number], kind)
                    for place in range(first, last):
                        if place + ahead < last:
                            ask_for(columns[number] + np.uint64(rows[place + ahead] * size), np.uint64(1))
                        output[(place - begin) * columns.size + number] = source[rows[place]]
            begin = ends[step]

    return gather


_GATHER_COLUMNS_KERNELS = {
    np.dtype(str(kind)).itemsize: _gather_columns_kernel(kind)
    for kind in (types.uint8, types.uint16, types.uint32, types.uint64)
}


@njit(
    "void(uint64, uint64, uint64[::1], int64[::1], int64[::1], int64[::1])",
    nogil=True,
    cache=True,
    boundscheck=False,
)
def _copy_rows(source: Any, width: Any, outputs: Any, rows: Any, steps: Any, slots: Any) -> None:
    ahead = np.int64(rows_ahead(width))
    for place in range(rows.size):
        if place + ahead < rows.size:
            ask_for(source + np.uint64(rows[place + ahead]) * width, width)
        target = outputs[steps[place]] + np.uint64(slots[place]) * width
        copy_row(target, source + np.uint64(rows[place]) * width, width)
    fence()


@njit("void(uint64, uint64, int64[::1], int64[::1], uint64[::1])", nogil=True, cache=True, boundscheck=False)
def _gather_rows(source: Any, width: Any, rows: Any, ends: Any, outputs: Any) -> None:
    ahead = np.int64(rows_ahead(width))
    for place in range(min(ahead, rows.size)):
        ask_for(source + np.uint64(rows[place]) * width, width)
    begin = 0
    for step in range(ends.size):
        target = outputs[step]
        for place in range(begin, ends[step]):
            if place + ahead < rows.size:
                ask_for(source + np.uint64(rows[place + ahead]) * width, width)
            # A batch of its own is whole in a moment and read in the next one.
            move_row(target, source + np.uint64(rows[place]) * width, width)
            target += width
        begin = ends[step]


def copy_columns(columns: Sequence[Array], outputs: Addresses, rows: Ids, steps: Ids, slots: Ids) -> None:
    """Copy rows of k columns into outputs of shape [m, k]; releases the GIL.

    Args:
        columns: k contiguous arrays of shape [n] and one dtype.
        outputs: For each step, where an array of shape [m, k] and that dtype begins.
        rows: Which rows, int64 of shape [r].
        steps: Which output each goes to, int64 of shape [r].
        slots: Which row of that output, int64 of shape [r].
    """
    kernel = _COLUMN_KERNELS[columns[0].dtype.itemsize]
    addresses = np.array([column.__array_interface__["data"][0] for column in columns], np.uint64)
    kernel(addresses, outputs, rows, steps, slots)


def copy_rows(source: Array, outputs: Addresses, rows: Ids, steps: Ids, slots: Ids) -> None:
    """Copy rows of a contiguous array of shape [n, ...] into outputs of shape [m, ...]; releases the GIL."""
    _copy_rows(source.__array_interface__["data"][0], source[:1].nbytes, outputs, rows, steps, slots)


def gather_rows(source: Array, rows: Ids, ends: Ids, outputs: Addresses) -> None:
    """Copy rows of a contiguous array of shape [n, ...], at random places, to batches; releases the GIL.

    Args:
        source: Where the rows lie.
        rows: Which rows, those of one batch after those of another; int64 of shape [r].
        ends: Where the rows of each batch end, int64 of shape [batches].
        outputs: Where each batch's array begins, of the same dtype and row shape; uint64 of shape [batches].
    """
    _gather_rows(source.__array_interface__["data"][0], source[:1].nbytes, rows, ends, outputs)


def gather_columns(columns: Sequence[Array], rows: Ids, ends: Ids, outputs: Addresses) -> None:
    """Do the same for k contiguous arrays of shape [n], which lie side by side in batches of shape [m, k]."""
    addresses = np.array([column.__array_interface__["data"][0] for column in columns], np.uint64)
    _GATHER_COLUMNS_KERNELS[columns[0].dtype.itemsize](addresses, rows, ends, outputs)


def gather_rows_reference(source: Array, rows: Ids, ends: Ids, outputs: Sequence[Array]) -> None:
    """Do what `gather_rows` does, in plain NumPy."""
    for output, here in zip(outputs, np.split(rows, ends[:-1]), strict=True):
        output[: len(here)] = source[here]


def gather_columns_reference(
    columns: Sequence[Array], rows: Ids, ends: Ids, outputs: Sequence[Array]
) -> None:
    """Do what `gather_columns` does, in plain NumPy."""
    for output, here in zip(outputs, np.split(rows, ends[:-1]), strict=True):
        for number, column in enumerate(columns):
            output[: len(here), number] = column[here]


def copy_columns_reference(
    columns: Sequence[Array], outputs: Sequence[Array], rows: Ids, steps: Ids, slots: Ids
) -> None:
    """Do what `copy_columns` does, in plain NumPy."""
    for step, output in enumerate(outputs):
        here = steps == step
        for number, column in enumerate(columns):
            output[slots[here], number] = column[rows[here]]


def copy_rows_reference(source: Array, outputs: Sequence[Array], rows: Ids, steps: Ids, slots: Ids) -> None:
    """Do what `copy_rows` does, in plain NumPy."""
    for step, output in enumerate(outputs):
        here = steps == step
        output[slots[here]] = source[rows[here]]
