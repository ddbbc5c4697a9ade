"""Loaders over filtered, sampled and bagged data sets keep the whole contract of loaders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr
from headrace.testing import LoaderTests


@pytest.fixture
def shards(tmp_path: Path) -> hr.Dataset:
    """60 samples in row groups of 7, in two shards."""
    for number in range(2):
        table = pa.table({"x": range(number * 30, number * 30 + 30), "y": [i % 4 for i in range(30)]})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=7)
    return hr.open(tmp_path)


class ShuffledTests(LoaderTests):
    """The contract for the order that users choose most."""

    @pytest.fixture(params=[True], ids=str)
    def shuffle(self, request: pytest.FixtureRequest) -> Any:
        return request.param


class TestFiltered(ShuffledTests):
    """Half of the samples, whole row groups among those left out."""

    @pytest.fixture
    def dataset(self, shards: hr.Dataset) -> hr.Dataset:
        return shards.filter((pl.col("y") != 3) & ~pl.col("x").is_between(14, 27))


class TestSampled(ShuffledTests):
    """A third of a filtered data set, by chance."""

    @pytest.fixture
    def dataset(self, shards: hr.Dataset) -> hr.Dataset:
        return shards.filter(pl.col("x") > 5).sample(n=27, seed=2)


class TestBagged(ShuffledTests):
    """As many draws as samples, repeats included."""

    @pytest.fixture
    def dataset(self, shards: hr.Dataset) -> hr.Dataset:
        return shards.sample(fraction=0.5, replace=True, seed=4)
