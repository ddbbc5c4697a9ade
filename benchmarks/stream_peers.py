"""The opponents of the Parquet streaming benchmark, each written as a careful user would write it.

Every peer is a function of the shards, the batch size and the number of epochs, and yields pairs of fresh
torch tensors: 13 float32 and 26 int64 columns by row. Samples are shuffled: the order of the row groups, and
the samples within what is held in memory. `raw_decode` is no loader; it shows how fast pyarrow decodes the
same files on the same two threads and yields row counts. A loader of two threads cannot pass it.

A peer keeps its buffers from one epoch to the next, so that no epoch but the first pays for fresh memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from criteo_like import CATEGORY_COLUMNS, DENSE_COLUMNS
from torch.utils.data import DataLoader, IterableDataset

TensorPair = tuple[torch.Tensor, torch.Tensor]
Peer = Callable[[Sequence[Path], int, int], Iterator[TensorPair]]

DECODE_THREADS = 2
POOL_GROUPS = 8
SEED = 0
DENSE_WIDTH = len(DENSE_COLUMNS)
CATEGORY_WIDTH = len(CATEGORY_COLUMNS)
PACK_BLOCK = 32


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group of one shard."""

    path: Path
    index: int
    rows: int

    def decode(self) -> pa.Table:
        """All columns, decoded in the calling thread; pyarrow lets go of the GIL meanwhile."""
        with pq.ParquetFile(self.path, memory_map=True) as file:
            return file.read_row_group(self.index, use_threads=False)


def list_row_groups(files: Sequence[Path]) -> list[RowGroup]:
    """The row groups of all shards, from the footers."""
    groups: list[RowGroup] = []
    for path in files:
        footer = pq.read_metadata(path)
        groups += [
            RowGroup(path, index, footer.row_group(index).num_rows) for index in range(footer.num_row_groups)
        ]
    return groups


def raw_decode(files: Sequence[Path], epochs: int) -> Iterator[int]:
    """Decode every row group on two threads and drop it; yield its row count."""
    jobs = list_row_groups(files) * epochs
    with ThreadPoolExecutor(DECODE_THREADS) as executor:
        for table in _decoded_ahead(executor, jobs, ahead=2 * DECODE_THREADS):
            yield table.num_rows


def _decoded_ahead(executor: ThreadPoolExecutor, jobs: Sequence[RowGroup], ahead: int) -> Iterator[pa.Table]:
    """Tables in the order of the jobs, with up to `ahead` of them decoded before they are asked for."""
    pending: deque[Future[pa.Table]] = deque()
    for job in jobs:
        pending.append(executor.submit(job.decode))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


# ---- a plain torch DataLoader


class RowDataset(IterableDataset[TensorPair]):
    """Yields samples one by one, row group after row group, shuffled within each."""

    def __init__(self, files: Sequence[Path], epoch: int) -> None:
        self._groups = list_row_groups(files)
        self._epoch = epoch

    def __iter__(self) -> Iterator[TensorPair]:
        draws = np.random.default_rng([SEED, self._epoch])
        for number in draws.permutation(len(self._groups)):
            table = self._groups[number].decode()
            dense = torch.from_numpy(_stacked(table, DENSE_COLUMNS))
            categories = torch.from_numpy(_stacked(table, CATEGORY_COLUMNS))
            for row in draws.permutation(table.num_rows):
                yield dense[row], categories[row]


def _stacked(table: pa.Table, names: Sequence[str]) -> npt.NDArray[np.generic]:
    return np.stack([table.column(name).to_numpy() for name in names], axis=1)


def torch_dataloader(files: Sequence[Path], batch_size: int, epochs: int) -> Iterator[TensorPair]:
    """An iterable data set of samples under DataLoader with its default collate, without worker processes."""
    for epoch in range(epochs):
        yield from DataLoader(RowDataset(files, epoch), batch_size=batch_size)


# ---- a pool of row groups, by pyarrow and numpy


def pyarrow_pool(files: Sequence[Path], batch_size: int, epochs: int) -> Iterator[TensorPair]:
    """Concatenate eight row groups, shuffle, take and stack by batch; the next eight are read ahead."""
    with ThreadPoolExecutor(DECODE_THREADS) as executor:
        for epoch in range(epochs):
            draws = np.random.default_rng([SEED, epoch])
            groups = list_row_groups(files)
            jobs = [groups[number] for number in draws.permutation(len(groups))]
            tables = _decoded_ahead(executor, jobs, ahead=POOL_GROUPS)
            for start in range(0, len(jobs), POOL_GROUPS):
                pool = pa.concat_tables(
                    [next(tables) for _ in jobs[start : start + POOL_GROUPS]]
                ).combine_chunks()
                yield from _pool_batches(pool, batch_size, draws)


def _pool_batches(pool: pa.Table, batch_size: int, draws: np.random.Generator) -> Iterator[TensorPair]:
    columns = {name: pool.column(name).to_numpy() for name in pool.column_names}
    order = draws.permutation(pool.num_rows)
    for start in range(0, pool.num_rows, batch_size):
        rows = order[start : start + batch_size]
        dense = np.stack([columns[name].take(rows) for name in DENSE_COLUMNS], axis=1)
        categories = np.stack([columns[name].take(rows) for name in CATEGORY_COLUMNS], axis=1)
        yield torch.from_numpy(dense), torch.from_numpy(categories)


# ---- the tuned stream: packed pools, two in turn


