"""What the epochs of one loader share, and how they work."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.execution.augmenting import Augmenter
from headrace.execution.memory import BatchMemory
from headrace.execution.stats import Stats


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a stream works, without any influence on what it yields.

    Attributes:
        threads: Threads that read and prepare; 0 works in the calling thread.
        ahead: Batches prepared ahead of the consumer, beyond the window of the shuffle.
        skip_errors: Leave out samples that cannot be read or prepared, or their row group.
    """

    threads: int
    ahead: int = 2
    skip_errors: bool = False


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the epochs of one loader share.

    Attributes:
        options: How to work.
        stats: Where to count.
        memory: The batches' memory, which circulates from epoch to epoch.
        augmenter: What changes samples once they are gathered; None leaves them as they are, or leaves the
            choice to the stream.
    """

    options: StreamOptions
    stats: Stats
    memory: BatchMemory
    augmenter: Augmenter | None = None
