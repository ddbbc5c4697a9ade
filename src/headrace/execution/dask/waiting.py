"""Waiting for a dask worker's answer, for no longer than one can still come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NoReturn

from headrace.errors import WorkerError

if TYPE_CHECKING:
    from distributed import Client, Future

_LOOK_SECONDS = 1.0  # how often a wait looks whether there still is a scheduler, and a worker
_NO_WORKER_SECONDS = 120.0  # what clusters that grow by themselves may take for a first worker
_LONGEST_ITEM = 200  # characters of an item in a message


def fetch(client: Client, future: Future[Any], item: Any) -> Any:
    """Wait for a task and fetch its result.

    Raises:
        WorkerError: The task's workers died again and again, the scheduler is lost, or no worker is left.
    """
    from distributed import CancelledError
    from distributed.scheduler import KilledWorker

    try:
        _wait(client, future)
        # Without a timeout, which would also break off a large result on its way and begin again.
        return future.result()
    except WorkerError:  # also of a worker that could not load the function
        raise
    except KilledWorker as error:
        raise WorkerError(
            f"item {_shown(item)}: the {error.allowed_failures + 1} workers that ran it one after the other "
            f"died, the last one at {error.last_worker.address}: mostly for want of memory, or they were "
            "killed; give each worker more memory or fewer threads, or make row groups smaller, then run "
            "again, which continues where something was kept"
        ) from error
    except (CancelledError, OSError) as error:  # an item's own errors come as results
        raise_lost(client, error)
    except Exception as error:  # dask's own, such as a module that the worker lacks
        raise WorkerError(
            f"dask could not run item {_shown(item)}: {type(error).__name__}: {error}; workers need the same "
            "packages as the program that sends them work"
        ) from error


def check_connected(client: Client) -> None:
    """Refuse a client that has lost its scheduler: what it is given would never come back.

    Raises:
        WorkerError: It has.
    """
    if client.status != "running":
        raise_lost(client, None)


def count_threads(client: Client) -> int:
    """Count the threads of all workers that there are now.

    Raises:
        WorkerError: The scheduler is lost.
    """
    try:
        threads: Any = client.nthreads()
    except OSError as error:
        raise_lost(client, error)
    return sum(threads.values())


def raise_lost(client: Client, cause: BaseException | None) -> NoReturn:
    """Raise for a scheduler that is lost, a client that was closed, or tasks that somebody cancelled."""
    if client.status not in ("running", "connecting"):
        what = "the client is closed"
    elif client.status == "connecting" or isinstance(cause, OSError):
        what = "the connection to the scheduler was lost"
    else:
        what = "tasks were cancelled, or the cluster was restarted"
    raise WorkerError(
        f"dask: {what}; see that the scheduler runs, then run again, which continues where something was kept"
    ) from cause


def _wait(client: Client, future: Future[Any]) -> None:
    from distributed import TimeoutError as LateError
    from distributed import wait

    last_seen = time.monotonic()
    while not future.done():
        try:
            with client.as_current():
                wait([future], timeout=_LOOK_SECONDS)
        except (LateError, TimeoutError):
            check_connected(client)
            if count_threads(client):
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > _NO_WORKER_SECONDS:
                raise WorkerError(
                    f"the dask cluster has had no worker for {_NO_WORKER_SECONDS:.0f} seconds; start some "
                    "(`dask worker`), then run again"
                ) from None


def _shown(item: Any) -> str:
    text = str(item)
    return text if len(text) <= _LONGEST_ITEM else f"{text[:_LONGEST_ITEM]}..."
