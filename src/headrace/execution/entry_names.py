"""Which entries a recipe has in a store, each named by all that its rows follow from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from headrace.execution.recipe import Recipe, Rows, needs_ids
from headrace.execution.row_major import row_bytes
from headrace.fingerprint import digest_now
from headrace.manifest import RowGroup
from headrace.planning.selection import Selection
from headrace.stores.base import FORMAT_VERSION, Entry, Layout


@dataclass(frozen=True)
class EntryNames:
    """Names the entries of a recipe: one for each row group with samples that take part.

    Attributes:
        recipe: What is done.
        selection: The samples that take part; None for all.
    """

    recipe: Recipe
    selection: Selection | None

    def taken(self, row_group: RowGroup) -> Rows | None:
        """The rows of a row group that take part; None for all."""
        if self.selection is None:
            return None
        members = self.selection.set
        begin, end = members.rank(np.array([row_group.first, row_group.first + row_group.rows]))
        if end - begin == row_group.rows:
            return None
        return members.at(np.arange(begin, end)) - row_group.first

    @cached_property
    def shards(self) -> list[int]:
        """The shards that hold samples which take part."""
        manifest = self.recipe.source.manifest
        edges = [0, *np.cumsum([len(shard.rows) for shard in manifest.shards]).tolist()]
        starts = manifest.starts[edges]
        counts = np.diff(starts if self.selection is None else self.selection.set.rank(starts))
        return np.flatnonzero(counts).tolist()

    def layout(self, shards: Mapping[int, str]) -> tuple[Layout, NDArray[np.int64]]:
        """Name the entries, and tell which one each row group has."""
        manifest, entries = self.recipe.source.manifest, list[Entry]()
        numbers = np.full(len(manifest), -1)
        starts = manifest.starts
        counts = np.diff(starts if self.selection is None else self.selection.set.rank(starts)).tolist()
        for number in np.flatnonzero(counts).tolist():
            row_group = manifest[number]
            if row_group.shard in shards:
                numbers[number] = len(entries)
                key = self._key(row_group, shards[row_group.shard], counts[number] < row_group.rows)
                entries.append(Entry(key, counts[number]))
        return Layout(tuple(entries), row_bytes(self.recipe)), numbers

    def _key(self, row_group: RowGroup, shard: str, is_part: bool) -> str:
        """Digest of all that the prepared rows of a row group follow from."""
        begin = int(self.recipe.source.manifest.starts[row_group.number - row_group.index])
        place = row_group.index, row_group.first - begin, row_group.rows
        first = row_group.first if needs_ids(self.recipe.needed) else None
        # There may be many row groups, and this is several times as quick as `digest`.
        hasher = hashlib.blake2b(f"{self.steps_key} {shard} {place} {first} ".encode(), digest_size=16)
        taken = self.taken(row_group) if is_part else None
        if taken is not None:
            chosen = np.zeros(row_group.rows, np.bool_)
            chosen[taken] = True
            hasher.update(np.packbits(chosen).tobytes())
        return hasher.hexdigest()

    @cached_property
    def steps_key(self) -> str:
        """Digest of what is read, of the steps without what nobody wants, and of the arrays they end in."""
        recipe = self.recipe
        kinds = [(field.name, str(field.type)) for field in recipe.source.schema]
        keeps_arrow = recipe.keep_arrow and recipe.pack is None
        read = kinds, recipe.columns
        # Expressions and images come out as these libraries compute and decode them.
        libraries = _version("polars") if recipe.needs_frame else None, _version("pillow")
        return digest_now("steps", FORMAT_VERSION, read, recipe.needed, recipe.pack, keeps_arrow, libraries)


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
