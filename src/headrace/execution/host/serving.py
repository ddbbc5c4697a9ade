"""What runs in a host process: passes over epochs, told what to do by the process that started it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, NamedTuple, NoReturn

from headrace.batch import Batch
from headrace.errors import OptionError
from headrace.execution.host.job import Job, read_job
from headrace.execution.host.parcels import Parcel, Sender
from headrace.execution.host.shared import SharedBatchMemory
from headrace.execution.processes import sendable
from headrace.execution.stats import Stats, Work
from headrace.execution.stream import stream
from headrace.execution.workshop import Workshop

# Of small batches more may be ahead, or each would wait for messages to go to and fro.
_AHEAD_BYTES, _AHEAD_BATCHES = 1 << 21, 32
# What running passes may take to stop; whoever started the process waits a little longer.
PATIENCE_SECONDS = 1.0


class Begin(NamedTuple):
    """A message to the host: begin a pass, which may be so many batches ahead of its consumer."""

    number: int
    epoch: int
    cursor: int
    steps: range
    ahead: int


class Took(NamedTuple):
    """A message to the host: a batch was taken, so that one more may be prepared."""

    number: int


class Stop(NamedTuple):
    """A message to the host: nobody wants the rest of a pass."""

    number: int


class GiveBack(NamedTuple):
    """A message to the host: nobody looks into these parts any more."""

    parts: list[int]


class NewArena(NamedTuple):
    """A message from the host: an arena, whose descriptor follows."""

    number: int
    size: int


class Answer(NamedTuple):
    """A message from the host: the next batch of a pass, its end (neither is set), or its error."""

    number: int
    parcel: Parcel | None
    error: Any
    news: News


class News(NamedTuple):
    """What a host did since the last answer: its work, what its store did, and warnings."""

    work: Work
    cache: dict[str, int]
    warnings: list[tuple[str, type[Warning]]]


def serve(requests: Connection, replies: Connection) -> NoReturn:
    """Compute batches until the other end closes: the main function of a host process."""
    # Ctrl-C goes to the whole group; the process that started this one decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, OSError):  # the other end is gone, and with it whoever wanted anything
        _serve(requests, replies)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _serve(requests: Connection, replies: Connection) -> None:
    ends: list[int] = requests.recv()
    try:
        job = read_job(recv_handle(replies), ends)
    except (EOFError, OSError):
        raise
    except BaseException as error:  # whatever unpickling a user's function raises
        text = f"the recipe cannot be rebuilt in another process ({type(error).__name__}: {error})"
        replies.send(sendable(OptionError(f"{text}; define its functions at the top of a module")))
        return
    replies.send(None)
    host = _Host(job, replies)
    try:
        while True:
            host.obey(requests.recv())
    finally:
        host.close()


class _Host:
    """The passes of one process, and what they share."""

    def __init__(self, job: Job, replies: Connection) -> None:
        """Begin without passes."""
        self.job = job
        self.memory = SharedBatchMemory()
        self.stats = Stats()
        self._sender = Sender(self.memory)
        self._replies = replies
        self._lock = threading.Lock()  # of what is sent
        self._passes: dict[int, _Pass] = {}
        self._cache = job.recipe.counts.as_dict()
        self._warnings: list[tuple[str, type[Warning]]] = []
        warnings.showwarning = self._note

    def obey(self, message: Begin | Took | Stop | GiveBack) -> None:
        """Do what a message says; returns at once."""
        if isinstance(message, GiveBack):
            self._sender.take_back(message.parts)
        elif isinstance(message, Begin):
            self._passes[message.number] = _Pass(self, message)
        elif message.number in self._passes:
            if isinstance(message, Took):
                self._passes[message.number].room.release()
            else:
                self._passes.pop(message.number).stop()

    def answer(self, number: int, batch: Batch | None = None, error: BaseException | None = None) -> None:
        """Send a batch, or nothing for the end, or an error; waits while the other end does not read."""
        parcel = None if batch is None else self._sender.pack(batch)
        with self._lock:
            for arena, descriptor, size in self.memory.new_arenas():
                self._replies.send(NewArena(arena, size))
                send_handle(self._replies, descriptor, 0)
                os.close(descriptor)
            failed = None if error is None else sendable(error)
            self._replies.send(Answer(number, parcel, failed, self._news()))

    def close(self) -> None:
        """Stop all passes."""
        for one in self._passes.values():
            one.stop()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for one in self._passes.values():
            one.thread.join(max(deadline - time.monotonic(), 0.0))
        self.job.recipe.close()

    def _news(self) -> News:
        counts = self.job.recipe.counts.as_dict()
        cache = {name: counts[name] - self._cache[name] for name in counts}
        self._cache = counts
        heard, self._warnings = self._warnings, []
        return News(self.stats.hand_over(), cache, heard)

    def _note(self, message: Warning | str, category: type[Warning], *_: Any) -> None:
        """Keep a warning for the process that can show it to somebody."""
        self._warnings.append((str(message), category))


class _Pass:
    """One pass over steps of an epoch, in a thread of its own."""

    def __init__(self, host: _Host, begin: Begin) -> None:
        """Start the thread."""
        self._host = host
        self._begin = begin
        self._is_stopped = False
        self.room = threading.Semaphore(begin.ahead)
        self.thread = threading.Thread(target=self._run, name=f"headrace-pass-{begin.number}", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Compute no more batches."""
        self._is_stopped = True
        self.room.release()

    def _run(self) -> None:
        number = self._begin.number
        try:
            for batch in self._batches():
                self._host.answer(number, batch)
                del batch  # or its memory would be held until the next one comes
            if not self._is_stopped:
                self._host.answer(number)
        except (BrokenPipeError, ConnectionResetError):
            pass  # nobody listens any more
        except BaseException as error:  # a panic of a library must reach the consumer too
            with suppress(BrokenPipeError, ConnectionResetError):
                self._host.answer(number, error=error)

    def _batches(self) -> Generator[Batch]:
        job, begin = self._host.job, self._begin
        # Found here and not by several threads at once.
        _ = job.recipe.columns, job.recipe.needs_frame
        job.recipe.refresh()
        plan = replace(job.plan, epoch=begin.epoch, cursor=begin.cursor)
        workshop = Workshop(job.options, self._host.stats, self._host.memory)
        source: Any = stream(job.recipe, plan, job.world, begin.steps, workshop)
        is_first = True
        with closing(source):
            while True:
                self.room.acquire()
                if self._is_stopped or (batch := next(source, None)) is None:
                    return
                if is_first and (more := min(_AHEAD_BYTES // max(batch.nbytes, 1), _AHEAD_BATCHES)):
                    self.room.release(more)
                is_first = False
                yield batch
                del batch
