"""What runs on a dask worker, and how functions, items and outcomes travel there and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any

from headrace.errors import MissingDependencyError, OptionError, WorkerError
from headrace.execution.processes import raise_received, sendable


def pack(value: Any, what: str) -> bytes:
    """Pickle a value for a worker; what a script or a notebook defines goes by value.

    Raises:
        OptionError: It cannot be pickled; the message names it.
        MissingDependencyError: The extra `dask` is not installed.
    """
    try:
        import cloudpickle
    except ImportError as error:
        raise MissingDependencyError.from_extra("cloudpickle", "dask", "sending work to dask") from error
    try:
        payload = bytes(ForkingPickler.dumps(value))
        if b"__main__" not in payload:
            return payload
    except Exception:  # whatever it is, the other way may find more
        pass
    try:
        return cloudpickle.dumps(value)
    except Exception as error:
        raise OptionError(
            f"{what} {value!r} cannot be pickled and so cannot go to a dask worker ({error}); open files, "
            "connections and locks inside of it"
        ) from error


def piece_of(piece: bytes) -> bytes:
    """Return a piece of a large function, so that it is the result of a task."""
    return piece


def load(pieces: Sequence[bytes]) -> Callable[[Any], Any]:
    """Return the function that `pack` gave the pieces of.

    Raises:
        WorkerError: It cannot be made here.
    """
    try:
        return unpack(b"".join(pieces))
    except Exception as error:
        raise WorkerError(
            f"a dask worker cannot load the function: {type(error).__name__}: {error}; workers need the same "
            "packages and modules as the program that sends them work"
        ) from error


def call(function: Callable[[Any], Any], item: bytes) -> bytes:
    """Call the function on an item; return the packed result and None, or None and what was raised."""
    try:
        result = function(unpack(item))
    except BaseException as error:  # a panic of a library must reach the caller too
        return pack((None, sendable(error)), "an error")
    try:
        return pack((result, None), "the result")
    except OptionError as error:
        unsent = WorkerError(f"a result of type {type(result).__name__} cannot be pickled: {error.__cause__}")
        return pack((None, sendable(unsent)), "an error")


def outcome_of(reply: bytes) -> Any:
    """Return the result that `call` packed, or raise the error, with its cause."""
    result, error = unpack(reply)
    if error is not None:
        raise_received(error)
    return result


def unpack(payload: bytes) -> Any:
    """Return what `pack` was given; only for what a process of this program has packed."""
    pickler: Any = ForkingPickler
    return pickler.loads(payload)
