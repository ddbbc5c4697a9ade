"""One read of one row group: what it will take is summed up first, then its values are decoded."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.batch import Sparse, list_array
from headrace.errors import CorruptSourceError
from headrace.manifest import RowGroup
from headrace.sources.budget import PlannedColumn, check_planned
from headrace.sources.hdf5_chunks import ShardBytes, read_extent
from headrace.sources.hdf5_header import Member, SparseTable, Table
from headrace.sources.hdf5_heap import Collections, Heap, pack_items, pack_text
from headrace.sources.hdf5_types import Leaf, from_heap, select_leaf, to_arrow

Array = NDArray[Any]

_TEXT_FACTOR = 3  # the padded cells, a mask over them, and the text
_CODE_BYTES = 16  # a code on its way, and an offset
_OBJECT_BYTES = 128  # a sample that h5py yields as a Python object
_SLICE_ROWS = 256  # read at once where only the values tell how long they are


@dataclass(slots=True, eq=False)
class Reading:
    """A row group that is being read.

    Attributes:
        file: Its file.
        row_group: What errors call it.
        rows: Which rows of the file it holds.
        limit: The most bytes that decoding may take.
    """

    file: ShardBytes
    row_group: RowGroup
    rows: range
    limit: int
    _tables: list[Table] = field(default_factory=list[Table], init=False)
    _varied: list[tuple[Table, Array, Collections]] = field(
        default_factory=list["tuple[Table, Array, Collections]"], init=False
    )
    _matrices: list[tuple[SparseTable, Array]] = field(
        default_factory=list["tuple[SparseTable, Array]"], init=False
    )

    def plan(self, members: Sequence[Member], columns: frozenset[str]) -> list[Table]:
        """Sum up what the wanted columns take, and return those that only h5py can read.

        Raises:
            MemoryLimitError: They take more than the limit; the message shows the sum.
        """
        matrices = [one for one in members if isinstance(one, SparseTable) and one.name in columns]
        tables: list[Table] = []
        for table in members:
            if isinstance(table, Table) and not columns.isdisjoint(table.leaves):
                leaves = {name: leaf for name, leaf in table.leaves.items() if name in columns}
                tables.append(replace(table, leaves=leaves))
        sizes = {table.name: self._fixed_bytes(table) for table in tables}
        sizes |= {matrix.name: self._pointer_bytes(matrix) for matrix in matrices}
        self._check(sizes)
        for matrix in matrices:  # what these point to is known once the pointers are
            with located(matrix.indptr, self.row_group):
                pointers = self._pointers(matrix)
            self._matrices.append((matrix, pointers))
            values = int(pointers[-1] - pointers[0])
            sizes[matrix.name] += sum(_value_bytes(table, values) for table in matrix.parts)
        for table in tables:
            if table.heap is not None and not table.needs_library:
                with located(table, self.row_group):
                    references = _read_values(self.file, table, self.rows)
                    collections = Collections.find(self.file, references, table.heap.base)
                self._varied.append((table, references, collections))
                sizes[table.name] += _referred_bytes(references, table.heap) + collections.nbytes
        self._check(sizes)
        self._tables = [table for table in tables if not table.needs_library and table.heap is None]
        return [table for table in tables if table.needs_library]

    def read_directly(self) -> dict[str, pa.Array]:
        """Decode all columns that need no library."""
        arrays: dict[str, pa.Array] = {}
        for table in self._tables:
            with located(table, self.row_group):
                values = _read_values(self.file, table, self.rows)
                arrays |= _columns(values, table.leaves)
        for table, references, collections in self._varied:
            with located(table, self.row_group):
                arrays |= self._read_varied(table, references, collections)
        for matrix, pointers in self._matrices:
            with located(matrix.data, self.row_group):
                arrays[matrix.name] = self._read_matrix(matrix, pointers)
        return arrays

    def read_by_library(self, dataset: Any, table: Table) -> dict[str, pa.Array]:
        """Read a data set through h5py, in slices where its size is not known before."""
        step = _SLICE_ROWS if table.is_varied else max(len(self.rows), 1)
        parts: dict[str, list[pa.Array]] = {name: [] for name in table.leaves}
        taken = 0
        for begin in range(self.rows.start, max(self.rows.stop, self.rows.start + 1), step):
            with located(table, self.row_group):
                values = dataset[begin : min(begin + step, self.rows.stop)]
                for name, array in _columns(values, table.leaves).items():
                    parts[name].append(array)
                    taken += array.nbytes
            self._check({table.name: taken})
        return {
            name: pa.concat_arrays(arrays) if len(arrays) > 1 else arrays[0] for name, arrays in parts.items()
        }

    def _read_varied(self, table: Table, references: Array, collections: Collections) -> dict[str, pa.Array]:
        assert table.heap is not None
        ((name, leaf),) = table.leaves.items()
        item = table.heap.item
        pack = pack_text if leaf.kind == "varied_text" else pack_items
        packed, lengths = pack(*collections.read(self.file, references, item.itemsize))
        with _in_column(name):
            return {name: from_heap(packed, lengths, leaf, item)}

    def _read_matrix(self, matrix: SparseTable, pointers: Array) -> pa.Array:
        spans = range(int(pointers[0]), int(pointers[-1]))
        values, *parts = (
            _columns(_read_values(self.file, table, spans), table.leaves).popitem()[1].to_numpy()
            for table in matrix.parts
        )
        if matrix.indices is None:
            return list_array(pa.array(values), np.diff(pointers))
        (indices,) = parts
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < matrix.width:
            raise CorruptSourceError(
                f"columns must lie in 0..{matrix.width - 1}, got {indices.min()} to {indices.max()}"
            )
        return Sparse(values, indices, pointers - pointers[0], matrix.width).to_arrow()

    def _pointers(self, matrix: SparseTable) -> Array:
        """Where the rows begin among the values, int64 of shape [rows + 1]."""
        around = range(self.rows.start, self.rows.stop + 1)
        pointers = _read_values(self.file, matrix.indptr, around).astype(np.int64)
        is_right = pointers[0] >= 0 and pointers[-1] <= matrix.data.rows and not (np.diff(pointers) < 0).any()
        if not is_right or (self.rows.start == 0 and pointers[0] != 0):
            raise CorruptSourceError(
                f"row pointers must rise from 0 to the number of values ({matrix.data.rows}), but do not"
            )
        return pointers

    def _fixed_bytes(self, table: Table) -> int:
        """Bytes that are known from the shape alone."""
        extent, rows = table.extent, len(self.rows)
        sizes = [_leaf_bytes(leaf, extent.row_bytes) for leaf in table.leaves.values()]
        needs_copy = len(table.leaves) > 1 or bool(next(iter(table.leaves.values())).path)
        own = extent.row_bytes if needs_copy or table.needs_library else 0
        return rows * (own + sum(sizes)) + extent.scratch

    def _pointer_bytes(self, matrix: SparseTable) -> int:
        return (len(self.rows) + 1) * (matrix.indptr.extent.row_bytes + 8) + matrix.indptr.extent.scratch

    def _check(self, sizes: Mapping[str, int]) -> None:
        check_planned(
            {name: PlannedColumn(size, size) for name, size in sizes.items()}, self.limit, self.row_group
        )


@contextmanager
def located(table: Table, row_group: RowGroup) -> Generator[None]:
    """Say which data set of which row group an error is about."""
    try:
        yield
    except CorruptSourceError as error:
        raise CorruptSourceError(f"{row_group}, data set `{table.extent.name}`: {error}") from error.__cause__


def _read_values(file: ShardBytes, table: Table, rows: range) -> Array:
    """Read rows as an array of shape [n, ...] in the file's own dtype."""
    assert table.dtype is not None
    base, dims = table.dtype.subdtype or (table.dtype, ())
    raw = read_extent(file, table.extent, rows.start, rows.stop)
    return raw.view(base).reshape(len(rows), *table.extent.inner, *dims)


