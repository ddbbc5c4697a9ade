"""Exact sums of a column of numbers by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.prepare.numbers.memory import known_numbers
from headrace.prepare.statistics.counting import canonical
from headrace.prepare.statistics.exact import SUM_UNIT, Floats, fixed, variance
from headrace.prepare.statistics.limb_kernels import add_by_group, take_apart, take_whole_apart
from headrace.prepare.statistics.limbs import Limbs, Whole
from headrace.prepare.statistics.states import Payload

if TYPE_CHECKING:
    import polars as pl

_ROW = "\0row"
_FEW = 1 << 12  # groups that are not worth adding up yet


@dataclass(frozen=True, eq=False)
class GroupTable:
    """Exact sums by group.

    Attributes:
        groups: A line for each group, sorted by the columns that tell groups apart, null last.
        counts: Known values of each group, int64.
        sums: Their sums, in units of 2**-1074.
        squares: Sums of their squares, in units of 2**-2148.
    """

    groups: pl.DataFrame
    counts: Whole
    sums: Limbs
    squares: Limbs

    @cached_property
    def means(self) -> Floats:
        """Mean of each group, rounded once; NaN for one without known values."""
        return self.sums.divided(self.counts, SUM_UNIT)

    def variances(self, ddof: int = 0) -> Floats:
        """Variance of each group, rounded once; NaN for too few values."""
        numbers = zip(self.sums.tolist(), self.squares.tolist(), self.counts.tolist(), strict=True)
        return np.array([variance(*each, ddof) for each in numbers], np.float64)

    def over(self, names: Sequence[str]) -> GroupTable:
        """Return the sums by some of the columns alone; by none of them, of all samples as one group."""
        if names:
            return _sorted(_added_up(self.groups.select(names), self.counts, self.sums, self.squares))
        rows, offsets = np.arange(len(self.counts)), np.array([0, len(self.counts)])
        added = (it.add_up(rows, offsets) for it in (self.sums, self.squares))
        sums, squares = added
        return GroupTable(self.groups.select().head(0), np.array([self.counts.sum()]), sums, squares)

    def others(self, name: str) -> GroupTable:
        """Return for each group the sums of all groups that differ from it in this column, and in no other.

        With folds as the column: what the other folds know of a category.
        """
        import polars as pl

        rest = [column for column in self.groups.columns if column != name]
        whole = self.over(rest)
        rows = np.zeros(len(self.counts), np.int64)
        if rest:
            places = whole.groups.with_columns(pl.int_range(pl.len()).alias(_ROW))
            joined = self.groups.join(places, on=rest, how="left", nulls_equal=True, maintain_order="left")
            rows = joined[_ROW].to_numpy()
        counts = whole.counts[rows] - self.counts
        sums, squares = whole.sums.take(rows), whole.squares.take(rows)
        return GroupTable(self.groups, counts, sums.minus(self.sums), squares.minus(self.squares))


@dataclass(frozen=True)
class GroupSumsState:
    """Exact sums by group, of parts of the samples.

    Attributes:
        parts: Tables in which a group may come again; at least one.
        infinities: Values that are infinite.
    """

    parts: tuple[GroupTable, ...]
    infinities: int

    @cached_property
    def table(self) -> GroupTable:
        """The sums of all samples."""
        return _sorted(_merged(self.parts))

    def merge(self, other: GroupSumsState) -> GroupSumsState:
        """Return the sums of both parts; adds them up whenever they have doubled."""
        parts = (*self.parts, *(part for part in other.parts if len(part.counts)))
        if sum(len(part.counts) for part in parts[1:]) > max(len(parts[0].counts), _FEW):
            parts = (_merged(parts),)
        return GroupSumsState(parts, self.infinities + other.infinities)

    def pack(self) -> Payload:
        """Return groups, counts and limbs as arrays."""
        table = self.table
        arrays = {
            f"by {name}": series.rechunk().to_arrow() for name, series in table.groups.to_dict().items()
        }
        limbs = {"sums": table.sums, "squares": table.squares}
        meta: dict[str, Any] = {"infinities": self.infinities}
        for name, each in limbs.items():
            meta[name] = [each.place, each.limbs.shape[1]]
            arrays[name] = pa.array(each.limbs.ravel())
        return meta, {"counts": pa.array(table.counts), **arrays}


@dataclass(frozen=True, slots=True)
class GroupSums:
    """Asks for count, sum and sum of squares of a column of numbers by group.

    All are exact: each result has the same bits for any row groups and any order of them. Null and NaN make a
    group of their own, and have no part in the sums; a group of which no value is known has the count 0.

    Attributes:
        by: The columns whose values tell groups apart.
        column: The numbers, or truth values.

    Example:
        >>> import polars as pl
        >>> frame = pl.DataFrame({"city": ["a", "b", "a", None], "y": [1.0, 5.0, 2.0, None]})
        >>> table = GroupSums(("city",), "y").of(frame).table
        >>> table.groups["city"].to_list(), table.counts.tolist(), table.means.tolist()
        (['a', 'b', None], [2, 1, 0], [1.5, 5.0, nan])
        >>> table.over(()).means.tolist()
        [2.6666666666666665]
    """

    by: tuple[str, ...]
    column: str

    def __post_init__(self) -> None:
        if not self.by or len(set(self.by)) != len(self.by):
            raise OptionError(f"`by` must name at least one column, each once, got {self.by!r}")

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(dict.fromkeys((*self.by, self.column)))

    def of(self, frame: pl.DataFrame) -> GroupSumsState:
        """Sum up the column."""
        groups, rows, offsets = _group(group_keys(frame.select(self.by)))
        series = frame[self.column]
        is_known = series.is_not_null().to_numpy()
        if series.dtype.is_float():
            values = series.fill_null(float("nan")).to_numpy()
            infinities = int(np.isinf(values).sum())
            is_known &= np.isfinite(values)
            values = np.where(is_known, values, 0).astype(np.float64)
        else:
            values, infinities = known_numbers(series.fill_null(strategy="zero")), 0
            values = values.view(np.uint8) if values.dtype == np.bool_ else values
        known = np.concatenate([[0], np.cumsum(is_known[rows])])
        counts = known[offsets[1:]] - known[offsets[:-1]]
        return GroupSumsState((GroupTable(groups, counts, *_sum(values, rows, offsets)),), infinities)

    def unpack(self, payload: Payload) -> GroupSumsState:
        """Read a state."""
        import polars as pl

        meta, arrays = payload
        groups = pl.DataFrame([pl.Series(name, pl.from_arrow(arrays[f"by {name}"])) for name in self.by])
        numbers = {name: arrays[name].to_numpy().reshape(-1, meta[name][1]) for name in ("sums", "squares")}
        limbs = (Limbs(numbers[name], meta[name][0]) for name in ("sums", "squares"))
        return GroupSumsState((GroupTable(groups, arrays["counts"].to_numpy(), *limbs),), meta["infinities"])


def group_keys(frame: pl.DataFrame) -> pl.DataFrame:
    """Make equal values the same: NaN is null, zero has no sign, categories are strings."""
    import polars as pl

    keys = frame.with_columns(canonical(series) for series in frame.iter_columns())
    return keys.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))


def _group(keys: pl.DataFrame) -> tuple[pl.DataFrame, Whole, Whole]:
    """Return distinct lines in no order, the rows of each one after another, and where each begins."""
    import polars as pl

    names = keys.columns
    numbered = keys.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(_ROW))
    grouped = numbered.group_by(names).agg(_ROW)
    lengths = grouped[_ROW].list.len().to_numpy()
    flat = grouped[_ROW].explode(empty_as_null=False).to_numpy()
    return grouped.select(names), flat, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _sum(values: NDArray[Any], rows: Whole, offsets: Whole) -> tuple[Limbs, Limbs]:
    count = len(values)
    sizes, shifts, signs = np.empty(count, np.uint64), np.empty(count, np.int64), np.empty(count, np.int64)
    if values.dtype.kind == "f":
        low, high = take_apart(fixed(values), sizes, shifts, signs)
    else:
        take_whole_apart(fixed(values), values.dtype.kind == "i", sizes, shifts, signs)
        low, high = SUM_UNIT, SUM_UNIT + 64
    low, high = (low, high) if high >= low else (SUM_UNIT, SUM_UNIT)
    place, square_place = low // 32, 2 * low // 32
    groups = len(offsets) - 1
    sums = np.zeros((groups, high // 32 - place + 3), np.int64)
    squares = np.zeros((groups, 2 * high // 32 - square_place + 5), np.int64)
    numbers = (sizes, shifts - 32 * place, 2 * shifts - 32 * square_place, signs)
    add_by_group(numbers, rows, offsets, sums, squares)
    return Limbs.of(sums, place), Limbs.of(squares, square_place)


def _merged(parts: Sequence[GroupTable]) -> GroupTable:
    import polars as pl

    groups = pl.concat([part.groups for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    sums, squares = (
        Limbs.concat([part.sums for part in parts]),
        Limbs.concat([part.squares for part in parts]),
    )
    return _added_up(groups, counts, sums, squares)


def _added_up(keys: pl.DataFrame, counts: Whole, sums: Limbs, squares: Limbs) -> GroupTable:
    groups, rows, offsets = _group(keys)
    known = np.concatenate([[0], np.cumsum(counts[rows])])
    added = (it.add_up(rows, offsets) for it in (sums, squares))
    return GroupTable(groups, known[offsets[1:]] - known[offsets[:-1]], *added)


def _sorted(table: GroupTable) -> GroupTable:
    import polars as pl

    order = pl.int_range(pl.len(), dtype=pl.Int64).alias(_ROW)
    ordered = table.groups.with_columns(order).sort(table.groups.columns, nulls_last=True)
    rows = ordered[_ROW].to_numpy()
    return GroupTable(ordered.drop(_ROW), table.counts[rows], table.sums.take(rows), table.squares.take(rows))
