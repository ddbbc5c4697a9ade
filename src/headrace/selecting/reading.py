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
from headrace.prepare.columns import Select
from headrace.selecting.base import Selectable
from headrace.selecting.parts import Part, parts_once, read_batch

Ids = NDArray[np.int64]
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
    results = (executor or Threads()).map(partial(_look, recipe, look), parts_once(dataset))
    for part, result in zip(parts_once(dataset), results, strict=True):
        yield part.ids, result


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


def _look(recipe: Recipe, look: Callable[[pa.RecordBatch], Result], part: Part) -> Result:
    return look(read_batch(recipe, part))
