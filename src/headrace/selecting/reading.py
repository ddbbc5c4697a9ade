"""Looking at some columns of the samples that take part, row group by row group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import OptionError, UnknownColumnError
from headrace.execution.executors import Executor, Threads
from headrace.execution.recipe import Recipe
from headrace.manifest import RowGroup
from headrace.prepare.columns import Select
from headrace.selecting.base import Selectable

Ids = NDArray[np.int64]
Item = tuple[RowGroup, Ids | None]
Result = TypeVar("Result")

_STRETCH = 1 << 20  # ids at a time, where nothing is read


def scan(
    dataset: Selectable,
    columns: Sequence[str],
    look: Callable[[pa.RecordBatch], Result],
    executor: Executor | None,
) -> Iterator[tuple[Ids, Result]]:
    """Call a function on the samples of each row group that some of them lie in, in order.

    Only these columns are read. A sample that is selected several times is looked at once.

    Args:
        dataset: Which samples, and what is done to them.
        columns: What the function needs of them.
        look: Thread-safe, and picklable for processes.
        executor: Where it runs; threads by default.

    Yields:
        The ids of the samples, rising, and what the function returned.

    Raises:
        UnknownColumnError: A column is not there.
    """
    check_columns(dataset, columns)
    steps = (*dataset.recipe.steps, Select(tuple(columns)))
    recipe = replace(dataset.recipe, steps=steps, pack=None, keep_arrow=False)
    results = (executor or Threads()).map(partial(_look, recipe, look), _items(dataset))
    for (row_group, rows), result in zip(_items(dataset), results, strict=True):
        yield row_group.first + (np.arange(row_group.rows) if rows is None else rows), result


def stretches(dataset: Selectable) -> Iterator[Ids]:
    """Yield the ids of the samples that take part, rising and once each, a bounded number at a time."""
    chosen = dataset.selection.set
    for begin in range(0, chosen.count, _STRETCH):
        yield chosen.at(np.arange(begin, min(begin + _STRETCH, chosen.count)))


def check_columns(dataset: Selectable, columns: Sequence[str]) -> None:
    """Refuse names that are no columns.

    Raises:
        OptionError: A name is no text.
        UnknownColumnError: A column is not there.
    """
    for name in columns:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"a column is named by a text, got {name!r}")
    names = dataset.recipe.names or dataset.schema.names
    missing = [name for name in columns if name not in names]
    if missing:
        raise UnknownColumnError.from_names(missing, names, "the data set")


def _items(dataset: Selectable) -> Iterator[Item]:
    """Yield the row groups with selected samples, and which rows those are; None for all."""
    chosen, manifest = dataset.selection.set, dataset.manifest
    before = chosen.rank(manifest.starts)
    for number in np.flatnonzero(np.diff(before)):
        row_group = manifest[int(number)]
        first, last = before[number], before[number + 1]
        is_whole = last - first == row_group.rows
        yield row_group, None if is_whole else chosen.at(np.arange(first, last)) - row_group.first


def _look(recipe: Recipe, look: Callable[[pa.RecordBatch], Result], item: Item) -> Result:
    row_group, rows = item
    batch = recipe.frame(row_group)
    return look(batch if rows is None else batch.take(pa.array(rows)))
