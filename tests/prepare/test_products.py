"""Sums of products are exact: held against fractions, on numbers of any size, in any partitioning."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.prepare.statistics import products
from headrace.prepare.statistics.large import LargeNumbers
from headrace.prepare.statistics.product_kernels import (
    add_products,
    add_products_reference,
    peel,
    peel_reference,
    project,
    project_reference,
)
from headrace.prepare.statistics.products import Products, multiply

FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-3, 3) | st.just(0.0)
DTYPES = st.sampled_from([np.float64, np.float32, np.int64, np.uint64, np.int8, np.bool_])


def fractions(numbers: LargeNumbers) -> list[Fraction]:
    whole, exponent = numbers.integers()
    return [Fraction(int(number)) * Fraction(2) ** exponent for number in whole]


def equal_bits(a: LargeNumbers, b: LargeNumbers) -> bool:
    return a.low == b.low and a.digits.shape == b.digits.shape and bool((a.digits == b.digits).all())


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
    """Draw a few columns of any dtype, and a group for each row."""
    rows = draw(st.integers(0, 9))
    columns: list[NDArray[Any]] = []
    for dtype in draw(st.lists(DTYPES, min_size=1, max_size=4)):
        kind = np.dtype(dtype)
        if kind.kind == "f":
            width = 32 if kind.itemsize == 4 else 64
            values: Any = (
                FLOATS if width == 64 else st.floats(allow_nan=False, allow_infinity=False, width=32)
            )
        elif kind.kind == "b":
            values = st.booleans()
        else:
            values = st.integers(int(np.iinfo(kind).min), int(np.iinfo(kind).max))
        columns.append(np.array(draw(st.lists(values, min_size=rows, max_size=rows)), kind))
    groups = draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    return columns, np.array(groups, np.int64)


@settings(max_examples=200, deadline=None)
@given(tables())
def test_sums_of_products_are_those_of_fractions(table: tuple[list[NDArray[Any]], NDArray[np.int64]]) -> None:
    """Columns of any dtype and any exponents, the ends of their ranges too, are summed without rounding."""
    columns, groups = table
    exact = [[Fraction(value.item()) for value in column] for column in columns]

    found = multiply(columns, groups, 3)

    rows = range(len(groups))
    assert fractions(found.sums) == [
        sum((column[row] for row in rows if groups[row] == group), Fraction(0))
        for group in range(3)
        for column in exact
    ]
    assert fractions(found.squares) == [
        sum((exact[i][row] * exact[j][row] for row in rows), Fraction(0))
        for i in range(len(columns))
        for j in range(i, len(columns))
    ]


@settings(max_examples=50, deadline=None)
@given(tables(), st.data())
def test_parts_in_any_order_give_equal_bits(
    table: tuple[list[NDArray[Any]], NDArray[np.int64]], data: st.DataObject
) -> None:
    """The sum of parts, in any order and partitioning, has the bits of the whole."""
    columns, groups = table
    order = np.array(data.draw(st.permutations(range(len(groups)))), np.int64)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(groups)), max_size=3)))
    parts = [
        multiply([column[rows] for column in columns], groups[rows], 3) for rows in np.split(order, cuts)
    ]

    whole, total = multiply(columns, groups, 3), parts[0]
    for part in parts[1:]:
        total = total.add(part)

    assert equal_bits(whole.sums, total.sums)
    assert equal_bits(whole.squares, total.squares)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_rows_are_summed_in_blocks(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, rows with few small slices, and sums that are set aside on the way change nothing."""
    rng = np.random.default_rng(0)
    columns: list[NDArray[Any]] = [rng.normal(size=5000).astype(dtype) for _ in range(3)]
    columns.append(np.where(rng.random(5000) < 0.001, 1e-30, 1.0).astype(dtype))
    exact = [[Fraction(value) for value in column.tolist()] for column in columns]
    expected = [
        sum((a * b for a, b in zip(exact[i], exact[j], strict=True)), Fraction(0))
        for i in range(4)
        for j in range(i, 4)
    ]

    assert fractions(multiply(columns).squares) == expected
    monkeypatch.setattr(products, "_ADDITIONS", 1)
    assert fractions(multiply(columns).squares) == expected


def test_the_largest_sums_that_a_block_can_have_are_exact() -> None:
    """Slices that are nearly as large as can be sum up without rounding in full blocks."""
    digits = np.random.default_rng(2).integers(2**22 - 2000, 2**22, (2, 2, 3 * 2048))
    columns = list(digits[0] * 2.0**-22 + digits[1] * 2.0**-45)

    found = fractions(multiply(columns).squares)

    a, b = ([Fraction(value) for value in column.tolist()] for column in columns)
    expected = [sum(x * y for x, y in zip(*pair, strict=True)) for pair in ((a, a), (a, b), (b, b))]
    assert found == expected


