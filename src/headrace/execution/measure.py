"""The lengths of all selected samples, read before an epoch is planned."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import SchemaError
from headrace.execution.executors import Executor, Threads
from headrace.execution.recipe import Recipe
from headrace.manifest import RowGroup
from headrace.planning.lengths import Lengths
from headrace.planning.selection import Selection
from headrace.prepare.columns import Select


def measure_lengths(
    recipe: Recipe, selection: Selection, column: str, executor: Executor | None = None
) -> Lengths:
    """Read one column of the row groups that hold selected samples.

    Args:
        recipe: Whose column, after its last step.
        selection: Which samples.
        column: Whole numbers, or lists or text whose lengths count.
        executor: Where to read; threads by default.

    Raises:
        SchemaError: The column holds something else, nulls, or numbers below 0.
    """
    only = replace(recipe, steps=(*recipe.steps, Select((column,))), pack=None)
    manifest = recipe.source.manifest
    wanted = [manifest[int(number)] for number in np.flatnonzero(selection.counts(manifest.starts))]
    values = np.zeros(manifest.total, np.int64)
    for row_group, found in zip(
        wanted, (executor or Threads()).map(partial(_lengths_of, only, column), wanted), strict=True
    ):
        values[row_group.first : row_group.first + row_group.rows] = found
    return Lengths(column, values)


def _lengths_of(recipe: Recipe, column: str, row_group: RowGroup) -> Any:
    array = recipe.frame(row_group).column(0)
    kind = array.type
    where = f"{row_group}, column `{column}`"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        array = pc.call_function("list_value_length", [array])
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        array = pc.call_function("binary_length", [array])
    elif not pa.types.is_integer(kind):
        raise SchemaError(f"{where}: lengths must be whole numbers, lists or text, got {kind}")
    if array.null_count:
        raise SchemaError(f"{where}: {array.null_count} lengths are null; fill or leave them out before")
    found = array.to_numpy(zero_copy_only=False).astype(np.int64)
    if found.size and int(found.min()) < 0:
        raise SchemaError(f"{where}: lengths must be at least 0, got {int(found.min())}")
    return found
