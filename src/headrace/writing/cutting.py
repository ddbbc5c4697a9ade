"""How positions are cut into shards, and shards into row groups: pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, check_whole
from headrace.manifest import Manifest

# What a shard and a row group hold by default, in bytes once decoded: large enough for sequential reads,
# small enough that a lost shard costs seconds and that a row group of each worker fits in memory.
SHARD_BYTES, GROUP_BYTES = 1 << 28, 1 << 26
_GROUP_ROWS = 1 << 17

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard to write.

    Attributes:
        name: Its path below the output's folder.
        begin: The first of its positions.
        end: The position behind its last.
        group_rows: Samples of each of its row groups, but the last.
    """

    name: str
    begin: int
    end: int
    group_rows: int

    @property
    def rows(self) -> tuple[int, ...]:
        """Samples of each of its row groups."""
        edges = [*range(self.begin, self.end, self.group_rows), self.end]
        return tuple(after - before for before, after in pairwise(edges))


@dataclass(frozen=True, slots=True)
class Cutting:
    """How the user wants positions cut; None follows the source.

    Attributes:
        shards: How many shards, equal in size but for one sample.
        rows_per_shard: Samples of each shard, but the last.
        row_group_rows: Samples of each row group, but a shard's last.
    """

    shards: int | None = None
    rows_per_shard: int | None = None
    row_group_rows: int | None = None

    def __post_init__(self) -> None:
        for name in ("shards", "rows_per_shard", "row_group_rows"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), least=1)
        if self.shards is not None and self.rows_per_shard is not None:
            raise OptionError(
                f"give `shards` or `rows_per_shard`, which one follows from the other, got {self.shards} and "
                f"{self.rows_per_shard}"
            )

    @property
    def follows_source(self) -> bool:
        """Whether nothing was said of shards."""
        return self.shards is None and self.rows_per_shard is None

    def rows_of_groups(self, sample_bytes: float) -> int:
        """Samples of a row group, where one takes about so many bytes."""
        return self.row_group_rows or max(min(int(GROUP_BYTES / max(sample_bytes, 1.0)), _GROUP_ROWS), 1)

    def cut(self, count: int, sample_bytes: float) -> list[int]:
        """Cut so many samples into shards; returns their sizes, at least one."""
        if self.rows_per_shard is not None:
            whole, rest = divmod(count, self.rows_per_shard)
            return [self.rows_per_shard] * whole + ([rest] if rest or not whole else [])
        shards = max(-(-int(count * sample_bytes) // SHARD_BYTES), 1) if self.shards is None else self.shards
        return evenly(count, shards)


def evenly(count: int, parts: int) -> list[int]:
    """Cut a count into parts that differ by at most one; fewer parts where there is too little.

    Example:
        >>> evenly(7, 3), evenly(2, 3), evenly(0, 3)
        ([3, 2, 2], [1, 1], [0])
    """
    parts = max(min(parts, count), 1)
    size, more = divmod(count, parts)
    return [size + 1] * more + [size] * (parts - more)


def bytes_per_sample(manifest: Manifest) -> float:
    """Decoded bytes of one sample, on average."""
    return float(manifest.nbytes.sum()) / max(manifest.total, 1)


def follow_source(manifest: Manifest, counts: Counts, cutting: Cutting) -> Iterator[tuple[int, int]]:
    """Cut samples that lie in the source's order so that no shard holds those of two input shards.

    Args:
        manifest: The input shards.
        counts: How many samples of each row group take part, int64 of shape [row groups].
        cutting: How large row groups shall be.

    Yields:
        Samples of each shard, and of its row groups.
    """
    begin = 0
    for shard in manifest.shards:
        end = begin + len(shard.rows)
        count = int(counts[begin:end].sum())
        if count:
            sample_bytes = sum(shard.nbytes) / max(shard.samples, 1)
            for rows in cutting.cut(count, sample_bytes):
                yield rows, cutting.rows_of_groups(sample_bytes)
        begin = end


def name_shards(
    sizes: Sequence[tuple[int, int]], suffix: str, folder: str = "", first: int = 0
) -> list[ShardPlan]:
    """Number shards that lie one behind the other.

    Args:
        sizes: Samples of each shard, and of its row groups.
        suffix: What their names end in.
        folder: Where they lie below the output's folder, with "/" at its end.
        first: The first position.

    Example:
        >>> [shard.name for shard in name_shards([(3, 2), (1, 2)], ".parquet")]
        ['part-00000.parquet', 'part-00001.parquet']
    """
    digits = max(5, len(str(len(sizes) - 1)))
    plans: list[ShardPlan] = []
    for number, (rows, group_rows) in enumerate(sizes):
        plans.append(ShardPlan(f"{folder}part-{number:0{digits}d}{suffix}", first, first + rows, group_rows))
        first += rows
    return plans


def group_tasks(
    shards: Sequence[ShardPlan], least_rows: float, shares: Callable[[ShardPlan], bool]
) -> list[tuple[ShardPlan, ...]]:
    """Put shards that share a row group into one task, until it has enough rows.

    Args:
        shards: In order.
        least_rows: How many rows are enough.
        shares: Tells whether a shard shares a row group with the one before it.
    """
    tasks: list[tuple[ShardPlan, ...]] = []
    current: list[ShardPlan] = []
    for shard in shards:
        if current and (not shares(shard) or current[-1].end - current[0].begin >= least_rows):
            tasks.append(tuple(current))
            current = []
        current.append(shard)
    return [*tasks, tuple(current)] if current else tasks
