"""The compiled augmentations of tabular columns: feature f of a sample is changed by its word f."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, njit, types

from headrace.augment.fused.word_kernels import fill_element_words, fill_quantiles
from headrace.draws.number_kernels import TABLE

_DRAWN = types.Tuple((types.int32[:, ::1], types.uint32[:, ::1], types.uint32[::1]))
_ROWS = types.int64[::1]


@cache
def choose_kernel(size: int) -> Callable[..., None]:
    """Compile the choice between a sample's values and others, for values of so many bytes.

    Returns:
        A function of what was drawn (the records, the identity and the key); where in a record the gate is;
        the limits, uint64 of shape [k], below which words choose the other value; the values, of shape
        [rows, k], and which rows; the other values, and which rows; and the result, of shape [n, k].
    """
    kind = from_dtype(np.dtype(f"u{size}"))
    values = types.Array(kind, 2, "C", readonly=True)
    limits = types.uint64[::1]
    signature = types.void(_DRAWN, types.int64, limits, values, _ROWS, values, _ROWS, kind[:, ::1])
    return njit(signature, nogil=True, cache=True)(_choose)


@cache
def noise_kernel(dtype: np.dtype[Any]) -> Callable[..., None]:
    """Compile noise on floats of a dtype.

    Returns:
        A function of what was drawn (the records, the identity and the key); the table of the normal
        distribution; where in a record the gate is, and 1 to multiply by 1 plus noise or 0 to add it, int64;
        the standard deviations, of shape [k]; the values, of shape [rows, k], and which rows; and the
        result, of shape [n, k].
    """
    kind = from_dtype(dtype)
    values = types.Array(kind, 2, "C", readonly=True)
    signature = types.void(_DRAWN, TABLE, types.int64[::1], kind[::1], values, _ROWS, kind[:, ::1])
    return njit(signature, nogil=True, cache=True)(_add_noise)


def _choose(  # noqa: PLR0913, PLR0917
    drawn: Any, gate: Any, limits: Any, values: Any, rows: Any, others: Any, other_rows: Any, out: Any
) -> None:
    records, identity, key = drawn
    words = np.empty(limits.size, np.uint32)
    for sample in range(rows.size):
        own, other = values[rows[sample]], others[other_rows[sample]]
        if records[sample, gate] == 0:
            for feature in range(limits.size):
                out[sample, feature] = own[feature]
            continue
        fill_element_words(key, identity[sample], 0, words)
        for feature in range(limits.size):
            is_chosen = np.uint64(words[feature]) < limits[feature]
            out[sample, feature] = other[feature] if is_chosen else own[feature]


def _add_noise(  # noqa: PLR0913, PLR0917
    drawn: Any, normal: Any, options: Any, sigma: Any, values: Any, rows: Any, out: Any
) -> None:
    records, identity, key = drawn
    words, numbers = np.empty(sigma.size, np.uint32), np.empty(sigma.size, np.float32)
    kind = out.dtype.type
    for sample in range(rows.size):
        own = values[rows[sample]]
        if records[sample, options[0]] == 0:
            for feature in range(sigma.size):
                out[sample, feature] = own[feature]
            continue
        fill_element_words(key, identity[sample], 0, words)
        fill_quantiles(words, normal, numbers)
        for feature in range(sigma.size):
            step = kind(numbers[feature]) * sigma[feature]
            if options[1] != 0:
                out[sample, feature] = own[feature] * (step + kind(1))
            else:
                out[sample, feature] = own[feature] + step
