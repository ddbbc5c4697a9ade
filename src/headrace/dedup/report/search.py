"""What a search for duplicates looked for, in which samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from headrace.dedup.method import Method, SupportsDescribe, SupportsThreshold
from headrace.dedup.preference import Keep
from headrace.selecting.base import Selectable


class Fingerprints(NamedTuple):
    """What tells some samples from others: fingerprints of the data, and of which ones they are of it."""

    manifest: str
    selection: str

    @staticmethod
    def of(dataset: Selectable) -> Fingerprints:
        """Return those of a data set; columns in memory are read for it."""
        return Fingerprints(dataset.manifest.fingerprint, dataset.selection.set.fingerprint)


@dataclass(frozen=True, eq=False)
class Compared:
    """The samples that were compared, as a data set or as its fingerprints.

    Fingerprints are found once they are asked for: of columns in memory, that takes longer than a search.
    """

    samples: Selectable | Fingerprints

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """What tells them from others, whatever their order."""
        return self.samples if isinstance(self.samples, Fingerprints) else Fingerprints.of(self.samples)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compared) and self.fingerprints == other.fingerprints

    def __hash__(self) -> int:
        return hash(self.fingerprints)


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
        compared: Which ones those are.
    """

    method: str
    settings: str
    threshold: float
    description: str
    columns: tuple[str, ...]
    keep: Keep
    priority: str | None
    samples: int
    compared: Compared

    @staticmethod
    def of(
        dataset: Selectable, columns: tuple[str, ...], method: Method, preference: tuple[Keep, str | None]
    ) -> Search:
        """Describe a search."""
        return Search(
            method.name,
            repr(method),
            float(method.threshold) if isinstance(method, SupportsThreshold) else 1.0,
            method.describe() if isinstance(method, SupportsDescribe) else "",
            columns,
            *preference,
            dataset.selection.set.count,
            Compared(dataset),
        )

    @staticmethod
    def from_values(values: Mapping[str, Any]) -> Search:
        """Make a search of what `to_values` returned.

        Raises:
            KeyError: A value is missing.
            TypeError: There is one that is not known, or of another type.
        """
        own: dict[str, Any] = dict(values)
        compared = Compared(Fingerprints(own.pop("manifest"), own.pop("selection")))
        own["columns"] = tuple(own["columns"])
        return Search(**own, compared=compared)

    def to_values(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "compared"}
        return own | self.compared.fingerprints._asdict()

    @property
    def manifest(self) -> str:
        """Fingerprint of the data."""
        return self.compared.fingerprints.manifest

    def is_about(self, dataset: Selectable) -> bool:
        """Tell whether a data set holds the samples that were compared."""
        return self.compared.fingerprints == Fingerprints.of(dataset)
