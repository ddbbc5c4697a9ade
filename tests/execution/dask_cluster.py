"""Dask clusters on this machine, for tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster


@contextmanager
def two_processes(**options: Any) -> Iterator[Client]:
    """Start a scheduler and two workers of one thread; a task that kills two workers is given up."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", protocol="tcp://", **options
        )
        client = Client(cluster, set_as_default=False)
        try:
            yield client
        finally:
            client.close()
            cluster.close()


class Programs:
    """`dask scheduler` and `dask worker` as programs of their own, on one port of this machine."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self.running:
            program.kill()
            program.wait()

    def start(self) -> str:
        """Start a scheduler and a worker, and return the scheduler's address once both are there."""
        address = f"tcp://127.0.0.1:{self.port}"
        self._run("dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port))
        self._run("dask_worker", address, "--nthreads", "1", "--no-nanny")
        with Client(address, timeout=30, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=30)
        return address

    def kill_scheduler(self) -> None:
        self.running[-2].kill()

    def _run(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, "--no-dashboard"]
        with (self.folder / f"{module}.log").open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            self.running.append(
                subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)
            )
