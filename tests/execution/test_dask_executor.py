"""The contract of `ExecutorTests` on a dask cluster of two processes, and what only a cluster can do."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dask_cluster import two_processes
from distributed import Client

import headrace as hr
from headrace.errors import OptionError, PrepareError, WorkerError
from headrace.testing import ExecutorTests
from headrace.testing.executors import double

SCRIPT = """
import sys
import headrace as hr
offset = 3
def add(item): return item + offset
class Kept:
    def __init__(self, value): self.value = value
if __name__ == "__main__":
    dask = hr.Dask(sys.argv[1])
    print(*dask.map(add, range(3)), *dask.map(lambda item: -item, [7]))
    print(*(kept.value for kept in dask.map(Kept, "ab")))
    dask.close()
"""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with two_processes() as client:
        yield client


class TestDask(ExecutorTests):
    @pytest.fixture
    def executor(self, client: Client) -> Iterator[hr.Dask]:
        executor = hr.Dask(client.scheduler.address)
        yield executor
        executor.close()

    def test_what_cannot_be_pickled_is_named(self, executor: hr.Dask) -> None:
        """Functions, items and results that hold a lock are refused, at their place."""
        lock = threading.Lock()
        with pytest.raises(OptionError, match=r"the function .*lambda.* cannot be pickled"):
            executor.map(lambda item, holding=lock: item, [1])
        results = executor.map(double, [1, threading.Lock()], ahead=2)
        assert next(results) == 2
        with pytest.raises(OptionError, match=r"an item .*lock.* cannot be pickled"):
            next(results)
        with pytest.raises(WorkerError, match="result of type lock cannot be pickled"):
            list(executor.map(make_lock, [1]))

    def test_a_large_function_travels_in_pieces(self, executor: hr.Dask) -> None:
        """Data that a function brings along reaches the workers whole; dask would warn of one message."""
        function = Holds(bytes(range(256)) * (1 << 17))

        assert list(executor.map(function, [0, 255, 1 << 24])) == [0, 255, 0]

    def test_an_error_names_the_row_group(self, executor: hr.Dask, tmp_path: Path) -> None:
        """What a user's function raises on a worker comes with file and row group, as everywhere."""
        hr.from_arrays({"x": [1, 2, 0]}).to_polars().write_parquet(tmp_path / "a.parquet", row_group_size=2)
        ds = hr.open(tmp_path / "a.parquet").map(inverse)

        with pytest.raises(PrepareError, match=r"a\.parquet, row group 1"):
            hr.Pipeline([hr.StandardScaler()]).fit(ds, executor=executor, progress=False)

    def test_memory_of_this_process_cannot_be_filled(self, executor: hr.Dask) -> None:
        """Workers would fill memory of their own."""
        with pytest.raises(OptionError, match="cannot fill the memory"):
            hr.from_arrays({"x": [1]}).pack(x="x").cache("memory").materialize(executor=executor)

    def test_a_collection_is_a_source_on_workers(self, executor: hr.Dask) -> None:
        """A data set of a dask dataframe, which each worker computes by itself, gives what threads give."""
        frame = hr.from_arrays({"x": [5, 1, 3]}).to_dask()
        ds = hr.from_dask(frame, scheduler="synchronous")

        assert ds.to_arrow(executor) == ds.to_arrow()


def test_functions_of_a_script_need_no_module(client: Client, tmp_path: Path) -> None:
    """What the program itself defines reaches workers that cannot import it."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py", client.scheduler.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.split() == ["3", "4", "5", "-7", "a", "b"], done.stderr


@dataclass(frozen=True)
class Holds:
    data: bytes

    def __call__(self, place: int) -> int:
        return self.data[place]


def make_lock(item: int) -> object:
    return threading.Lock()


def inverse(frame: object) -> object:
    if 0 in frame["x"]:  # pyright: ignore[reportIndexIssue]
        raise ZeroDivisionError("cannot bear 0")
    return frame


@pytest.mark.parametrize("kind", [hr.MemoryLimitError, hr.DeviceMemoryError, hr.OutputError])
def test_errors_are_pickled_beside_dask(kind: type[hr.HeadraceError]) -> None:
    """Dask changes how a program's errors are pickled; those of two bases keep class and text."""
    again = pickle.loads(pickle.dumps(kind("a text")))
    assert (type(again), str(again)) == (kind, "a text")
