"""Batch: named arrays over samples, with the samples' ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import SchemaError, UnknownColumnError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Ragged:
    """A column whose samples differ in length: all values in a row, and where each sample begins.

    Attributes:
        values: All values, of shape [total, ...].
        offsets: int64 of shape [n + 1]; sample i is `values[offsets[i]:offsets[i + 1]]`.

    Example:
        >>> column = Ragged(np.array([1, 2, 3]), np.array([0, 2, 2, 3]))
        >>> [sample.tolist() for sample in column]
        [[1, 2], [], [3]]
    """

    values: Array
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        ends_right = len(self.offsets) > 0 and self.offsets[0] == 0 and self.offsets[-1] == len(self.values)
        if not ends_right or bool(np.any(np.diff(self.offsets) < 0)):
            raise SchemaError(
                f"offsets must rise from 0 to the number of values ({len(self.values)}), got {self.offsets}"
            )

    @classmethod
    def trusted(cls, values: Any, offsets: Any) -> Ragged:
        """Put together what was one before, unchecked, as a look at offsets on a device would wait for it."""
        column = object.__new__(cls)
        object.__setattr__(column, "values", values)
        object.__setattr__(column, "offsets", offsets)
        return column

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[Array]:
        """The samples, as views."""
        return (self.values[begin:end] for begin, end in pairwise(self.offsets))

    @property
    def nbytes(self) -> int:
        """Bytes of values and offsets."""
        return self.values.nbytes + self.offsets.nbytes

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """Copy the samples at these places, in this order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        places = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Ragged(self.values[places], offsets)


@dataclass(frozen=True, slots=True)
class Sparse:
    """A column of rows that are nearly all zeros: compressed sparse rows (CSR).

    Attributes:
        values: All values that are stored, of shape [total].
        indices: The place of each value in its row, whole numbers of shape [total].
        offsets: int64 of shape [n + 1]; row i has the values `offsets[i]:offsets[i + 1]`.
        width: How many places a row has.

    Example:
        >>> column = Sparse(np.array([5.0, 7.0]), np.array([2, 0]), np.array([0, 1, 1, 2]), width=3)
        >>> column.shape, column.to_dense().tolist()
        ((3, 3), [[0.0, 0.0, 5.0], [0.0, 0.0, 0.0], [7.0, 0.0, 0.0]])
    """

    values: Array
    indices: Array
    offsets: NDArray[np.int64]
    width: int

    def __post_init__(self) -> None:
        if len(self.indices) != len(self.values):
            raise SchemaError(f"each value needs one index, got {len(self.values)} and {len(self.indices)}")
        Ragged(self.values, self.offsets)  # checks the offsets
        if len(self.indices) and not 0 <= int(self.indices.min()) <= int(self.indices.max()) < self.width:
            raise SchemaError(
                f"indices must lie in 0..{self.width - 1}, got {self.indices.min()} to {self.indices.max()}"
            )

    @classmethod
    def trusted(cls, values: Any, indices: Any, offsets: Any, width: int) -> Sparse:
        """Put together what was one before, unchecked; see `Ragged.trusted`."""
        column = object.__new__(cls)
        for name, value in (("values", values), ("indices", indices), ("offsets", offsets), ("width", width)):
            object.__setattr__(column, name, value)
        return column

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and places of a row."""
        return len(self), self.width

    @property
    def nbytes(self) -> int:
        """Bytes of values, indices and offsets."""
        return self.values.nbytes + self.indices.nbytes + self.offsets.nbytes

    def take(self, rows: NDArray[np.int64]) -> Sparse:
        """Copy the rows at these places, in this order."""
        taken = Ragged(np.arange(len(self.values)), self.offsets).take(rows)
        return Sparse(self.values[taken.values], self.indices[taken.values], taken.offsets, self.width)

    def canonical(self) -> Sparse:
        """Return the rows with rising indices and each place stored once, as libraries want them.

        Values of a place that is stored several times are summed. Rows that are in order already
        are returned as they are.

        Example:
            >>> rows = Sparse(np.array([1.0, 2.0, 4.0]), np.array([2, 0, 2]), np.array([0, 3]), width=3)
            >>> rows.canonical().indices.tolist(), rows.canonical().values.tolist()
            ([0, 2], [2.0, 5.0])
        """
        rows = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        rises = self.indices[1:] > self.indices[:-1]
        if bool(np.all(rises | (rows[1:] != rows[:-1]))):
            return self
        order = np.lexsort((self.indices, rows))
        rows, indices = rows[order], self.indices[order]
        is_first = np.ones(len(order), np.bool_)
        is_first[1:] = (rows[1:] != rows[:-1]) | (indices[1:] != indices[:-1])
        values = np.add.reduceat(self.values[order], np.flatnonzero(is_first), dtype=self.values.dtype)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows[is_first], minlength=len(self)))])
        return Sparse(values, indices[is_first], offsets, self.width)

    def to_dense(self) -> Array:
        """Return an array of shape [n, width]; a place that is stored twice holds the sum."""
        dense = np.zeros(self.shape, self.values.dtype)
        rows = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        np.add.at(dense, (rows, self.indices), self.values)
        return dense

    def to_arrow(self) -> pa.Array:
        """Wrap the rows as Arrow lists of `sparse_type`, without a copy."""
        kind = sparse_type(
            self.width, pa.from_numpy_dtype(self.indices.dtype), pa.from_numpy_dtype(self.values.dtype)
        )
        pairs = pa.StructArray.from_arrays(
            [pa.array(self.indices), pa.array(self.values)], fields=list(kind.value_type)
        )
        return pa.LargeListArray.from_arrays(pa.array(self.offsets), pairs, type=kind)


def list_array(
    values: pa.Array, lengths: NDArray[np.int64], is_null: NDArray[np.bool_] | None = None
) -> pa.Array:
    """Cut values into lists, as a large list array, without a copy of the values.

    Args:
        values: All values in a row.
        lengths: How many of them each list has, int64 of shape [n]; 0 where it is null.
        is_null: Which lists are null.

    Example:
        >>> list_array(pa.array([1, 2, 3]), np.array([2, 0, 1])).to_pylist()
        [[1, 2], [], [3]]
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    mask = None if is_null is None or not is_null.any() else pa.array(is_null)
    return pa.LargeListArray.from_arrays(pa.array(offsets), values, mask=mask)


