"""Batches' memory circulates, and nothing that a consumer holds is ever written again."""

from __future__ import annotations

import gc
import pickle

import numpy as np
import torch

import headrace as hr
from headrace.execution.memory import BatchMemory

_FORMATS = {"x": ((1000, 13), "float32"), "y": ((1000,), "int64")}


def test_arrays_of_a_block_do_not_overlap() -> None:
    """Each array has memory of its own, aligned to a cache line and writable."""
    arrays = BatchMemory().allocate(_FORMATS)
    arrays["x"][:], arrays["y"][:] = 1.5, 7

    assert (arrays["x"] == 1.5).all()
    assert (arrays["y"] == 7).all()
    assert all(array.ctypes.data % 64 == 0 for array in arrays.values())


def test_a_block_returns_when_the_last_view_is_gone() -> None:
    """A tensor that shares the memory keeps it; once it is dropped, the same memory is used again."""
    memory = BatchMemory()
    arrays = memory.allocate(_FORMATS)
    begin = arrays["x"].ctypes.data
    tensor = torch.from_numpy(arrays["y"])[10:20]
    del arrays
    held = [memory.allocate(_FORMATS) for _ in range(40)]

    assert begin not in {arrays["x"].ctypes.data for arrays in held}

    del tensor
    gc.collect()
    again = [memory.allocate(_FORMATS) for _ in range(400)]
    assert begin in {arrays["x"].ctypes.data for arrays in again}


def test_a_consumer_that_keeps_every_batch_sees_none_change() -> None:
    """Batches collected over two epochs equal those that are computed one by one."""
    rng = np.random.default_rng(0)
    dataset = hr.from_arrays({"x": rng.random((30_000, 8)), "y": rng.integers(0, 9, 30_000)})
    loader = dataset.loader(batch_size=700, shuffle=True, output="numpy", threads=2)
    kept = [(epoch, batch) for epoch in range(2) for batch in loader]
    assert len(kept) == 2 * len(loader)

    for place, (epoch, batch) in enumerate(kept):
        loader.set_epoch(epoch)
        again = loader.batch(place % len(loader))
        assert (again["x"] == batch["x"]).all()
        assert (again["y"] == batch["y"]).all()


def test_memory_travels_to_another_process_empty() -> None:
    """A loader can be pickled though its memory cannot."""
    copy = pickle.loads(pickle.dumps(BatchMemory()))
    assert copy.allocate(_FORMATS)["x"].shape == (1000, 13)


def test_batches_of_ever_new_sizes_share_blocks() -> None:
    """Sizes that differ a little, as those of batches of tokens do, take no memory of their own each."""
    memory = BatchMemory()
    begins: set[int] = set()
    for rows in range(30_000, 32_000):
        array = memory.allocate({"x": ((rows,), "float64")})["x"]
        begins.add(array.ctypes.data)
        del array

    assert len(begins) <= 64
