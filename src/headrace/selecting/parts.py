"""The rows of each row group that take part, as often as a selection holds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.execution.recipe import Recipe
from headrace.manifest import RowGroup
from headrace.planning.selection import Selection
from headrace.prepare.base import to_frame
from headrace.selecting.base import Selectable
from headrace.slices import take_rows

if TYPE_CHECKING:
    import polars as pl

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one row group.

    Attributes:
        row_group: Which one.
        rows: Which rows, rising, with repeats; None for all.
    """

    row_group: RowGroup
    rows: Rows | None

    @property
    def ids(self) -> NDArray[np.int64]:
        """The samples' ids, int64 of shape [rows]."""
        return self.row_group.first + (np.arange(self.row_group.rows) if self.rows is None else self.rows)


def parts_of(dataset: Selectable) -> Iterator[Part]:
    """Yield the row groups that samples lie in, and which of their rows, in the order of the data.

    A sample that a selection repeats comes as often.
    """
    selection, starts = dataset.selection.by_id, dataset.manifest.starts
    counts = selection.counts(starts)
    before = np.concatenate([[0], np.cumsum(counts)])
    for number in np.flatnonzero(counts).tolist():
        row_group = dataset.manifest[number]
        is_whole = counts[number] == row_group.rows and selection.listed is None
        ids = None if is_whole else selection.at(np.arange(before[number], before[number + 1]))
        yield Part(row_group, None if ids is None else ids - row_group.first)


def parts_once(dataset: Selectable) -> Iterator[Part]:
    """Yield the same, with each sample once however often a selection repeats it."""
    return parts_of(dataset.with_selection(Selection.of_set(dataset.selection.set)))


def read_batch(recipe: Recipe, part: Part) -> pa.RecordBatch:
    """Read and prepare the rows of a part, all columns after the last step."""
    batch = recipe.frame(part.row_group)
    return batch if part.rows is None else take_rows(batch, part.rows)


def read_part(recipe: Recipe, part: Part) -> pl.DataFrame:
    """Read and prepare the rows of a part as a frame, before they are packed."""
    return to_frame(read_batch(replace(recipe, pack=None, keep_arrow=False), part))
