"""The compiled twins of `KeyedPermutation.reference` and `Cut.place_reference`, their oracles.

Whole numbers below 2**53 are divided as floats, which vector units can do, and which is exact: the
true quotient lies on a whole number or at least 1 / divisor below the next one, too far to round up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_MIX_1, _MIX_2, _HALF = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(32)
_EXACT = np.uint64(1 << 53)
_BLOCK = 512  # values sent through a round together: the inner loops vectorise and stay in the L1 cache


@njit("int64(int64, int64)", nogil=True, cache=True, inline="always", error_model="numpy")
def _divide(value: Any, divisor: Any) -> Any:
    return np.int64(np.float64(value) / np.float64(divisor))


@njit("uint64(uint64, uint64, uint64)", nogil=True, cache=True, inline="always")
def _scaled_hash(value: Any, key: Any, size: Any) -> Any:
    mixed = (value ^ key) * _MIX_1
    mixed = (mixed ^ (mixed >> _HALF)) * _MIX_2
    return ((mixed >> _HALF) * size) >> _HALF


@njit("void(uint64[::1], uint64, uint64, uint64[::1])", nogil=True, cache=True, error_model="numpy")
def _permute_block(values: Any, rows: Any, columns: Any, keys: Any) -> None:
    row = np.empty(values.size, np.uint64)
    column = np.empty(values.size, np.uint64)
    if rows * columns <= _EXACT:
        for place in range(values.size):
            row[place] = _divide(np.int64(values[place]), np.int64(columns))
    else:
        for place in range(values.size):
            row[place] = values[place] // columns
    for place in range(values.size):
        column[place] = values[place] - row[place] * columns
    for index in range(0, keys.size, 2):
        # A sum of two numbers below `rows` needs one subtraction at the most, not a division.
        for place in range(values.size):
            shifted = row[place] + _scaled_hash(column[place], keys[index], rows)
            row[place] = min(shifted, shifted - rows)
        for place in range(values.size):
            shifted = column[place] + _scaled_hash(row[place], keys[index + 1], columns)
            column[place] = min(shifted, shifted - columns)
    for place in range(values.size):
        values[place] = row[place] * columns + column[place]


@njit("void(uint64[::1], uint64, uint64, uint64, uint64[::1])", nogil=True, cache=True)
def _permute(values: Any, n: Any, rows: Any, columns: Any, keys: Any) -> None:
    one = np.empty(1, np.uint64)
    for begin in range(0, values.size, _BLOCK):
        block = values[begin : begin + _BLOCK]
        _permute_block(block, rows, columns, keys)
        for place in range(block.size):
            while block[place] >= n:
                one[0] = block[place]
                _permute_block(one, rows, columns, keys)
                block[place] = one[0]


def permute(
    values: NDArray[np.int64], n: int, rows: int, columns: int, keys: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Permute values of 0..n-1 on a grid of rows x columns into fresh memory; releases the GIL."""
    result = values.astype(np.uint64)
    _permute(result, n, rows, columns, keys)
    return result.view(np.int64)


@njit("int64(int64[::1], int64)", nogil=True, cache=True)
def _last_at_most(rising: Any, value: Any) -> Any:
    """Find the last place whose number is at most a value."""
    low, high = 0, rising.size
    while high - low > 1:
        middle = (low + high) >> 1
        if rising[middle] <= value:
            low = middle
        else:
            high = middle
    return low


@njit("void(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1])", nogil=True, cache=True)
def _locate(positions: Any, lane_begins: Any, starts: Any, places: Any, windows: Any) -> None:
    lanes, window = lane_begins.size - 1, 0
    for index in range(positions.size):
        row = _divide(positions[index], lanes)
        place = lane_begins[positions[index] - row * lanes] + row
        # Neighbours mostly lie in the same window.
        if place < starts[window] or place >= starts[window + 1]:
            window = _last_at_most(starts, place)
        places[index], windows[index] = place, window


