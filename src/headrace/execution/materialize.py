"""Filling a cache ahead of time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from headrace.errors import OptionError
from headrace.execution.cached import CachedRecipe, Filled
from headrace.execution.dask.executor import Dask
from headrace.execution.executors import Executor, Processes, Threads
from headrace.execution.progress import Progress, follow
from headrace.stores.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class Materialized:
    """What `materialize` did.

    Attributes:
        entries: Row groups with samples that take part.
        built: How many of them were prepared and kept.
        found: How many were there.
        let_go: How many were prepared and not kept, because of the limit or as the store cannot be used.
        rows: Samples of all entries.
        nbytes: Bytes of all entries' prepared rows.
        seconds: How long it took.

    Example:
        >>> print(Materialized(entries=3, built=2, found=1, let_go=0, rows=3000, nbytes=24_000, seconds=0.25))
        3 row groups (3,000 samples, 24,000 bytes): 2 prepared and kept, 1 there before, in 0.2 s
    """

    entries: int
    built: int
    found: int
    let_go: int
    rows: int
    nbytes: int
    seconds: float

    def __str__(self) -> str:
        """Say it in one line."""
        lost = f", {self.let_go:,} not kept" if self.let_go else ""
        return (
            f"{self.entries:,} row groups ({self.rows:,} samples, {self.nbytes:,} bytes): "
            f"{self.built:,} prepared and kept, {self.found:,} there before{lost}, in {self.seconds:.1f} s"
        )


def materialize(recipe: CachedRecipe, executor: Executor | None, progress: Progress) -> Materialized:
    """Prepare every entry of a recipe's store that is not there.

    What somebody else prepares at the moment is left for last, and then waited for.

    Raises:
        OptionError: Other processes would fill memory of their own.
        HeadraceError: A row group cannot be read or prepared.
    """
    if isinstance(executor, (Processes, Dask)) and isinstance(recipe.cache, MemoryStore):
        raise OptionError(
            "processes cannot fill the memory of this one; use threads, or a folder that all processes share"
        )
    begin, runner = time.perf_counter(), executor or Threads()
    recipe.refresh()
    numbers = recipe.row_groups

    def fill() -> Iterable[Filled]:
        claimed: list[int] = []
        first = runner.map(partial(_fill, recipe, wait=False), numbers)
        for number, filled in zip(numbers, first, strict=True):
            if filled.state == "claimed":
                claimed.append(number)
            else:
                yield filled
        yield from runner.map(partial(_fill, recipe, wait=True), claimed)

    filled = list(follow(fill(), len(numbers), progress))
    counts = Counter(each.state for each in filled)
    return Materialized(
        entries=len(numbers),
        built=counts["built"],
        found=counts["found"],
        let_go=counts["let go"],
        rows=int(recipe.layout.starts[-1]),
        nbytes=sum(each.nbytes for each in filled),
        seconds=time.perf_counter() - begin,
    )


def _fill(recipe: CachedRecipe, number: int, wait: bool) -> Filled:
    return recipe.fill(recipe.source.manifest[number], wait)
