"""Columns of one row group as rows that lie one behind the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.execution.gather import address
from headrace.execution.recipe import Recipe, Rows, Untouched
from headrace.manifest import RowGroup
from headrace.prepare.pack import Laid, Stack


def row_bytes(recipe: Recipe) -> int:
    """Bytes of one prepared row, as far as they are known before any is prepared."""
    try:
        schema = recipe.schema
        none = pa.RecordBatch.from_arrays([pa.nulls(0, each.type) for each in schema], schema=schema)
        laid = recipe.lay_out(none, RowGroup(0, 0, 0, 0, 0, 0, "an empty row group"))
    except Exception:  # a function that cannot do without rows; the first entry will tell
        return 0
    return sum(_row_width(column) for column in laid.values())


def to_rows(laid: Laid | Untouched, rows: Rows | None) -> NDArray[Any] | pa.Array:
    """Some rows of a column, laid out row by row."""
    if isinstance(laid, Stack):
        return _stacked(laid, rows)
    assert not isinstance(laid, Untouched)
    if isinstance(laid, np.ndarray):
        return np.ascontiguousarray(laid if rows is None else laid[rows])
    return laid if rows is None else laid.take(pa.array(rows))


def _stacked(stack: Stack, rows: Rows | None) -> NDArray[Any]:
    from headrace.execution.kernels import copy_columns

    wanted = np.arange(len(stack.parts[0])) if rows is None else rows
    out = np.empty((len(wanted), len(stack.parts)), stack.parts[0].dtype)
    outputs = np.array([address(out)], np.uint64)
    copy_columns(stack.parts, outputs, wanted, np.zeros(len(wanted), np.int64), np.arange(len(wanted)))
    return out


def _row_width(laid: Laid) -> int:
    """Bytes of one row of a column; 0 if its rows differ."""
    if isinstance(laid, Stack):
        return sum(part.dtype.itemsize for part in laid.parts)
    if isinstance(laid, np.ndarray):
        return laid.dtype.itemsize * int(np.prod(laid.shape[1:]))
    return 0
