"""A recipe that remembers the row groups it prepared last, for random access."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from headrace.execution.recipe import Recipe, Rows, Untouched
from headrace.execution.stats import Stats
from headrace.manifest import RowGroup
from headrace.prepare.pack import Laid, Stack

_LIMIT_BYTES = 256_000_000


class Memory:
    """Row groups, the last used last."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[int, dict[str, Laid]]] = OrderedDict()
        self._nbytes = 0

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process begins with nothing."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin anew."""
        self.__init__()

    def get(self, number: int) -> dict[str, Laid] | None:
        """Return a row group if it is remembered."""
        with self._lock:
            if number not in self._kept:
                return None
            self._kept.move_to_end(number)
            return self._kept[number][1]

    def put(self, number: int, columns: dict[str, Laid], limit: int) -> None:
        """Remember a row group, and forget others to stay within the limit."""
        size = sum(_nbytes(laid) for laid in columns.values())
        with self._lock:
            if number in self._kept or size > limit:
                return
            self._kept[number] = (size, columns)
            self._nbytes += size
            while self._nbytes > limit:
                self._nbytes -= self._kept.popitem(last=False)[1][0]


@dataclass(frozen=True)
class RememberingRecipe(Recipe):
    """A recipe whose prepared row groups are kept, the ones used last, within a byte budget.

    Thread-safe. A copy in another process begins with nothing.

    Attributes:
        limit: How many bytes may be kept.
    """

    limit: int = _LIMIT_BYTES
    _memory: Memory = field(default_factory=Memory, init=False, repr=False, compare=False)

    @staticmethod
    def of(recipe: Recipe, limit: int = _LIMIT_BYTES) -> RememberingRecipe:
        """Let a recipe remember."""
        return RememberingRecipe(
            recipe.source, recipe.steps, recipe.pack, recipe.keep_arrow, augment=recipe.augment, limit=limit
        )

    @cached_property
    def untouched(self) -> Mapping[str, Untouched]:
        """None, as what a source copies elsewhere cannot be kept."""
        return {}

    def arrays(
        self,
        row_group: RowGroup,
        wanted: Rows | None = None,
        stats: Stats | None = None,
        rows: Rows | None = None,
    ) -> tuple[dict[str, Laid], Rows | None]:
        """Return one row group laid out for the gather, prepared anew if it is not remembered."""
        kept = None if rows is not None else self._memory.get(row_group.number)
        if kept is not None:
            return kept, None
        columns, held = super().arrays(row_group, wanted, stats, rows)
        if held is None:  # what was left out is not in the key
            self._memory.put(row_group.number, columns, self.limit)
        return columns, held


def _nbytes(laid: Laid) -> int:
    if isinstance(laid, Stack):
        return sum(part.nbytes for part in laid.parts)
    return int(laid.nbytes)
