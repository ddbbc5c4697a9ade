"""Exact sums of products of columns: the same bits for any partitioning and any order.

Each column is cut into slices: whole numbers of at most 23 bits times powers of two, of which a float64
gives three or four. Products of slices, summed over 512 samples, stay within 2**53, so that floats add them
without rounding, in whichever order; these sums are added up as whole numbers (K. Ozaki et al., "Error-free
transformations of matrix multiplication by using fast routines of matrix multiplication and its
applications", 2012). Data of few digits, such as float32 or small whole numbers, have fewer slices; data of
a huge range have more, and take longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.prepare.statistics.large import Integers, LargeNumbers
from headrace.prepare.statistics.product_kernels import PRODUCT_ROWS, Numbers, add_products, peel

_BITS = 23  # of a slice, sign included; as many as `PRODUCT_ROWS` products of slices allow
_ROWS = 4 * PRODUCT_ROWS  # that are cut at once; the products of their slices sum to 2**55 at most
_ADDITIONS = 1 << 4  # of slices, after which no sum of their products can have passed 2**63
_BAND = 32 * _BITS  # of range are scaled at once, without rounding
_WHOLE = 1 << 53


@dataclass(frozen=True, slots=True)
class Products:
    """Sums of columns by group, and sums of the products of each two columns.

    Attributes:
        sums: The sum of column j over group g, at place g * columns + j.
        squares: The sums of the products of columns i <= j, in the order of `numpy.triu_indices`.
    """

    sums: LargeNumbers
    squares: LargeNumbers

    def add(self, other: Products) -> Products:
        """Return the sums over both parts, which have the same groups."""
        return Products(self.sums.add(other.sums), self.squares.add(other.squares))


def multiply(
    columns: Sequence[NDArray[Any]], groups: Integers | None = None, group_count: int = 1
) -> Products:
    """Sum columns, and the products of each two of them, without rounding.

    Args:
        columns: Finite floats, whole numbers or truth values, each of shape [n].
        groups: The group of each sample, of shape [n]; None if there is one.
        group_count: How many groups there are.

    Example:
        >>> products = multiply([np.array([1e200, 1.0, -1e200]), np.array([0.5, 0.25, 0.5])])
        >>> numbers, exponent = products.squares.integers()
        >>> numbers[1] * 2.0**exponent
        0.25
    """
    halves = [_halves(column) for column in columns]
    exponents = np.array([_exponent(parts[0]) for parts in halves], np.int64)
    tally = _Tally(exponents, group_count)
    for begin in range(0, len(columns[0]), _ROWS):
        rows = slice(begin, begin + _ROWS)
        blocks = [
            [parts[half][rows] if half < len(parts) else None for parts in halves]
            for half in range(max(map(len, halves)))
        ]
        slices = [it for block in blocks for it in _slices(block, exponents)]
        tally.add(slices, None if groups is None else groups[rows])
    return tally.total()


@dataclass(frozen=True, slots=True)
class _Slice:
    """Whole numbers up to 2**22, [columns, rows], in units of 2**(exponents - 23 * (place + 1) + 1)."""

    place: int
    values: Numbers
    rows: Integers | None  # those that are not zero, if they are few


@dataclass(slots=True)
class _Tally:
    """Sums of slices and of their products, by the places that were multiplied.

    Products of one slice with itself are kept apart, since of these the upper half is enough.
    """

    exponents: Integers
    group_count: int
    sums: dict[int, Integers] = field(default_factory=dict[int, Integers])
    squares: dict[tuple[int, bool], Integers] = field(default_factory=dict[tuple[int, bool], Integers])
    done: Products | None = None
    additions: int = 0

    def add(self, slices: Sequence[_Slice], groups: Integers | None) -> None:
        """Add a block."""
        for number, one in enumerate(slices):
            width = len(one.values)
            sums = self.sums.setdefault(one.place, np.zeros((self.group_count, width), np.int64))
            _add_by_group(one.values, groups, sums)
            values = _some(one.values, one.rows)
            for other in slices[: number + 1]:
                key = (one.place + other.place, other is one)
                squares = self.squares.setdefault(key, np.zeros((width, width), np.int64))
                add_products(
                    values, values if other is one else _some(other.values, one.rows), squares, key[1]
                )
        self.additions += len(slices)
        if self.additions >= _ADDITIONS:
            self.done = self.total()
            self.sums, self.squares, self.additions = {}, {}, 0

    def total(self) -> Products:
        """Return all that was added."""
        one, size = self.exponents, len(self.exponents)
        above, below = np.triu_indices(size)
        two = one[above] + one[below]
        sums = [
            (values[:, :size].ravel(), np.tile(one, self.group_count) + (1 - _BITS * (place + 1)))
            for place, values in self.sums.items()
        ]
        squares = [
            (
                values[above, below] + (0 if is_own else values[below, above]),
                two + (2 - _BITS * (place + 2)),
            )
            for (place, is_own), values in self.squares.items()
        ]
        found = Products(
            LargeNumbers.scaled(self.group_count * size, sums), LargeNumbers.scaled(len(two), squares)
        )
        return found if self.done is None else self.done.add(found)


def _some(values: Numbers, rows: Integers | None) -> Numbers:
    return values if rows is None else np.take(values, rows, axis=1)


def _add_by_group(values: Numbers, groups: Integers | None, sums: Integers) -> None:
    if groups is None:
        sums[0] += values.sum(axis=1).astype(np.int64)
        return
    order = np.argsort(groups, kind="stable")
    present, begins = np.unique(groups[order], return_index=True)
    sums[present] += np.add.reduceat(values[:, order], begins, axis=1).T.astype(np.int64)


def _halves(column: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return arrays whose sum the column is, and whose values float64 holds."""
    if column.dtype.kind not in "iu" or column.dtype.itemsize < 8 or _largest(column) <= _WHOLE:
        return (column,)
    low = column & np.array(0xFFFFFFFF, column.dtype)
    return (column - low).astype(np.float64), low


