"""Data sets written on a dask cluster: the bytes of `Serial`, whatever becomes of workers and scheduler."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from dask_cluster import Programs, two_processes
from dask_steps import dawdle, kill_once, kill_while, raise_while, wait_while

import headrace as hr

SHARDS, ROWS = 8, 30


@pytest.fixture(scope="module")
def executor() -> Iterator[hr.Dask]:
    with two_processes() as client:
        yield hr.Dask(client)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    folder = tmp_path_factory.mktemp("numbers")
    for number in range(SHARDS):
        x = np.arange(number * ROWS, (number + 1) * ROWS)
        frame = pl.DataFrame({"x": x, "text": [f"n{value}" for value in x]})
        pq.write_table(frame.to_arrow(), folder / f"in-{number}.parquet", row_group_size=10)
    return hr.open(folder)


@pytest.fixture
def switch(tmp_path: Path) -> Path:
    path = tmp_path / "switch"
    path.touch()
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def troubled(ds: hr.Dataset, step: Callable[..., Any], switch: Path) -> hr.Dataset:
    """Map with a step that goes wrong at sample 100, which is in row group 1 of in-3.parquet."""
    return ds.map(partial(step, switch=str(switch), bad=100), version="troubled")


def write_clean(ds: hr.Dataset, folder: Path, switch: Path) -> dict[str, bytes]:
    """Write with nothing going wrong."""
    switch.unlink(missing_ok=True)
    ds.write(folder, executor=hr.Serial(), progress=False)
    return files_of(folder)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"shuffle": "global", "seed": 3, "shards": 3}, {"format": "hdf5", "rows_per_shard": 50}],
    ids=["in order", "shuffled", "hdf5"],
)
def test_shards_are_those_of_serial(
    numbers: hr.Dataset, executor: hr.Dask, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    """Every file is the same, the manifest and the fitted pipeline too."""
    pipe = hr.Pipeline([hr.StandardScaler(columns=["x"])]).fit(numbers, executor=executor, progress=False)
    for name, runner in (("dask", executor), ("serial", hr.Serial())):
        numbers.prepare(pipe).write(tmp_path / name, executor=runner, progress=False, **arguments)
    assert files_of(tmp_path / "dask") == files_of(tmp_path / "serial")


@pytest.mark.parametrize("step", [kill_once, dawdle])
def test_a_killed_or_slow_worker_loses_and_doubles_nothing(
    numbers: hr.Dataset, executor: hr.Dask, tmp_path: Path, switch: Path, step: Callable[..., Any]
) -> None:
    """A worker killed in mid-job, and one that takes long: the job ends as if nothing had been."""
    ds = troubled(numbers, step, switch)
    ds.write(tmp_path / "out", executor=executor, progress=False)
    assert not switch.exists()
    assert files_of(tmp_path / "out") == write_clean(ds, tmp_path / "clean", switch)


@pytest.mark.parametrize(
    "trouble",
    [
        (raise_while, hr.PrepareError, r"in-3\.parquet, row group 1: .*cannot bear 100"),
        (kill_while, hr.WorkerError, r"part-00003\.parquet: the 2 workers that ran it .* died"),
    ],
    ids=["raises", "kills"],
)
def test_what_fails_is_told_and_the_rest_is_kept(
    numbers: hr.Dataset,
    executor: hr.Dask,
    tmp_path: Path,
    switch: Path,
    trouble: tuple[Callable[..., Any], type[Exception], str],
) -> None:
    """A function that raises, and one that no worker survives: the next run goes on from there."""
    step, cause, message = trouble
    ds = troubled(numbers, step, switch)
    with pytest.raises(hr.JobError, match=message) as raised:
        ds.write(tmp_path / "out", executor=executor, progress=False)
    assert isinstance(raised.value.__cause__, cause)
    switch.unlink()
    written = ds.write(tmp_path / "out", executor=executor, progress=False)
    assert written.kept > 0
    assert files_of(tmp_path / "out") == write_clean(ds, tmp_path / "clean", switch)


def test_a_lost_scheduler_ends_the_job_and_the_next_run_goes_on(
    numbers: hr.Dataset, tmp_path: Path, switch: Path
) -> None:
    """The scheduler is killed while a shard is under way: an error within seconds, and nothing is lost."""
    ds = troubled(numbers, wait_while, switch)

    def kill(programs: Programs) -> None:
        while not Path(f"{switch}-waits").exists():
            time.sleep(0.02)
        programs.kill_scheduler()

    with Programs(tmp_path) as programs:
        executor = hr.Dask(programs.start())
        killer = threading.Thread(target=kill, args=(programs,))
        killer.start()
        with pytest.raises(hr.JobError, match="scheduler"):
            ds.write(tmp_path / "out", executor=executor, progress=False)
        killer.join()
        executor.close()
    switch.unlink()
    ds.write(tmp_path / "out", executor=hr.Threads(2), progress=False)
    assert files_of(tmp_path / "out") == write_clean(ds, tmp_path / "clean", switch)
