"""What the tests of stores share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis_server import RedisServer, run_redis


@pytest.fixture(scope="session")
def one_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for all tests of one process."""
    with run_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(one_redis_server: RedisServer) -> RedisServer:
    """A server that runs and is empty."""
    one_redis_server.reset()
    return one_redis_server
