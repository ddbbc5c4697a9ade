"""How positions become shards and row groups."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.manifest import Manifest, Shard
from headrace.writing.cutting import Cutting, evenly, follow_source, group_tasks, name_shards


@given(st.integers(0, 10_000), st.integers(1, 300))
def test_even_parts_add_up(count: int, parts: int) -> None:
    """Parts differ by at most one, hold everything, and none is empty unless all is."""
    sizes = evenly(count, parts)
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == max(min(count, parts), 1)


@given(st.integers(0, 5_000), st.integers(1, 600), st.integers(1, 400), st.booleans())
def test_shards_cover_all_positions_once(count: int, rows: int, group_rows: int, by_rows: bool) -> None:
    """Shards lie one behind the other, and so do their row groups."""
    cutting = Cutting(None if by_rows else rows, rows if by_rows else None, group_rows)
    shards = name_shards([(size, group_rows) for size in cutting.cut(count, 8.0)], ".parquet")
    assert shards[0].begin == 0
    assert shards[-1].end == count
    assert all(one.end == two.begin for one, two in pairwise(shards))
    assert len({shard.name for shard in shards}) == len(shards)
    assert [shard.name for shard in shards] == sorted(shard.name for shard in shards)
    for shard in shards:
        assert sum(shard.rows) == shard.end - shard.begin
        assert all(0 < size <= group_rows for size in shard.rows) or shard.begin == shard.end
    if by_rows:
        assert all(shard.end - shard.begin == rows for shard in shards[:-1])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(1, 60), st.floats(0, 200))
def test_tasks_hold_shards_in_order(sizes: list[int], group_rows: int, least: float) -> None:
    """Tasks hold every shard once, and end where rows are enough or no row group is shared."""
    shards = name_shards([(size, group_rows) for size in sizes], ".arrow")
    tasks = group_tasks(shards, least, lambda shard: shard.begin % 3 > 0)
    assert [shard for task in tasks for shard in task] == shards
    for task, following in pairwise(tasks):
        assert task[-1].end - task[0].begin >= least or following[0].begin % 3 == 0


def test_no_shard_holds_samples_of_two_input_shards() -> None:
    """By default an input shard becomes one shard, several if it is large, none if no sample takes part."""
    large = 1 << 27
    manifest = Manifest(
        (
            Shard("a", (4, 4), (32, 32), "0"),
            Shard("b", (3,), (24,), "1"),
            Shard("c", (100, 100, 100), (large, large, large), "2"),
        )
    )
    sizes = [rows for rows, _ in follow_source(manifest, np.array([2, 4, 0, 100, 100, 100]), Cutting())]
    assert sizes == [6, 150, 150]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shards": 0}, "`shards` must be a whole number of at least 1, got 0"),
        ({"rows_per_shard": 2.5}, "`rows_per_shard` must be a whole number"),
        ({"row_group_rows": True}, "`row_group_rows` must be a whole number"),
        ({"shards": 2, "rows_per_shard": 5}, "`shards` or `rows_per_shard`"),
    ],
)
def test_cuts_that_cannot_be_are_refused(arguments: dict[str, int], message: str, tmp_path) -> None:
    """The message names the argument and what was given; nothing is written."""
    with pytest.raises(hr.OptionError, match=message):
        hr.from_arrays({"x": [1]}).write(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
