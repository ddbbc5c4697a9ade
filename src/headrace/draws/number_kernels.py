"""Numbers from words within compiled loops: the twins of `numbers`, for one word at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from headrace.draws.tables import CELLS, SIDE

TABLE = types.Array(types.float32, 2, "C", readonly=True)

_REST = 31 - CELLS.bit_length()  # the bits behind the cell
_CELL_BITS = CELLS.bit_length() - 1
_BIAS = 1022 << _CELL_BITS  # of a float64's exponent, so that the number 1 begins row 1
_UNIT, _STEP = np.float32(2.0**-24), np.float32(2.0**-_REST)


@njit("float32(uint32)", nogil=True, cache=True, inline="always")
def uniform_of(word: Any) -> Any:
    """Turn a word into a float32 from 0 to 1, as `uniform` does."""
    return np.float32(word >> np.uint32(8)) * _UNIT


@njit("int64(uint32, int64)", nogil=True, cache=True, inline="always")
def integer_of(word: Any, n: Any) -> Any:
    """Turn a word into an integer from 0 to n - 1, as `integers` does."""
    return np.int64((np.uint64(word) * np.uint64(n)) >> np.uint64(32))


@njit(types.float32(types.uint32, TABLE), nogil=True, cache=True, inline="always")
def quantile_of(word: Any, table: Any) -> Any:
    """Read a quantile table at a word, as `normal` and `beta` do with theirs."""
    upper = word >> np.uint32(31)
    place = np.uint32(word ^ np.uint32(np.uint32(0) - upper))
    # As float64 the place is exact; its exponent and first bits are row and cell, without a branch.
    bits = np.float64(place).view(np.int64)
    index = max((bits >> np.int64(52 - _CELL_BITS)) - np.int64(_BIAS), np.int64(0))
    rest = (bits >> np.int64(52 - _CELL_BITS - _REST)) & np.int64((1 << _REST) - 1)
    cell = np.uint64(upper) * np.uint64(SIDE) + np.uint64(index)
    return table[cell, np.uint64(0)] + table[cell, np.uint64(1)] * (np.float32(rest) * _STEP)
