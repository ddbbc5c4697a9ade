"""What is in the parts of a split: sizes, class shares, and groups that several parts share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headrace.execution.executors import Executor
from headrace.hashing.columns import hash_ids
from headrace.planning.idset import join
from headrace.planning.selection import Selection
from headrace.selecting.base import Selectable
from headrace.selecting.classes import read_classes
from headrace.selecting.identity import By, Content, Grouping, identify

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]

_MOST_SHOWN = 6  # classes in the printed table
_WIDTH = 1_000  # nothing is cut off or wrapped; the table is as wide as its cells


@dataclass(frozen=True, eq=False)
class SplitReport:
    """Sizes, class shares and shared groups of the parts of a split, counted in the data; prints as a table.

    Attributes:
        frame: For each part its name (`part`), `samples` and their `share`; with groups also how many it
            has (`groups`) and how many of them another part has too (`shared_groups`). Samples without a
            group, for a null in its columns, are not among them.
        classes: For each part and class the `samples` and their `share` of the part, or None.
        shared: For each two parts (`part`, `other`) that share groups, how many (`groups`), or None.
        shared_groups: How many groups lie in more than one part, or None where none were looked for.
        by: What makes a group, as text.
        label: The column that tells the classes.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"user": [1, 1, 2, 2, 3, 3], "label": ["a", "b"] * 3})
        >>> report = ds.split(train=2 / 3, test=1 / 3, by="user", exact=True).report(classes="label")
        >>> print(report)
        part    samples    share   label a   label b   groups
        ─────────────────────────────────────────────────────
        train         4   66.7 %    50.0 %    50.0 %        2
        test          2   33.3 %    50.0 %    50.0 %        1
        groups by `user` in more than one part: none
        >>> report.frame["samples"].to_list()
        [4, 2]
    """

    frame: pl.DataFrame
    classes: pl.DataFrame | None = None
    shared: pl.DataFrame | None = None
    shared_groups: int | None = None
    by: str = ""
    label: str | None = None

    def __str__(self) -> str:
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        columns = self._columns()
        for title, _ in columns:
            table.add_column(title, justify="left" if title == "part" else "right", no_wrap=True)
        for cells in zip(*(cells for _, cells in columns), strict=True):
            table.add_row(*cells)
        console = Console(file=StringIO(), width=_WIDTH, color_system=None, markup=False, emoji=False)
        with console.capture() as captured:
            console.print(table)
        return "\n".join([*(line.rstrip() for line in captured.get().splitlines()), *self._lines()])

    def _columns(self) -> list[tuple[str, list[str]]]:
        """The printed table: titles and cells."""
        import polars as pl

        columns = [
            ("part", [str(name) for name in self.frame["part"]]),
            ("samples", [f"{count:,}" for count in self.frame["samples"]]),
            ("share", [_percent(share) for share in self.frame["share"]]),
        ]
        if self.classes is not None:
            for name in self._class_names[:_MOST_SHOWN]:
                shares = self.classes.filter(pl.col("class").eq_missing(pl.lit(name, pl.String)))["share"]
                title = f"{self.label} {'null' if name is None else name}"
                columns.append((title, [_percent(share) for share in shares]))
        if self.shared_groups is not None:
            columns.append(("groups", [f"{count:,}" for count in self.frame["groups"]]))
        return columns

    @property
    def _class_names(self) -> list[str | None]:
        """The classes, the most frequent one first."""
        if self.classes is None:
            return []
        return self.classes["class"].unique(maintain_order=True).to_list()

    def _lines(self) -> list[str]:
        """What follows the table."""
        lines: list[str] = []
        unseen = len(self._class_names) - _MOST_SHOWN
        if unseen > 0:
            lines.append(f"{unseen:,} smaller classes of `{self.label}` are in `report.classes`")
        if self.shared is not None:
            number = f"{self.shared_groups:,}" if self.shared_groups else "none"
            lines.append(f"{self.by} in more than one part: {number}")
            lines += [f"  {part} and {other}: {count:,}" for part, other, count in self.shared.iter_rows()]
        return lines


def make_report(
    parts: Mapping[str, Selectable], by: By, classes: str | None, executor: Executor | None
) -> SplitReport:
    """Count what the parts of one data set hold, after reading the columns that tell groups and classes."""
    import polars as pl

    every = join([part.selection.set for part in parts.values()])
    whole = next(iter(parts.values())).with_selection(Selection.of_set(every))
    places = {name: every.rank(part.selection.ids) for name, part in parts.items()}
    samples = np.array([len(here) for here in places.values()])
    columns: dict[str, Any] = {
        "part": list(places),
        "samples": samples,
        "share": samples / max(samples.sum(), 1),
    }
    counted = None if classes is None else _count_classes(whole, classes, places, executor)
    if by is None:
        return SplitReport(pl.DataFrame(columns), counted, label=classes)
    found = [hashes for _, hashes in identify(whole, by, executor)]
    hashes = np.concatenate(found) if found else np.zeros(0, np.uint64)
    is_grouped = hashes != hash_ids(every.ids)  # the others stand alone
    groups = {name: np.unique(hashes[here[is_grouped[here]]]) for name, here in places.items()}
    values, times = np.unique(np.concatenate(list(groups.values())), return_counts=True)
    common = values[times > 1]
    columns["groups"] = [len(group) for group in groups.values()]
    columns["shared_groups"] = [int(np.isin(group, common).sum()) for group in groups.values()]
    pairs = [
        (one, two, len(np.intersect1d(groups[one], groups[two]))) for one, two in combinations(groups, 2)
    ]
    schema = {"part": pl.String, "other": pl.String, "groups": pl.Int64}
    shared = pl.DataFrame([pair for pair in pairs if pair[2]], schema=schema, orient="row")
    return SplitReport(pl.DataFrame(columns), counted, shared, len(common), _describe(by), classes)


def _count_classes(
    whole: Selectable, column: str, places: Mapping[str, Ids], executor: Executor | None
) -> pl.DataFrame:
    """Count the classes of each part, the most frequent class of all first."""
    import polars as pl

    classes = read_classes(whole, column, executor)
    frames: list[pl.DataFrame] = []
    order = np.lexsort((np.arange(len(classes.texts)), -classes.counts))
    for name, here in places.items():
        counts = np.bincount(classes.codes[here], minlength=len(classes.texts))[order]
        frames.append(
            pl.DataFrame(
                {
                    "part": [name] * len(counts),
                    "class": pl.Series([classes.texts[number] for number in order], dtype=pl.String),
                    "samples": counts,
                    "share": counts / max(len(here), 1),
                }
            )
        )
    return pl.concat(frames)


def _describe(by: By) -> str:
    if isinstance(by, Grouping):
        return str(by)
    if isinstance(by, Content):
        return "contents" if by.columns is None else f"contents of {_quoted(by.columns)}"
    return f"groups by {_quoted((by,) if isinstance(by, str) else by or ())}"


def _quoted(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
