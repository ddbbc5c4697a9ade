"""Anonymous memory for arrays that are kept, in huge pages where the system has them."""

from __future__ import annotations

import math
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_HUGE_PAGE = 1 << 21
_CHUNK_BYTES = 1 << 25  # copied by one thread at a time
_MOST_THREADS = 8


def allocate(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of zeros whose pages are taken as they are first written to.

    Rows at random places of a large array are found faster in huge pages, as far fewer of them have to be
    looked up. The memory goes back to the system with the last view of the array.

    Example:
        >>> array = allocate((1000, 13), "float32")
        >>> array.shape, array.dtype.name, float(array.sum())
        ((1000, 13), 'float32', 0.0)
    """
    kind, count = np.dtype(dtype), math.prod(shape)
    size = count * kind.itemsize
    if size < _HUGE_PAGE:
        return np.zeros(shape, kind)
    memory = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a system without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    begin = -np.frombuffer(memory, np.uint8).__array_interface__["data"][0] % _HUGE_PAGE
    return np.frombuffer(memory, kind, count, begin).reshape(shape)


def copy_to_memory(array: NDArray[Any]) -> NDArray[Any]:
    """Copy an array, such as a mapped file, to memory that is its own; threads share the work.

    Example:
        >>> copy_to_memory(np.arange(3)).tolist()
        [0, 1, 2]
    """
    copy = allocate(array.shape, array.dtype)
    rows = max(_CHUNK_BYTES // max(array[:1].nbytes, 1), 1)
    begins = range(0, len(array), rows)
    if len(begins) < 2:
        copy[...] = array
        return copy

    def fill(begin: int) -> None:
        copy[begin : begin + rows] = array[begin : begin + rows]  # releases the GIL

    threads = min(len(os.sched_getaffinity(0)), len(begins), _MOST_THREADS)
    with ThreadPoolExecutor(threads, thread_name_prefix="headrace-copy") as pool:
        for _ in pool.map(fill, begins):
            pass
    return copy
