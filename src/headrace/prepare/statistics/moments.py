"""Counts, extremes, mean and variance of a column of numbers, exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headrace.errors import PrepareError
from headrace.prepare.numbers.memory import known_numbers
from headrace.prepare.statistics import exact
from headrace.prepare.statistics.states import Payload
from headrace.prepare.statistics.weighted import sum_weighted

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class MomentsState:
    """Counts, extremes and exact sums of a column of numbers.

    Attributes:
        rows: Samples.
        nulls: Samples that are null.
        sums: What is known of the others; of those with a weight above 0, if there are weights.
        is_weighted: Whether there are weights.
    """

    rows: int
    nulls: int
    sums: exact.Sums
    is_weighted: bool = False

    @property
    def count(self) -> int:
        """How many values are finite."""
        return self.sums.count

    @property
    def weight(self) -> float:
        """The sum of their weights, rounded once; the count if there are none."""
        return exact.divide(self.sums.weight, self._one)

    @property
    def mean(self) -> float:
        """The mean of the finite values, rounded once; NaN if there are none."""
        return exact.mean(self.sums.total, self.sums.weight) if self.count else float("nan")

    def variance(self, ddof: int = 0) -> float:
        """The variance of the finite values, rounded once; NaN if there are too few.

        Args:
            ddof: What is taken off the count, or off the sum of the weights, as if these were repeats.
        """
        return exact.variance(self.sums.total, self.sums.squares, self.sums.weight, ddof * self._one)

    @property
    def _one(self) -> int:
        return 1 << exact.SUM_UNIT if self.is_weighted else 1

    def merge(self, other: MomentsState) -> MomentsState:
        """Return the moments of both parts."""
        return MomentsState(
            self.rows + other.rows, self.nulls + other.nulls, self.sums.merge(other.sums), self.is_weighted
        )

    def pack(self) -> Payload:
        """Return plain values; the sums have more digits than JSON's numbers, and are written as text."""
        sums = self.sums
        numbers = [sums.count, sums.nans, sums.infinities, sums.low, sums.high]
        return {
            "counts": [self.rows, self.nulls, *numbers],
            "sums": [hex(sums.total), hex(sums.squares), hex(sums.weight)],
        }, {}


@dataclass(frozen=True, slots=True)
class Moments:
    """Asks for counts, extremes, mean and variance of a column of numbers.

    Sums are exact: each result has the same bits for any row groups and any order of them.

    Attributes:
        column: Which column.
        weights: A column of weights, finite and not negative. Samples of weight 0 take no part.

    Example:
        >>> import polars as pl
        >>> frame = pl.DataFrame({"x": [1.0, 2.0, 4.0], "w": [1, 2, 0]})
        >>> Moments("x", weights="w").of(frame).mean
        1.6666666666666667
    """

    column: str
    weights: str | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The column, and that of the weights."""
        return (self.column,) if self.weights is None else (self.column, self.weights)

    def of(self, frame: pl.DataFrame) -> MomentsState:
        """Sum up the column.

        Raises:
            PrepareError: A weight is missing, negative or infinite.
        """
        series = frame[self.column]
        rows, nulls = len(series), series.null_count()
        if self.weights is None:
            return MomentsState(rows, nulls, exact.sum_up(known_numbers(series)))
        weights = _checked_weights(frame[self.weights], self.weights)
        values = known_numbers(series)
        if nulls:
            weights = weights[series.is_not_null().to_numpy()]
        return MomentsState(rows, nulls, sum_weighted(values, weights), is_weighted=True)

    def unpack(self, payload: Payload) -> MomentsState:
        """Read a state."""
        rows, nulls, *numbers = payload[0]["counts"]
        sums = (int(text, 16) for text in payload[0]["sums"])
        return MomentsState(rows, nulls, exact.Sums(*numbers, *sums), self.weights is not None)


def _checked_weights(series: pl.Series, name: str) -> exact.Floats:
    import polars as pl

    weights = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    is_wrong = ~(np.isfinite(weights) & (weights >= 0))
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        raise PrepareError(
            f"column `{name}`: weights must be finite and not negative, got {series[row]!r} in row {row} of "
            "a row group; filter such samples out or fill the column before"
        )
    return weights
