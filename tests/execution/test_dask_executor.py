"""The contract of `ExecutorTests` on a dask cluster of two processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import LocalCluster

import headrace as hr
from headrace.testing import ExecutorTests


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


class TestDask(ExecutorTests):
    @pytest.fixture
    def executor(self, cluster: LocalCluster) -> Iterator[hr.Dask]:
        executor = hr.Dask(cluster.scheduler_address)
        yield executor
        executor.close()
