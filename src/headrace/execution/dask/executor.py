"""An executor on a dask cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast
from uuid import uuid4

from headrace.errors import MissingDependencyError, OptionError, WorkerError
from headrace.execution.dask.calls import call, load, outcome_of, pack, piece_of
from headrace.execution.dask.waiting import check_connected, count_threads, fetch, raise_lost
from headrace.execution.executors import check_ahead, in_order

if TYPE_CHECKING:
    from distributed import Client, Future

Item = TypeVar("Item")
Result = TypeVar("Result")

_CONNECT_SECONDS = 10
_PIECE = 8 << 20  # bytes of a function that travel together; dask warns of larger messages


class Dask:
    """Runs on the workers of a dask cluster, this machine's or others'.

    Functions, items and results travel as dask's own do: also functions of a script or of a notebook, by
    value. A function travels once to each worker. What was under way on a worker that is lost
    runs again elsewhere. Files that a recipe names must lie under the same path for all workers.
    Thread-safe. A script that lets a cluster start on this machine keeps its own work behind
    `if __name__ == "__main__":`.

    Args:
        address: A scheduler's address such as "tcp://host:8786", connected to at first use; or a
            `distributed.Client`, which stays open. By default the client that the program has already;
            if there is none, one process for each core of this machine, started at first use.

    Example:
        >>> import headrace as hr
        >>> hr.Dask("tcp://scheduler:8786")
        Dask('tcp://scheduler:8786')
    """

    def __init__(self, address: str | Client | None = None) -> None:
        """Keep where the cluster is; nothing is started or connected to."""
        if not (address is None or isinstance(address, str) or _is_client(address)):
            raise OptionError(
                "`Dask` takes a scheduler's address, a `distributed.Client` that is not asynchronous, or "
                f"None, got {address!r}"
            )
        self._address = address
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._owned: list[Any] = []  # what was opened here: the client, and perhaps a cluster

    def __repr__(self) -> str:
        return f"Dask({'' if self._address is None else repr(self._address)})"

    @property
    def client(self) -> Client:
        """The client, connected at first use.

        Raises:
            MissingDependencyError: The extra `dask` is not installed.
            WorkerError: No scheduler answers at the address.
        """
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            elif self._owned and self._client.status != "running":  # it has lost its scheduler
                self._close()
                self._client = self._connect()
            return self._client

    @property
    def count(self) -> int:
        """How many threads the cluster's workers have at the moment."""
        return count_threads(self.client)

    @property
    def dashboard(self) -> str | None:
        """The link of the cluster's dashboard; None where it has none, or before the first use."""
        if self._client is None or self._client.status != "running":
            return None
        try:
            return self._client.dashboard_link
        except (KeyError, ValueError):  # the scheduler serves no pages
            return None

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], ahead: int | None = None
    ) -> Iterator[Result]:
        """Yield `function(item)` for each item, in order.

        Results are fetched one by one, when they are asked for. By default two items for each thread of
        the workers are under way.

        Raises:
            OptionError: The function cannot be pickled.
            WorkerError: The scheduler is lost, or an item's workers died again and again.
        """
        if ahead is not None:
            check_ahead(ahead, 0)
        return self._map(pack(function, "the function"), _label(function), items, ahead)

    def close(self) -> None:
        """Close what was opened here, and nothing else; the next use opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        owned, self._owned, self._client = self._owned, [], None
        for each in owned:
            each.close()

    def _connect(self) -> Client:
        try:
            from distributed import Client
        except ImportError as error:
            raise MissingDependencyError.from_extra("distributed", "dask", "running on dask") from error
        if self._address is None:
            try:
                client = Client.current()
            except ValueError:  # the program has none
                return self._start()
            if client.asynchronous:
                raise OptionError("the program's dask client is asynchronous; give `Dask` an address instead")
            return client
        if not isinstance(self._address, str):
            return self._address
        try:
            client = Client(self._address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:  # nobody there, or no address at all
            raise WorkerError(
                f"no dask scheduler answers at {self._address!r}: {error}; start one with `dask scheduler`, "
                "or correct the address"
            ) from error
        self._owned = [client]
        return client

    def _start(self) -> Client:
        from dask.system import CPU_COUNT
        from distributed import Client, LocalCluster

        # Each process has one thread, so Polars, which would start one for each core, is told the same.
        cluster = LocalCluster(
            n_workers=CPU_COUNT,
            threads_per_worker=1,
            dashboard_address=":0",
            env={"POLARS_MAX_THREADS": "1"},
        )
        client = Client(cluster, set_as_default=False)
        self._owned = [client, cluster]
        return client

    def _map(self, function: bytes, label: str, items: Iterable[Any], ahead: int | None) -> Iterator[Any]:
        client = self.client
        check_connected(client)
        if ahead is None:
            ahead = max(2 * count_threads(client), 2)
        run = _Run(client, function, label)
        try:
            yield from in_order(run.submit, items, ahead)
        finally:
            run.release()


class _Run:
    """One function on a cluster, and the futures of its items that are under way."""

    def __init__(self, client: Client, function: bytes, label: str) -> None:
        self._client = client
        self._name = f"{label}-{uuid4().hex}"  # dask shows and times tasks by what is before the dash
        pieces = [
            self._task(piece_of, "piece", place, function[place : place + _PIECE])
            for place in range(0, len(function), _PIECE)
        ]
        # A task and not scattered data, which would be lost with the last worker that holds it.
        self._function = self._task(load, "load", 0, pieces)
        self._number = 0
        self._under_way: set[Future[Any]] = set()

    def submit(self, item: Any) -> Callable[[], Any]:
        """Send an item; returns what waits for its result."""
        try:
            payload = pack(item, "an item")
            self._number += 1
            future = self._task(call, "", self._number, self._function, payload)
        except (OptionError, WorkerError) as error:
            return partial(_raise, error)
        self._under_way.add(future)
        return partial(self._take, future, item)

    def release(self) -> None:
        """Forget all tasks: dask drops what is queued. It waits for nothing, so it may run in any thread."""
        for future in self._under_way:
            future.release()
        self._under_way.clear()
        self._function.release()

    def _take(self, future: Future[Any], item: Any) -> Any:
        reply = fetch(self._client, future, item)
        self._under_way.discard(future)
        future.release()
        return outcome_of(reply)

    def _task(self, function: Callable[..., Any], kind: str, number: int, *arguments: Any) -> Future[Any]:
        from distributed.client import ClosedClientError

        key = (f"{kind}-{self._name}" if kind else self._name, number)
        try:
            future = self._client.submit(function, *arguments, key=key, pure=False)
        except (ClosedClientError, OSError) as error:
            raise_lost(self._client, error)
        check_connected(self._client)  # afterwards: what a lost scheduler was sent would never come back
        return future


def _is_client(value: object) -> bool:
    try:
        from distributed import Client
    except ImportError:  # then nothing can be one
        return False
    return isinstance(value, Client) and not value.asynchronous


def _label(function: Any) -> str:
    """Name a function for the dashboard."""
    while isinstance(function, partial):
        function = cast("partial[Any]", function).func
    name = getattr(function, "__name__", type(function).__name__)
    return name.strip("_<>").replace("-", "_") or "call"


def _raise(error: Exception) -> NoReturn:
    raise error
