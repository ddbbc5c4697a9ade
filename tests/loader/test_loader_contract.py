"""The contract of `LoaderTests` over data in memory and in files, plain, selected and prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from loader_data import in_memory, laid, parquet, prepared

import headrace as hr
from headrace.testing import LoaderTests, SlowSource


class TestInMemory(LoaderTests):
    @pytest.fixture
    def dataset(self) -> hr.Dataset:
        return in_memory()


class ShuffledTests(LoaderTests):
    """The contract for the order that users choose most."""

    @pytest.fixture(params=[True], ids=str)
    def shuffle(self, request: pytest.FixtureRequest) -> Any:
        return request.param


class TestParquet(ShuffledTests):
    @pytest.fixture
    def dataset(self, tmp_path: Path) -> hr.Dataset:
        return parquet(tmp_path)


class TestRowsWithRepeats(LoaderTests):
    batch_size = 5

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> hr.Dataset:
        """Unsorted, with repeats, and by far not all."""
        chosen = [37, 3, 3, 0, 12, 11, 30, 3, 8, 25, 24, 23, 1, 36, 35, 12, 5, 6, 7, 19, 20, 2]
        return parquet(tmp_path).rows(chosen)


class TestPrepared(ShuffledTests):
    @pytest.fixture
    def dataset(self, tmp_path: Path) -> hr.Dataset:
        return prepared(tmp_path)


class TestManyRowGroups(LoaderTests):
    batch_size = 8

    @pytest.fixture
    def dataset(self) -> hr.Dataset:
        return laid(*[3, 1, 0, 4, 1, 5, 9, 2, 6, 5, 3, 5] * 2)


class TestSlow(ShuffledTests):
    """Random sleeps in the source shake the order in which threads finish."""

    batch_size = 10

    @pytest.fixture
    def dataset(self) -> hr.Dataset:
        return hr.Dataset.of(SlowSource(laid(9, 4, 0, 12, 7, 8).recipe.source, seconds=0.002))


class TestPadded(ShuffledTests):
    @pytest.fixture
    def dataset(self, tmp_path: Path) -> hr.Dataset:
        """Lists that become arrays within each row group, and once their batch is whole."""
        return parquet(tmp_path).pack(
            x="x",
            fixed="tokens",
            longest="tokens",
            tokens="tokens",
            pad_to={"fixed": 2, "longest": "longest"},
            truncate=True,
        )
