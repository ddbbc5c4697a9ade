"""The job of a host process: sent once, its arrays through shared memory."""

from __future__ import annotations

import mmap
import os
import pickle
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.reduction import ForkingPickler
from typing import Any

from headrace.errors import OptionError
from headrace.execution.host.shared import create_shared
from headrace.execution.recipe import Recipe
from headrace.execution.workshop import StreamOptions
from headrace.planning.plan import Plan
from headrace.planning.world import World

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Job:
    """What a host process computes batches of.

    Attributes:
        recipe: What becomes of the samples.
        plan: Their order, at the beginning of any epoch.
        world: Which rank of how many.
        options: How to work.
    """

    recipe: Recipe
    plan: Plan
    world: World
    options: StreamOptions


def write_job(job: Job) -> tuple[int, list[int]]:
    """Write a job into shared memory; return a descriptor and where its parts end.

    Raises:
        OptionError: It cannot be pickled, mostly for a function that is defined inside another one.
    """
    buffers: list[pickle.PickleBuffer] = []
    try:
        head = pickle.dumps(job, protocol=5, buffer_callback=buffers.append)
    except Exception as error:
        raise OptionError(
            f'`host="process"` needs a recipe that can be pickled ({error}); define functions at the top '
            "of a module, and open files and connections inside them"
        ) from error
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    ends = [0]
    for part in parts:
        ends += [ends[-1] + part.nbytes, -(-(ends[-1] + part.nbytes) // _ALIGNMENT) * _ALIGNMENT]
    descriptor = create_shared(max(ends[-1], 1))
    try:
        with mmap.mmap(descriptor, max(ends[-1], 1)) as memory:
            for begin, part in zip(ends[::2], parts, strict=False):
                memory[begin : begin + part.nbytes] = part
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, ends


def read_job(descriptor: int, ends: list[int]) -> Job:
    """Return a job whose arrays look into shared memory; the descriptor is closed."""
    try:
        memory = memoryview(mmap.mmap(descriptor, max(ends[-1], 1)))
    finally:
        os.close(descriptor)
    head, *buffers = [memory[begin:end] for begin, end in list(pairwise(ends))[::2]]
    pickler: Any = ForkingPickler
    return pickler.loads(head, buffers=buffers)  # what this process's own parent has pickled
