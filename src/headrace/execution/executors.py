"""Executors: where a function runs over many items, in the order of the items."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from headrace.errors import OptionError, WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Threads that hang in a user's function cannot be stopped; closing waits this long for them.
_PATIENCE_SECONDS = 2.0


class Executor(Protocol):
    """Runs a function over items.

    Results come in the order of the items, whatever finishes first, so that nothing downstream
    depends on timing. An exception is raised at its item's place.
    """

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2) -> Iterator[Result]:
        """Yield `function(item)` for each item, in order.

        Args:
            function: What to run; thread-safe, and picklable for processes.
            items: Taken one by one, as there is room.
            ahead: How many results may be under way or waiting beyond the one in demand.
        """
        ...

    def close(self) -> None:
        """Stop all workers; may be called again."""
        ...


class Serial:
    """Runs everything in the calling thread, one item at a time: the oracle of all others.

    Example:
        >>> list(Serial().map(str, [1, 2, 3]))
        ['1', '2', '3']
    """

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2) -> Iterator[Result]:
        """Yield `function(item)` for each item when it is asked for."""
        return map(function, items)

    def close(self) -> None:
        """Do nothing; there are no workers."""


class Threads:
    """Runs on threads of this process, which start and end with each `map`.

    Example:
        >>> list(Threads(2).map(str, [1, 2, 3]))
        ['1', '2', '3']
    """

    def __init__(self, count: int | None = None) -> None:
        """Keep the number of threads, by default one for each core."""
        self.count = _check_count(count)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2) -> Iterator[Result]:
        """Yield `function(item)` for each item, in order."""
        pool = Pool(self.count)
        try:
            yield from _in_order(lambda item: pool.submit(function, item).result, items, self.count + ahead)
        finally:
            pool.close()

    def close(self) -> None:
        """Do nothing; threads end with each `map`."""


class Processes:
    """Runs on fresh processes, which start and end with each `map`.

    Processes are spawned and never forked, since libraries underneath do not survive a fork.
    Functions and items must be picklable.

    Example:
        >>> Processes(2).count
        2
    """

    def __init__(self, count: int | None = None) -> None:
        """Keep the number of processes, by default one for each core."""
        self.count = _check_count(count)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2) -> Iterator[Result]:
        """Yield `function(item)` for each item, in order.

        Raises:
            WorkerError: A process died, for example of too little memory.
        """
        pool = ProcessPoolExecutor(self.count, mp_context=multiprocessing.get_context("spawn"))
        try:
            yield from _in_order(lambda item: pool.submit(function, item).result, items, self.count + ahead)
        except BrokenProcessPool as error:
            raise WorkerError(
                f"one of {self.count} processes died before it could answer; look for the kernel's out-of-memory "
                "message, and check that the function and its items can be pickled"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """Do nothing; processes end with each `map`."""


class Task:
    """A call that some thread will make, and its outcome."""

    __slots__ = ("_done", "_error", "_result", "call")

    def __init__(self, call: Callable[[], Any]) -> None:
        """Keep what to call."""
        self.call = call
        self._done = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call and keep the outcome."""
        try:
            self._result = self.call()
        except BaseException as error:  # noqa: BLE001  a panic of a library must reach the consumer too
            self._error = error
        self._done.set()

    def result(self) -> Any:
        """Wait for the outcome, and return or raise it."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result


class Pool:
    """Threads that run tasks in the order in which they were submitted.

    The threads are daemons: one that hangs in a user's function neither keeps `close` waiting
    for more than two seconds nor the interpreter from ending.
    """

    def __init__(self, count: int) -> None:
        """Start the threads."""
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"headrace-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Task:
        """Queue a call."""
        task = Task(lambda: function(*arguments))
        self._tasks.put(task)
        return task

    def close(self) -> None:
        """Drop what is queued, and wait a little for what is running."""
        self._closed = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if not self._closed:
                task.run()


def default_threads() -> int:
    """One thread for each core that this process may use, at most 8."""
    return min(len(os.sched_getaffinity(0)), 8)


def _in_order(
    submit: Callable[[Any], Callable[[], Any]], items: Iterable[Any], room: int
) -> Iterator[Any]:
    waiting: deque[Callable[[], Any]] = deque()
    for item in items:
        waiting.append(submit(item))
        if len(waiting) >= max(room, 1):
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def _check_count(count: int | None) -> int:
    if count is None:
        return default_threads()
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise OptionError(f"an executor needs at least 1 worker, got {count!r}")
    return count
