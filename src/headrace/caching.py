"""The verbs that remember prepared row groups, and prepare them ahead of time."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Self

from headrace.errors import OptionError
from headrace.execution.cached import CachedRecipe
from headrace.execution.executors import Executor
from headrace.execution.materialize import Materialized, materialize
from headrace.execution.options import Output
from headrace.execution.progress import Progress
from headrace.execution.recipe import Recipe
from headrace.planning.selection import Selection
from headrace.stores.base import Residency, Store, Verify
from headrace.stores.memory import MemoryStore
from headrace.stores.opening import OnUnavailable, open_store


class CacheVerbs:
    """The part of a data set that keeps what was prepared.

    Attributes:
        recipe: What is done to the samples.
        selection: Which samples take part.
    """

    recipe: Recipe
    selection: Selection

    def with_recipe(self, recipe: Recipe) -> Self:
        """Do something else to the same samples."""
        raise NotImplementedError

    def cache(
        self,
        store: Store | str | os.PathLike[str],
        *,
        limit: int | str | None = None,
        verify: Verify = "first",
        residency: Residency = "map",
        on_unavailable: OnUnavailable = "warn",
    ) -> Self:
        """Keep prepared row groups in a store, after `prepare` and `pack`, wherever this is called.

        A cache changes when something is computed and never what a batch holds.

        Args:
            store: `"memory"`, the path of a folder, `"lmdb:///path"`, `"redis://host:6379/0"`, or a store.
            limit: Bytes that may be kept, a number or like "20GB"; None for no limit, but a quarter of the
                machine's memory for `"memory"`.
            verify: When an entry is held against its checksum: at its `"first"` use in a process, `"always"`
                or `"never"`.
            residency: Whether the arrays of a folder are read as a `"map"` of its files, or from a copy in
                `"memory"`.
            on_unavailable: What happens if the store cannot be read or written: `"warn"` once and go on
                without it, or `"raise"` a `CacheError`.

        Raises:
            OptionError: An argument cannot be right, such as a limit below one row group.
            FingerprintError: A function of the recipe cannot be identified by value.

        Example:
            >>> import headrace as hr
            >>> loader = hr.from_arrays({"x": [1, 2, 3]}).cache("memory").loader(3, output="numpy")
            >>> [[batch["x"].tolist() for batch in loader] for epoch in range(2)]
            [[[1, 2, 3]], [[1, 2, 3]]]
            >>> loader.stats()["cache_misses"]
            1
        """
        opened = open_store(store, limit, verify, residency, on_unavailable)
        cached = replace(self.recipe, cache=opened)
        _ = CachedRecipe.of(cached, self.selection) if cached.pack else cached.fingerprint
        return self.with_recipe(cached)

    def materialize(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        executor: Executor | None = None,
        output: Output = "torch",
        progress: Progress = True,
    ) -> Materialized:
        """Fill a cache ahead of time: prepare every row group that it does not have.

        Several processes may do so at once, and each row group is prepared by one of them.

        Args:
            store: Where to keep them, as in `cache`; by default what `cache` was given.
            executor: Where to prepare them; threads by default.
            output: Of the loaders to come. Only `"arrow"` without `pack` keeps other entries.
            progress: Whether to show a bar on a terminal, or a function of how many row groups are done
                and how many there are.

        Raises:
            OptionError: There is no store, or one that nobody else could use.
            HeadraceError: A row group cannot be read or prepared.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"x": [1, 2, 3]}).cache("memory")
            >>> ds.materialize().built, ds.materialize().found
            (1, 1)
            >>> loader = ds.loader(3, output="numpy")
            >>> [batch["x"].tolist() for batch in loader], loader.stats()["cache_misses"]
            ([[1, 2, 3]], 0)
        """
        opened = self.recipe.cache if store is None else open_store(store)
        if opened is None:
            raise OptionError(
                '`materialize` needs a store: `ds.materialize("folder")`, or `ds.cache(...)` before it'
            )
        if isinstance(opened, MemoryStore) and opened is not store and store is not None:
            raise OptionError(
                'no loader could use the memory that `materialize("memory")` fills; use '
                '`ds = ds.cache("memory")`, then `ds.materialize()`'
            )
        recipe = replace(self.recipe, cache=opened, keep_arrow=output == "arrow")
        cached = CachedRecipe.of(recipe, self.selection)
        assert isinstance(cached, CachedRecipe)
        try:
            return materialize(cached, executor, progress)
        finally:
            cached.close()
