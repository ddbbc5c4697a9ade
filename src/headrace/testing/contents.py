"""What batches hold, in a form that tests can compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from headrace.batch import Ragged

ID = "sample_id"
Content = dict[str, Any]


def ids_of(batches: Iterable[Any]) -> list[int]:
    """The sample ids of batches, end to end."""
    return [int(id) for batch in batches for id in batch[ID]]


def contents(batches: Iterable[Any]) -> list[Content]:
    """Batches in a form that `==` compares by value, dtype and shape."""
    return [content(batch) for batch in batches]


def content(batch: dict[str, Any]) -> Content:
    """One batch in a form that `==` compares by value, dtype and shape; NaN equals itself."""
    return {name: _comparable(name, column) for name, column in batch.items()}


def _comparable(name: str, column: Any) -> Any:
    if name == ID:
        return column.tolist()
    if isinstance(column, np.ndarray):
        return column.dtype.str, column.shape, column.tobytes()
    if isinstance(column, Ragged):
        return column.values.dtype.str, column.values.tobytes(), column.offsets.tolist()
    return column


def flat(lists: Iterable[Iterable[int]]) -> list[int]:
    """Lists end to end."""
    return [member for members in lists for member in members]
