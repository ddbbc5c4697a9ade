"""How a loader delivers its batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headrace.errors import OptionError
from headrace.planning.world import World

Output = Literal["torch", "numpy", "arrow"]
OnError = Literal["raise", "skip"]


@dataclass(frozen=True, slots=True)
class LoaderOptions:
    """How batches are delivered, without influence on which samples they hold.

    Attributes:
        world: Which rank of how many; None asks `World.detect()` at the first use.
        output: `"torch"`, `"numpy"` or `"arrow"`.
        threads: Threads that read and prepare; None picks from the cores, 0 works in the
            calling thread.
        ahead: Batches prepared ahead of the consumer, beyond the window of the shuffle.
        on_error: `"raise"`, or `"skip"` to leave out samples that cannot be read, or their row group.
        with_ids: Whether each batch carries its samples' ids under the key "sample_id".
    """

    world: World | None = None
    output: Output = "torch"
    threads: int | None = None
    ahead: int = 2
    on_error: OnError = "raise"
    with_ids: bool = False

    def __post_init__(self) -> None:
        if self.output not in ("torch", "numpy", "arrow"):
            raise OptionError(f'`output` must be "torch", "numpy" or "arrow", got {self.output!r}')
        if self.on_error not in ("raise", "skip"):
            raise OptionError(f'`on_error` must be "raise" or "skip", got {self.on_error!r}')
        for name, least in (("threads", 0), ("ahead", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise OptionError(f"`{name}` must be a whole number of at least {least}, got {value!r}")
