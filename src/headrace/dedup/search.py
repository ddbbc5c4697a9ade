"""What a search for duplicates looked for, in which samples."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.dedup.method import Method, SupportsDescribe, SupportsThreshold
from headrace.dedup.preference import Keep
from headrace.selecting.base import Selectable


@dataclass(frozen=True, slots=True)
class Search:
    """What was looked for, in which samples.

    Attributes:
        method: The method's name.
        settings: The method with its settings, as text.
        threshold: The least score that was looked for.
        description: What the method says of itself, some lines, or nothing.
        columns: What was compared.
        keep: Which of several duplicates is kept.
        priority: The column that tells it, or None.
        samples: How many samples were compared.
        manifest: Fingerprint of the data.
        selection: Fingerprint of the samples that took part, whatever their order.
    """

    method: str
    settings: str
    threshold: float
    description: str
    columns: tuple[str, ...]
    keep: Keep
    priority: str | None
    samples: int
    manifest: str
    selection: str

    @staticmethod
    def of(
        dataset: Selectable, columns: tuple[str, ...], method: Method, preference: tuple[Keep, str | None]
    ) -> Search:
        """Describe a search."""
        chosen = dataset.selection.set
        return Search(
            method.name,
            repr(method),
            float(method.threshold) if isinstance(method, SupportsThreshold) else 1.0,
            method.describe() if isinstance(method, SupportsDescribe) else "",
            columns,
            *preference,
            chosen.count,
            dataset.manifest.fingerprint,
            chosen.fingerprint,
        )

    def is_about(self, dataset: Selectable) -> bool:
        """Tell whether a data set holds the samples that were compared."""
        return (self.manifest, self.selection) == (
            dataset.manifest.fingerprint,
            dataset.selection.set.fingerprint,
        )
