"""What duplicates were found, as a value to look at, to keep, and to act on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.dedup.deciding import decide_pairs
from headrace.dedup.preference import Keep
from headrace.errors import OptionError
from headrace.planning.idset import IdSet
from headrace.planning.selection import Selection
from headrace.replacing import replacing
from headrace.selecting.base import Selectable

if TYPE_CHECKING:
    import polars as pl

_META = b"headrace"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Search:
    """What was looked for, in which samples.

    Attributes:
        method: The method's name.
        settings: The method with its settings, as text.
        columns: What was compared.
        keep: Which of several duplicates is kept.
        priority: The column that tells it, or None.
        samples: How many samples were compared.
        manifest: Fingerprint of the data.
        selection: Fingerprint of the samples that took part.
    """

    method: str
    settings: str
    columns: tuple[str, ...]
    keep: Keep
    priority: str | None
    samples: int
    manifest: str
    selection: str


@dataclass(frozen=True, eq=False)
class DuplicateReport:
    """Duplicates among the samples of a data set, and which of them to drop; prints as a summary.

    Immutable. It drops nothing by itself: `ds.dedup(report=report)` or `report.selection` does.

    Attributes:
        dataset: The samples that were compared.
        search: What was looked for.
        edges: A Polars frame with a row for every two samples that were verified to be duplicates: `id`,
            `preferred_id`, `method`, `score` and `is_same`, in the order in which they are decided. Equal
            samples are linked to the preferred one of them alone.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"text": ["a", "b", "a", "a"]})
        >>> report = hr.find_duplicates(ds, on=["text"])
        >>> report.pairs.rows()
        [(2, 0, 1.0), (3, 0, 1.0)]
        >>> report.selection.ids.tolist()
        [0, 1]
    """

    dataset: Selectable
    search: Search
    edges: pl.DataFrame

    @cached_property
    def _decided(self) -> pl.DataFrame:
        return decide_pairs(self.edges, self.search.keep)

    @property
    def pairs(self) -> pl.DataFrame:
        """One row for each dropped sample: `dropped_id`, `kept_id` and `score`, in the order of ids.

        With `keep="none"` nothing is kept for a sample, and `kept_id` is null.
        """
        return self._decided.select("dropped_id", "kept_id", "score")

    @property
    def methods(self) -> pl.DataFrame:
        """How many samples are dropped by each method: `method` and `dropped`.

        A method of likeness decides texts that are too short for it by "exact" equality.
        """
        import polars as pl

        return self._decided.group_by("method").agg(pl.len().cast(pl.Int64).alias("dropped")).sort("method")

    @cached_property
    def selection(self) -> Selection:
        """The samples that stay, in their order."""
        dropped = self._decided["dropped_id"].to_numpy()
        return self.dataset.selection - Selection.of_set(IdSet.of_ids(dropped, self.dataset.manifest.total))

    @property
    def share(self) -> float:
        """Share of the samples that is dropped, 0 to 1."""
        return self._decided.height / max(self.search.samples, 1)

    @cached_property
    def clusters(self) -> pl.DataFrame:
        """One row for each kept sample that others are dropped for, the largest cluster first.

        Columns: `kept_id`, and `size`, which counts the kept sample and those dropped for it.
        """
        import polars as pl

        return (
            self._decided.drop_nulls("kept_id")
            .group_by("kept_id")
            .agg((pl.len() + 1).cast(pl.Int64).alias("size"))
            .sort("size", "kept_id", descending=[True, False])
        )

    def at(self, threshold: float) -> DuplicateReport:
        """Return the same report with a higher threshold; nothing is read or hashed again.

        Raises:
            OptionError: The threshold lies outside of 0 to 1.
        """
        import polars as pl

        if not 0 <= threshold <= 1:
            raise OptionError(f"`threshold` must lie in 0..1, got {threshold!r}")
        return replace(self, edges=self.edges.filter(pl.col("score") >= threshold))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a Parquet file, which is complete or not there.

        Its rows are those of `edges`, with `is_dropped_for`: whether the first sample is dropped for the
        second.

        Raises:
            OSError: The file cannot be written.
        """
        import pyarrow.parquet as pq

        table = self.edges.to_arrow()
        meta = json.dumps({"version": _VERSION, "search": asdict(self.search)})
        with replacing(Path(path)) as file:
            pq.write_table(table.replace_schema_metadata({_META: meta.encode()}), file, compression="zstd")

    @staticmethod
    def load(path: str | os.PathLike[str], dataset: Selectable) -> DuplicateReport:
        """Read a report that was saved, for the data set that it is about.

        Raises:
            CorruptSourceError: The file is no such report.
            StateError: It is about other data or other samples.
        """
        raise NotImplementedError

    def check_dataset(self, dataset: Selectable) -> None:
        """Refuse a data set that the report is not about.

        Raises:
            StateError: It holds other data or other samples.
        """
        raise NotImplementedError
