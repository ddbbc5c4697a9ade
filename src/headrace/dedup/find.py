"""Finding duplicates: the public functions, and what they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headrace.dedup.exact.exact import Exact
from headrace.dedup.method import MatchOptions, Method
from headrace.dedup.preference import Keep, Preference
from headrace.dedup.report.deciding import edge_table
from headrace.dedup.report.report import DuplicateReport
from headrace.dedup.report.search import Search
from headrace.dedup.shelf import Shelf
from headrace.dedup.signing import DatasetSignatures
from headrace.errors import OptionError
from headrace.execution.executors import Executor
from headrace.execution.progress import Progress
from headrace.selecting.base import Selectable
from headrace.selecting.reading import check_columns
from headrace.selecting.stored import Cache, folder_of
from headrace.sources.budget import parse_bytes

On = str | Sequence[str] | None


@dataclass(frozen=True, slots=True)
class FindOptions:
    """Where a search runs, and what it may take.

    Attributes:
        executor: Where row groups are read; None for threads.
        cache: A folder that keeps the signatures of shards; True for one beside the data.
        memory_limit: Bytes that signatures may take in memory.
        progress: True for a bar on a terminal, or a function of row groups done and in all.
    """

    executor: Executor | None = None
    cache: Cache = None
    memory_limit: str | int | None = None
    progress: Progress = True

    @property
    def matching(self) -> MatchOptions:
        """What matching needs to know of it."""
        return MatchOptions(self.executor, parse_bytes(self.memory_limit))


def find(
    dataset: Selectable,
    on: On,
    method: Method | None,
    preference: tuple[Keep, str | None],
    options: FindOptions,
) -> DuplicateReport:
    """Search for duplicates; see `find_duplicates`."""
    chosen = chosen_method(method)
    columns = compared(dataset, on, chosen)
    preferred = Preference.of(dataset, *preference, options.executor)
    signatures = sign(dataset, columns, chosen, preferred, options)
    edges = chosen.match(signatures, options.matching)
    search = Search.of(dataset, columns, chosen, preference)
    return DuplicateReport(dataset, search, edge_table(edges, preferred, chosen.name))


def sign(
    dataset: Selectable,
    columns: tuple[str, ...],
    method: Method,
    preference: Preference,
    options: FindOptions,
    offset: int = 0,
) -> DatasetSignatures:
    """Prepare to read the signatures of a data set's samples."""
    signer = method.signer(_schema_of(dataset, columns))
    folder = folder_of(options.cache, dataset.manifest)
    shelf = None if folder is None else Shelf(folder / "signatures")
    return DatasetSignatures(
        dataset, columns, signer, preference, options.matching, shelf, options.progress, offset
    )


def compared(dataset: Selectable, on: On, method: Method) -> tuple[str, ...]:
    """Return the columns to compare: those that the user names, or those that the method chooses.

    Raises:
        OptionError: No column is named, one twice, or none can be chosen.
        UnknownColumnError: A column is not there.
    """
    if not hasattr(dataset, "recipe"):
        raise OptionError(
            f"duplicates are looked for in a data set, got {type(dataset).__name__}; wrap a frame by "
            "`hr.from_polars(frame)`"
        )
    if on is None:
        return method.columns(dataset.schema)
    names: Any = (on,) if isinstance(on, str) else on
    columns: tuple[str, ...] = tuple(names) if isinstance(names, Iterable) else (names,)
    check_columns(dataset, columns)
    if not columns or len(set(columns)) != len(columns):
        raise OptionError(f"`on` takes one column or more, each once, got {on!r}")
    return columns


def chosen_method(method: object) -> Method:
    """Return the method that a user names, or the one for whoever names none.

    Raises:
        OptionError: It is no method.
    """
    if method is None:
        return Exact()
    if isinstance(method, type) or not isinstance(method, Method):
        raise OptionError(f"`method` must be a method with its settings, like `hr.MinHash()`, got {method!r}")
    return method


def find_duplicates(  # noqa: PLR0913  each is one word of the contract
    dataset: Selectable,
    on: On = None,
    method: Method | None = None,
    keep: Keep = "first",
    *,
    priority: str | None = None,
    executor: Executor | None = None,
    cache: Cache = None,
    memory_limit: str | int | None = None,
    progress: Progress = True,
) -> DuplicateReport:
    """Find duplicates among the samples of a data set; none is dropped.

    What is found does not depend on row groups, the executor or the memory that it may take.

    Args:
        dataset: Which samples. One that a selection repeats is no duplicate of itself.
        on: The columns to compare; by default all that the method can compare.
        method: `hr.Exact()` by default, or `hr.Bloom()`, `hr.MinHash()`, `hr.SimHash()`, `hr.ImageHash()`.
        keep: Which of several duplicates is kept: the "first" in the order of the data, the "last", or
            "none" of them.
        priority: A column by which to choose instead: the sample with the highest value is kept; among
            equal ones, and those without a value, `keep` decides.
        executor: Where row groups are read; threads by default.
        cache: A folder that keeps the signatures of each shard, so that a search that was interrupted,
            or one of more data, reads only the shards that it has not seen; True for `_headrace` beside
            the data.
        memory_limit: What signatures may take in memory, like "2GB"; by default a quarter of the
            machine's. Beyond it they go to temporary files.
        progress: True for a bar on a terminal, or a function of row groups done and in all.

    Raises:
        OptionError: An argument cannot be right.
        UnknownColumnError: A column is not there.
        SchemaError: The method cannot compare the values of a column.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"text": ["a", "b", "a"], "quality": [1, 2, 3]})
        >>> hr.find_duplicates(ds, on="text").pairs.rows()
        [(2, 0, 1.0)]
        >>> hr.find_duplicates(ds, on="text", priority="quality").pairs.rows()
        [(0, 2, 1.0)]
    """
    options = FindOptions(executor, cache, memory_limit, progress)
    return find(dataset, on, method, (keep, priority), options)


def _schema_of(dataset: Selectable, columns: tuple[str, ...]) -> pa.Schema:
    schema: Any = dataset.schema
    return pa.schema([schema.field(name) for name in columns])
