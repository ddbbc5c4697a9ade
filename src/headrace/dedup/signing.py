"""Signatures of all samples, row group by row group, kept by shard for the next time if the user likes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.dedup.method import MatchOptions, Ranks, Signature, Signed, Signer
from headrace.dedup.preference import Preference
from headrace.dedup.shelf import Shelf, entry_key
from headrace.errors import UndecodableError
from headrace.execution.executors import Threads
from headrace.execution.progress import Progress, follow
from headrace.execution.recipe import Recipe, guarded, needs_ids
from headrace.planning.selection import Selection
from headrace.prepare.columns import Select
from headrace.selecting.base import Selectable
from headrace.selecting.parts import Part, parts_of, parts_once, read_batch

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DatasetSignatures:
    """The signatures of a data set's samples, each sample once however often a selection repeats it.

    Attributes:
        dataset: Which samples.
        columns: What of them is compared.
        signer: Makes the signatures.
        preference: Numbers the samples.
        options: Where it runs.
        shelf: Where the signatures of shards are kept; None for nowhere.
        progress: True for a bar on a terminal, or a function of row groups done and in all.
        offset: Added to each rank.
    """

    dataset: Selectable
    columns: tuple[str, ...]
    signer: Signer
    preference: Preference
    options: MatchOptions
    shelf: Shelf | None = None
    progress: Progress = True
    offset: int = 0

    @property
    def count(self) -> int:
        """How many samples there are."""
        return self.dataset.selection.set.count

    @property
    def _recipe(self) -> Recipe:
        recipe = self.dataset.recipe
        return replace(recipe, steps=(*recipe.steps, Select(self.columns)), pack=None, keep_arrow=False)

    def __iter__(self) -> Iterator[Signed]:
        """Yield the signatures of each row group, in the order of the data."""
        if self.shelf is None:
            parts = list(parts_once(self.dataset))
            yield from map(self._ranked, parts, self._sign(parts))
        else:
            yield from self._kept(self.shelf)

    def _kept(self, shelf: Shelf) -> Iterator[Signed]:
        """Take what was kept, and keep the rest shard by shard, so that an interrupted search goes on."""
        shards = [
            list(parts) for _, parts in groupby(parts_once(self.dataset), lambda part: part.row_group.shard)
        ]
        keys = [self._key(parts) for parts in shards]
        is_known = [shelf.has(key) for key in keys]
        unknown = [part for parts, known in zip(shards, is_known, strict=True) if not known for part in parts]
        signed, is_open = self._sign(unknown), True
        for parts, key, known in zip(shards, keys, is_known, strict=True):
            found = shelf.get(key, len(parts)) if known else None
            if found is None:  # not known, or a damaged entry
                found = list(self._sign(parts) if known else islice(signed, len(parts)))
                is_open = is_open and shelf.put(key, found)  # a full folder is not asked again
            yield from (self._ranked(*pair) for pair in zip(parts, found, strict=True))
        next(signed, None)  # the bar ends

    def _sign(self, parts: Sequence[Part]) -> Iterator[Signature]:
        executor = self.options.executor or Threads()
        return follow(
            executor.map(partial(_sign, self._recipe, self.signer), parts), len(parts), self.progress
        )

    def values(self, ranks: Ranks) -> Iterator[tuple[Ranks, pa.RecordBatch]]:
        """Read the compared columns of some samples, row group by row group."""
        ids = np.sort(self.preference.sample_ids(ranks - self.offset))
        parts = list(parts_of(self.dataset.with_selection(Selection.of(ids, self.dataset.manifest.total))))
        batches = (self.options.executor or Threads()).map(partial(read_batch, self._recipe), parts)
        for part, batch in zip(parts, batches, strict=True):
            yield self._ranks(part, None), batch

    def _key(self, parts: Sequence[Part]) -> str:
        """Digest what the signatures of a shard follow from; its name is no part of that."""
        recipe = self._recipe
        shard = self.dataset.manifest.shards[parts[0].row_group.shard]
        rows: list[object] = [(part.row_group.index, part.row_group.rows, part.rows) for part in parts]
        if needs_ids(recipe.needed):
            rows.append(parts[0].row_group.first)
        types = [recipe.source.schema.field(name) for name in recipe.columns]
        return entry_key(shard.content_identity, (types, recipe.needed), rows, self.signer)

    def _ranked(self, part: Part, signature: Signature) -> Signed:
        return Signed(self._ranks(part, signature.rows), signature.arrays)

    def _ranks(self, part: Part, rows: NDArray[np.int64] | None) -> Ranks:
        ids = part.ids if rows is None else part.ids[rows]
        return self.preference.ranks(ids) + self.offset


@dataclass(frozen=True, eq=False)
class JoinedSignatures:
    """The signatures of several data sets, one behind the other."""

    parts: tuple[DatasetSignatures, ...]

    @property
    def count(self) -> int:
        """How many samples there are."""
        return sum(part.count for part in self.parts)

    def __iter__(self) -> Iterator[Signed]:
        """Yield the signatures of each row group of each data set."""
        for part in self.parts:
            yield from part

    def values(self, ranks: Ranks) -> Iterator[tuple[Ranks, pa.RecordBatch]]:
        """Read the compared columns of some samples."""
        owners = np.searchsorted([part.offset for part in self.parts], ranks, side="right") - 1
        for number, part in enumerate(self.parts):
            if (owners == number).any():
                yield from part.values(ranks[owners == number])


def _sign(recipe: Recipe, signer: Signer, part: Part) -> Signature:
    return guarded(part.row_group, "finding duplicates", _signed, signer, read_batch(recipe, part), part.rows)


def _signed(signer: Signer, batch: pa.RecordBatch, rows: NDArray[np.int64] | None) -> Signature:
    """Make signatures; a sample that cannot be decoded is named by its place in the row group."""
    try:
        return signer(batch)
    except UndecodableError as error:
        row = error.rows[0] if rows is None else rows[error.rows[0]]
        raise UndecodableError(f"row {row:,}: {error}") from error.__cause__
