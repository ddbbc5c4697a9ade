"""Transfers: batches go to a device a few ahead of the consumer, each by one copy, and are changed there.

Three streams work side by side: one copies, one augments, and the consumer has its own. What must not overlap
is kept apart by events alone, and no thread waits for the device but to use a slab again:

    copy       waits until the buffer on the device was read by the augmentation before, then copies
    augment    waits for the copy, and for the consumer's work before the outputs were taken; then writes them
    consumer   waits for the augmentation
    a slab     is used again once its copy is done
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from headrace.errors import DeviceMemoryError
from headrace.execution.device.base import Device, Event, Memory, Outputs, Stream
from headrace.execution.device.slabs import ALIGNMENT, Key, Slab

Formats = Mapping[Key, tuple[tuple[int, ...], np.dtype[Any]]]
Views = Mapping[Key, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Cargo:
    """One batch on its way.

    Attributes:
        slabs: What travels: the batch, and the partners of its samples if they are mixed.
        where: The batch, for messages.
        change: What makes outputs of it.
        rest: What stays on the host.
    """

    slabs: tuple[Slab, ...]
    where: str
    change: Change
    rest: Any = None

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each slab goes on the device, and where the last one ends."""
        sizes = (-(-slab.data.nbytes // ALIGNMENT) * ALIGNMENT for slab in self.slabs)
        return tuple(accumulate(sizes, initial=0))


class Change(Protocol):
    """What becomes of the arrays of a slab on the device."""

    @property
    def outputs(self) -> Formats:
        """Shape and dtype of what it yields."""
        ...

    def __call__(self, inputs: Sequence[Views], outputs: Views) -> None:
        """Enqueue what fills the outputs from the arrays of each slab, on the current stream."""
        ...


@dataclass(slots=True, eq=False)
class _Buffer:
    """Memory on the device that batches go through in turns, and the point when the last one was read."""

    memory: Memory | None = None
    is_read: Event | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Flight:
    """A batch that was sent."""

    delivered: dict[Key, Any]
    rest: Any
    taken_on: Stream
    done: Event


class Transfer:
    """Sends batches to a device and hands them over. To be used from one thread."""

    def __init__(self, device: Device, outputs: Outputs, ahead: int, reuse: bool = False) -> None:
        """Make the streams.

        Args:
            device: Where the batches go.
            outputs: Memory for the consumer.
            ahead: How many batches are sent before the consumer asks for them.
            reuse: Write into the same outputs again: a batch is valid until the one after the next is
                asked for.
        """
        self._device = device
        self._outputs = outputs
        self._ahead = ahead
        self._copy, self._augment = device.stream("copy"), device.stream("augment")
        self._buffers = [_Buffer() for _ in range(ahead + 1)]
        self._copying: deque[tuple[Event, tuple[Slab, ...]]] = deque()
        self._kept: deque[dict[Key, Any]] | None = deque() if reuse else None
        self._sent = 0

    def deliver(self, cargoes: Iterable[Cargo]) -> Generator[tuple[dict[Key, Any], Any]]:
        """Yield what each batch became, by name, and what stayed on the host.

        An error is raised in the place of the batch that it is about, after all batches before it.

        Raises:
            DeviceMemoryError: The device has too little memory; the message names the batch.
        """
        flights: deque[_Flight] = deque()
        waiting, failed = iter(cargoes), None
        with closing(self):
            while True:
                while failed is None and len(flights) <= self._ahead:
                    try:
                        flights.append(self._send(next(waiting)))
                    except StopIteration:
                        break
                    except Exception as error:
                        failed = error
                if not flights:
                    break
                yield self._hand_over(flights.popleft())
            if failed is not None:
                raise failed

    def close(self) -> None:
        """Wait until the device is done with all that was sent, and free its memory."""
        for event, _ in self._copying:
            event.wait()
        self._copying.clear()
        for buffer in self._buffers:
            if buffer.is_read is not None:
                buffer.is_read.wait()
            if buffer.memory is not None:
                buffer.memory.free()
        self._buffers = [_Buffer() for _ in self._buffers]

    def _send(self, cargo: Cargo) -> _Flight:
        try:
            buffer = self._buffer(cargo.offsets[-1])
            consumer = self._outputs.current()
            delivered = self._take(cargo.change.outputs)
        except DeviceMemoryError as error:
            raise DeviceMemoryError(
                f"{cargo.where}: {error}; a smaller `ahead` (now {self._ahead}) or smaller batches need less "
                "of it, and the loader's state is that after the last batch delivered"
            ) from error
        assert buffer.memory is not None
        memory = buffer.memory
        if buffer.is_read is not None:
            self._copy.wait(buffer.is_read)
        for slab, offset in zip(cargo.slabs, cargo.offsets, strict=False):
            self._copy.upload(memory, offset, slab.data)
        copied = self._copy.record()
        self._copying.append((copied, cargo.slabs))
        self._augment.wait(consumer.record())
        self._augment.wait(copied)
        self._augment.run(self._work(cargo, memory, delivered))
        buffer.is_read = done = self._augment.record()
        self._sent += 1
        return _Flight(delivered, cargo.rest, consumer, done)

    def _work(self, cargo: Cargo, memory: Memory, delivered: Views) -> Callable[[], None]:
        views = {name: self._outputs.view(each) for name, each in delivered.items()}
        change, offsets = cargo.change, cargo.offsets
        parts = [slab.parts for slab in cargo.slabs]  # not the slabs, which are free once they are copied

        def work() -> None:
            inputs = [
                {key: memory.view(offset + part.offset, part.shape, part.dtype) for key, part in own.items()}
                for own, offset in zip(parts, offsets, strict=False)
            ]
            change(inputs, views)

        return work

    def _hand_over(self, flight: _Flight) -> tuple[dict[Key, Any], Any]:
        self._outputs.current().wait(flight.done)
        hand_over, stream = self._outputs.hand_over, flight.taken_on
        return {key: hand_over(each, stream) for key, each in flight.delivered.items()}, flight.rest

    def _buffer(self, nbytes: int) -> _Buffer:
        """Return the next buffer, with room for so many bytes; lets go of slabs that were copied."""
        while self._copying and (len(self._copying) > self._ahead or self._copying[0][0].is_done()):
            self._copying.popleft()[0].wait()
        buffer = self._buffers[self._sent % len(self._buffers)]
        if buffer.memory is None or buffer.memory.nbytes < nbytes:
            if buffer.is_read is not None:
                buffer.is_read.wait()
            if buffer.memory is not None:
                buffer.memory.free()
            buffer.memory, buffer.is_read = None, None
            buffer.memory = self._device.memory(nbytes)
        return buffer

    def _take(self, formats: Formats) -> dict[Key, Any]:
        """Take outputs: fresh ones, or those of the batch before the last two that were handed over."""
        if self._kept is None:
            return {name: self._outputs.empty(*form) for name, form in formats.items()}
        old = self._kept.popleft() if len(self._kept) > self._ahead + 1 else {}
        views = {name: self._outputs.view(each) for name, each in old.items()}
        taken = {
            name: old[name] if name in old and _fits(views[name], *form) else self._outputs.empty(*form)
            for name, form in formats.items()
        }
        self._kept.append(taken)
        return taken


def _fits(view: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return tuple(view.shape) == shape and np.dtype(view.dtype) == dtype
