"""Executors: where a function runs over many items, in the order of the items."""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

from headrace.errors import OptionError
from headrace.execution.processes import WorkerProcess, pickled

Item = TypeVar("Item")
Result = TypeVar("Result")

# Threads that hang in a user's function cannot be stopped; closing waits this long for all of them.
_PATIENCE_SECONDS = 2.0
_LISTEN_SECONDS = 0.2  # how often a waiting thread looks whether Ctrl-C was pressed


class Executor(Protocol):
    """Runs a function over items.

    Results come in the order of the items, whatever finishes first, so that nothing downstream
    depends on timing. An exception is raised at its item's place. Closing or dropping the
    iterator stops the workers.
    """

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], ahead: int | None = None
    ) -> Iterator[Result]:
        """Yield `function(item)` for each item, in order.

        Args:
            function: What to run; thread-safe, and picklable for processes.
            items: Taken one by one, as there is room.
            ahead: How many items may be under way, or done and waiting, beyond the one in
                demand; by default one for each worker.
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

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], ahead: int | None = None
    ) -> Iterator[Result]:
        """Yield `function(item)` for each item when it is asked for; nothing runs ahead."""
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

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], ahead: int | None = None
    ) -> Iterator[Result]:
        """Yield `function(item)` for each item, in order."""
        pool = Pool(self.count)
        try:
            submit = partial(_submit, pool, function)
            yield from in_order(submit, items, check_ahead(ahead, self.count))
        finally:
            pool.close()

    def close(self) -> None:
        """Do nothing; threads end with each `map`."""


class Processes:
    """Runs on fresh processes, which start and end with each `map`.

    Processes are spawned and never forked, since libraries underneath do not survive a fork.
    Functions, items and results must be picklable; a script that uses processes keeps its own
    work behind `if __name__ == "__main__":`.

    Example:
        >>> Processes(2).count
        2
    """

    def __init__(self, count: int | None = None) -> None:
        """Keep the number of processes, by default one for each core."""
        self.count = _check_count(count)

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], ahead: int | None = None
    ) -> Iterator[Result]:
        """Yield `function(item)` for each item, in order.

        Raises:
            OptionError: The function cannot be pickled.
            WorkerError: A process died, for example of too little memory.
        """
        return self._map(pickled(function, "the function"), items, check_ahead(ahead, self.count))

    def _map(self, function: bytes, items: Iterable[Any], ahead: int) -> Iterator[Any]:
        workers: list[WorkerProcess] = []
        idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()

        def call(item: Any) -> Any:
            worker = idle.get()
            try:
                return worker.call(item)
            finally:
                idle.put(worker)

        pool = Pool(self.count)
        try:
            for _ in range(self.count):
                workers.append(WorkerProcess(function))  # those started are stopped if one fails
                idle.put(workers[-1])
            yield from in_order(partial(_submit, pool, call), items, ahead)
        finally:
            pool.close()
            for worker in workers:
                worker.stop()

    def close(self) -> None:
        """Do nothing; processes end with each `map`."""


class Task:
    """A call that some thread will make, and its outcome."""

    __slots__ = ("_busy", "_error", "_result", "call")

    def __init__(self, call: Callable[[], Any]) -> None:
        """Keep what to call."""
        self.call = call
        # A bare lock, held until the call is done: an event takes several times as long, which small
        # batches would notice.
        self._busy = threading.Lock()
        self._busy.acquire()
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call and keep the outcome."""
        try:
            self._result = self.call()
        except BaseException as error:  # a panic of a library must reach the consumer too
            self._error = error
        self._busy.release()

    def result(self) -> Any:
        """Wait for the outcome, and return or raise it."""
        # Polars' own handler of Ctrl-C restarts a wait without end, and Python never hears of it.
        while not self._busy.acquire(timeout=_LISTEN_SECONDS):
            pass
        self._busy.release()  # for whoever asks again
        if self._error is not None:
            raise self._error
        return self._result


class Pool:
    """Threads that run tasks in the order in which they were submitted.

    The threads are daemons: those that hang in a user's function neither keep `close` waiting for
    more than two seconds together nor the interpreter from ending.
    """

    def __init__(self, count: int) -> None:
        """Start the threads."""
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        arguments = (self._tasks, self._closing)
        threads = [
            threading.Thread(target=_work, args=arguments, name=f"headrace-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        # Runs once, also when the pool is dropped or the interpreter ends: a daemon that still
        # worked in compiled code at that time could take the process down with it.
        self._stop = weakref.finalize(self, _stop, self._tasks, self._closing, threads)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Task:
        """Queue a call."""
        task = Task(lambda: function(*arguments))
        self._tasks.put(task)
        return task

    def close(self) -> None:
        """Drop what is queued, and wait a little for what is running; may be called again."""
        self._stop()


def _work(tasks: queue.SimpleQueue[Task | None], closing: threading.Event) -> None:
    while (task := tasks.get()) is not None:
        if not closing.is_set():
            task.run()
        del task  # or its result would live until the next one comes


def _stop(
    tasks: queue.SimpleQueue[Task | None], closing: threading.Event, threads: list[threading.Thread]
) -> None:
    closing.set()
    for _ in threads:
        tasks.put(None)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))


def default_threads() -> int:
    """One thread for each core that this process may use, at most 8."""
    return min(len(os.sched_getaffinity(0)), 8)


def _submit(pool: Pool, function: Callable[[Any], Any], item: Any) -> Callable[[], Any]:
    return pool.submit(function, item).result


def in_order(submit: Callable[[Any], Callable[[], Any]], items: Iterable[Any], ahead: int) -> Iterator[Any]:
    """Submit items as there is room, and yield in their order what the calls that `submit` gave return."""
    waiting: deque[Callable[[], Any]] = deque()
    iterator = iter(items)
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            break
        except Exception:
            # What came before the item that could not be made is delivered first, as in `Serial`.
            while waiting:
                yield waiting.popleft()()
            raise
        waiting.append(submit(item))
        if len(waiting) > ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def _check_count(count: Any) -> int:
    if count is None:
        return default_threads()
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise OptionError(f"an executor needs at least 1 worker, got {count!r}")
    return count


def check_ahead(ahead: Any, count: int) -> int:
    """Return how far a run may go ahead, by default as far as `count`.

    Raises:
        OptionError: It is no whole number of at least 0.
    """
    if ahead is None:
        return count
    if isinstance(ahead, bool) or not isinstance(ahead, int) or ahead < 0:
        raise OptionError(f"`ahead` must be a whole number of at least 0, got {ahead!r}")
    return ahead
