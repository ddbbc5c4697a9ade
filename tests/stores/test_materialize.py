"""`ds.materialize`: the cache is filled ahead of time, by whoever is free, and tells what it did."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from cached_data import hash_of, packed, plain, write_shards

import headrace as hr
from headrace.stores.memory import MemoryStore
from headrace.testing import Fail, FaultySource, SlowSource

GROUPS, ROWS = 7, 38


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


def misses_of(ds: hr.Dataset, **options: Any) -> int:
    with ds.loader(6, **{"output": "numpy"} | options) as loader:
        list(loader)
        return loader.stats()["cache_misses"]


@pytest.mark.parametrize("executor", [None, hr.Serial(), hr.Threads(3)], ids=["default", "serial", "threads"])
def test_what_is_filled_is_not_prepared_again(executor: Any, data: Path) -> None:
    """It tells how many row groups it prepared and found, and how large all of them are."""
    ds = packed(data).cache("memory")
    first, second = ds.materialize(executor=executor), ds.materialize(executor=executor)

    assert (first.entries, first.built, first.found, first.let_go) == (GROUPS, GROUPS, 0, 0)
    assert (second.entries, second.built, second.found, second.let_go) == (GROUPS, 0, GROUPS, 0)
    assert first.rows == second.rows == ROWS
    assert first.nbytes == second.nbytes == ROWS * (2 * 4 + 2 * 8 + 1)
    assert 0 < first.seconds < 60
    assert re.fullmatch(
        r"7 row groups \(38 samples, 950 bytes\): 7 prepared and kept, 0 there before, in \d+\.\d s",
        str(first),
    )
    for shuffle in (False, True, "global"):
        assert misses_of(ds, shuffle=shuffle) == 0
        assert hash_of(ds.loader(6, shuffle=shuffle)) == hash_of(packed(data).loader(6, shuffle=shuffle))


def test_processes_fill_a_folder(data: Path, tmp_path: Path) -> None:
    """Each row group is prepared by one of them, and this process finds them all."""
    done = plain(data).materialize(tmp_path / "cache", executor=hr.Processes(2))

    assert (done.built, done.found, done.let_go) == (GROUPS, 0, 0)
    assert misses_of(plain(data).cache(tmp_path / "cache")) == 0


def test_only_what_takes_part_is_prepared(data: Path) -> None:
    """Row groups without a sample of the selection are not even read."""
    source = FaultySource(plain(data).recipe.source, {})
    done = hr.Dataset.of(source).rows([3, 30, 31]).cache("memory").materialize()

    assert (done.entries, done.built, done.rows) == (2, 2, 3)
    assert sum(source.reads.values()) == 2


def test_outputs_share_what_is_packed(data: Path) -> None:
    """Without `pack`, Arrow keeps columns of its own; with it, all outputs have the same."""
    bare, made = plain(data).cache("memory"), packed(data).cache("memory")
    for ds, left in ((bare, GROUPS), (made, 0)):
        ds.materialize()
        assert misses_of(ds, output="torch") == 0
        assert misses_of(ds, output="arrow") == left
        assert ds.materialize(output="arrow").built == 0


def test_progress_is_reported(data: Path) -> None:
    """A function hears of each row group."""
    heard: list[tuple[int, int]] = []
    packed(data).cache("memory").materialize(progress=lambda done, total: heard.append((done, total)))

    assert heard == [(done, GROUPS) for done in range(1, GROUPS + 1)]


def test_what_somebody_else_prepares_comes_last(data: Path) -> None:
    """A row group that is claimed is not waited for while others can be prepared."""
    store, finished = MemoryStore(), threading.Event()
    source = SlowSource(plain(data).recipe.source, seconds=0.0)
    ds = hr.Dataset.of(source).pack(x="x").cache(store)
    reads: list[int] = []

    class Watched(SlowSource):
        def read(self, row_group: Any, columns: Any) -> Any:
            reads.append(row_group.number)
            if threading.current_thread().name == "first":
                finished.wait(10)
            return super().read(row_group, columns)

    watched = hr.Dataset.of(Watched(source, seconds=0.0)).pack(x="x").cache(store)
    first = threading.Thread(target=lambda: watched.take([0]), name="first")
    first.start()
    while not reads:
        first.join(0.01)

    def report(done: int, total: int) -> None:
        if done == total - 1:
            finished.set()

    done = watched.materialize(executor=hr.Serial(), progress=report)
    first.join()
    assert finished.is_set()
    assert (done.built, done.found) == (GROUPS - 1, 1)
    assert sorted(reads) == sorted(set(reads))
    assert misses_of(ds) == 0


def test_what_does_not_fit_is_told(data: Path) -> None:
    """Row groups that the limit leaves no room for are prepared, and counted as not kept."""
    whole = packed(data).cache("memory").materialize().nbytes
    done = packed(data).cache("memory", limit=whole // 2).materialize()

    assert done.built + done.let_go == done.entries == GROUPS
    assert done.let_go > 0 < done.built
    assert f"{done.let_go} not kept" in str(done)


def test_errors_are_those_of_a_loader(data: Path) -> None:
    """What cannot be read is an error that names the row group; what was prepared before is kept."""
    source = FaultySource(plain(data).recipe.source, {5: [Fail("no disk")]})
    ds = hr.Dataset.of(source).pack(x="x").cache("memory")

    with pytest.raises(hr.SourceError, match=r"row group .*: no disk"):
        ds.materialize(executor=hr.Serial())
    assert max(source.reads.values()) == 1


def test_a_store_that_nobody_could_use_is_refused(data: Path) -> None:
    """There must be a store, and memory that outlives the call and is that of this process."""
    with pytest.raises(hr.OptionError, match=r"`materialize` needs a store.*ds\.cache"):
        packed(data).materialize()
    with pytest.raises(hr.OptionError, match=r'ds\.cache\("memory"\)'):
        packed(data).materialize("memory")
    with pytest.raises(hr.OptionError, match="processes cannot fill the memory of this one"):
        packed(data).cache("memory").materialize(executor=hr.Processes(2))
    assert packed(data).materialize(MemoryStore()).built == GROUPS