class PackedPool:
    """Row-major memory for the row groups of one pool, filled by decode threads and used again and again."""

    def __init__(self, capacity: int) -> None:
        self.dense = np.empty((capacity, DENSE_WIDTH), np.float32)
        self.categories = np.empty((capacity, CATEGORY_WIDTH), np.int64)
        self.rows = 0
        self._pending: list[Future[None]] = []

    def start_filling(self, groups: Sequence[RowGroup], executor: ThreadPoolExecutor) -> None:
        """Hand one decode-and-pack job a row group to the executor."""
        self.rows = 0
        for group in groups:
            self._pending.append(executor.submit(self._fill, group, self.rows))
            self.rows += group.rows

    def wait(self) -> None:
        """Return when all row groups are packed; raise what went wrong with one."""
        for future in self._pending:
            future.result()
        self._pending.clear()

    def _fill(self, group: RowGroup, start: int) -> None:
        table = group.decode()
        rows = slice(start, start + group.rows)
        pack_dense(tuple(table.column(name).chunk(0).to_numpy() for name in DENSE_COLUMNS), self.dense[rows])
        pack_categories(
            tuple(table.column(name).chunk(0).to_numpy() for name in CATEGORY_COLUMNS), self.categories[rows]
        )


@numba.njit(nogil=True)
def pack_dense(columns, packed):  # type: ignore[no-untyped-def]  # compiled for arrays
    """Copy 13 columns to rows, a few rows of all columns at a time so that both sides stay in the cache."""
    rows = packed.shape[0]
    for start in range(0, rows, PACK_BLOCK):
        stop = min(start + PACK_BLOCK, rows)
        for column in range(DENSE_WIDTH):
            values = columns[column]
            for row in range(start, stop):
                packed[row, column] = values[row]


@numba.njit(nogil=True)
def pack_categories(columns, packed):  # type: ignore[no-untyped-def]  # compiled for arrays
    """The same for 26 columns; the widths are constants for the compiler's sake."""
    rows = packed.shape[0]
    for start in range(0, rows, PACK_BLOCK):
        stop = min(start + PACK_BLOCK, rows)
        for column in range(CATEGORY_WIDTH):
            values = columns[column]
            for row in range(start, stop):
                packed[row, column] = values[row]


def tuned_stream(files: Sequence[Path], batch_size: int, epochs: int) -> Iterator[TensorPair]:
    """Two threads decode and pack into one pool while batches are gathered from the other.

    A pool holds eight row groups. A batch that the pool in use cannot fill is filled from the next one, so
    that only the last batch of an epoch is short.
    """
    draws = np.random.default_rng(SEED)
    partial = PartialBatch(batch_size)
    for pool, ends_epoch in _filled_pools(list_row_groups(files), epochs):
        order = draws.permutation(pool.rows)
        start = 0
        while start < pool.rows:
            start += partial.gather(pool, order[start:])
            if partial.is_full or (ends_epoch and start == pool.rows):
                yield partial.tensors()
                partial = PartialBatch(batch_size)


def _filled_pools(groups: Sequence[RowGroup], epochs: int) -> Iterator[tuple[PackedPool, bool]]:
    """Two pools in turn, each with whether it is the last of its epoch; the other one is filled meanwhile."""
    blocks = [block for epoch in range(epochs) for block in _epoch_blocks(groups, epoch)]
    blocks_an_epoch = len(blocks) // epochs
    capacity = sum(sorted((group.rows for group in groups), reverse=True)[:POOL_GROUPS])
    pools = PackedPool(capacity), PackedPool(capacity)
    with ThreadPoolExecutor(DECODE_THREADS) as executor:
        pools[0].start_filling(blocks[0], executor)
        for number in range(len(blocks)):
            if number + 1 < len(blocks):
                pools[(number + 1) % 2].start_filling(blocks[number + 1], executor)
            pools[number % 2].wait()
            yield pools[number % 2], (number + 1) % blocks_an_epoch == 0


def _epoch_blocks(groups: Sequence[RowGroup], epoch: int) -> list[list[RowGroup]]:
    order = np.random.default_rng([SEED, epoch]).permutation(len(groups))
    shuffled = [groups[number] for number in order]
    return [shuffled[start : start + POOL_GROUPS] for start in range(0, len(shuffled), POOL_GROUPS)]


class PartialBatch:
    """A batch in the making: fresh tensors and how many of their rows are filled."""

    def __init__(self, batch_size: int) -> None:
        self._dense = torch.empty((batch_size, DENSE_WIDTH), dtype=torch.float32)
        self._categories = torch.empty((batch_size, CATEGORY_WIDTH), dtype=torch.int64)
        self._filled = 0

    @property
    def is_full(self) -> bool:
        return self._filled == len(self._dense)

    def gather(self, pool: PackedPool, order: npt.NDArray[np.int64]) -> int:
        """Fill up from the first rows of the order and return how many were used."""
        rows = order[: len(self._dense) - self._filled]
        target = slice(self._filled, self._filled + len(rows))
        # Without mode="clip", take would copy its output once more; it was also faster than compiled loops.
        np.take(pool.dense, rows, axis=0, out=self._dense[target].numpy(), mode="clip")
        np.take(pool.categories, rows, axis=0, out=self._categories[target].numpy(), mode="clip")
        self._filled += len(rows)
        return len(rows)

    def tensors(self) -> TensorPair:
        return self._dense[: self._filled], self._categories[: self._filled]


PEERS: dict[str, Peer] = {
    "torch_dataloader": torch_dataloader,
    "pyarrow_pool": pyarrow_pool,
    "tuned_stream": tuned_stream,
}