_INDEX_NAME, _VALUE_NAME = "index of ", "value"


def sparse_type(width: int, index: pa.DataType, value: pa.DataType) -> pa.DataType:
    """Return the Arrow type of sparse rows: lists of an index and a value.

    The width is in the name of the index, as that alone survives Polars, Parquet and a gather;
    so rows of different widths have different types.

    Example:
        >>> sparse_type(765, pa.int32(), pa.float32()).value_type
        StructType(struct<index of 765: int32, value: float>)
    """
    return pa.large_list(pa.struct([pa.field(f"{_INDEX_NAME}{width}", index), pa.field(_VALUE_NAME, value)]))


def is_sparse(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of `sparse_type`."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(
        kind.value_type
    ):
        return False
    names = [member.name for member in kind.value_type]
    if len(names) != 2 or names[1] != _VALUE_NAME:
        return False
    return names[0].startswith(_INDEX_NAME) and names[0].removeprefix(_INDEX_NAME).isdecimal()


def to_sparse(array: pa.Array) -> Sparse:
    """Unwrap Arrow lists of `sparse_type`, without a copy of values and indices.

    Raises:
        SchemaError: It holds something else, or nulls.

    Example:
        >>> rows = Sparse(np.array([5.0]), np.array([2]), np.array([0, 1, 1]), width=3)
        >>> to_sparse(rows.to_arrow().slice(1)).shape
        (1, 3)
    """
    if not is_sparse(array.type):
        raise SchemaError(f"sparse rows must be lists of an index and a value, got {array.type}")
    pairs = array.flatten()
    indices, values = pairs.flatten()
    if array.null_count or indices.null_count or values.null_count:
        raise SchemaError("sparse rows cannot hold nulls; fill them before")
    # A slice's offsets do not begin at 0.
    offsets = array.offsets.to_numpy().astype(np.int64)
    width = int(array.type.value_type.field(0).name.removeprefix(_INDEX_NAME))
    return Sparse(values.to_numpy(), indices.to_numpy(), offsets - offsets[0], width)


