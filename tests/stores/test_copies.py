"""Memory of arrays that are kept: of any shape, its own, and given back with the last view."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from headrace.stores.copies import allocate, copy_to_memory


def resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@pytest.mark.parametrize("shape", [(0,), (0, 5), (1,), (7, 3), (700_000,), (40_000, 13), (33, 3, 64, 64)])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32", "int64", "datetime64[us]"])
def test_a_copy_equals_what_was_copied(shape: tuple[int, ...], dtype: str) -> None:
    """Small and large arrays, empty ones too, are copied whole, and the copy can be written to."""
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 2 if dtype == "bool" else 256, (*shape, np.dtype(dtype).itemsize), np.uint8)
    array = raw.view(dtype).reshape(shape)
    copy = copy_to_memory(array)

    assert copy.dtype == array.dtype
    assert copy.shape == array.shape
    assert copy.tobytes() == array.tobytes()
    assert copy.flags.c_contiguous
    assert copy.flags.writeable
    assert not np.shares_memory(copy, array)


def test_a_mapped_file_is_copied_by_threads(tmp_path: Path) -> None:
    """An array of several chunks is copied as it is in the file, and stays when the file is gone."""
    np.save(tmp_path / "x.npy", np.arange(12_000_000).reshape(-1, 3))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    copy = copy_to_memory(mapped)
    del mapped
    (tmp_path / "x.npy").unlink()

    assert (copy.reshape(-1) == np.arange(12_000_000)).all()


def test_memory_goes_back_with_the_last_view() -> None:
    """A view keeps the array's memory; without it the process shrinks."""
    array = allocate((1 << 26,), "uint8")
    array[:] = 1
    view = array[5:7]
    full = resident_bytes()
    del array
    gc.collect()

    assert resident_bytes() > full - (1 << 24)
    del view
    gc.collect()
    assert resident_bytes() < full - (1 << 25)


def test_pages_are_taken_when_they_are_written() -> None:
    """Room for many rows costs nothing until the rows are there."""
    before = resident_bytes()
    array = allocate((1 << 30,), "uint8")
    array[:10] = 1

    assert resident_bytes() - before < 1 << 26
    assert int(array[-1]) == 0
