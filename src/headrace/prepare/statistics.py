"""What a fit asks of the data: statistics whose states are computed by row group and merged.

A statistic is a value that names what is asked, so that two steps that ask the same share the answer.
Merging is exact wherever it can be: a fitted number has the same bits for any row groups, any order and any executor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.prepare import exact

if TYPE_CHECKING:
    import polars as pl

Payload = tuple[dict[str, Any], dict[str, pa.Array]]
"""A state as data: plain JSON values, and Arrow arrays by name."""

S = TypeVar("S", bound="State")


class State(Protocol):
    """What is known so far; immutable."""

    def merge(self: S, other: S) -> S:
        """Return what is known of both parts, self's samples coming first."""
        ...

    def pack(self) -> Payload:
        """Return the state as data, which `Statistic.unpack` reads."""
        ...


class Statistic(Protocol):
    """Something asked of columns; a frozen dataclass, hashable, fingerprinted, picklable."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that are looked at."""
        ...

    def of(self, frame: pl.DataFrame) -> Any:
        """Return the state of some samples, of none too; thread-safe."""
        ...

    def unpack(self, payload: Payload) -> Any:
        """Read a state that `State.pack` wrote."""
        ...


@dataclass(frozen=True, slots=True)
class MomentsState:
    """Counts, extremes and exact sums of a column of numbers.

    Attributes:
        rows: Samples.
        nulls: Samples that are null.
        sums: What is known of the others.
    """

    rows: int
    nulls: int
    sums: exact.Sums

    @property
    def count(self) -> int:
        """How many values are finite."""
        return self.sums.count

    @property
    def mean(self) -> float:
        """The mean of the finite values, rounded once; NaN if there are none."""
        return exact.mean(self.sums.total, self.count) if self.count else float("nan")

    def variance(self, ddof: int = 0) -> float:
        """The variance of the finite values, rounded once; NaN if there are too few."""
        return exact.variance(self.sums.total, self.sums.squares, self.count, ddof)

    def merge(self, other: MomentsState) -> MomentsState:
        """Return the moments of both parts."""
        a, b = self.sums, other.sums
        lows = [low for low in (a.low, b.low) if low is not None]
        highs = [high for high in (a.high, b.high) if high is not None]
        sums = exact.Sums(
            a.count + b.count,
            a.nans + b.nans,
            a.infinities + b.infinities,
            min(lows, default=None),
            max(highs, default=None),
            a.total + b.total,
            a.squares + b.squares,
        )
        return MomentsState(self.rows + other.rows, self.nulls + other.nulls, sums)

    def pack(self) -> Payload:
        """Return plain values; the sums have more digits than JSON's numbers, and are written as text."""
        sums = self.sums
        numbers = [sums.count, sums.nans, sums.infinities, sums.low, sums.high]
        return {
            "counts": [self.rows, self.nulls, *numbers],
            "sums": [hex(sums.total), hex(sums.squares)],
        }, {}


@dataclass(frozen=True, slots=True)
class Moments:
    """Asks for counts, extremes, mean and variance of a column of numbers."""

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def of(self, frame: pl.DataFrame) -> MomentsState:
        """Sum up the column."""
        series = frame[self.column]
        return MomentsState(len(series), series.null_count(), exact.sum_up(known_numbers(series)))

    def unpack(self, payload: Payload) -> MomentsState:
        """Read a state."""
        rows, nulls, *numbers = payload[0]["counts"]
        total, squares = (int(text, 16) for text in payload[0]["sums"])
        return MomentsState(rows, nulls, exact.Sums(*numbers, total, squares))


@dataclass(frozen=True, slots=True)
class ValuesState:
    """All known values of a column, for exact quantiles.

    Attributes:
        parts: Finite values in the column's own dtype, in the order of the samples.
    """

    parts: tuple[NDArray[Any], ...]

    @property
    def count(self) -> int:
        """How many values are finite."""
        return sum(len(part) for part in self.parts)

    def quantiles(self, levels: tuple[float, ...]) -> list[float]:
        """Return quantiles, interpolated between neighbours; NaN if there are no values."""
        values = np.concatenate(self.parts) if self.parts else np.zeros(0)
        if not len(values):
            return [float("nan")] * len(levels)
        return np.quantile(values.astype(np.float64), levels).tolist()

    def merge(self, other: ValuesState) -> ValuesState:
        """Return both parts' values."""
        return ValuesState((*self.parts, *other.parts))

    def pack(self) -> Payload:
        """Return one array."""
        values = np.concatenate(self.parts) if self.parts else np.zeros(0)
        return {}, {"values": pa.array(values)}


@dataclass(frozen=True, slots=True)
class Values:
    """Asks for the values themselves of a column of numbers, for exact quantiles."""

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def of(self, frame: pl.DataFrame) -> ValuesState:
        """Keep the finite values."""
        values = known_numbers(frame[self.column])
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        return ValuesState((values,) if len(values) else ())

    def unpack(self, payload: Payload) -> ValuesState:
        """Read a state."""
        values = payload[1]["values"].to_numpy(zero_copy_only=False)
        return ValuesState((values,) if len(values) else ())


@dataclass(frozen=True, slots=True)
class CountsState:
    """How often each value of a column occurs.

    Attributes:
        table: Columns `value` (of the column's type, without null; NaN counts as null) and `count` (Int64),
            sorted by value.
        nulls: Samples that are null or NaN.
    """

    table: pl.DataFrame
    nulls: int

    def merge(self, other: CountsState) -> CountsState:
        """Return the counts of both parts."""
        import polars as pl

        table = pl.concat([self.table, other.table]).group_by("value").agg(pl.col("count").sum())
        return CountsState(table.sort("value"), self.nulls + other.nulls)

    def pack(self) -> Payload:
        """Return values and counts as arrays."""
        columns = {name: self.table[name].rechunk().to_arrow() for name in ("value", "count")}
        return {"nulls": self.nulls}, columns


@dataclass(frozen=True, slots=True)
class Counts:
    """Asks how often each value of a column occurs: categories, whole numbers, truth values."""

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def of(self, frame: pl.DataFrame) -> CountsState:
        """Count the column's values."""
        import polars as pl

        series = frame[self.column].alias("value")
        if series.dtype.is_float():
            series = series.fill_nan(None)
        table = series.drop_nulls().to_frame().group_by("value").agg(pl.len().cast(pl.Int64).alias("count"))
        return CountsState(table.sort("value"), series.null_count())

    def unpack(self, payload: Payload) -> CountsState:
        """Read a state."""
        import polars as pl

        meta, arrays = payload
        return CountsState(
            pl.DataFrame({name: pl.from_arrow(it) for name, it in arrays.items()}), meta["nulls"]
        )


def known_numbers(series: pl.Series) -> NDArray[Any]:
    """Return a column's values that are not null, in its own dtype; NaN and infinities stay."""
    return (series.drop_nulls() if series.null_count() else series).to_numpy()
