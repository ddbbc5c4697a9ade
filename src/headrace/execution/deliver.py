"""Deliver: a batch in the form that the consumer asked for, without a copy of its arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from headrace.batch import Batch, Column, Ragged, Sparse, is_sparse, to_sparse
from headrace.prepare.ragged import is_ragged, to_array, to_lists, to_ragged

ID_KEY = "sample_id"
PADDING_KEY = "is_padding"


def to_numpy(batch: Batch, with_ids: bool) -> dict[str, Any]:
    """Return NumPy arrays, `Ragged` for lists of numbers, and Python lists for all else."""
    columns = {name: plain(column) for name, column in batch.columns.items()}
    return columns | extras(batch, with_ids)


def to_arrow(batch: Batch, with_ids: bool) -> pa.RecordBatch:
    """Return a record batch; arrays of shape [n, ...] become fixed-shape tensors."""
    columns = {name: _arrow(column) for name, column in batch.columns.items()}
    columns |= {name: pa.array(array) for name, array in extras(batch, with_ids).items()}
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def extras(batch: Batch, with_ids: bool) -> dict[str, np.ndarray[Any, Any]]:
    """Return what goes along with the columns: the ids on request, the mask where there is padding."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    if with_ids:
        found[ID_KEY] = batch.ids
    if batch.is_padding is not None:
        found[PADDING_KEY] = batch.is_padding
    return found


def plain(column: Column) -> Any:
    """Turn an Arrow column into a `Ragged` or a Python list; arrays stay what they are."""
    if isinstance(column, (np.ndarray, Ragged, Sparse)):
        return column
    kind = column.type
    if is_sparse(kind):
        return to_sparse(column)
    return to_ragged(column) if is_ragged(kind) else column.to_pylist()


def _arrow(column: Column) -> pa.Array:
    if isinstance(column, Sparse):
        return column.to_arrow()
    if isinstance(column, Ragged):
        return to_lists(column)
    return to_array(column) if isinstance(column, np.ndarray) else column
