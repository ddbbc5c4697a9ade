"""Who hands batches over: in the memory that they are made in, or, in `device/`, on a device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

from headrace.batch import Batch
from headrace.execution.augmenting import Augmenter
from headrace.execution.stats import Stats, measured
from headrace.execution.workshop import Workshop


class Delivery(Protocol):
    """Brings batches to where the consumer wants them, as what it asked for."""

    def __call__(self, batches: Iterator[Batch], epoch: int, steps: range) -> Generator[tuple[Any, int]]:
        """Yield each batch as it is delivered, and how many samples it has.

        Args:
            batches: The batches of these steps, in order.
            epoch: Their epoch, for messages.
            steps: Their steps, for messages.
        """
        ...

    def one(self, batch: Batch, epoch: int, step: int) -> Any:
        """Deliver one batch by itself."""
        ...

    def equip(self, workshop: Workshop) -> Workshop:
        """Let batches be made in a way that suits where they go."""
        ...

    def augmenter(self) -> Augmenter | None:
        """Return what performs augmentations, if not all of them are performed here and now."""
        ...


class Conversion:
    """Delivery in the memory that the batches are made in."""

    def __init__(self, convert: Callable[[Batch], Any], stats: Stats) -> None:
        """Take what makes of a batch what is delivered, and where to count."""
        self._convert = convert
        self._stats = stats

    def __call__(self, batches: Iterator[Batch], epoch: int, steps: range) -> Generator[tuple[Any, int]]:
        """Yield each batch converted, and how many samples it has."""
        for batch in batches:
            with measured(self._stats, "deliver"):
                delivered = self._convert(batch)
            yield delivered, len(batch)

    def one(self, batch: Batch, epoch: int, step: int) -> Any:
        """Convert a batch."""
        return self._convert(batch)

    def equip(self, workshop: Workshop) -> Workshop:
        """Return the workshop as it is."""
        return workshop

    def augmenter(self) -> Augmenter | None:
        """None: the recipe's augmentations are performed as usual."""
        return None
