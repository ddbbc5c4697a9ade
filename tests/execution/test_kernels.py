"""The compiled kernels of the gather do what their NumPy oracles do, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.execution import kernels
from headrace.execution.gather import address

_ROWS, _SLOTS = 300, 40
_DTYPES = [
    "bool",
    "int8",
    "uint8",
    "float16",
    "int16",
    "float32",
    "int32",
    "float64",
    "int64",
    "datetime64[us]",
]


def scatter_plan(seed: int, count: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw rows, and for each of them a slot of its own in one of the outputs."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(steps * _SLOTS)[:count]
    return np.sort(rng.integers(0, _ROWS, count)), places // _SLOTS, places % _SLOTS


def addresses(outputs: list[np.ndarray]) -> np.ndarray:
    return np.array([address(output) for output in outputs], np.uint64)


def values(seed: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw any bits, so that a copy that goes through floats would be seen."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 2 if dtype == "bool" else 256, (*shape, np.dtype(dtype).itemsize), dtype=np.uint8)
    return raw.view(dtype).reshape(shape)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(_DTYPES), st.integers(1, 30), st.integers(0, 120), st.integers(3, 5), st.integers(0, 99)
)
def test_columns_are_stacked_like_the_oracle_does(
    dtype: str, width: int, count: int, steps: int, seed: int
) -> None:
    """Any number of columns of any dtype land side by side in the rows that were planned."""
    rows, which, slots = scatter_plan(seed, count, steps)
    columns = [values(seed + number, dtype, (_ROWS,)) for number in range(width)]
    got = [np.zeros((_SLOTS, width), dtype) for _ in range(steps)]
    expected = [np.zeros((_SLOTS, width), dtype) for _ in range(steps)]

    kernels.copy_columns(columns, addresses(got), rows, which, slots)
    kernels.copy_columns_reference(columns, expected, rows, which, slots)

    assert [output.tobytes() for output in got] == [output.tobytes() for output in expected]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5), (16, 16), (3, 7, 5)])
@pytest.mark.parametrize("dtype", _DTYPES)
def test_rows_are_copied_like_the_oracle_does(dtype: str, shape: tuple[int, ...]) -> None:
    """Samples of any shape and dtype arrive whole, also where their size is no multiple of a word."""
    rows, which, slots = scatter_plan(len(shape), 100, 3)
    source = values(1, dtype, (_ROWS, *shape))
    got = [np.zeros((_SLOTS, *shape), dtype) for _ in range(3)]
    expected = [np.zeros((_SLOTS, *shape), dtype) for _ in range(3)]

    kernels.copy_rows(source, addresses(got), rows, which, slots)
    kernels.copy_rows_reference(source, expected, rows, which, slots)

    assert [output.tobytes() for output in got] == [output.tobytes() for output in expected]


def split(count: int, batches: int) -> np.ndarray:
    """Cut so many rows into batches, some of them empty."""
    return np.sort(np.append(np.random.default_rng(batches).integers(0, count + 1, batches - 1), count))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (13,), (26,), (16, 16), (3, 7, 5), (3, 64, 64)])
@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("count", [0, 1, 200])
def test_rows_are_gathered_like_the_oracle_does(dtype: str, shape: tuple[int, ...], count: int) -> None:
    """Rows at any places, some of them twice, become batches, and nothing beside them is written."""
    source = values(2, dtype, (_ROWS, *shape))
    rows, ends = np.random.default_rng(count).integers(0, _ROWS, count), split(count, 4)
    got, expected = ([np.zeros((count + 1, *shape), dtype) for _ in ends] for _ in range(2))

    kernels.gather_rows(source, rows, ends, addresses(got))
    kernels.gather_rows_reference(source, rows, ends, expected)

    assert [output.tobytes() for output in got] == [output.tobytes() for output in expected]


@pytest.mark.parametrize("width", [1, 2, 26, 40])
@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("count", [0, 1, 511, 1500])
def test_columns_are_gathered_like_the_oracle_does(dtype: str, width: int, count: int) -> None:
    """Rows of many columns land side by side in their batches, over several blocks of rows."""
    columns = [values(number, dtype, (_ROWS,)) for number in range(width)]
    rows, ends = np.random.default_rng(count).integers(0, _ROWS, count), split(count, 3)
    got, expected = ([np.zeros((count + 1, width), dtype) for _ in ends] for _ in range(2))

    kernels.gather_columns(columns, rows, ends, addresses(got))
    kernels.gather_columns_reference(columns, rows, ends, expected)

    assert [output.tobytes() for output in got] == [output.tobytes() for output in expected]
