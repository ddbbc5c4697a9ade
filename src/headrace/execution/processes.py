"""One spawned process that runs a function on whatever it is sent, one item at a time."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from headrace.errors import OptionError, WorkerError

# What an idle process needs to end by itself.
_PATIENCE_SECONDS = 1.0
_LONGEST_ERROR = 1 << 15  # bytes that fit a pipe while nobody reads


class WorkerProcess:
    """A spawned process behind a pipe; used by one thread at a time.

    It ends when its pipe closes, so it never outlives the process that started it. Ctrl-C does
    not reach it: that process decides when to stop.
    """

    def __init__(self, function: bytes) -> None:
        """Start the process with a function that `pickled` gave."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="headrace-worker", daemon=True)
        try:
            self._process.start()
        finally:
            theirs.close()
        self._connection.send_bytes(function)

    def call(self, item: Any) -> Any:
        """Run the function on an item; raises what it raised, with its cause.

        Raises:
            OptionError: The item cannot be pickled.
            WorkerError: The process died, or the result cannot be pickled.
        """
        payload = pickled(item, "an item")
        try:
            self._connection.send_bytes(payload)
            result, error = self._connection.recv()
        except (EOFError, OSError) as broken:
            self._process.join(_PATIENCE_SECONDS)
            raise WorkerError(
                f"a process of the executor died before it could answer (code {self._process.exitcode}); "
                "a negative code is the signal that ended it, -9 mostly the kernel's for want of memory; if "
                'none could start, put the script\'s own work behind `if __name__ == "__main__":`'
            ) from broken
        if error is not None:
            raise_received(error)
        return result

    def stop(self) -> None:
        """End the process, by force if it is busy; may be called again."""
        self._connection.close()
        if self._process.pid is not None:
            self._process.join(_PATIENCE_SECONDS)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()


def pickled(value: Any, what: str) -> bytes:
    """Pickle a value for another process.

    Raises:
        OptionError: It cannot be pickled; the message names it.
    """
    try:
        return bytes(ForkingPickler.dumps(value))
    except Exception as error:
        raise OptionError(
            f"{what} {value!r} cannot be pickled and so cannot go to another process ({error}); define "
            "functions at the top of a module, and open files and connections inside them"
        ) from error


def sendable(error: BaseException) -> tuple[BaseException, BaseException | None, str]:
    """Return an error, its cause and its traceback in a form that survives a pipe.

    A pickled exception loses its cause, and some cannot be rebuilt at all: those become a
    `WorkerError` with the same text.
    """
    text = "".join(traceback.format_exception(error))
    if not _survives(error):
        return WorkerError(f"{type(error).__name__}: {error}"), None, text
    cause = error.__cause__
    return error, cause if cause is not None and _survives(cause) else None, text


def _survives(error: BaseException) -> bool:
    ours, theirs = multiprocessing.Pipe()  # its `recv` unpickles what this process has just pickled
    with ours, theirs:
        try:
            payload = ForkingPickler.dumps(error)
            if len(payload) > _LONGEST_ERROR:
                return False
            ours.send_bytes(payload)
            rebuilt = theirs.recv()
        except Exception:  # whatever the error's own class raises
            return False
    return type(rebuilt) is type(error) and str(rebuilt) == str(error)


def raise_received(received: tuple[BaseException, BaseException | None, str]) -> None:
    """Raise what `sendable` gave, with its cause and, as a note, where it happened."""
    error, cause, text = received
    error.add_note(f"In a process of headrace:\n{text}")
    raise error from cause


def _serve(connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        function, broken = connection.recv(), None
    except EOFError:
        return
    except Exception as error:  # whatever unpickling a user's function raises
        function, broken = None, sendable(error)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        if broken is not None or function is None:
            connection.send((None, broken))
            continue
        connection.send_bytes(_reply(function, item))


def _reply(function: Any, item: Any) -> bytes:
    try:
        result = function(item)
    except BaseException as error:  # a panic of a library must reach the caller too
        return bytes(ForkingPickler.dumps((None, sendable(error))))
    try:
        return bytes(ForkingPickler.dumps((result, None)))
    except Exception as error:
        unsent = WorkerError(f"a result of type {type(result).__name__} cannot be pickled: {error}")
        return bytes(ForkingPickler.dumps((None, sendable(unsent))))
