"""The manifest: which shards and row groups there are, and how many samples each one holds.

It is made from footers alone, before any data is read, and it fixes every sample's id: samples
are numbered in the order of the shards, then of the row groups, then of the rows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, UnknownSampleError
from headrace.fingerprint import digest

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a data set, or one array set in memory.

    Attributes:
        name: What errors call it: a path, or `"memory"`.
        rows: Samples in each of its row groups, in order; counted per row group, since the
            total in a footer can be wrong.
        nbytes: Estimated bytes of each row group once decoded.
        identity: Digest of the contents as far as they are known without reading the data
            (sizes, footer, counts), or a function that computes it when first asked for. It
            does not depend on the path.

    Example:
        >>> Shard("a.parquet", rows=(3, 2), nbytes=(24, 16), identity="00ff").samples
        5
    """

    name: str
    rows: tuple[int, ...]
    nbytes: tuple[int, ...]
    identity: str | Callable[[], str]

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.nbytes):
            raise OptionError(
                f"a shard needs one size for each row group, got {self.rows=} and {self.nbytes=}"
            )
        if any(count < 0 for count in self.rows):
            raise OptionError(f"a row group cannot hold less than 0 samples, got {self.rows} in {self.name}")

    @property
    def samples(self) -> int:
        """How many samples the shard holds."""
        return sum(self.rows)

    @property
    def content_identity(self) -> str:
        """Digest of the contents, computed now if that was put off."""
        return self.identity if isinstance(self.identity, str) else self.identity()


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The smallest run of samples that is decoded together.

    Attributes:
        number: Its place among all row groups of the data set.
        shard: Index of its shard in the manifest.
        index: Its place within the shard.
        first: Id of its first sample.
        rows: How many samples it holds.
        nbytes: Estimated bytes once decoded.
        name: What errors call it.
    """

    number: int
    shard: int
    index: int
    first: int
    rows: int
    nbytes: int
    name: str

    def __str__(self) -> str:
        return f"{self.name}, row group {self.index}"


@dataclass(frozen=True)
class Manifest:
    """The ordered shards of a data set, with their counts as prefix sums.

    Immutable and safe to share between threads.

    Example:
        >>> manifest = Manifest((Shard("a", (3, 2), (24, 16), "00"), Shard("b", (4,), (32,), "01")))
        >>> manifest.total, len(manifest)
        (9, 3)
        >>> manifest.locate(np.array([0, 4, 5]))
        (array([0, 1, 2]), array([0, 1, 0]))
    """

    shards: tuple[Shard, ...]

    @cached_property
    def starts(self) -> Ids:
        """Id of the first sample of each row group, then the total; int64 of shape [row groups + 1]."""
        counts = [count for shard in self.shards for count in shard.rows]
        starts = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=starts[1:])
        starts.flags.writeable = False
        return starts

    @cached_property
    def nbytes(self) -> Ids:
        """Estimated bytes of each row group once decoded; int64 of shape [row groups]."""
        return np.array([size for shard in self.shards for size in shard.nbytes], np.int64)

    @cached_property
    def _first_groups(self) -> list[int]:
        first = np.cumsum([0] + [len(shard.rows) for shard in self.shards])
        return [int(number) for number in first]

    @property
    def total(self) -> int:
        """How many samples there are."""
        return int(self.starts[-1])

    @cached_property
    def fingerprint(self) -> str:
        """Digest of counts and contents; independent of paths, so it survives a move."""
        return digest("manifest", [(shard.content_identity, list(shard.rows)) for shard in self.shards])

    def __len__(self) -> int:
        """How many row groups there are."""
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[RowGroup]:
        """All row groups in order."""
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> RowGroup:
        """The row group at that place."""
        shard = bisect_right(self._first_groups, number) - 1
        index = number - self._first_groups[shard]
        owner = self.shards[shard]
        first = int(self.starts[number])
        return RowGroup(number, shard, index, first, owner.rows[index], owner.nbytes[index], owner.name)

    def locate(self, ids: Ids | Sequence[int]) -> tuple[Ids, Ids]:
        """Find samples by id.

        Args:
            ids: Sample ids, int64 of shape [n], in any order.

        Returns:
            The number of each sample's row group and its row in it, both int64 of shape [n].

        Raises:
            UnknownSampleError: An id is below 0 or not below the total.
        """
        wanted = to_ids(ids)
        if wanted.size and (int(wanted.min()) < 0 or int(wanted.max()) >= self.total):
            bad = wanted[(wanted < 0) | (wanted >= self.total)][0]
            raise UnknownSampleError(f"sample ids must lie in 0..{self.total - 1}, got {int(bad)}")
        numbers = np.searchsorted(self.starts, wanted, side="right") - 1
        return numbers, wanted - self.starts[numbers]


def to_ids(values: Ids | Sequence[int]) -> Ids:
    """Return sample ids as an int64 array.

    Raises:
        UnknownSampleError: They are no whole numbers, such as a boolean mask.
    """
    found = np.asarray(values)
    if found.size and found.dtype.kind not in "iu":
        raise UnknownSampleError(f"sample ids must be whole numbers, got an array of {found.dtype}")
    return found.astype(np.int64, copy=False)
