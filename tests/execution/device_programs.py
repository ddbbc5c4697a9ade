"""Devices whose streams do not hear what they should wait for, and a consumer with a stream of its own."""

from __future__ import annotations

import math
import weakref

import numpy as np

from headrace.execution.device.host import POISON, HostDevice, HostEvent, HostStream

ROLES = ("copy", "augment", "consumer")


class DeafStream(HostStream):
    """A stream that waits for all others but one."""

    unheard = None

    def wait(self, event):
        if (self.role, event.stream.role) != self.unheard:
            super().wait(event)


class DeafDevice(HostDevice):
    """A device with one wait left out.

    Attributes:
        unheard: Who does not wait for whom, two roles; ("slab", "copy") for slabs that are used again
            before they are copied.
    """

    def __init__(self, early=(), unheard=None):
        super().__init__(early)
        self.unheard = unheard

    def stream(self, role):
        stream = DeafStream(self, role, role in self.early)
        stream.unheard = self.unheard
        if self.unheard == ("slab", "copy") and role == "copy":
            stream.record = lambda: DeafEvent(HostStream.record(stream))
        self._streams.append(stream)
        return stream


class DeafEvent(HostEvent):
    """An event that claims to be done to those who ask on the host."""

    def __init__(self, event):
        self.event, self.stream = event, event.stream

    @property
    def done(self):
        return self.event.done

    def is_done(self):
        return True

    def wait(self):
        pass


class StreamOutputs:
    """Outputs for a consumer that works on a stream, as torch takes and frees them.

    What is dropped is taken again at once, since the order of the stream keeps its users apart. It is not
    poisoned: work of the stream that was asked for before may still read it.
    """

    def __init__(self, device):
        self.consumer = device.stream("consumer")
        self._free = {}

    def current(self):
        return self.consumer

    def empty(self, shape, dtype):
        nbytes = math.prod(shape) * dtype.itemsize
        free = self._free.setdefault(nbytes, [])
        memory = free.pop() if free else np.full(nbytes, POISON, np.uint8)
        look = memory[:]  # what the consumer holds; the memory itself is kept here
        weakref.finalize(look, free.append, memory)
        return _Tensor(look, shape, dtype)

    def view(self, delivered):
        return delivered.memory.view(delivered.dtype).reshape(delivered.shape)

    def hand_over(self, delivered, stream):
        assert stream is self.consumer
        return delivered


class _Tensor:
    """What the consumer holds; work on streams holds the bare memory, as kernels do."""

    def __init__(self, look, shape, dtype):
        self.look, self.shape, self.dtype = look, shape, dtype
        self.memory = look.base
