"""Transfers: batches go to a device a few ahead of the consumer, each by one copy, and are changed there.

Three streams work side by side: one copies, one augments, and the consumer has its own. What must not overlap is
kept apart by events alone, and no thread waits for the device but to use a slab again:

    copy       waits until the buffer on the device was read by the augmentation before, then copies
    augment    waits for the copy, and for the consumer's work before the outputs were taken; then writes them
    consumer   waits for the augmentation
    a slab     is used again once its copy is done
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from headrace.errors import DeviceMemoryError
from headrace.execution.device.base import Device, Event, Memory, Outputs, Stream
from headrace.execution.device.slabs import Slab

Formats = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
Views = Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Cargo:
    """One batch on its way.

    Attributes:
        slab: What travels.
        where: The batch, for messages.
        change: What makes outputs of it.
        rest: What stays on the host.
    """

    slab: Slab
    where: str
    change: Change
    rest: Any = None


class Change(Protocol):
    """What becomes of the arrays of a slab on the device."""

    @property
    def outputs(self) -> Formats:
        """Shape and dtype of what it yields."""
        ...

    def __call__(self, inputs: Views, outputs: Views) -> None:
        """Enqueue what fills the outputs, on the current stream."""
        ...


@dataclass(slots=True, eq=False)
class _Buffer:
    """Memory on the device that batches go through in turns, and the point when the last one was read."""

    memory: Memory | None = None
    is_read: Event | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Flight:
    """A batch that was sent."""

    delivered: dict[str, Any]
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
        self._copying: deque[tuple[Event, Slab]] = deque()
        self._kept: deque[dict[str, Any]] | None = deque() if reuse else None
        self._sent = 0

    def deliver(self, cargoes: Iterable[Cargo]) -> Generator[tuple[dict[str, Any], Any]]:
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
        slab, change = cargo.slab, cargo.change
        try:
            buffer = self._buffer(slab.data.nbytes)
            consumer = self._outputs.current()
            delivered = self._take(change.outputs)
        except DeviceMemoryError as error:
            raise DeviceMemoryError(
                f"{cargo.where}: {error}; a smaller `ahead` (now {self._ahead}) or smaller batches need less, and "
                "the loader's state is that after the last batch delivered"
            ) from error
        assert buffer.memory is not None
        memory = buffer.memory
        if buffer.is_read is not None:
            self._copy.wait(buffer.is_read)
        self._copy.upload(memory, slab.data)
        copied = self._copy.record()
        self._copying.append((copied, slab))
        self._augment.wait(consumer.record())
        self._augment.wait(copied)
        self._augment.run(self._work(change, memory, slab, delivered))
        buffer.is_read = done = self._augment.record()
        self._sent += 1
        return _Flight(delivered, cargo.rest, consumer, done)

    def _work(
        self, change: Change, memory: Memory, slab: Slab, delivered: Mapping[str, Any]
    ) -> Callable[[], None]:
        views, parts = {name: self._outputs.view(each) for name, each in delivered.items()}, slab.parts

        def work() -> None:
            inputs = {name: memory.view(part.offset, part.shape, part.dtype) for name, part in parts.items()}
            change(inputs, views)

        return work

    def _hand_over(self, flight: _Flight) -> tuple[dict[str, Any], Any]:
        self._outputs.current().wait(flight.done)
        for each in flight.delivered.values():
            self._outputs.hand_over(each, flight.taken_on)
        return flight.delivered, flight.rest

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

    def _take(self, formats: Formats) -> dict[str, Any]:
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
