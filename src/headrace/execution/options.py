"""How a loader delivers its batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headrace.errors import OptionError
from headrace.execution.device.base import Device
from headrace.planning.world import World

Output = Literal["torch", "numpy", "arrow", "cupy"]
OnError = Literal["raise", "skip"]
Host = Literal["thread", "process"]


@dataclass(frozen=True, slots=True)
class LoaderOptions:
    """How batches are delivered, without influence on which samples they hold.

    Attributes:
        world: Which rank of how many; None asks `World.detect()` at the first use.
        output: `"torch"`, `"numpy"`, `"arrow"` or `"cupy"`.
        threads: Threads that read and prepare; None picks from the cores, 0 works in the
            calling thread.
        ahead: Batches prepared ahead of the consumer, beyond the window of the shuffle.
        on_error: `"raise"`, or `"skip"` to leave out samples that cannot be read, or their row group.
        with_ids: Whether each batch carries its samples' ids under the key "sample_id".
        device: Where batches are delivered; None for the CPU.
        reuse: Whether a device's outputs are written again: a batch is valid until the one after the next
            is asked for.
        host: `"thread"` computes batches on threads of this process, `"process"` in one of its own.
    """

    world: World | None = None
    output: Output = "torch"
    threads: int | None = None
    ahead: int = 2
    on_error: OnError = "raise"
    with_ids: bool = False
    device: Device | None = None
    reuse: bool = False
    host: Host = "thread"

    def __post_init__(self) -> None:
        if self.output not in ("torch", "numpy", "arrow", "cupy"):
            raise OptionError(f'`output` must be "torch", "numpy", "arrow" or "cupy", got {self.output!r}')
        if self.on_error not in ("raise", "skip"):
            raise OptionError(f'`on_error` must be "raise" or "skip", got {self.on_error!r}')
        if self.host not in ("thread", "process"):
            raise OptionError(f'`host` must be "thread" or "process", got {self.host!r}')
        if self.host == "process" and self.device is not None:
            raise OptionError(
                '`host="process"` goes with device="cpu"; a device is fed by threads of this process'
            )
        for name, least in (("threads", 0), ("ahead", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise OptionError(f"`{name}` must be a whole number of at least {least}, got {value!r}")