def test_the_largest_sums_of_many_blocks_are_exact() -> None:
    """Sums over millions of samples whose slices are as large as can be do not overflow."""
    value, rows = (2**22 - 1) * (2.0**-22 + 2.0**-45), 5_000_000

    found = multiply([np.full(rows, value)])

    assert fractions(found.squares) == [rows * Fraction(value) ** 2]
    assert fractions(found.sums) == [rows * Fraction(value)]


def test_cancelling_numbers_leave_nothing() -> None:
    """What cancels leaves no digit, so that equal sums have equal bits however they came about."""
    found = multiply([np.array([1e300, -1e300, 1e-300, -1e-300])])

    assert found.sums.digits.shape == (0, 1)
    assert equal_bits(found.sums, LargeNumbers.zeros(1))


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-3000, 3000)), min_size=2, max_size=2
        ),
        max_size=5,
    )
)
def test_large_numbers_add_up(terms: list[list[tuple[int, int]]]) -> None:
    """Terms of any sign and exponent are summed at once, or one after another, to the same bits."""
    arrays = [tuple(np.array(column, np.int64) for column in zip(*term, strict=True)) for term in terms]
    pairs = [(values, exponents) for values, exponents in arrays]

    at_once, total = LargeNumbers.scaled(2, pairs), LargeNumbers.zeros(2)
    for pair in pairs:
        total = total.add(LargeNumbers.scaled(2, [pair]))

    expected = [
        sum((Fraction(term[i][0]) * Fraction(2) ** term[i][1] for term in terms), Fraction(0))
        for i in range(2)
    ]
    assert fractions(at_once) == expected
    assert equal_bits(at_once, total)


@pytest.mark.parametrize("is_half", [False, True])
@pytest.mark.parametrize(("columns", "rows"), [(4, 0), (4, 1), (8, 512), (12, 2047)])
def test_products_do_what_their_oracle_does(columns: int, rows: int, is_half: bool) -> None:
    """The compiled sums are those of whole numbers, at the largest size too, on top of what was there."""
    rng = np.random.default_rng(columns)
    sizes = [-(2**22), -3, 0, 2**22 - 1, 2**22]
    left, right = (rng.choice(sizes, (columns, rows)).astype(np.float64) for _ in range(2))
    sums, expected = (np.full((columns, columns), 7, np.int64) for _ in range(2))

    add_products(left, right, sums, is_half)
    add_products_reference(left, right, expected, is_half)

    asked = np.triu_indices(columns) if is_half else np.indices((columns, columns))
    np.testing.assert_array_equal(sums[tuple(asked)], expected[tuple(asked)])


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.integers(1, 60))
def test_peeling_does_what_its_oracle_does(values: list[float], bits: int) -> None:
    """The compiled cut gives the bits of the NumPy one, its remainder and flags too."""
    unit = 2.0**-bits if bits < 51 else 2.0**-50
    results: list[Any] = []
    for function in (peel, peel_reference):
        rest, used = np.array([values, values[::-1]]), np.zeros(len(values), np.uint8)
        out = np.empty_like(rest)
        results.append((function(rest, unit, out, used), rest, out, used))

    assert results[0][0] == results[1][0]
    for one, other in zip(results[0][1:], results[1][1:], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("outputs", "columns", "rows"), [(2, 4, 1), (4, 12, 255), (6, 8, 256), (8, 20, 1003)]
)
def test_projection_does_what_its_oracle_does(outputs: int, columns: int, rows: int) -> None:
    """The compiled product has the bits of the NumPy one, whatever the number of rows."""
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=(columns, rows)), rng.normal(size=(outputs, columns))
    values[:, 0] = np.nan
    compiled, expected = np.empty((outputs, rows)), np.empty((outputs, rows))

    project(values, weights, compiled)
    project_reference(values, weights, expected)

    np.testing.assert_array_equal(compiled, expected)


def test_no_columns_of_no_rows_sum_to_nothing() -> None:
    """A part without samples adds nothing."""
    some = multiply([np.array([1.5, 2.5]), np.array([0.5, 4.0])])
    none = multiply([np.zeros(0), np.zeros(0)])
    total: Products = none.add(some)

    assert equal_bits(total.squares, some.squares)
    assert fractions(total.sums) == [4, Fraction(9, 2)]
