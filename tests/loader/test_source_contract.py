"""The contract of `SourceTests` over the sources that need no optional library, and over the wrappers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from loader_data import parquet, table_of

import headrace as hr
from headrace.errors import ChangedSourceError, SourceError
from headrace.sources.base import Source
from headrace.testing import Delay, Fail, FaultySource, SlowSource, SourceTests, Truncate
from headrace.testing.strategies import LaidSource


class TestParquetSource(SourceTests):
    @pytest.fixture
    def expected(self) -> pa.Table:
        return table_of(0, 38)

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        return parquet(tmp_path).recipe.source


class TestMemorySource(SourceTests):
    @pytest.fixture
    def expected(self) -> pa.Table:
        image = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(30 * 4).reshape(30, 2, 2))
        number = pa.array([None if row % 7 == 0 else row for row in range(30)])
        return pa.table({"image": image, "number": number, "text": [f"{row}" for row in range(30)]})

    @pytest.fixture
    def source(self, expected: pa.Table) -> Source:
        return hr.from_arrow(expected).recipe.source


class TestSlowSource(SourceTests):
    @pytest.fixture
    def expected(self) -> pa.Table:
        return pa.table({"value": np.arange(20) * 3})

    @pytest.fixture
    def source(self) -> Source:
        return SlowSource(LaidSource([7, 0, 13]), seconds=0.001)


class TestSourceWithoutFaults(SourceTests):
    @pytest.fixture
    def expected(self) -> pa.Table:
        return pa.table({"value": np.arange(20) * 3})

    @pytest.fixture
    def source(self) -> Source:
        return FaultySource(LaidSource([7, 0, 13]), {2: [Delay(0)]})


def test_faults_come_in_their_turn() -> None:
    """A row group's outcomes follow the table, and the last one lasts."""
    outcomes = [Fail("first"), Truncate(2), Fail("third", ChangedSourceError), Delay(0)]
    source = FaultySource(LaidSource([3, 3]), {1: outcomes})
    group = list(source.manifest)[1]

    with pytest.raises(SourceError, match="shard-0, row group 1: first"):
        source.read(group, ["value"])
    with pytest.raises(SourceError, match="promises 3 rows, but 2"):
        source.read(group, ["value"])
    with pytest.raises(ChangedSourceError, match="third"):
        source.read(group, ["value"])
    for _ in range(2):
        assert source.read(group, ["value"]).num_rows == 3
    assert source.read(next(iter(source.manifest)), ["value"]).num_rows == 3
    assert source.reads == {0: 1, 1: 5}


def test_sleeps_are_fixed_by_seed_and_row_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow source sleeps alike in every run, and otherwise with another seed."""

    def sleeps(seed: int) -> list[float]:
        slept: list[float] = []
        monkeypatch.setattr("time.sleep", slept.append)
        source = SlowSource(LaidSource([1, 1, 1]), seconds=0.5, seed=seed)
        for group in source.manifest:
            source.read(group, ["value"])
        return slept

    assert sleeps(1) == sleeps(1) != sleeps(2)
    assert all(0 <= seconds <= 0.5 for seconds in sleeps(1))