def _columns(values: Array, leaves: Mapping[str, Leaf]) -> dict[str, pa.Array]:
    arrays: dict[str, pa.Array] = {}
    for name, leaf in leaves.items():
        with _in_column(name):
            arrays[name] = to_arrow(select_leaf(values, leaf), leaf)
    return arrays


@contextmanager
def _in_column(name: str) -> Generator[None]:
    """Say which column an error is about."""
    try:
        yield
    except CorruptSourceError as error:
        raise CorruptSourceError(f"column `{name}`: {error}") from error.__cause__


def _leaf_bytes(leaf: Leaf, row_bytes: int) -> int:
    """Bytes that one sample takes once decoded, and on the way."""
    if leaf.is_varied:
        return _OBJECT_BYTES
    if leaf.kind == "text":
        return _TEXT_FACTOR * row_bytes
    if leaf.categories is not None:
        return _CODE_BYTES + _widest(leaf.categories)
    width = max(leaf.item.bit_width // 8, 1)
    return width * int(np.prod(leaf.shape, dtype=np.int64))


def _referred_bytes(references: Array, heap: Heap) -> int:
    """Bytes on the heap that samples refer to, also on their way; some may refer to the same."""
    return 2 * int(references["count"].sum(dtype=np.uint64)) * heap.item.itemsize


def _widest(categories: pa.Array) -> int:
    if pa.types.is_string(categories.type):
        lengths = pc.call_function("binary_length", [categories])
        return int(np.asarray(lengths).max(initial=0))
    return max(categories.type.bit_width // 8, 1)


def _value_bytes(table: Table, rows: int) -> int:
    return rows * table.extent.row_bytes + table.extent.scratch
