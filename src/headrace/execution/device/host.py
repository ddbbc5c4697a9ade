"""A device on the CPU that does all work at the worst moment, so that what is not ordered goes wrong.

Work that is asked for is put off: until somebody waits for it, or, on streams that are made `early`, only
until what it waits for is done. Memory that was not written yet, or was freed, holds `POISON`. So a missing
wait, a slab used again too soon or an array freed too early shows in the batches, every time and without a
clock.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import DeviceMemoryError
from headrace.execution.device.base import Bytes, Event, Memory, Stream

POISON = 0xA5


class HostEvent:
    """A point in the work of a `HostStream`."""

    def __init__(self, stream: HostStream, done: bool = False) -> None:
        """Mark a point."""
        self.stream = stream
        self.done = done

    def is_done(self) -> bool:
        """Whether all work before that point is done."""
        return self.done

    def wait(self) -> None:
        """Do the work before that point, as far as it is not done, and all that it waits for."""
        self.stream.work_until(self)


class HostMemory:
    """Bytes of a `HostDevice`."""

    def __init__(self, device: HostDevice, nbytes: int) -> None:
        """Take bytes that hold poison."""
        device.take(nbytes)
        self._device = device
        self._bytes = np.full(nbytes, POISON, np.uint8)
        self._is_free = False

    @property
    def nbytes(self) -> int:
        """How many."""
        return len(self._bytes)

    def view(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Look at some of them as an array."""
        size = math.prod(shape) * dtype.itemsize
        return self._bytes[offset : offset + size].view(dtype).reshape(shape)

    def free(self) -> None:
        """Give them back, poisoned; may be called again."""
        if not self._is_free:
            self._is_free = True
            self._bytes[:] = POISON
            self._device.give_back(self.nbytes)


class HostStream:
    """A queue of work, done late or early."""

    def __init__(self, device: HostDevice, role: str, is_early: bool) -> None:
        """Begin without work."""
        self.role = role
        self.is_early = is_early
        self._device = device
        self._queue: deque[Callable[[], None] | HostEvent | _Wait] = deque()

    def upload(self, target: Memory, offset: int, source: Bytes) -> None:
        """Copy bytes, later: what the source holds then. Only the address is kept, as a device does."""
        memory: Any = (ctypes.c_char * source.nbytes).from_address(source.__array_interface__["data"][0])
        bare = np.frombuffer(memory, np.uint8)
        self.run(lambda: np.copyto(target.view(offset, bare.shape, bare.dtype), bare))

    def run(self, work: Callable[[], None]) -> None:
        """Do this, later."""
        self._add(work)

    def record(self) -> HostEvent:
        """Mark the point after all work so far."""
        event = HostEvent(self)
        self._add(event)
        return event

    def wait(self, event: Event) -> None:
        """Let all later work wait for a point of another stream."""
        assert isinstance(event, HostEvent)
        self._add(_Wait(event))

    def work_until(self, event: HostEvent) -> None:
        """Do the work before a point of this stream, and all that it waits for."""
        with self._device.lock:
            while not event.done:
                first = self._queue[0]
                if isinstance(first, _Wait) and not first.event.done:
                    first.event.stream.work_until(first.event)  # which may do work of this stream too
                else:
                    self._do_first()
            self._device.work_early()

    def work_early(self) -> bool:
        """Do all work that waits for nothing; tells whether there was any."""
        before = len(self._queue)
        while self._queue:
            first = self._queue[0]
            if isinstance(first, _Wait) and not first.event.done:
                break
            self._do_first()
        return len(self._queue) < before

    def _do_first(self) -> None:
        first = self._queue.popleft()
        if isinstance(first, HostEvent):
            first.done = True
        elif not isinstance(first, _Wait):
            first()

    def _add(self, work: Callable[[], None] | HostEvent | _Wait) -> None:
        with self._device.lock:
            self._queue.append(work)
            self._device.work_early()


