"""The opponents of the cache benchmark, each an endless stream of the row counts of its batches.

All take their rows from the same values: those of the cache's own files. torch, HF datasets and tf.data get
copies in memory, as their users would have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Peer = Callable[[Path, int], Iterator[int]]

THREADS = 2
AHEAD = 16  # rows that are asked for before they are copied
LINE = 64
BATCHES = 64  # that a thread gathers without a word to the others
FEW_ROWS = 200_000  # HF datasets takes some 0.2 ms a row


@cache
def map_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The cache's arrays as anybody could open them."""
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.rglob("[0-9]*-*.npy"))}


@cache
def make_tensors(folder: Path) -> list[Any]:
    """The same rows as tensors in memory."""
    import torch

    return [torch.from_numpy(np.array(array)) for array in map_arrays(folder).values()]


def random_orders(rows: int, batch: int) -> Iterator[list[np.ndarray]]:
    """Endless epochs, each a list of batches of row numbers."""
    draws = np.random.default_rng(0)
    while True:
        order = draws.permutation(rows)
        yield [order[begin : begin + batch] for begin in range(0, rows, batch)]


def _type_prefetch(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [line, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", (line,), kind)
        flags = [ir.Constant(number, value) for value in (0, 0, 1)]
        builder.call(function, [builder.inttoptr(arguments[0], line), *flags])
        return context.get_dummy_value()

    return types.void(types.uint64), generate


def _type_copy(typing_context: Any, target: Any, source: Any, width: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        memory, size = ir.IntType(8).as_pointer(), ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [memory, memory, size, ir.IntType(1)])
        function = builder.module.declare_intrinsic("llvm.memcpy", (memory, memory, size), kind)
        addresses = [builder.inttoptr(address, memory) for address in arguments[:2]]
        builder.call(function, [*addresses, arguments[2], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.uint64), generate


_prefetch: Any = intrinsic(_type_prefetch)
_copy: Any = intrinsic(_type_copy)


@numba.njit(nogil=True, cache=True)
def _gather(source: Any, order: Any, out: Any) -> None:
    width = source.shape[1] * source.itemsize
    begin, target, asked = source.ctypes.data, out.ctypes.data, min(width, 1024)
    ahead = max(min(AHEAD, 48 * LINE // width), 1)
    for row in range(order.size):
        if row + ahead < order.size:
            coming = begin + order[row + ahead] * width
            for line in range(0, asked + LINE - 1, LINE):
                _prefetch(np.uint64(coming + line))
        _copy(np.uint64(target + row * width), np.uint64(begin + order[row] * width), np.uint64(width))


def gather_limit(folder: Path, batch: int) -> Iterator[int]:
    """Threads gather from the mapped files into buffers of their own, used again and again."""
    rows = [np.asarray(array).reshape(len(array), -1) for array in map_arrays(folder).values()]
    buffers = [[np.empty((batch, each.shape[1]), each.dtype) for each in rows] for _ in range(THREADS)]

    def work(task: tuple[int, list[np.ndarray]]) -> int:
        number, orders = task
        for order in orders:
            for source, out in zip(rows, buffers[number], strict=True):
                _gather(source, order, out)
        return sum(len(order) for order in orders)

    with ThreadPoolExecutor(THREADS) as pool:
        for orders in random_orders(len(rows[0]), batch):
            for begin in range(0, len(orders), THREADS * BATCHES):
                part = orders[begin : begin + THREADS * BATCHES]
                yield sum(pool.map(work, [(number, part[number::THREADS]) for number in range(THREADS)]))


def index_select(folder: Path, batch: int) -> Iterator[int]:
    """What is written by hand: fresh tensors from tensors in memory."""
    import torch

    tensors = make_tensors(folder)
    for orders in random_orders(len(tensors[0]), batch):
        for order in orders:
            numbers = torch.from_numpy(order)
            taken = [tensor.index_select(0, numbers) for tensor in tensors]
            yield len(taken[0])


def tensor_dataset(folder: Path, batch: int) -> Iterator[int]:
    """The data set, loader and samplers of torch itself."""
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

    data = TensorDataset(*make_tensors(folder))
    sampler = BatchSampler(RandomSampler(data), batch, drop_last=False)
    loader = DataLoader(data, sampler=sampler, batch_size=None)
    while True:
        for taken in loader:
            yield len(taken[0])


def hf_datasets(folder: Path, batch: int) -> Iterator[int]:
    """HF datasets in torch's format, by batches of row numbers, over some of the rows."""
    import pyarrow as pa
    from datasets import Dataset

    columns = {
        f"{name}_{number}": np.array(array[:FEW_ROWS].reshape(min(len(array), FEW_ROWS), -1)[:, number])
        for name, array in map_arrays(folder).items()
        for number in range(min(array[:1].size, 32))
    }
    data = Dataset(pa.table(columns)).with_format("torch")
    for orders in random_orders(len(data), batch):
        for order in orders:
            data[order.tolist()]
            yield len(order)


def tf_data(folder: Path, batch: int) -> Iterator[int]:
    """tf.data: gathers by batches of row numbers, as its users do for what lies in memory."""
    import tensorflow as tf

    tensors = [tf.constant(np.array(array)) for array in map_arrays(folder).values()]
    rows = len(tensors[0])
    numbers = tf.data.Dataset.from_generator(
        lambda: (order for order in next(random_orders(rows, batch))), tf.TensorSpec([None], tf.int64)
    )
    data = numbers.map(
        lambda order: tuple(tf.gather(tensor, order) for tensor in tensors), num_parallel_calls=THREADS
    ).prefetch(2)
    while True:
        for taken in data:
            yield int(taken[0].shape[0])


PEERS: dict[str, Peer] = {
    "gather_limit": gather_limit,
    "index_select": index_select,
    "tensor_dataset": tensor_dataset,
    "hf_datasets": hf_datasets,
    "tf_data": tf_data,
}
# In the order of the table; what must be installed for each.
NEEDS = {
    "gather_limit": "numba",
    "index_select": "torch",
    "tensor_dataset": "torch",
    "headrace": "headrace",
    "headrace_memory": "headrace",
    "hf_datasets": "datasets",
    "tf_data": "tensorflow",
}
