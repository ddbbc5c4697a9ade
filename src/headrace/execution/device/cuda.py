"""A CUDA device, by CuPy: the only file besides the kernels' that imports it.

CuPy's allocator is never set, and no stream is made the current one for longer than a call.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from headrace.errors import DeviceMemoryError, MissingDependencyError, OptionError
from headrace.execution.device.base import Bytes, Event, Memory, Stream

_PURPOSE = '`device="cuda"`'


def load_cupy() -> Any:
    """Import CuPy; works without a device.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise MissingDependencyError.from_extra("cupy", "cuda", _PURPOSE) from error


class CudaEvent:
    """A point in the work of a `CudaStream`."""

    def __init__(self, event: Any) -> None:
        """Wrap an event of CuPy."""
        self.event = event

    def is_done(self) -> bool:
        """Whether all work before that point is done."""
        return bool(self.event.done)

    def wait(self) -> None:
        """Let the calling thread wait until it is."""
        self.event.synchronize()


class CudaStream:
    """A stream of CUDA, one's own or the consumer's."""

    def __init__(self, ordinal: int, pointer: int, own: Any = None) -> None:
        """Wrap a stream.

        Args:
            ordinal: Its device.
            pointer: Its handle.
            own: CuPy's stream, for one that kernels are to run on.
        """
        self._cupy = load_cupy()
        self._ordinal = ordinal
        self._own = own
        self.pointer = pointer

    def upload(self, target: Memory, offset: int, source: Bytes) -> None:
        """Copy page-locked bytes, later."""
        assert isinstance(target, CudaMemory)
        runtime = self._cupy.cuda.runtime
        place = source.__array_interface__["data"][0]
        with self._cupy.cuda.Device(self._ordinal):
            runtime.memcpyAsync(
                target.pointer + offset, place, source.nbytes, runtime.memcpyHostToDevice, self.pointer
            )

    def run(self, work: Callable[[], None]) -> None:
        """Enqueue kernels with this stream as the current one of CuPy."""
        with self._cupy.cuda.Device(self._ordinal), self._own:
            work()

    def record(self) -> CudaEvent:
        """Mark the point after all work so far."""
        cuda = self._cupy.cuda
        with cuda.Device(self._ordinal):
            event = cuda.Event(disable_timing=True)
            cuda.runtime.eventRecord(event.ptr, self.pointer)
        return CudaEvent(event)

    def wait(self, event: Event) -> None:
        """Let all later work wait for a point of another stream."""
        assert isinstance(event, CudaEvent)
        with self._cupy.cuda.Device(self._ordinal):
            self._cupy.cuda.runtime.streamWaitEvent(self.pointer, event.event.ptr)


