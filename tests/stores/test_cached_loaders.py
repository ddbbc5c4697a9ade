"""The contract of `LoaderTests` over every store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cached_data import chosen, packed, plain, without_nulls, write_shards
from redis_server import RedisServer

import headrace as hr
from headrace.testing import LoaderTests


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


class CachedTests(LoaderTests):
    """The contract of a data set for the order that users of a cache choose most."""

    @pytest.fixture(params=["global"], ids=str)
    def shuffle(self, request: pytest.FixtureRequest) -> Any:
        return request.param


class TestMemory(CachedTests):
    @pytest.fixture(scope="module")
    @staticmethod
    def dataset(data: Path) -> hr.Dataset:
        return plain(data).cache("memory")


class TestFolder(CachedTests):
    @pytest.fixture(scope="module")
    @staticmethod
    def dataset(data: Path, tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
        return chosen(data).cache(tmp_path_factory.mktemp("folder") / "cache")


class TestLmdb(CachedTests):
    @pytest.fixture(params=[True], ids=str)
    def shuffle(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    @pytest.fixture(scope="module")
    @staticmethod
    def dataset(data: Path, tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
        return packed(data).cache(f"lmdb://{tmp_path_factory.mktemp('lmdb') / 'cache'}")


class TestRedis(CachedTests):
    @pytest.fixture
    def dataset(self, data: Path, one_redis_server: RedisServer) -> hr.Dataset:
        return without_nulls(data).cache(one_redis_server.url)
