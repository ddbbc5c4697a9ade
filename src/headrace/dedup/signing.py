"""Signatures of all samples, row group by row group, kept by shard for the next time if the user likes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby, islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.dedup.method import MatchOptions, Ranks, Signature, Signed, Signer
from headrace.dedup.preference import Preference
from headrace.dedup.shelf import Shelf, entry_key
from headrace.execution.executors import Threads
from headrace.execution.progress import Progress, follow
from headrace.execution.recipe import Recipe, guarded
from headrace.planning.selection import Selection
from headrace.prepare.columns import Select
from headrace.selecting.base import Selectable
from headrace.selecting.parts import Part, parts_of

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Read:
    """How often row groups were read, counted over all iterations; for reports and tests."""

    row_groups: list[int] = field(default_factory=list[int])


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
    read: Read = field(default_factory=Read)

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
        shards = [list(parts) for _, parts in groupby(self._parts(), lambda part: part.row_group.shard)]
        shelf = self.shelf
        keys = [] if shelf is None else [self._key(parts) for parts in shards]
        is_known = [shelf is not None and shelf.has(key) for key in keys] or [False] * len(shards)
        to_read = [part for parts, known in zip(shards, is_known, strict=True) if not known for part in parts]
        executor = self.options.executor or Threads()
        signed = follow(
            executor.map(partial(_sign, self._recipe, self.signer), to_read), len(to_read), self.progress
        )
        for number, parts in enumerate(shards):
            found = shelf.get(keys[number], len(parts)) if shelf is not None and is_known[number] else None
            if found is None and is_known[number]:  # a damaged entry, of which nothing is left
                found = list(executor.map(partial(_sign, self._recipe, self.signer), parts))
                self.read.row_groups.append(len(parts))
            elif found is None and shelf is not None:
                found = list(islice(signed, len(parts)))
                self.read.row_groups.append(len(parts))
                shelf.put(keys[number], found)
            elif found is None:
                self.read.row_groups.append(len(parts))
                yield from map(self._ranked, parts, signed)  # none is held longer than it is looked at
                continue
            yield from map(self._ranked, parts, found)
        next(signed, None)  # the bar ends

    def values(self, ranks: Ranks) -> Iterator[tuple[Ranks, pa.RecordBatch]]:
        """Read the compared columns of some samples, row group by row group."""
        ids = np.sort(self.preference.sample_ids(ranks - self.offset))
        parts = list(parts_of(self.dataset.with_selection(Selection.of(ids, self.dataset.manifest.total))))
        batches = (self.options.executor or Threads()).map(partial(_read, self._recipe), parts)
        for part, batch in zip(parts, batches, strict=True):
            yield self._ranks(part, None), batch

    def _parts(self) -> Iterator[Part]:
        once = Selection.of_set(self.dataset.selection.set)
        return parts_of(self.dataset.with_selection(once))

    def _key(self, parts: Sequence[Part]) -> str:
        shard = self.dataset.manifest.shards[parts[0].row_group.shard]
        rows = [(part.row_group.index, part.rows) for part in parts]
        return entry_key(shard.content_identity, self._recipe.fingerprint, rows, self.signer)

    def _ranked(self, part: Part, signature: Signature) -> Signed:
        return Signed(self._ranks(part, signature.rows), signature.arrays)

    def _ranks(self, part: Part, rows: NDArray[np.int64] | None) -> Ranks:
        chosen = np.arange(part.row_group.rows) if part.rows is None else part.rows
        ids = part.row_group.first + (chosen if rows is None else chosen[rows])
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
    return guarded(part.row_group, "finding duplicates", signer, _read(recipe, part))


def _read(recipe: Recipe, part: Part) -> pa.RecordBatch:
    batch = recipe.frame(part.row_group)
    return batch if part.rows is None else batch.take(pa.array(part.rows))
