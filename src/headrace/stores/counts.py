"""What a store did for one loader."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Counts:
    """Counters of one table; thread-safe.

    Attributes:
        hits: Entries that were there when they were needed.
        misses: Entries that had to be prepared.
        corrupt: Entries that were there and damaged; each is a miss as well.
        rebuilt: Damaged entries that were put again.
        evicted: Entries, of this layout or another, that were removed for the limit.
        outages: How often the store could not be asked.
        nbytes: Bytes of the entries that were put.

    Example:
        >>> counts = Counts()
        >>> counts.add(hits=2)
        >>> counts.as_dict()["cache_hits"]
        2
    """

    hits: int = 0
    misses: int = 0
    corrupt: int = 0
    rebuilt: int = 0
    evicted: int = 0
    outages: int = 0
    nbytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, **amounts: int) -> None:
        """Count; the names are those of the attributes."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def add_all(self, other: Counts) -> None:
        """Count what another one has counted as well."""
        with other._lock:
            amounts = {name: getattr(other, name) for name in _names()}
        self.add(**amounts)

    def as_dict(self) -> dict[str, int]:
        """Return the counters as a loader's `stats()` shows them, each with `cache_` before its name."""
        with self._lock:
            return {f"cache_{name.removeprefix('n')}": getattr(self, name) for name in _names()}


def _names() -> list[str]:
    return [each.name for each in fields(Counts) if not each.name.startswith("_")]