Column = Array | Ragged | Sparse | pa.Array
"""One column of a batch: an array of shape [n, ...], a `Ragged`, a `Sparse`, or Arrow for other types."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples that are delivered together.

    Attributes:
        columns: Name to column; every column has one entry for each sample. Arrays are
            row-major; strings and other types without a fixed width are Arrow arrays.
        ids: The samples' fixed numbers in the manifest, int64 of shape [n].
        is_padding: With `tail="pad"`, a boolean array of shape [n] that marks repeated samples.

    Example:
        >>> batch = Batch({"x": np.array([1.0, 2.0, 3.0])}, ids=np.array([7, 8, 9]))
        >>> batch.take(np.array([2, 0]))["x"].tolist()
        [3.0, 1.0]
    """

    columns: Mapping[str, Column]
    ids: NDArray[np.int64]
    is_padding: NDArray[np.bool_] | None = field(default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", dict(self.columns))
        for name, column in self.columns.items():
            if len(column) != len(self.ids):
                raise SchemaError(f"column `{name}` must hold {len(self.ids)} samples, got {len(column)}")

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.ids)

    def __getitem__(self, name: str) -> Column:
        """One column by name."""
        if name not in self.columns:
            raise UnknownColumnError.from_names([name], self.columns, "the batch")
        return self.columns[name]

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(int(column.nbytes) for column in self.columns.values())

    def take(self, rows: NDArray[np.int64] | Sequence[int]) -> Batch:
        """Copy the samples at these places, in this order."""
        places = np.asarray(rows, np.int64)
        columns = {name: take_rows(column, places) for name, column in self.columns.items()}
        padding = None if self.is_padding is None else self.is_padding[places]
        return Batch(columns, self.ids[places], padding)

    @staticmethod
    def concat(batches: Sequence[Batch]) -> Batch:
        """Join batches with the same columns, in order, into fresh memory.

        Example:
            >>> one = Batch({"x": np.array([1, 2])}, ids=np.array([0, 1]))
            >>> Batch.concat([one, one])["x"].tolist()
            [1, 2, 1, 2]
        """
        if not batches:
            raise SchemaError("at least one batch is needed to join, got none")
        names = list(batches[0].columns)
        for batch in batches:
            if list(batch.columns) != names:
                raise SchemaError(f"batches to join must have the columns {names}, got {list(batch.columns)}")
        columns = {name: _concat_columns([batch[name] for batch in batches]) for name in names}
        padding = [batch.is_padding for batch in batches if batch.is_padding is not None]
        return Batch(
            columns,
            np.concatenate([batch.ids for batch in batches]),
            np.concatenate(padding) if len(padding) == len(batches) else None,
        )


def take_rows(column: Column, rows: NDArray[np.int64]) -> Column:
    """Copy the samples of one column at these places, in this order."""
    if isinstance(column, (Ragged, Sparse)):
        return column.take(rows)
    if isinstance(column, np.ndarray):
        return column[rows]
    return column.take(pa.array(rows))


def _concat_columns(parts: Sequence[Column]) -> Column:
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
    if all(isinstance(part, Ragged) for part in parts):
        ragged = [part for part in parts if isinstance(part, Ragged)]
        lengths = np.concatenate([np.diff(part.offsets) for part in ragged])
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return Ragged(np.concatenate([part.values for part in ragged]), offsets)
    if all(isinstance(part, Sparse) for part in parts):
        sparse = [part for part in parts if isinstance(part, Sparse)]
        return to_sparse(pa.concat_arrays([part.to_arrow() for part in sparse]))
    return pa.concat_arrays([part for part in parts if isinstance(part, pa.Array)])