class _Wait:
    """Work that is nothing but waiting for a point of another stream."""

    __slots__ = ("event",)

    def __init__(self, event: HostEvent) -> None:
        self.event = event


class HostDevice:
    """A device on the CPU. Batches on it equal those of `device="cpu"`, if all is in order.

    Example:
        >>> import headrace as hr
        >>> loader = hr.from_arrays({"x": [1, 2, 3]}).loader(2, device=HostDevice(), output="numpy")
        >>> [batch["x"].tolist() for batch in loader]
        [[1, 2], [3]]
    """

    def __init__(self, early: Collection[str] = (), limit: int | None = None) -> None:
        """Begin without streams.

        Args:
            early: Roles of the streams that do their work as soon as they may; the others do it when
                somebody waits for it.
            limit: Bytes that may be in use at a time.
        """
        self.early = tuple(early)
        self.limit = limit
        self.__setstate__({})

    @property
    def name(self) -> str:
        """What messages call it."""
        return "host"

    def stream(self, role: str) -> HostStream:
        """Make a stream."""
        stream = HostStream(self, role, role in self.early)
        self._streams.append(stream)
        return stream

    def memory(self, nbytes: int) -> HostMemory:
        """Take poisoned memory."""
        return HostMemory(self, nbytes)

    def page_locked(self, nbytes: int) -> Bytes:
        """Take poisoned memory of the host, poisoned again when it is given back; so the bare bytes stay."""
        locked = np.full(nbytes, POISON, np.uint8)
        self._locked.append(locked)
        look = locked[:]
        weakref.finalize(look, locked.fill, POISON)
        return look

    def take(self, nbytes: int) -> None:
        """Count bytes that come into use.

        Raises:
            DeviceMemoryError: They would be more than the limit.
        """
        with self.lock:
            if self.limit is not None and self.used + nbytes > self.limit:
                raise DeviceMemoryError(
                    f"{self.name}: {nbytes} bytes do not fit beside {self.used} of {self.limit} in use"
                )
            self.used += nbytes

    def give_back(self, nbytes: int) -> None:
        """Count bytes that are free again."""
        with self.lock:
            self.used -= nbytes

    def work_early(self) -> None:
        """Let early streams do what they may."""
        early = [stream for stream in self._streams if stream.is_early]
        while any(stream.work_early() for stream in early):
            pass

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process begins without streams."""
        return {"early": self.early, "limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without streams."""
        vars(self).update(state)
        self.lock = threading.RLock()
        self.used = 0
        self._streams: list[HostStream] = []
        self._locked: list[Bytes] = []


class HostOutputs:
    """Arrays for a consumer that is the calling thread itself."""

    def __init__(self, device: HostDevice) -> None:
        """Take memory of that device."""
        self._device = device
        self._calling = CallingThread(device)

    def current(self) -> Stream:
        """Return the calling thread, as a stream."""
        return self._calling

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Take a poisoned array."""
        nbytes = math.prod(shape) * dtype.itemsize
        self._device.take(nbytes)
        taken = np.full(nbytes, POISON, np.uint8)
        weakref.finalize(taken, self._device.give_back, nbytes)
        return taken.view(dtype).reshape(shape)

    def view(self, delivered: NDArray[Any]) -> NDArray[Any]:
        """Return the array itself."""
        return delivered

    def hand_over(self, delivered: NDArray[Any], stream: Stream) -> NDArray[Any]:
        """Return it: there is but one calling thread."""
        return delivered


class CallingThread(HostStream):
    """The calling thread as a stream: it does everything at once, and waits by waiting."""

    def __init__(self, device: HostDevice) -> None:
        """Begin without work."""
        super().__init__(device, "calling thread", is_early=True)

    def run(self, work: Callable[[], None]) -> None:
        """Do this now."""
        work()

    def record(self) -> HostEvent:
        """Mark a point that is reached."""
        return HostEvent(self, done=True)

    def wait(self, event: Event) -> None:
        """Wait until that point is reached."""
        event.wait()
