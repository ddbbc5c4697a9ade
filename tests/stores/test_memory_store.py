"""The memory store: shared by loaders, bounded, and gone with its process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr
from headrace.stores.memory import MemoryStore

ROWS, GROUPS = 10, 6
GROUP_BYTES = ROWS * 24  # x of shape [10, 2] and y of shape [10], 8 bytes a number

Numbers = Callable[[int], hr.Dataset]


@pytest.fixture
def numbers(tmp_path: Path) -> Numbers:
    """Make six row groups, packed into two arrays, whose values begin at a number."""

    def make(first: int) -> hr.Dataset:
        values = np.arange(ROWS * GROUPS)
        path = tmp_path / f"{first}.parquet"
        if not path.exists():
            pq.write_table(pa.table({"a": values + first, "b": values * 2}), path, row_group_size=ROWS)
        return hr.open(path).pack(x=["a", "b"], y="a")

    return make


def epoch(loader: hr.Loader) -> list[list[Any]]:
    return [[batch["x"].tolist(), batch["y"].tolist()] for batch in loader]


def counted(loader: hr.Loader, *names: str) -> tuple[int, ...]:
    stats = loader.stats()
    return tuple(stats[f"cache_{name}"] for name in names)


@pytest.mark.parametrize("shuffle", [False, True, "global"])
def test_a_second_epoch_prepares_nothing(numbers: Numbers, shuffle: Any) -> None:
    """Batches equal those without a cache, in a cold epoch and in warm ones."""
    plain = numbers(0).loader(7, shuffle=shuffle, output="numpy")
    cached = numbers(0).cache("memory").loader(7, shuffle=shuffle, output="numpy")
    for _ in range(3):
        assert epoch(cached) == epoch(plain)

    assert counted(cached, "misses", "hits", "bytes") == (GROUPS, 2 * GROUPS, GROUPS * GROUP_BYTES)


def test_loaders_of_one_data_set_share(numbers: Numbers) -> None:
    """What one loader has prepared, others find, whatever their order, and `take` as well."""
    ds = numbers(0).cache("memory")
    epoch(ds.loader(7, output="numpy"))
    other = ds.loader(5, shuffle="global", seed=3, output="numpy")
    epoch(other)

    assert ds.take([3, 44])["y"].tolist() == [3, 44]
    assert counted(other, "misses", "hits") == (0, GROUPS)


def test_data_sets_share_a_store_they_are_given(numbers: Numbers) -> None:
    """A store that is made once serves several data sets; equal recipes over equal data are one."""
    store = MemoryStore(limit=10_000)
    epoch(numbers(0).cache(store).loader(7, output="numpy"))
    same, other = (
        numbers(0).cache(store).loader(7, output="numpy"),
        numbers(0).cache(store).rows([1, 2, 3]).loader(7, output="numpy"),
    )
    epoch(same)
    epoch(other)

    assert counted(same, "misses") == (0,)
    assert counted(other, "misses") == (1,)


def test_a_limit_keeps_the_first_entries(numbers: Numbers) -> None:
    """Of a layout that does not fit, as many row groups are kept as do, and the batches are the same."""
    ds = numbers(0).cache("memory", limit=3 * GROUP_BYTES + 5)
    loader = ds.loader(7, output="numpy")
    first = epoch(loader)

    assert epoch(loader) == first
    assert counted(loader, "misses", "hits", "evicted") == (2 * GROUPS - 3, 3, 0)
    assert counted(loader, "bytes") == (3 * GROUP_BYTES,)


def test_what_nobody_uses_is_evicted_first(numbers: Numbers) -> None:
    """Layouts without an open loader make room, the least recently used one first."""
    store = MemoryStore(limit=2 * GROUPS * GROUP_BYTES)
    for first in (0, 1000):
        with numbers(first).cache(store).loader(7, output="numpy") as loader:
            epoch(loader)
    again = numbers(0).cache(store).loader(7, output="numpy")  # makes the one that begins at 1000 the oldest
    epoch(again)
    newest = numbers(2000).cache(store).loader(7, output="numpy")
    epoch(newest)

    assert counted(again, "misses") == (0,)
    assert counted(newest, "evicted", "bytes") == (GROUPS, GROUPS * GROUP_BYTES)
    epoch(again)
    assert counted(again, "misses") == (0,)


def test_what_a_loader_uses_stays(numbers: Numbers) -> None:
    """A layout that is open is not evicted; the other one goes without."""
    store = MemoryStore(limit=GROUPS * GROUP_BYTES)
    user = numbers(0).cache(store).loader(7, output="numpy")
    epoch(user)
    other = numbers(1000).cache(store).loader(7, output="numpy")
    epoch(other)
    epoch(user)

    assert counted(user, "misses") == (GROUPS,)
    assert counted(other, "bytes", "evicted") == (0, 0)


def test_a_limit_below_one_row_group_is_refused_at_once(numbers: Numbers) -> None:
    """Nothing could ever be kept, so the data set says so before anything is read."""
    with pytest.raises(hr.OptionError, match=f"{GROUP_BYTES - 1:,} bytes for a row group of {GROUP_BYTES:,}"):
        numbers(0).cache("memory", limit=GROUP_BYTES - 1)


def test_a_copy_in_another_process_begins_empty(numbers: Numbers) -> None:
    """A store travels as its settings."""
    ds = numbers(0).cache("memory", limit="1MB")
    expected = epoch(ds.loader(7, output="numpy"))
    copy: hr.Dataset = pickle.loads(pickle.dumps(ds))
    loader = copy.loader(7, output="numpy")

    assert epoch(loader) == expected
    assert counted(loader, "misses") == (GROUPS,)


def test_kept_rows_cannot_be_written_to(numbers: Numbers) -> None:
    """A consumer that changes its batch changes nothing for the next epoch."""
    loader = numbers(0).cache("memory").loader(7, output="numpy")
    first = epoch(loader)
    for batch in loader:
        batch["x"][:] = -1
        batch["y"][:] = -1

    assert epoch(loader) == first
