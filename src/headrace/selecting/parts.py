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
from headrace.prepare.base import to_frame
from headrace.selecting.base import Selectable

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


def read_part(recipe: Recipe, part: Part) -> pl.DataFrame:
    """Read and prepare the rows of a part, all columns after the last step."""
    batch = replace(recipe, pack=None, keep_arrow=False).frame(part.row_group)
    return to_frame(batch if part.rows is None else batch.take(pa.array(part.rows)))
