"""What batches on a device need of it: streams, events, memory, and who owns what the consumer gets.

`HostDevice` keeps to the same protocols on a CPU and brings mistakes of ordering and lifetime to light;
`CudaDevice` is the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class Event(Protocol):
    """A point in the work of a stream."""

    def is_done(self) -> bool:
        """Whether all work before that point is done; does not wait."""
        ...

    def wait(self) -> None:
        """Let the calling thread wait until it is."""
        ...


class Memory(Protocol):
    """Bytes on a device."""

    @property
    def nbytes(self) -> int:
        """How many."""
        ...

    def view(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Look at some of them as an array of the device's namespace."""
        ...

    def free(self) -> None:
        """Give them back; nothing on the device may use them any more."""
        ...


class Stream(Protocol):
    """Work that a device does in order. What several streams do has no order but by events."""

    def upload(self, target: Memory, offset: int, source: Bytes) -> None:
        """Copy page-locked bytes to memory on the device, later; they must stay until then."""
        ...

    def run(self, work: Callable[[], None]) -> None:
        """Do work that enqueues kernels, with this stream as the current one."""
        ...

    def record(self) -> Event:
        """Mark the point after all work so far."""
        ...

    def wait(self, event: Event) -> None:
        """Let all later work wait for a point of another stream; the calling thread does not wait."""
        ...


@runtime_checkable
class Device(Protocol):
    """Something with memory and streams of its own. Picklable: a copy in another process opens it anew."""

    @property
    def name(self) -> str:
        """What messages call it, such as "cuda:0"."""
        ...

    def stream(self, role: str) -> Stream:
        """Make a stream; the role is for tests and traces."""
        ...

    def memory(self, nbytes: int) -> Memory:
        """Take uninitialised memory on the device.

        Raises:
            DeviceMemoryError: There is not so much left.
        """
        ...

    def page_locked(self, nbytes: int) -> Bytes:
        """Take page-locked memory of the host, given back when the last array that looks into it is gone.

        Raises:
            DeviceMemoryError: There is not so much left.
        """
        ...


class Outputs(Protocol):
    """Memory that belongs to the consumer: taken on its current stream, freed in the order of that stream."""

    def current(self) -> Stream:
        """Return the stream that the calling thread is working on."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Take uninitialised memory, as what is delivered in the end.

        Raises:
            DeviceMemoryError: There is not so much left.
        """
        ...

    def view(self, delivered: Any) -> Any:
        """Look at it as an array of the device's namespace."""
        ...

    def hand_over(self, delivered: Any, stream: Stream) -> Any:
        """Return what the consumer may use on the current stream, of what was taken on that one."""
        ...
