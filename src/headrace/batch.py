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


Column = Array | Ragged | pa.Array
"""One column of a batch: an array of shape [n, ...], a `Ragged`, or Arrow for what is neither."""


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
    if isinstance(column, Ragged):
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
    return pa.concat_arrays([part for part in parts if isinstance(part, pa.Array)])
