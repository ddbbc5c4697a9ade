"""Hypothesis strategies for everything that a plan is made of.

Example:
    >>> from hypothesis import given, settings
    >>> @settings(max_examples=5, database=None)
    ... @given(layouts(), worlds())
    ... def check(rows, world):
    ...     begin, end = world.slice(sum(rows))
    ...     assert 0 <= begin <= end <= sum(rows)
    >>> check()
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from headrace.manifest import Manifest, RowGroup, Shard
from headrace.planning.batching import Batching, Tail
from headrace.planning.order import BlockShuffle, Shuffle
from headrace.planning.world import World
from headrace.sources.base import check_columns


def layouts(max_groups: int = 14, max_rows: int = 40) -> st.SearchStrategy[list[int]]:
    """Rows of each row group: many small ones, some empty, some large."""
    rows = st.integers(0, min(6, max_rows)) | st.integers(0, max_rows)
    return st.lists(rows, min_size=1, max_size=max_groups)


def filled_layouts(max_groups: int = 14, max_rows: int = 40) -> st.SearchStrategy[list[int]]:
    """Layouts with at least one sample."""
    return layouts(max_groups, max_rows).filter(lambda rows: sum(rows) > 0)


def manifests(max_groups: int = 14, max_rows: int = 40) -> st.SearchStrategy[Manifest]:
    """Manifests of up to three row groups a shard."""
    return layouts(max_groups, max_rows).map(manifest_of)


def shuffles() -> st.SearchStrategy[Shuffle]:
    """Every shuffle, blocks with any number of lanes and any window."""
    sizes = st.none() | st.integers(1, 13)
    plain: list[Shuffle] = [False, True, "global"]
    return st.one_of(st.sampled_from(plain), st.builds(BlockShuffle, sizes, sizes))


def tails() -> st.SearchStrategy[Tail]:
    """What may happen to the samples that do not fill a step."""
    return st.sampled_from(["keep", "drop", "pad"])


def batchings(max_size: int = 12) -> st.SearchStrategy[Batching]:
    """Batch sizes and tails."""
    return st.builds(Batching, st.integers(1, max_size), tail=tails())


@st.composite
def worlds(draw: st.DrawFn, max_size: int = 12) -> World:
    """One rank of a world."""
    size = draw(st.integers(1, max_size))
    return World(draw(st.integers(0, size - 1)), size)


@st.composite
def selections(draw: st.DrawFn, total: int) -> list[int] | None:
    """All samples (None), a sorted subset, a sorted draw with repeats, or anything in any order."""
    kind = draw(st.sampled_from(["all", "subset", "repeats", "any"]))
    if kind == "all" or total == 0:
        return None
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    chosen = generator.choice(total, draw(st.integers(1, total)), replace=kind != "subset")
    return (chosen if kind == "any" else np.sort(chosen)).tolist()


def manifest_of(rows: list[int], sample_bytes: int = 8) -> Manifest:
    """Make a manifest of row groups of these sizes, three to a shard."""
    parts = [tuple(rows[first : first + 3]) for first in range(0, len(rows), 3)]
    return Manifest(
        tuple(
            Shard(f"shard-{number}", part, tuple(count * sample_bytes for count in part), f"{number:02x}")
            for number, part in enumerate(parts)
        )
    )


class LaidSource:
    """A source without files, whose only column `value` holds three times each sample's id.

    Example:
        >>> import headrace as hr
        >>> hr.Dataset.of(LaidSource([2, 0, 3])).take([4, 1])["value"].tolist()
        [12, 3]
    """

    def __init__(self, rows: list[int]) -> None:
        """Lay out row groups of these sizes."""
        self.manifest = manifest_of(rows)
        self.schema = pa.schema([pa.field("value", pa.int64())])

    def read(self, row_group: RowGroup, columns: list[str]) -> pa.RecordBatch:
        """Compute one row group."""
        check_columns(columns, self.schema, "the laid out data set")
        values = np.arange(row_group.first, row_group.first + row_group.rows) * 3
        schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.RecordBatch.from_arrays([pa.array(values) for _ in columns], schema=schema)
