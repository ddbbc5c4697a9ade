"""Duplicates as groups of samples that stay together when a data set is split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headrace.dedup.report.report import DuplicateReport
from headrace.errors import OptionError, StateError
from headrace.fingerprint import derive_key
from headrace.hashing.columns import hash_ids, keyed
from headrace.selecting.base import Selectable

Ids = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Samples belong together if they are duplicates, or if a chain of duplicates connects them.

    Give it as `by=` to `split` or `kfold`, so that no sample has a near copy on the other side; nothing is
    dropped. Samples without a duplicate stand alone. A sample's part stays when samples are added behind
    the others, unless one of them connects its group with an earlier one.

    Attributes:
        report: What `hr.find_duplicates` found, at the threshold that it has.

    Raises:
        OptionError: It is no report.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"text": ["a", "b", "c", "a"] * 50})
        >>> report = hr.find_duplicates(ds, on="text")
        >>> parts = ds.split(train=0.5, test=0.5, by=hr.Duplicates(report))
        >>> parts.report().shared_groups
        0
    """

    report: DuplicateReport

    def __post_init__(self) -> None:
        if not isinstance(self.report, DuplicateReport):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(
                f"`hr.Duplicates` takes what `hr.find_duplicates` returns, got {type(self.report).__name__}"
            )

    def __str__(self) -> str:
        """What makes a group, as text."""
        return f"groups of duplicates by {self.report.search.settings}"

    def check(self, dataset: Selectable) -> None:
        """Refuse a data set with samples that the report does not know.

        Raises:
            StateError: It holds other data, or samples that were not compared.
        """
        if dataset.manifest.fingerprint != self.report.search.manifest:
            raise StateError(
                "the report on duplicates is about other data than the data set that is split; call "
                "`hr.find_duplicates` on that one"
            )
        missing = dataset.selection.set - self.report.dataset.selection.set
        if missing.count:
            raise StateError(
                f"the report on duplicates compared {self.report.search.samples:,} samples, and "
                f"{missing.count:,} others take part, first id {missing.at(np.array([0]))[0]:,}; call "
                "`hr.find_duplicates` on the data set that is split"
            )

    def hashes(self, ids: Ids) -> Hashes:
        """Hash the group of each sample: by the smallest id of its group, or by its own if it stands alone.

        Args:
            ids: Of the samples.

        Returns:
            uint64 of the same shape.
        """
        members, groups = self._groups
        hashes = hash_ids(ids)
        if len(members):
            places = np.minimum(np.searchsorted(members, ids), len(members) - 1)
            is_member = members[places] == ids
            hashes[is_member] = groups[places[is_member]]
        return hashes

    @cached_property
    def _groups(self) -> tuple[Ids, Hashes]:
        """The ids of the samples that have duplicates, rising, and the hash of each one's group."""
        from headrace.dedup.report.edge_kernels import join

        ends = [self.report.edges[name].to_numpy() for name in ("id", "preferred_id")]
        members = np.unique(np.concatenate(ends))
        one, other = (np.searchsorted(members, ids) for ids in ends)
        firsts = members[join(one, other, len(members))]
        return members, keyed(hash_ids(firsts), derive_key("duplicates"))