def _exponent(column: NDArray[Any]) -> int:
    """Return the least exponent of a power of two that all values are below."""
    return int(np.frexp(float(_largest(column)))[1])


def _largest(column: NDArray[Any]) -> Any:
    """Return the largest size of a value."""
    if not len(column):
        return 0
    return max(-column.min().item(), column.max().item())


def _slices(block: Sequence[NDArray[Any] | None], exponents: Integers) -> Iterator[_Slice]:
    """Cut values, given by column, into slices that sum to them."""
    size = max(len(column) for column in block if column is not None)
    values = np.zeros((len(block) + -len(block) % 4, size))
    for number, column in enumerate(block):
        if column is not None:
            values[number] = column
    exponents = np.pad(exponents, (0, len(values) - len(exponents)))
    scaled, is_far = _scaled(values, exponents)
    yield from _peeled(scaled, 0)
    if is_far:
        ends = exponents[:, None] - _BAND
        for band in (1, 2):  # float64 spans 2098 bits
            low, high = np.ldexp(1.0, ends - _BAND * band), np.ldexp(1.0, ends - _BAND * (band - 1))
            held = (np.abs(values) < high) & (np.abs(values) >= low)
            yield from _peeled(
                np.ldexp(np.where(held, values, 0.0), _BAND * band - exponents[:, None]), 32 * band
            )


def _scaled(values: Numbers, exponents: Integers) -> tuple[Numbers, bool]:
    """Scale columns to numbers below 1, and set to zero those so small that they could be rounded."""
    half = exponents // 2
    scaled = values * np.ldexp(1.0, -half)[:, None] * np.ldexp(1.0, half - exponents)[:, None]
    far = np.abs(scaled) < np.ldexp(1.0, -_BAND)
    far &= values != 0
    is_far = bool(far.any())
    if is_far:
        scaled[far] = 0
    return scaled, is_far


def _peeled(rest: Numbers, place: int) -> Iterator[_Slice]:
    """Cut numbers below 2**(-23 * place), scaled up by as much, into slices; they are overwritten."""
    unit, is_left = 2.0 ** (1 - _BITS), bool(rest.any())
    while is_left:
        out, used = np.empty_like(rest), np.zeros(rest.shape[1], np.uint8)
        is_left = peel(rest, unit, out, used)
        rows = np.flatnonzero(used)
        if len(rows):
            yield _Slice(place, out, rows if 2 * len(rows) < len(used) else None)
        unit, place = unit * 2.0**-_BITS, place + 1