class CudaMemory:
    """Bytes of a CUDA device."""

    def __init__(self, ordinal: int, memory: Any, nbytes: int) -> None:
        """Wrap a memory pointer of CuPy."""
        self._ordinal = ordinal
        self._memory: Any = memory
        self._nbytes = nbytes

    @property
    def nbytes(self) -> int:
        """How many."""
        return self._nbytes

    @property
    def pointer(self) -> int:
        """Where they begin."""
        return int(self._memory.ptr)

    def view(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Look at some of them as a CuPy array."""
        return load_cupy().ndarray(shape, dtype, self._memory + offset)

    def free(self) -> None:
        """Give them back to CuPy's pool."""
        self._memory = None


class CudaDevice:
    """One GPU. Nothing is asked of the driver before the first stream or memory is made."""

    def __init__(self, ordinal: int | None = None) -> None:
        """Choose a device.

        Args:
            ordinal: Its number; None takes the calling thread's current device when it is first needed.
        """
        self._given = ordinal

    @property
    def ordinal(self) -> int:
        """Its number."""
        if self._given is None:
            self._given = int(load_cupy().cuda.Device().id)
        return self._given

    @property
    def is_chosen(self) -> bool:
        """Whether its number is known; other threads may have another current device."""
        return self._given is not None

    @property
    def name(self) -> str:
        """What messages call it."""
        return "cuda" if self._given is None else f"cuda:{self._given}"

    def check(self) -> None:
        """See whether there is such a device.

        Raises:
            MissingDependencyError: CuPy is not installed.
            OptionError: There is no driver or no such device.
        """
        cupy = load_cupy()
        if not cupy.is_available():
            raise OptionError(
                f'`device="{self.name}"` needs a CUDA device and its driver, and none was found; use '
                '`device="cpu"`, or see whether `nvidia-smi` lists one'
            )
        count = cupy.cuda.runtime.getDeviceCount()
        if self._given is not None and self._given >= count:
            raise OptionError(
                f'`device` must be one of the {count} devices there are, from "cuda:0" on, got "{self.name}"'
            )

    def stream(self, role: str) -> CudaStream:
        """Make a stream that does not wait for the default stream."""
        cuda = load_cupy().cuda
        with cuda.Device(self.ordinal):
            own = cuda.Stream(non_blocking=True)
        return CudaStream(self.ordinal, own.ptr, own)

    def memory(self, nbytes: int) -> CudaMemory:
        """Take memory of CuPy's pool."""
        cupy = load_cupy()
        with cupy.cuda.Device(self.ordinal):
            try:
                return CudaMemory(self.ordinal, cupy.cuda.alloc(nbytes), nbytes)
            except cupy.cuda.memory.OutOfMemoryError as error:
                raise DeviceMemoryError(f"{self.name}: {error}") from error

    def page_locked(self, nbytes: int) -> Bytes:
        """Take page-locked memory of the host."""
        cupy = load_cupy()
        pinned = cupy.cuda.pinned_memory
        with cupy.cuda.Device(self.ordinal):
            try:
                # Not from CuPy's pool, which would round up to a power of two.
                pointer = pinned.PinnedMemoryPointer(pinned.PinnedMemory(nbytes), 0)
            except cupy.cuda.runtime.CUDARuntimeError as error:
                raise DeviceMemoryError(
                    f"{self.name}: {nbytes} bytes of the host cannot be page-locked: {error}"
                ) from error
        return np.frombuffer(pointer, np.uint8, nbytes)

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process opens the device anew."""
        return {"_given": self._given}


class CupyOutputs:
    """CuPy arrays on the calling thread's current stream."""

    def __init__(self, device: CudaDevice) -> None:
        """Take memory of that device."""
        self._cupy = load_cupy()
        self._device = device

    def current(self) -> CudaStream:
        """Return CuPy's current stream of the calling thread."""
        ordinal = self._device.ordinal
        with self._cupy.cuda.Device(ordinal):
            own = self._cupy.cuda.get_current_stream()
        return CudaStream(ordinal, own.ptr, own)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Take an array."""
        with self._cupy.cuda.Device(self._device.ordinal):
            try:
                return self._cupy.empty(shape, dtype)
            except self._cupy.cuda.memory.OutOfMemoryError as error:
                raise DeviceMemoryError(f"{self._device.name}: {error}") from error

    def view(self, delivered: Any) -> Any:
        """Return the array itself."""
        return delivered

    def hand_over(self, delivered: Any, stream: Stream) -> Any:
        """Return the array, or a copy if the consumer has gone to another stream.

        CuPy keeps what is freed for the stream that it was taken on, so another stream may still read
        what that one writes again.
        """
        now = self.current()
        assert isinstance(stream, CudaStream)
        if now.pointer == stream.pointer:
            return delivered
        with self._cupy.cuda.Device(self._device.ordinal):
            copied = delivered.copy()
        stream.wait(now.record())
        return copied


def look(ordinal: int, place: int, shape: tuple[int, ...], dtype: np.dtype[Any], owner: Any) -> Any:
    """Look at memory on a device that another library owns, as a CuPy array."""
    cupy = load_cupy()
    size = max(math.prod(shape) * dtype.itemsize, 1)
    with cupy.cuda.Device(ordinal):
        memory = cupy.cuda.UnownedMemory(place, size, owner, ordinal)
        return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0))
