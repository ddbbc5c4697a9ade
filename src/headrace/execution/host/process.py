"""The host process of a loader, as its consumer sees it: started when needed, also once more."""

from __future__ import annotations

import multiprocessing
import os
import threading
import weakref
from collections import deque
from collections.abc import Generator
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from headrace.batch import Batch
from headrace.errors import OptionError, WorkerError, warn_caller
from headrace.execution.host.job import Job, write_job
from headrace.execution.host.parcels import numbers_of, unpack
from headrace.execution.host.serving import (
    PATIENCE_SECONDS,
    Answer,
    Begin,
    GiveBack,
    NewArena,
    News,
    Stop,
    Took,
    serve,
)
from headrace.execution.host.shared import Borrowed
from headrace.execution.processes import raise_received
from headrace.execution.stats import Stats, measured
from headrace.planning.plan import Plan

START_METHOD = "spawn"
"""Libraries underneath do not survive a fork of a process that has used them."""

_LISTEN_SECONDS = 0.2  # how often a waiting consumer looks whether Ctrl-C was pressed


class ProcessHost:
    """Computes a loader's batches in a process of its own; used by one thread.

    The process starts with the first pass and serves all that follow. It ends with `close`, with
    this object, and with the process that started it, however that ends. If it ends by itself,
    the next pass starts another one.
    """

    def __init__(self, job: Job, stats: Stats) -> None:
        """Keep the job; nothing starts yet."""
        plan = replace(job.plan, epoch=0, cursor=0)  # without what it has computed already
        # What is ahead of the consumer waits on this side of the stream.
        self._ahead = max(job.options.ahead, 1)
        self._job = replace(job, plan=plan, options=replace(job.options, ahead=0))
        self._stats = stats
        self._child: _Child | None = None
        self.cache: dict[str, int] = {}

    def batches(self, plan: Plan, steps: range) -> Generator[Batch]:
        """Yield the batches of these steps, in order; closing the iterator stops the work.

        Raises:
            OptionError: The job cannot be pickled, or this process must not start others.
            WorkerError: The process died.
            HeadraceError: Whatever went wrong in it, at the batch that needs it.
        """
        child = self._running()
        number = child.begin(plan.epoch, plan.cursor, steps, self._ahead)
        try:
            while True:
                with measured(self._stats, "wait"):
                    batch, answer = child.receive(number)
                self._hear(answer.news)
                if answer.error is not None:
                    raise_received(answer.error)
                if batch is None:
                    return
                child.post(Took(number))
                yield batch
                del batch  # nothing but the consumer holds it
        finally:
            child.end(number)

    def close(self) -> None:
        """End the process; may be called again."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()

    def _running(self) -> _Child:
        """Return the process, a fresh one if there is none that can be used."""
        if self._child is not None and not self._child.is_usable:
            self.close()
        if self._child is None:
            self._child = _Child(self._job)
        return self._child

    def _hear(self, news: News) -> None:
        self._stats.add(news.work)
        for name, count in news.cache.items():
            self.cache[name] = self.cache.get(name, 0) + count
        for text, category in news.warnings:
            warn_caller(text, category)


class _Child:
    """One process, the pipes to it, and the memory that it shares."""

    def __init__(self, job: Job) -> None:
        """Start it and send it the job."""
        self.memory = Borrowed()
        self._owner = os.getpid()
        self._count = 0
        self._inbox: dict[int, deque[Answer]] = {}
        self._outbox: deque[Any] = deque()
        self._unused: list[int] = []
        self._posting = threading.Lock()
        # Whether each message was sent and dealt with as a whole: Ctrl-C may come in the middle of one.
        self._are_sent = self._are_read = True
        descriptor, ends = write_job(job)
        try:
            self._start()
            self._greet(descriptor, ends)
        finally:
            os.close(descriptor)

    def _start(self) -> None:
        if multiprocessing.current_process().daemon:
            raise OptionError(
                '`host="process"` starts a process, which a daemonic process, such as a worker of a '
                'DataLoader, must not do; use host="thread" there'
            )
        context: Any = multiprocessing.get_context(START_METHOD)
        # Two pipes, as whoever listens to one must not wait for the other.
        requests, self._requests = context.Pipe(duplex=False)
        self._replies, replies = context.Pipe()
        with requests, replies:
            self._process = context.Process(
                target=serve, args=(requests, replies), name="headrace-host", daemon=True
            )
            pipes = (self._requests, self._replies)
            self._stop: Any = weakref.finalize(self, _stop, os.getpid(), self._process, pipes)
            self._process.start()

    def _greet(self, descriptor: int, ends: list[int]) -> None:
        try:
            self._requests.send(ends)
            send_handle(self._replies, descriptor, self._process.pid)
        except OSError as broken:
            raise self._death() from broken
        self._wait()
        failed = self._read()
        if failed is not None:
            self.stop()
            raise_received(failed)

    @property
    def is_usable(self) -> bool:
        """Whether it lives, belongs to this process, and every message to and from it was whole."""
        is_own = self._owner == os.getpid()
        return is_own and self._are_sent and self._are_read and self._process.is_alive()

    def begin(self, epoch: int, cursor: int, steps: range, ahead: int) -> int:
        """Begin a pass and return its number."""
        self._count += 1
        self._inbox[self._count] = deque()
        self.post(Begin(self._count, epoch, cursor, steps, ahead))
        return self._count

    def end(self, number: int) -> None:
        """Forget a pass; its memory is given back with the next message."""
        for answer in self._inbox.pop(number, ()):
            self._drop(answer)
        self.post(Stop(number))

    def post(self, message: Any) -> None:
        """Send a message, and give back what is not in use any more.

        Dropping an iterator posts too, which may happen in any thread or in the middle of this. In a fork
        nothing is sent, as the pipe is its parent's.
        """
        if self._owner != os.getpid():
            return
        self._outbox.append(message)
        while self._outbox and self._posting.acquire(blocking=False):
            try:
                self._are_sent = False
                if parts := [*self._unused, *self.memory.returned()]:
                    self._unused.clear()
                    self._requests.send(GiveBack(parts))
                self._requests.send(self._outbox.popleft())
                self._are_sent = True
            except OSError:
                self._outbox.clear()  # it died, which whoever waits for an answer will hear
            finally:
                self._posting.release()

    def receive(self, number: int) -> tuple[Batch | None, Answer]:
        """Wait for the next answer of a pass; return its batch, if it has one, and all else.

        Raises:
            WorkerError: The process died, or lost a message to Ctrl-C.
        """
        if not self._are_read or self._owner != os.getpid():
            what = "was interrupted" if self._owner == os.getpid() else "belongs to the one that was forked"
            raise WorkerError(f"the process that computes the batches {what}; iterate again")
        while not self._inbox[number]:
            self._wait()
            self._are_read = False
            self._sort(self._read())
            self._are_read = True
        self._are_read = False
        answer = self._inbox[number].popleft()
        batch = None if answer.parcel is None else unpack(answer.parcel, self.memory)
        self._are_read = True
        return batch, answer

    def stop(self) -> None:
        """End the process, by force if it is busy; may be called again."""
        self._stop()

    def _wait(self) -> None:
        while not self._poll():
            if not self._process.is_alive() and not self._poll():
                raise self._death()

    def _poll(self) -> bool:
        try:
            return self._replies.poll(_LISTEN_SECONDS)
        except OSError as broken:
            raise self._death() from broken

    def _read(self) -> Any:
        try:
            return self._replies.recv()
        except (EOFError, OSError) as broken:
            raise self._death() from broken

    def _sort(self, message: NewArena | Answer) -> None:
        """Put an answer where its pass will look for it."""
        if isinstance(message, NewArena):
            self.memory.add(message.number, recv_handle(self._replies), message.size)
        elif message.number in self._inbox:
            self._inbox[message.number].append(message)
        else:
            self._drop(message)

    def _drop(self, answer: Answer) -> None:
        """Give back a batch that nobody wants."""
        if answer.parcel is not None:
            self._unused.extend(numbers_of(answer.parcel))

    def _death(self) -> WorkerError:
        self._are_read = False
        self._process.join(PATIENCE_SECONDS)
        return WorkerError(
            f"the process that computes the batches died (code {self._process.exitcode}); a negative code is "
            "the signal that ended it, -9 mostly the kernel's for want of memory. Iterating again starts "
            "another one, and `loader.load_state_dict(loader.state_dict())` before it goes on after the last "
            'batch; if none could start, put the script\'s own work behind `if __name__ == "__main__":`'
        )


def _stop(owner: int, process: Any, pipes: tuple[Connection, Connection]) -> None:
    """Let a process end, which it does when its pipes close, or end it."""
    for pipe in pipes:
        pipe.close()
    if owner != os.getpid() or process.pid is None:
        return
    process.join(PATIENCE_SECONDS + _LISTEN_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
