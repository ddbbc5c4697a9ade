"""Transfers on a device that does all work at the worst moment: what is not ordered shows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from device_programs import ROLES, DeafDevice, StreamOutputs

from headrace.execution.device.host import HostDevice
from headrace.execution.device.slabs import SlabMemory
from headrace.execution.device.transfer import Cargo, Transfer

BATCHES, ROWS = 12, 64
X, Y = ("x", ""), ("y", "")
SCHEDULES = [early for count in range(4) for early in itertools.combinations(ROLES, count)]
WAITS = [
    ("copy", "augment"),
    ("augment", "copy"),
    ("augment", "consumer"),
    ("consumer", "augment"),
    ("slab", "copy"),
]


class Plus:
    """Adds one to `x` and hands on all else."""

    def __init__(self, slab):
        self.outputs = {name: (part.shape, part.dtype) for name, part in slab.parts.items()}

    def __call__(self, inputs, outputs):
        for key, output in outputs.items():
            output[...] = inputs[0][key] + (key == X)


def images(number):
    return np.random.default_rng(number).integers(0, 100, (ROWS, 600), dtype=np.uint8)


def cargoes(memory, count=BATCHES):
    for number in range(count):
        arrays = memory.allocate({"x": ((ROWS, 600), np.uint8), "y": ((ROWS,), np.int64)})
        arrays["x"][:], arrays["y"][:] = images(number), number
        slab = memory.slab({X: arrays["x"], Y: arrays["y"]})
        yield Cargo((slab,), f"step {number}", Plus(slab), number)


def run(device, ahead=2, reuse=False):
    """Read every batch on the consumer's stream and drop it at once, as a training step does."""
    outputs, seen = StreamOutputs(device), []
    transfer = Transfer(device, outputs, ahead, reuse)
    for delivered, number in transfer.deliver(cargoes(SlabMemory(device))):
        views = [outputs.view(delivered[name]) for name in (X, Y)]
        outputs.consumer.run(lambda views=views, number=number: seen.append((number, *map(np.copy, views))))
        del delivered
    outputs.consumer.record().wait()
    return seen


def is_right(seen):
    return len(seen) == BATCHES and all(
        number == place and np.array_equal(x, images(number) + 1) and bool((y == number).all())
        for place, (number, x, y) in enumerate(seen)
    )


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("ahead", [0, 1, 2, 5])
@pytest.mark.parametrize("early", SCHEDULES)
def test_batches_are_right_at_the_worst_moments(early, ahead, reuse):
    """Whichever streams are early or late, each batch is what it must be."""
    assert is_right(run(HostDevice(early), ahead, reuse))


@pytest.mark.parametrize("unheard", WAITS)
def test_every_wait_is_needed(unheard):
    """With any one wait left out, some schedule shows it."""
    assert not all(is_right(run(DeafDevice(early, unheard))) for early in SCHEDULES)


def test_device_with_all_waits_is_right():
    """The device that leaves out waits is right if it leaves out none."""
    assert all(is_right(run(DeafDevice(early))) for early in SCHEDULES)
