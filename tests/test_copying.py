"""Rows that are copied by address arrive whole, wherever they begin and however wide they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.copying import copy_rows

_GUARD = 0xA5


@settings(max_examples=150, deadline=None)
@example(width=1024, count=3, skew=0, seed=0)
@example(width=12_288, count=5, skew=0, seed=1)
@example(width=12_288, count=5, skew=8, seed=1)
@given(
    width=st.one_of(st.integers(1, 80), st.sampled_from([512, 1000, 1023, 1024, 1025, 1056, 4096, 5000])),
    count=st.integers(0, 40),
    skew=st.integers(0, 63),
    seed=st.integers(0, 1000),
)
def test_rows_are_those_of_a_slice(width: int, count: int, skew: int, seed: int) -> None:
    """Any rows, in any order, go to their places, and not a byte beside them is touched."""
    rng = np.random.default_rng(seed)
    buffer = rng.integers(0, 256, 64 * width + 7, np.uint8)
    origins = rng.integers(0, len(buffer) - width + 1, count)
    places = rng.permutation(count)
    memory = np.full(count * width + 128, _GUARD, np.uint8)
    begin = -memory.ctypes.data % 64 + skew
    target = memory[begin : begin + count * width].reshape(count, width)

    copy_rows(
        buffer, origins, width, np.uint64(target.ctypes.data) + places.astype(np.uint64) * np.uint64(width)
    )

    for origin, place in zip(origins.tolist(), places.tolist(), strict=True):
        assert target[place].tobytes() == buffer[origin : origin + width].tobytes()
    assert (memory[:begin] == _GUARD).all()
    assert (memory[begin + count * width :] == _GUARD).all()


@pytest.mark.parametrize("width", [8, 1024])
def test_a_repeated_row_goes_to_all_its_places(width: int) -> None:
    """A row that is wanted twice is copied twice."""
    buffer = np.arange(4 * width, dtype=np.uint8)
    target = np.zeros((3, width), np.uint8)
    targets = np.uint64(target.ctypes.data) + np.arange(3, dtype=np.uint64) * np.uint64(width)

    copy_rows(buffer, np.array([width, width, 0]), width, targets)

    assert target.tolist() == buffer.reshape(4, width)[[1, 1, 0]].tolist()
