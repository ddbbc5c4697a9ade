"""The compiled mixes of samples with their partners."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, njit, types

_ROWS = types.int64[::1]
_RECORDS = types.int32[:, ::1]
_ONE, _HALF, _BITS = np.uint32(1 << 16), np.uint32(1 << 15), np.uint32(16)


@cache
def blend_kernel(dtype: np.dtype[Any]) -> Callable[..., None]:
    """Compile weighted sums of samples and partners, uint8 or floats.

    Returns:
        A function of the records; where in them the gate and the share (float32) are, int64 of shape [2]; the
        samples, of shape [rows, elements], and which rows; the partners, and which rows; and the result.
    """
    kind = from_dtype(dtype)
    values = types.Array(kind, 2, "C", readonly=True)
    signature = types.void(_RECORDS, types.int64[::1], values, _ROWS, values, _ROWS, kind[:, ::1])
    return njit(signature, nogil=True, cache=True)(_add_bytes if dtype == np.uint8 else _add_floats)


@cache
def paste_kernel(size: int) -> Callable[..., None]:
    """Compile pasting boxes of partners, for elements of so many bytes.

    Returns:
        A function of the records; options, int64: where in them top is (bottom, left and right follow), then
        planes, height, width and the elements of a pixel that lie side by side; the samples, of shape
        [rows, elements], and which rows; the partners, and which rows; and the result.
    """
    kind = from_dtype(np.dtype(f"u{size}"))
    values = types.Array(kind, 2, "C", readonly=True)
    signature = types.void(_RECORDS, types.int64[::1], values, _ROWS, values, _ROWS, kind[:, ::1])
    return njit(signature, nogil=True, cache=True)(_paste)


def _add_bytes(  # noqa: PLR0913, PLR0917
    records: Any, options: Any, values: Any, rows: Any, others: Any, other_rows: Any, out: Any
) -> None:
    for sample in range(rows.size):
        share = np.int32(records[sample, options[1]]).view(np.float32)
        weight = np.uint32(share * np.float32(65536))
        rest = np.uint32(_ONE - weight)
        own, other, target = values[rows[sample]], others[other_rows[sample]], out[sample]
        for at in range(target.size):
            total = np.uint32(np.uint32(own[at]) * weight + np.uint32(other[at]) * rest)
            target[at] = np.uint8(np.uint32(total + _HALF) >> _BITS)


def _add_floats(  # noqa: PLR0913, PLR0917
    records: Any, options: Any, values: Any, rows: Any, others: Any, other_rows: Any, out: Any
) -> None:
    kind = out.dtype.type
    for sample in range(rows.size):
        weight = kind(np.int32(records[sample, options[1]]).view(np.float32))
        rest = kind(1) - weight
        own, other, target = values[rows[sample]], others[other_rows[sample]], out[sample]
        if records[sample, options[0]] == 0:
            for at in range(target.size):
                target[at] = own[at]
            continue
        for at in range(target.size):
            target[at] = own[at] * weight + other[at] * rest


def _paste(  # noqa: PLR0913, PLR0917
    records: Any, options: Any, values: Any, rows: Any, others: Any, other_rows: Any, out: Any
) -> None:
    first, planes, height, width, item = options
    for sample in range(rows.size):
        own, other, target = values[rows[sample]], others[other_rows[sample]], out[sample]
        for at in range(target.size):
            target[at] = own[at]
        top, bottom = np.int64(records[sample, first]), np.int64(records[sample, first + 1])
        left, right = np.int64(records[sample, first + 2]), np.int64(records[sample, first + 3])
        for plane in range(planes):
            for y in range(top, bottom):
                begin = (plane * height + y) * width
                for at in range((begin + left) * item, (begin + right) * item):
                    target[at] = other[at]
