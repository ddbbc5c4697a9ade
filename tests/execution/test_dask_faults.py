"""Lost workers, lost schedulers and slow workers: results are complete, or an error says what to do."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from dask_calls import DiesOnce, WaitsForOthers, linger, take_much
from dask_cluster import Programs, two_processes
from distributed import Client, Future, LocalCluster

import headrace as hr
from headrace.errors import OptionError, WorkerError
from headrace.execution.dask import executor as connecting
from headrace.execution.dask import waiting
from headrace.testing.executors import double
from headrace.testing.resources import Resources

SECONDS = 10.0  # what an error may take to come


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with two_processes(memory_limit="800MB") as client:
        yield client


@pytest.fixture
def lonely() -> Iterator[Client]:
    """A cluster without workers, in this process."""
    cluster = LocalCluster(n_workers=0, dashboard_address=":0")
    client = Client(cluster, set_as_default=False)
    yield client
    client.close()
    cluster.close()


def test_a_killed_worker_loses_nothing(client: Client, tmp_path: Path) -> None:
    """What was under way on a killed process runs again, and each result comes once, in order."""
    function = DiesOnce(tmp_path, victim=5)

    assert list(hr.Dask(client).map(function, range(40), ahead=8)) == [2 * item for item in range(40)]
    assert (tmp_path / "killed").exists()
    assert Counter(path.name.split("-")[0] for path in tmp_path.glob("*-*"))["5"] == 2


def test_a_worker_beyond_its_memory_is_an_error(client: Client) -> None:
    """An item that takes more memory than a worker may is named, with what to do, after what came before."""
    results = hr.Dask(client).map(take_much, range(6), ahead=1)

    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(WorkerError, match=r"^item 2: the 2 workers .* died.* more memory"):
        next(results)
    assert list(hr.Dask(client).map(double, range(3))) == [0, 2, 4]  # new processes took their place


def test_a_slow_item_does_not_hold_up_the_others(client: Client, tmp_path: Path) -> None:
    """While one worker is slow the other goes on; what waits for the slow one is neither lost nor doubled."""
    function = WaitsForOthers(tmp_path, others=4)

    assert list(hr.Dask(client).map(function, range(20), ahead=8)) == list(range(20))


def test_cancelled_tasks_are_an_error(client: Client) -> None:
    """Tasks that somebody else took away, as a restart of the cluster does, are an error and no hang."""
    results = hr.Dask(client).map(linger, range(3), ahead=2)
    assert next(results) == 0
    client.cancel([Future(key, client) for key in list(client.futures)])

    with pytest.raises(WorkerError, match=r"were cancelled.*run again"):
        next(results)


def test_a_killed_scheduler_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes at once, and with a scheduler at the same address the same executor works again."""
    monkeypatch.setattr(connecting, "_CONNECT_SECONDS", 1)
    with Programs(tmp_path) as programs:
        executor = hr.Dask(programs.start())
        results = executor.map(linger, range(3), ahead=2)
        assert next(results) == 0
        programs.kill_scheduler()
        begin = time.monotonic()
        with pytest.raises(WorkerError, match=r"(scheduler was lost|client is closed).*run again"):
            next(results)
        with pytest.raises(WorkerError, match=r"no dask scheduler answers|scheduler was lost"):
            list(executor.map(double, range(3)))
        assert time.monotonic() - begin < SECONDS

        programs.start()
        assert list(executor.map(double, range(3))) == [0, 2, 4]
        executor.close()


def test_a_closed_client_is_an_error(lonely: Client) -> None:
    """A client that its owner closes in mid-run, or before it, is an error and no hang."""
    results = hr.Dask(lonely).map(linger, range(3), ahead=0)
    lonely.close()

    for _ in range(2):
        with pytest.raises(WorkerError, match="the client is closed"):
            next(results)
        results = hr.Dask(lonely).map(linger, range(3))


def test_a_cluster_without_workers_is_an_error(lonely: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a first worker ends."""
    monkeypatch.setattr(waiting, "_NO_WORKER_SECONDS", 0.5)

    with pytest.raises(WorkerError, match=r"item 0|no worker for .* seconds.*dask worker"):
        list(hr.Dask(lonely).map(double, range(3)))


def test_an_address_of_nobody_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the address, at first use and not before."""
    monkeypatch.setattr(connecting, "_CONNECT_SECONDS", 0.3)
    executor = hr.Dask("tcp://127.0.0.1:9")

    with pytest.raises(WorkerError, match=r"answers at 'tcp://127\.0\.0\.1:9'"):
        list(executor.map(double, range(3)))
    with pytest.raises(OptionError, match="got 3"):
        hr.Dask(3)  # pyright: ignore[reportArgumentType]


def test_a_cluster_of_this_machine_starts_and_ends() -> None:
    """Without an address and a client, processes start at first use, and `close` leaves none of them."""
    before = Resources.now()
    executor = hr.Dask()
    assert executor.dashboard is None
    found = list(executor.map(where_it_runs, range(4)))
    assert os.getpid() not in {number for number, _ in found}
    assert {threads for _, threads in found} == {1}  # Polars would start one for each core in each process
    executor.close()

    assert Resources.now().children == before.children


def test_the_program_s_client_is_used(client: Client) -> None:
    """A client that the program made its current one is used, and left open."""
    with client.as_current():
        executor = hr.Dask()
        assert executor.client is client
        executor.close()
    assert client.status == "running"


def where_it_runs(item: int) -> tuple[int, int]:
    return os.getpid(), pl.thread_pool_size()
