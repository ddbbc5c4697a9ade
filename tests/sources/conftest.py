"""Stores that the tests of remote shards share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from remote_servers import Store, run_store


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """The file system in memory, empty before and after."""
    filesystem = MemoryFileSystem()
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def running_store() -> Iterator[Store]:
    with run_store() as store:
        yield store


@pytest.fixture
def store(running_store: Store) -> Store:
    """An S3 server whose proxy counts from now on, and lets everything pass."""
    running_store.proxy.reset()
    return running_store
