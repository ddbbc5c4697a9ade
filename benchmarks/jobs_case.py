"""Measure one way to run an offline job in this process and its workers, and print a line of JSON.

`jobs.py` starts this program once for each case and round. The job is that of `prepare_case.py`: statistics
of 39 columns, filling, clipping, scaling and encoding by them, and Parquet with zstd. Clusters are started,
and their workers have loaded their libraries, before the clock runs; that time is told apart.

A case that runs in one thread gets libraries that are told so, as each of two workers does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import measure
import prepare_case
from criteo_like import CATEGORY_COLUMNS, DENSE_COLUMNS
from prepare_case import VOCABULARY, Parts

ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=list(CASES))
    parser.add_argument("output", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--worker-memory", default="2GB", help="what a worker may take")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.output, ignore_errors=True)
    measure.read_once(arguments.files)
    started = time.perf_counter()
    with CASES[arguments.case](arguments) as (fit, transform), measure.FamilyWatch() as memory:
        ready, used = time.perf_counter(), memory.cpu_seconds()
        fit()
        fitted = time.perf_counter()
        transform()
        done, spent = time.perf_counter(), memory.cpu_seconds() - used
    result = {
        "start": ready - started,
        "fit": fitted - ready,
        "transform": done - fitted,
        "cpu": spent,
        "own_peak": memory.own_peak,
        "worker_peaks": memory.child_peaks,
        "digest": digest(arguments.output),
    }
    print(json.dumps(result | {"check": prepare_case.check(arguments.output)}))


def digest(output: Path) -> str:
    """Digest names and bytes of all shards."""
    hasher = hashlib.blake2b(digest_size=16)
    for path in sorted(output.glob("*.parquet")):
        hasher.update(f"{path.name}:{path.stat().st_size}:".encode())
        with path.open("rb") as file:
            while block := file.read(measure.READ_BYTES):
                hasher.update(block)
    return hasher.hexdigest()


Case = Callable[[argparse.Namespace], Any]
"""Makes a context manager that gives what is measured: the fit, then the rest."""


def headrace_parts(arguments: argparse.Namespace, executor: Any) -> Parts:
    """The job on any executor."""
    import headrace as hr

    steps = [
        hr.ClipOutliers("quantile", columns=DENSE_COLUMNS),
        hr.FillMissing("median", columns=DENSE_COLUMNS),
        hr.StandardScaler(columns=DENSE_COLUMNS),
        hr.OrdinalEncoder(columns=CATEGORY_COLUMNS, max_size=VOCABULARY, dtype="int32"),
    ]
    pipe = hr.Pipeline(steps)
    ds = hr.open([str(path) for path in arguments.files])

    def fit() -> None:
        pipe.fit(ds, executor=executor, progress=False)

    def transform() -> None:
        ds.prepare(pipe).write(arguments.output, executor=executor, progress=False)

    return fit, transform


def on_threads(count: int) -> Case:
    """The job on threads of this process."""

    @contextmanager
    def case(arguments: argparse.Namespace) -> Iterator[Parts]:
        if count == 1:
            os.environ.update(ONE_THREAD)  # read when the libraries are imported, which is in what follows
        import headrace as hr

        yield headrace_parts(arguments, hr.Threads(count))

    return case


def on_dask(count: int) -> Case:
    """The job on a cluster of so many processes, each with one thread."""

    @contextmanager
    def case(arguments: argparse.Namespace) -> Iterator[Parts]:
        import headrace as hr

        with cluster(count, arguments.worker_memory) as client:
            yield headrace_parts(arguments, hr.Dask(client))

    return case


@contextmanager
def cluster(count: int, worker_memory: str) -> Iterator[Any]:
    """Start processes whose libraries are loaded; yields the client."""
    from distributed import Client, LocalCluster

    settings: dict[str, Any] = {"n_workers": count, "dashboard_address": ":0", "env": ONE_THREAD}
    with (
        LocalCluster(threads_per_worker=1, memory_limit=worker_memory, **settings) as workers,
        Client(workers) as client,
    ):
        client.run(load_libraries)
        yield client


def load_libraries() -> None:
    """Import what a worker needs, which is no part of the job."""
    import numba
    import pandas
    import polars

    import headrace as hr

    _ = numba, pandas, polars, hr.Pipeline, hr.open


@contextmanager
def polars(arguments: argparse.Namespace) -> Iterator[Parts]:
    """Lazy queries on the streaming engine."""
    arguments.output.mkdir(parents=True)
    yield prepare_case.polars(arguments.files, arguments.output)


@contextmanager
def dask_frame(arguments: argparse.Namespace) -> Iterator[Parts]:
    """dask.dataframe on threads of this process."""
    arguments.output.mkdir(parents=True)
    yield prepare_case.dask(arguments.files, arguments.output)


@contextmanager
def dask_frame_2(arguments: argparse.Namespace) -> Iterator[Parts]:
    """dask.dataframe on a cluster of two processes, each with one thread."""
    arguments.output.mkdir(parents=True)
    with cluster(2, arguments.worker_memory):
        yield prepare_case.dask(arguments.files, arguments.output)


@contextmanager
def ray(arguments: argparse.Namespace) -> Iterator[Parts]:
    """Ray Data on two processors: its aggregates, and functions of pandas frames."""
    import ray as library
    from jobs_ray import ray_parts

    arguments.output.mkdir(parents=True)
    library.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        yield ray_parts(arguments.files, arguments.output)
    finally:
        library.shutdown()


CASES: dict[str, Case] = {
    "threads_2": on_threads(2),
    "threads_1": on_threads(1),
    "dask_2": on_dask(2),
    "dask_1": on_dask(1),
    "polars": polars,
    "dask_frame": dask_frame,
    "dask_frame_2": dask_frame_2,
    "ray": ray,
}

if __name__ == "__main__":
    main()
