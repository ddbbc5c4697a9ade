"""What `explain` foretells agrees with what the loader then does."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr
from headrace.manifest import RowGroup


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    for shard in range(4):
        table = pa.table(
            {"x": np.arange(4000) + shard * 4000, "y": np.random.default_rng(shard).random(4000)}
        )
        pq.write_table(table, folder / f"{shard}.parquet", row_group_size=500)
    return folder


class _Counting:
    """A source that counts how often each row group is read."""

    def __init__(self, source: hr.Source) -> None:
        self.schema, self.manifest, self._source = source.schema, source.manifest, source
        self.reads: Counter[int] = Counter()

    def read(self, row_group: RowGroup, columns: list[str]) -> pa.RecordBatch:
        self.reads[row_group.number] += 1
        return self._source.read(row_group, columns)


@pytest.mark.parametrize("shuffle", [True, False, hr.BlockShuffle(8, 8), hr.BlockShuffle(3, 9)])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_read_amplification_is_what_happens(
    shards: Path, shuffle: hr.BlockShuffle | bool, ranks: int
) -> None:
    """The reads of all ranks together are as many as foretold, a row group cut by a lane aside."""
    source = _Counting(hr.open(shards).recipe.source)
    dataset = hr.Dataset.of(source)
    loaders = [
        dataset.loader(batch_size=40, shuffle=shuffle, world=hr.World(rank, ranks), output="numpy")
        for rank in range(ranks)
    ]
    for loader in loaders:
        for _ in loader:
            pass

    foretold = loaders[0].explain().read_amplification
    assert sum(source.reads.values()) / len(source.manifest) == pytest.approx(foretold, rel=0.15)


def test_steps_and_sizes_are_what_happens(shards: Path) -> None:
    """Steps, samples and batch size are those of the epoch."""
    loader = hr.open(shards).loader(batch_size=300, shuffle=True, output="numpy")
    batches = list(loader)
    told = loader.explain()

    assert (told.steps, told.samples, told.batch_size) == (len(batches), 16_000, len(batches[0]["x"]))
    assert json.loads(json.dumps(told.as_dict()))["steps"] == told.steps


def test_advice_names_what_to_change(shards: Path) -> None:
    """A global shuffle of shards and a narrow window are pointed out, each with its remedy."""
    dataset = hr.open(shards)
    narrow = dataset.loader(batch_size=10, shuffle=hr.BlockShuffle(2, 2), output="numpy").explain()
    uneven = dataset.loader(
        batch_size=10, shuffle=hr.BlockShuffle(2, 32), world=hr.World(0, 3), output="numpy"
    ).explain()

    assert any("window" in line for line in narrow.advice)
    assert any("lanes" in line for line in uneven.advice)
    assert str(narrow).count("\n") > 8


def test_mixing_is_ordered(shards: Path) -> None:
    """No shuffle mixes nothing, a wider window more, and everything open mixes all."""
    dataset = hr.open(shards)
    told = [
        dataset.loader(batch_size=10, shuffle=shuffle, output="numpy").explain().mixing
        for shuffle in (False, hr.BlockShuffle(2, 4), hr.BlockShuffle(2, 16), True)
    ]
    assert told == sorted(told)
    assert told[0] == 0
    assert told[-1] == 1


def test_what_a_global_shuffle_costs_is_told_with_its_remedy(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row groups that are decoded over and over call for a cache; once it is whole, nothing is decoded."""
    monkeypatch.setattr("headrace.planning.plan._RUN_BYTES", 1 << 16)
    dataset = hr.open(shards)
    uncached = dataset.loader(100, shuffle="global", output="numpy").explain()
    loader = dataset.cache("memory").loader(100, shuffle="global", output="numpy")
    cold = loader.explain()
    for _ in loader:
        pass
    warm = loader.explain()

    assert uncached.rows_from == "row groups"
    assert uncached.read_amplification > 1
    assert "ds.cache(" in uncached.advice[0]
    assert cold.rows_from == "row groups, cached"
    assert cold.read_amplification == 1
    assert "fills the cache" in cold.advice[0]
    assert warm.rows_from == "cached arrays"
    assert warm.read_amplification == 0
    assert not any("cache" in line for line in warm.advice)
    assert warm.mixing == 1


def test_a_limit_that_leaves_row_groups_out_is_told(shards: Path) -> None:
    """A cache that cannot hold all says so, since every epoch decodes the rest."""
    dataset = hr.open(shards)
    told = dataset.cache("memory", limit=64_000).loader(100, output="numpy").explain()
    assert "raise `limit`" in told.advice[0]


def test_arrays_in_memory_are_not_decoded() -> None:
    """What lies in memory is gathered from there in any order, and takes the memory of batches alone."""
    arrays = {"x": np.zeros((200_000, 50), np.float32)}
    told = hr.from_arrays(arrays).loader(100, shuffle="global", output="numpy", threads=2).explain()

    assert told.rows_from == "arrays in memory"
    assert told.read_amplification == 0
    assert told.peak_memory < 10_000_000
    assert told.advice == ()
