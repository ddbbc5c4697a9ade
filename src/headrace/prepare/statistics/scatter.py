"""Covariances and scatter within classes as statistics; exact, and rounded once at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import PrepareError
from headrace.prepare.statistics import Payload
from headrace.prepare.statistics.large import Integers, LargeNumbers
from headrace.prepare.statistics.products import Products, multiply

if TYPE_CHECKING:
    import polars as pl

Numbers = NDArray[np.float64]
Whole = NDArray[Any]
"""Python's whole numbers, in an object array."""

_GUARD_BITS = 64  # by which a quotient that is rounded before the last step is finer than the data


@dataclass(frozen=True, slots=True)
class CovarianceState:
    """Sums of columns and of their products.

    Attributes:
        count: Samples.
        columns: How many columns there are.
        products: The sums, of one group.
    """

    count: int
    columns: int
    products: Products

    @property
    def means(self) -> Numbers:
        """The mean of each column, rounded once, of shape [columns]; NaN without samples."""
        sums, unit = self.products.sums.integers()
        return _quotients(sums, unit, self.count)

    def covariance(self, ddof: int = 0) -> Numbers:
        """Return the covariance matrix, each number of it rounded once; NaN for too few samples."""
        (sums, unit), (squares, unit_2) = (
            it.integers() for it in (self.products.sums, self.products.squares)
        )
        above, below = np.triu_indices(self.columns)
        common = min(2 * unit, unit_2)
        spread = self.count * (squares << (unit_2 - common))
        spread = spread - ((sums[above] * sums[below]) << (2 * unit - common))
        divisor = self.count * (self.count - ddof) if self.count > ddof else 0
        return _symmetric(_quotients(spread, common, divisor), self.columns)

    def merge(self, other: CovarianceState) -> CovarianceState:
        """Return the sums over both parts."""
        return CovarianceState(self.count + other.count, self.columns, self.products.add(other.products))

    def pack(self) -> Payload:
        """Return the digits of the sums."""
        meta, arrays = _pack_products(self.products)
        return {"count": self.count, "columns": self.columns, **meta}, arrays


