"""What duplicates were found, as a value to look at, to keep, and to act on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headrace.dedup.report.clusters import find_members, read_largest
from headrace.dedup.report.deciding import decide_pairs
from headrace.dedup.report.search import Search
from headrace.dedup.report.shares import percent, shares_by_shard, shares_by_value
from headrace.dedup.report.stored import read_report, write_report
from headrace.errors import OptionError, StateError, check_whole
from headrace.execution.executors import Executor
from headrace.planning.idset import IdSet
from headrace.planning.selection import Selection
from headrace.selecting.base import Selectable

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]

_MOST_SHOWN = 3  # clusters in the printed summary
_MOST_COLUMNS = 6


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
        >>> print(report)
        samples   4
        dropped   2 (50.0 %)
        found by  Exact(...)
        columns   `text`
        keep      first
        clusters  1; the largest holds 3 samples (sample 0 and its like)
        >>> report.largest().rows()
        [(0, 3, 0, None, 'a'), (0, 3, 2, 1.0, 'a'), (0, 3, 3, 1.0, 'a')]
    """

    dataset: Selectable
    search: Search
    edges: pl.DataFrame

    @cached_property
    def _decided(self) -> pl.DataFrame:
        return decide_pairs(self.edges, self.search.keep)

    @cached_property
    def _members(self) -> pl.DataFrame:
        return find_members(self.edges, self._decided, self.search.keep)

    @property
    def _dropped(self) -> Ids:
        return self._decided["dropped_id"].to_numpy()

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
        """The samples that stay, in their order; repeats stay repeated."""
        total = self.dataset.manifest.total
        return self.dataset.selection - Selection.of_set(IdSet.of_ids(self._dropped, total))

    @property
    def share(self) -> float:
        """Share of the samples that is dropped, 0 to 1; a sample that is repeated counts once."""
        return self._decided.height / max(self.search.samples, 1)

    @cached_property
    def clusters(self) -> pl.DataFrame:
        """One row for each kept sample that others are dropped for, the largest cluster first.

        Columns: `kept_id`, and `size`, which counts the kept sample and those dropped for it. With
        `keep="none"` a cluster is what links connect, under the name of the one that comes first.
        """
        import polars as pl

        return (
            self._members.group_by("kept_id")
            .agg((pl.len() + 1).cast(pl.Int64).alias("size"))
            .sort("size", "kept_id", descending=[True, False])
        )

    def largest(
        self, n: int = 5, columns: str | Sequence[str] | None = None, *, members: int = 5
    ) -> pl.DataFrame:
        """Read some samples of the largest clusters, to see what was taken for the same.

        Args:
            n: How many clusters.
            columns: What to read of the samples; the compared columns by default.
            members: How many samples of each cluster at most: the kept one first, then the others from
                the most similar one down.

        Returns:
            A Polars frame of `kept_id`, `size`, `sample_id`, `score` (null for the kept one) and the
            columns; one of them that is called like one of these four gets "_value" behind its name.

        Raises:
            OptionError: A number is too small.
            UnknownColumnError: A column is not there.
        """
        check_whole("n", n, least=0)
        check_whole("members", members, least=1)
        clusters = self.clusters.head(n)
        chosen = (columns,) if isinstance(columns, str) else tuple(columns or ())
        chosen = self.search.columns if columns is None else chosen
        return read_largest(self.dataset, clusters, self._members, chosen, members)

    def removed(self, by: str | None = None, *, executor: Executor | None = None) -> pl.DataFrame:
        """Count the samples and those dropped by shard, or by the values of a column.

        Args:
            by: A column, which is read now; None for shards. Null is a value, too.
            executor: Where row groups are read; threads by default.

        Returns:
            A Polars frame of `shard` in the order of the data, or of `value` from the highest share
            down, and `samples`, `dropped` and `share`. A sample that is repeated counts once.

        Raises:
            UnknownColumnError: The column is not there.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"text": ["a", "a", "a", "b"], "source": ["x", "x", "y", "y"]})
            >>> hr.find_duplicates(ds, on="text").removed(by="source").rows()
            [('x', 2, 1, 0.5), ('y', 2, 1, 0.5)]
        """
        if by is None:
            return shares_by_shard(self.dataset, self._dropped)
        return shares_by_value(self.dataset, self._dropped, by, executor)

    def at(self, threshold: float) -> DuplicateReport:
        """Return what a search with a higher threshold would have found; nothing is read or hashed again.

        Raises:
            OptionError: The threshold lies above 1, or below that of the search.

        Example:
            >>> import headrace as hr
            >>> hr.find_duplicates(hr.from_arrays({"x": [1, 1]})).at(0.9)
            Traceback (most recent call last):
            headrace.errors.OptionError: `threshold` must lie in 1.0..1, as the search looked for no lower ...
        """
        import polars as pl

        least = self.search.threshold
        is_number = isinstance(threshold, (int, float))  # pyright: ignore[reportUnnecessaryIsInstance]
        if not is_number or not least <= threshold <= 1:
            raise OptionError(
                f"`threshold` must lie in {least}..1, as the search looked for no lower scores, "
                f"got {threshold!r}; search again with a lower threshold"
            )
        edges = self.edges.filter(pl.col("score") >= threshold)
        return replace(self, edges=edges, search=replace(self.search, threshold=float(threshold)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a Parquet file, which is complete or not there.

        Its rows are those of `edges`, with `is_dropped`: whether sample `id` is dropped, and `kept_id`:
        for which one. A sample that is dropped for its likeness to one that is dropped itself, being
        equal to it, has that one's.

        Raises:
            OSError: The file cannot be written.

        Example:
            >>> import tempfile
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"text": ["a", "b", "a"]})
            >>> path = tempfile.mkdtemp() + "/duplicates.parquet"
            >>> hr.find_duplicates(ds).save(path)
            >>> len(ds.dedup(report=path))
            2
        """
        write_report(Path(path), self.search, self.edges, self._decided)

    @staticmethod
    def load(path: str | os.PathLike[str], dataset: Selectable) -> DuplicateReport:
        """Read a report that was saved, for the data set that it is about.

        Raises:
            FileNotFoundError: There is no such file.
            CorruptSourceError: The file is no such report, or damaged.
            StateError: It is about other data or other samples.
        """
        return DuplicateReport(dataset, *read_report(Path(path))).for_dataset(dataset)

    def for_dataset(self, dataset: Selectable) -> DuplicateReport:
        """Return the same report for another data set of the same samples, with other steps or another order.

        Raises:
            StateError: It holds other data or other samples.
        """
        if not self.search.is_about(dataset):
            what = "samples" if self.search.manifest == dataset.manifest.fingerprint else "data"
            count = dataset.selection.set.count
            raise StateError(
                f"the report is about other {what}: it compared {self.search.samples:,} samples, and the "
                f"data set holds {count:,}; use it on the data set that was searched, or search again"
            )
        return replace(self, dataset=dataset)

    def __str__(self) -> str:
        lines = self._lines()
        width = max(len(title) for title, _ in lines) + 2
        return "\n".join(f"{title:<{width}}{text}" for title, text in lines)

    def _lines(self) -> list[tuple[str, str]]:
        """What is printed: titles and texts."""
        search = self.search
        names = [f"`{name}`" for name in search.columns]
        unseen = f" and {len(names) - _MOST_COLUMNS} more" if len(names) > _MOST_COLUMNS else ""
        keep = search.keep if search.priority is None else f"highest `{search.priority}`, then {search.keep}"
        lines = [
            ("samples", f"{search.samples:,}"),
            ("dropped", f"{self._decided.height:,} ({percent(self.share)})"),
            ("found by", search.settings),
            *(("", line) for line in search.description.splitlines()),
            ("columns", ", ".join(names[:_MOST_COLUMNS]) + unseen),
            ("keep", keep),
        ]
        if search.threshold < 1:
            lines.append(("scores", f"{search.threshold:g} and above"))
        if self.methods.height > 1:
            lines.append(
                ("of them", ", ".join(f"{count:,} by {name}" for name, count in self.methods.rows()))
            )
        lines.append(("clusters", self._clusters_line()))
        shards = self.removed()
        if shards.height > 1:
            name, samples, dropped, share = shards.sort("share", descending=True, maintain_order=True).row(0)
            lines.append(("by shard", f"at most {percent(share)} ({dropped:,} of {samples:,} in {name})"))
        return lines

    def _clusters_line(self) -> str:
        if self.clusters.is_empty():
            return "none"
        (first, size), *others = self.clusters.head(_MOST_SHOWN).rows()
        line = f"{self.clusters.height:,}; the largest holds {size:,} samples (sample {first:,} and its like)"
        if others:
            line += ", the next " + " and ".join(f"{size:,}" for _, size in others)
        return line
