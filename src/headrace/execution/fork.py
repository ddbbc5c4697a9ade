"""Polars steps in a process that was forked from one which had used Polars.

Polars would wait for ever there (see `headrace.prepare.threads`), so a fresh helper process applies
the steps: row groups go to it and come back as Arrow streams. `multiprocessing` cannot start it, as
the workers of a `DataLoader` are daemons and may have no children of that kind.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing import spawn
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn

import pyarrow as pa

from headrace.errors import PrepareError, WorkerError
from headrace.execution.processes import raise_received, sendable
from headrace.prepare.base import Step

Steps = tuple[Step, ...]

_REMEDY = (
    'pass `multiprocessing_context="forkserver"` or "spawn" to the DataLoader, or make its workers before '
    "Polars is first used (`head`, `to_polars` and any recipe with expressions or `map` use it)"
)


def apply_elsewhere(steps: Steps, batch: pa.RecordBatch, where: object) -> pa.RecordBatch:
    """Apply steps to a row group in this process's helper; thread-safe, one row group at a time.

    Raises:
        PrepareError: A step failed, or cannot be pickled; the message says what to do.
        WorkerError: The helper died.
    """
    return _helper(os.getpid()).apply(steps, batch, str(where))


class Helper:
    """A fresh process that applies steps; it ends when the process that made it ends."""

    def __init__(self) -> None:
        """Start the process."""
        ours, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from headrace.execution.fork import serve; serve({theirs.fileno()})"
        )
        with theirs:
            # Nothing is ever written to its standard input: that it closes tells the helper to end.
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.PIPE
            )
        self._connection = Connection(ours.detach())
        self._lock = threading.Lock()
        self._sent: Steps | None = None

    def apply(self, steps: Steps, batch: pa.RecordBatch, where: str) -> pa.RecordBatch:
        """Apply steps to one row group."""
        with self._lock:
            try:
                if steps is not self._sent:
                    self._send_steps(steps)
                self._connection.send(where)
                self._connection.send_bytes(_to_bytes(batch))
                error = self._connection.recv()
                answer = self._connection.recv_bytes() if error is None else b""
            except (EOFError, OSError) as broken:
                code = self._process.poll()
                raise WorkerError(
                    f"{where}: the helper process that applies Polars steps in a forked process died (code "
                    f"{code}); {_REMEDY}"
                ) from broken
        if error is not None:
            raise_received(error)
        return _from_bytes(answer)

    def _send_steps(self, steps: Steps) -> None:
        self._sent = None
        try:
            payload = bytes(ForkingPickler.dumps(steps))
        except Exception as error:
            raise PrepareError(
                "Polars does not work in a process that was forked after Polars was used, and the steps "
                f"cannot be pickled to be applied in another one ({error}); {_REMEDY}"
            ) from error
        # Only functions of the script itself need the script, which may do work when it is run again.
        preparation: dict[str, Any] | None = None
        if b"__main__" in payload:
            preparation = spawn.get_preparation_data("headrace-helper")
            preparation.pop("authkey", None)
        self._connection.send(preparation)
        self._connection.send_bytes(payload)
        error = self._connection.recv()
        if error is not None:
            raise_received(error)
        self._sent = steps


@functools.cache
def _helper(process: int) -> Helper:
    return Helper()


def serve(descriptor: int) -> NoReturn:
    """Apply steps for the process at the other end: the helper's main function."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection = Connection(descriptor)
    steps: Steps = ()
    while True:
        try:
            message = connection.recv()
            if isinstance(message, str):
                _answer(connection, steps, message)
            else:
                steps = _receive_steps(connection, message)
        except EOFError:
            os._exit(0)


def _answer(connection: Connection, steps: Steps, where: str) -> None:
    from headrace.execution.recipe import apply_steps

    try:
        answer = _to_bytes(apply_steps(steps, _from_bytes(connection.recv_bytes()), where))
    except Exception as error:  # whatever the steps raise belongs to the other end
        connection.send(sendable(error))
    else:
        connection.send(None)
        connection.send_bytes(answer)


def _receive_steps(connection: Connection, preparation: dict[str, Any] | None) -> Steps:
    steps: Steps = ()
    error: Any = None
    try:
        if preparation is not None:
            _prepare(preparation)
    except BaseException as broken:  # a script may also exit
        error = broken
    try:
        steps = connection.recv()
    except EOFError:
        raise
    except Exception as broken:
        error = error or broken
    if error is not None:
        text = f"the steps cannot be rebuilt in another process ({type(error).__name__}: {error}); {_REMEDY}"
        error = PrepareError(text)
    connection.send(None if error is None else sendable(error))
    return steps


def _prepare(preparation: dict[str, Any]) -> None:
    """Import the script, so that its functions are found; what would start processes is refused.

    A script without `if __name__ == "__main__":` would start its workers, and those their helpers.
    """
    process: Any = multiprocessing.current_process()
    process._config["daemon"] = True
    process._inheriting = True
    try:
        spawn.prepare(preparation)
    finally:
        del process._inheriting


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


def _to_bytes(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _from_bytes(data: Any) -> pa.RecordBatch:
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_next_batch()