def locate(
    positions: NDArray[np.int64], lane_begins: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the place of each position, where lanes lie end to end, and its window; releases the GIL.

    Args:
        positions: int64 of shape [n].
        lane_begins: The first place of each lane, then the end; int64 of shape [lanes + 1].
        starts: The first place of each window, then the end; int64 of shape [windows + 1].
    """
    places, windows = np.empty_like(positions), np.empty_like(positions)
    _locate(np.ascontiguousarray(positions), lane_begins, starts, places, windows)
    return places, windows


@njit(
    "void(int64[::1], int64[::1], int64[::1], Tuple((int64[:, ::1], uint64[:, ::1])), "
    "UniTuple(int64[::1], 2))",
    nogil=True,
    cache=True,
)
def _permute_windows(places: Any, windows: Any, starts: Any, permutations: Any, groups: Any) -> None:
    (grids, keys), (begins, first_index) = permutations, groups
    first = 0
    while first < places.size:
        window = windows[first]
        last = first + 1
        while last < places.size and windows[last] == window:
            last += 1
        start, (rows, columns, rounds) = starts[window], grids[window]
        values = (places[first:last] - start).astype(np.uint64)
        n = np.uint64(starts[window + 1] - start)
        _permute(values, n, np.uint64(rows), np.uint64(columns), keys[window, :rounds])
        group = 0
        for index in range(first, last):
            place = start + np.int64(values[index - first])
            if place < begins[group] or place >= begins[group + 1]:
                group = _last_at_most(begins, place)
            places[index] = first_index[group] + place - begins[group]
        first = last


def permute_windows(
    places: NDArray[np.int64],
    windows: NDArray[np.int64],
    starts: NDArray[np.int64],
    permutations: tuple[NDArray[np.int64], NDArray[np.uint64]],
    groups: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> None:
    """Turn places into indices: permuted within their windows, then looked up in the row groups.

    Releases the GIL. Neighbours of one window are permuted together, so it is quickest if they come sorted.

    Args:
        places: int64 of shape [n], overwritten by the indices.
        windows: The window of each place, int64 of shape [n].
        starts: The first place of each window, then the end; int64 of shape [windows + 1].
        permutations: Rows and columns of each window's grid and its number of rounds, int64 of shape
            [windows, 3], and the keys of its rounds, uint64 of shape [windows, rounds].
        groups: The first place of each row group, then the end, int64 of shape [row groups + 1], and the
            index of its first sample, int64 of shape [row groups].
    """
    _permute_windows(places, windows, starts, permutations, groups)


@njit("void(int64[::1], int64[::1], int64[::1], int64[::1])", nogil=True, cache=True, error_model="numpy")
def _place(positions: Any, rule: Any, steps: Any, slots: Any) -> None:
    begin, end, origin, size, last, lanes = rule[0], rule[1], rule[2], rule[3], rule[4], rule[5]
    last_size, low, high, last_low, last_high = rule[6], rule[7], rule[8], rule[9], rule[10]
    full, rest, last_full, last_rest = size // lanes, size % lanes, last_size // lanes, last_size % lanes
    for index in range(positions.size):
        position = positions[index]
        step = min(_divide(position - origin, size), last)
        step_begin = origin + step * size
        row, step_row = _divide(position, lanes), _divide(step_begin, lanes)
        lane, first = position - row * lanes, step_begin - step_row * lanes
        is_last = step == last
        extra = last_rest if is_last else rest
        slot = lane * (last_full if is_last else full) + row - step_row - np.int64(lane < first)
        slot += max(min(lane, first + extra) - first, 0) + max(min(lane, first + extra - lanes), 0)
        above = slot < (last_high if is_last else high)
        slot -= last_low if is_last else low
        steps[index] = step
        slots[index] = slot if above & (slot >= 0) & (position >= begin) & (position < end) else -1


def place(
    positions: NDArray[np.int64], rule: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the step and the slot of each position by the numbers of `Cut.place`; releases the GIL."""
    steps, slots = np.empty_like(positions), np.empty_like(positions)
    _place(positions, rule, steps, slots)
    return steps, slots
