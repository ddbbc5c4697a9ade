"""All rows of a data set as arrays: a batch of any order is then one gather from each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import SchemaError
from headrace.execution.recipe import Recipe
from headrace.manifest import RowGroup
from headrace.planning.idset import IdSet
from headrace.planning.plan import StepSamples
from headrace.planning.selection import Selection
from headrace.prepare.pack import Stack
from headrace.sources.base import SupportsWhole
from headrace.stores.base import Layout

Array = NDArray[Any]
Ids = NDArray[np.int64]


class Entries:
    """The entries of a store that all rows lie in: each is checked once, when its first row is needed.

    Thread-safe: several threads divide what is left to check among them.
    """

    def __init__(self, layout: Layout, check: Callable[[int], bool], hit: Callable[[int], None]) -> None:
        """Begin with none checked.

        Args:
            layout: The entries.
            check: Tells whether an entry is sound.
            hit: Counts entries that were found sound.
        """
        self._starts = layout.starts
        self._check = check
        self._hit = hit
        self._lock = threading.Lock()
        self._is_sound = np.zeros(len(layout.entries), np.bool_)
        self._unsure = len(layout.entries)
        self._turns = 0

    def are_sound(self, places: Ids) -> bool:
        """Tell whether all entries that these rows lie in are sound; int64 of shape [n]."""
        if not self._unsure:
            return True
        numbers = np.searchsorted(self._starts, places, side="right") - 1
        wanted = np.bincount(numbers, minlength=len(self._is_sound)) > 0
        unsure = np.flatnonzero(wanted & ~self._is_sound)
        with self._lock:
            self._turns += 1
            turn = self._turns
        # Threads that need the same entries begin at different ends.
        for number in unsure.tolist()[:: -1 if turn % 2 else 1]:
            if not self._is_sound[number] and not self._admit(number):
                return False
        return True

    def _admit(self, number: int) -> bool:
        if not self._check(number):
            return False
        with self._lock:
            if not self._is_sound[number]:
                self._is_sound[number] = True
                self._unsure -= 1
                self._hit(1)
        return True


@dataclass(frozen=True, eq=False, slots=True)
class Whole:
    """All rows of a data set.

    Attributes:
        columns: What is delivered, in order: contiguous arrays of shape [rows, ...], or k of shape [rows]
            that will lie side by side.
        members: The samples whose rows these are, in the order of their ids; None for all.
        entries: The entries that they lie in; None for rows that need no check.
    """

    columns: Mapping[str, Array | Stack]
    members: IdSet | None = None
    entries: Entries | None = None

    def places(self, chosen: StepSamples, samples: Selection) -> Ids:
        """Return the row of each sample.

        Args:
            chosen: Some of the samples.
            samples: Those that `chosen.indices` point into.
        """
        if self.members is None:
            return chosen.ids
        return chosen.indices if samples.listed is None else self.members.rank(chosen.ids)


def find_in_memory(recipe: Recipe) -> Whole | None:
    """Return all rows of a source in memory, if the recipe takes them as they lie, without a copy."""
    source = recipe.source
    if not isinstance(source, SupportsWhole) or recipe.needs_frame or recipe.keep_arrow:
        return None
    columns = [source.whole[name] for name in recipe.columns]
    total = source.manifest.total
    if not total or any(column.null_count for column in columns):
        return None
    # One row tells whether laying out copies, before all of them would be copied.
    views = _views(recipe, columns, 1) and _views(recipe, columns, total)
    return None if views is None else Whole(views)


def _views(recipe: Recipe, columns: list[pa.Array], rows: int) -> dict[str, Array | Stack] | None:
    """Lay out so many rows; None if what comes out does not lie in the memory of these columns."""
    try:
        laid, _ = recipe.arrays(RowGroup(0, 0, 0, 0, rows, 0, "the data set in memory"))
    except SchemaError:
        return None
    buffers = [buffer for column in columns for buffer in column.buffers() if buffer is not None]
    views: dict[str, Array | Stack] = {}
    for name, column in laid.items():
        if not isinstance(column, (np.ndarray, Stack)):
            return None
        parts = column.parts if isinstance(column, Stack) else (column,)
        if not all(_is_view(part, buffers) for part in parts):
            return None
        views[name] = column
    return views


def _is_view(array: Array, buffers: list[pa.Buffer]) -> bool:
    begin = array.__array_interface__["data"][0]
    end = begin + array.nbytes
    is_inside = any(each.address <= begin and end <= each.address + each.size for each in buffers)
    return is_inside and array.flags.c_contiguous