@dataclass(frozen=True, slots=True)
class Covariance:
    """Asks for the means of columns of numbers, and for the covariance of each two of them."""

    columns: tuple[str, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    def of(self, frame: pl.DataFrame) -> CovarianceState:
        """Sum up the columns.

        Raises:
            PrepareError: A value is missing or infinite.
        """
        columns = [_complete_numbers(frame[name]) for name in self.columns]
        return CovarianceState(len(frame), len(columns), multiply(columns))

    def unpack(self, payload: Payload) -> CovarianceState:
        """Read a state."""
        meta = payload[0]
        return CovarianceState(meta["count"], meta["columns"], _unpack_products(payload))


@dataclass(frozen=True, slots=True)
class ClassScatterState:
    """Sums of columns by class, and of their products.

    Attributes:
        columns: How many columns there are.
        classes: The values of the target, sorted.
        counts: Samples of each class.
        products: The sums, one group for each class.
    """

    columns: int
    classes: pl.Series
    counts: Integers
    products: Products

    @property
    def count(self) -> int:
        """Samples."""
        return int(self.counts.sum())

    @property
    def means(self) -> Numbers:
        """The mean of each column, rounded once, of shape [columns]."""
        sums, unit = self._sums
        return _quotients(sums.sum(axis=0), unit, self.count)

    @property
    def class_means(self) -> Numbers:
        """The mean of each column in each class, rounded once, of shape [classes, columns]."""
        sums, unit = self._sums
        rows = zip(sums, self.counts.tolist(), strict=True)
        return np.stack([_quotients(row, unit, count) for row, count in rows])

    @property
    def offsets(self) -> Numbers:
        """Class means less the mean of all samples, rounded once, of shape [classes, columns]."""
        sums, unit = self._sums
        total = sums.sum(axis=0)
        rows = zip(sums, self.counts.tolist(), strict=True)
        return np.stack(
            [_quotients(row * self.count - total * count, unit, self.count * count) for row, count in rows]
        )

    @property
    def within(self) -> Numbers:
        """Sums of products of the distances from the class means, of shape [columns, columns]."""
        sums, unit = self._sums
        squares, unit_2 = self.products.squares.integers()
        above, below = np.triu_indices(self.columns)
        common = min(2 * unit, unit_2) - _GUARD_BITS
        spread = squares << (unit_2 - common)
        for row, count in zip(sums, self.counts.tolist(), strict=True):
            spread = spread - ((row[above] * row[below]) << (2 * unit - common)) // count
        return _symmetric(_quotients(spread, common, 1), self.columns)

    @property
    def _sums(self) -> tuple[Whole, int]:
        sums, unit = self.products.sums.integers()
        return sums.reshape(len(self.classes), self.columns), unit

    def merge(self, other: ClassScatterState) -> ClassScatterState:
        """Return the sums over both parts, which can have different classes."""
        import polars as pl

        classes = pl.concat([self.classes, other.classes]).unique().sort()
        counts = np.zeros(len(classes), np.int64)
        products: list[Products] = []
        for part in (self, other):
            places = classes.search_sorted(part.classes).to_numpy().astype(np.int64)
            counts[places] += part.counts
            cells = (places[:, None] * self.columns + np.arange(self.columns)).ravel()
            sums = part.products.sums.placed(cells, len(classes) * self.columns)
            products.append(Products(sums, part.products.squares))
        return ClassScatterState(self.columns, classes, counts, products[0].add(products[1]))

    def pack(self) -> Payload:
        """Return classes, counts and the digits of the sums."""
        meta, arrays = _pack_products(self.products)
        classes = {"classes": self.classes.rechunk().to_arrow(), "counts": pa.array(self.counts)}
        return {"columns": self.columns, **meta}, {**arrays, **classes}


@dataclass(frozen=True, slots=True)
class ClassScatter:
    """Asks for the means of columns of numbers in each class, and for the scatter around them."""

    columns: tuple[str, ...]
    target: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns and the classes."""
        return (*self.columns, self.target)

    def of(self, frame: pl.DataFrame) -> ClassScatterState:
        """Sum up the columns.

        Raises:
            PrepareError: A value is missing or infinite.
        """
        import polars as pl

        target = frame[self.target]
        if isinstance(target.dtype, (pl.Categorical, pl.Enum)):
            target = target.cast(pl.String)
        missing = target.null_count() + (int(target.is_nan().sum()) if target.dtype.is_float() else 0)
        if missing:
            raise PrepareError(
                f"target column `{self.target}`: each sample needs a class, but {missing} have none; "
                "leave those samples out of the fit"
            )
        columns = [_complete_numbers(frame[name]) for name in self.columns]
        classes = target.unique().sort()
        groups = target.rank("dense").to_numpy().astype(np.int64) - 1
        counts = np.bincount(groups, minlength=len(classes)).astype(np.int64)
        products = multiply(columns, groups, len(classes))
        return ClassScatterState(len(columns), classes, counts, products)

    def unpack(self, payload: Payload) -> ClassScatterState:
        """Read a state."""
        import polars as pl

        meta, arrays = payload
        classes = pl.Series(pl.from_arrow(arrays["classes"]))
        counts = arrays["counts"].to_numpy(zero_copy_only=False)
        return ClassScatterState(meta["columns"], classes, counts, _unpack_products(payload))


def _complete_numbers(series: pl.Series) -> NDArray[Any]:
    """Return a column's values, all of which must be finite.

    Raises:
        PrepareError: Some are not.
    """
    import polars as pl

    if not (series.dtype.is_float() or series.dtype.is_integer()) or isinstance(
        series.dtype, (pl.Int128, pl.UInt128)
    ):
        series = series.cast(pl.Float64)
    values = series.to_numpy()
    missing = series.null_count()
    if missing or not np.isfinite(values).all():
        infinite = int(np.isinf(values).sum())
        if infinite:
            raise PrepareError(
                f"column `{series.name}`: {infinite} values are infinite, and none can be fitted to; clip "
                "them before"
            )
        missing = int(np.isnan(values).sum())
        raise PrepareError(
            f"column `{series.name}`: a covariance needs every value, but {missing} are missing; fill "
            "them before"
        )
    return values


def _quotients(numbers: Whole, exponent: int, divisor: int) -> Numbers:
    """Return numbers * 2**exponent / divisor, each rounded once; NaN by zero, infinite beyond float64."""
    if not divisor:
        return np.full(len(numbers), np.nan)
    above, below = max(exponent, 0), divisor << max(-exponent, 0)
    return np.array([_quotient(number << above, below) for number in numbers.tolist()], np.float64)


def _quotient(number: int, divisor: int) -> float:
    try:
        return number / divisor
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def _symmetric(numbers: Sequence[float] | Numbers, size: int) -> Numbers:
    """Return the matrix whose upper half the numbers are, row by row."""
    matrix = np.zeros((size, size))
    above, below = np.triu_indices(size)
    matrix[above, below] = numbers
    matrix[below, above] = numbers
    return matrix


def _pack_products(products: Products) -> Payload:
    parts = {"sums": products.sums, "squares": products.squares}
    meta = {name: [it.low, *it.digits.shape] for name, it in parts.items()}
    return meta, {name: pa.array(it.digits.ravel()) for name, it in parts.items()}


def _unpack_products(payload: Payload) -> Products:
    meta, arrays = payload
    parts: list[LargeNumbers] = []
    for name in ("sums", "squares"):
        low, *shape = meta[name]
        parts.append(LargeNumbers(low, arrays[name].to_numpy(zero_copy_only=False).reshape(shape)))
    return Products(*parts)
