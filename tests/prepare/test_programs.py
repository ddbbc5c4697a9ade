"""Programs: the kernel against its NumPy twin, bit for bit, for every operation, type and length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from headrace.errors import PrecisionWarning, PrepareError
from headrace.prepare.numbers import program_reference as reference
from headrace.prepare.numbers.operations import (
    Affine,
    Bucket,
    Exp,
    Fill,
    Interpolate,
    Limit,
    Log,
    NormalQuantile,
    NormalShare,
    Operation,
    Pick,
    Power,
)
from headrace.prepare.numbers.program_reference import run_reference
from headrace.prepare.numbers.programs import dtype_after, run_program, run_programs, run_values

Numbers = np.ndarray[Any, np.dtype[np.float64]]
XS = np.array([-3.0, -1.0, -1.0, -1.0, 0.25, 2.0])
YS = np.array([-1.0, 0.0, 0.5, 2.0, 2.5, 9.0])
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    np.inf,
    -np.inf,
    np.nan,
    5e-324,
    -1e-310,
    1.7e308,
    709.7,
    709.79,
    -745.0,
]

PROGRAMS: list[list[Operation]] = [
    [Fill(3.5)],
    [Limit(-1.0, 0.5)],
    [Limit(-1.0, 0.5, to_null=True)],
    [Affine(0.1, 3.0, 0.7, 9.0)],
    [Affine(shift=-0.3)],
    [Log(0.0, to_null=True)],
    [Log(1.0, to_null=True)],
    [Exp(0.0)],
    [Exp(1.0)],
    *([Power(lam, is_signed=True)] for lam in (0.0, 2.0, 0.3, -0.7)),
    *([Power(lam, is_signed=True, inverse=True)] for lam in (0.0, 2.0, 0.3, -0.7)),
    *([Power(lam, is_signed=False, inverse=True)] for lam in (0.0, 0.5)),
    [Interpolate(XS, YS)],
    [NormalQuantile()],
    [Affine(0, 1, 1e-3, 0.5), NormalQuantile()],
    [NormalShare()],
    [Bucket(XS)],
    [Pick(YS, -3)],
    [Fill(1.0), Limit(-5.0, 5.0), Affine(0.3, 0.1)],
]


def bits(values: Numbers) -> list[int]:
    """Every NaN is the same, and minus zero is not zero."""
    return np.where(np.isnan(values), np.nan, values).view(np.int64).tolist()


def assert_twins(values: Numbers, operations: Sequence[Operation]) -> None:
    got = run_program(pl.Series("x", values), operations, pl.Float64())
    assert bits(got.to_numpy()) == bits(run_reference(values, operations))
    assert not got.is_nan().any()


@pytest.mark.parametrize("operations", PROGRAMS, ids=str)
def test_kernel_and_twin_give_the_same_bits(operations: list[Operation]) -> None:
    """Values of all sizes, and the special ones."""
    draw = np.random.default_rng(0)
    wide = draw.normal(size=3000) * 10.0 ** draw.integers(-30, 30, 3000)
    assert_twins(np.concatenate([wide, draw.normal(size=3000), XS, SPECIAL]), operations)


@given(st.lists(st.floats(), max_size=20), st.sampled_from(PROGRAMS))
def test_kernel_and_twin_agree_on_anything(values: list[float], operations: list[Operation]) -> None:
    """Whatever a float is."""
    assert_twins(np.array(values, np.float64), operations)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 1023, 1024, 1025, 3000])
@pytest.mark.parametrize("skipped", [0, 1, 3, 8])
def test_memory_of_any_length_and_offset(length: int, skipped: int) -> None:
    """A slice begins inside a byte of the bitmap; one value has the bits that it has among many."""
    draw = np.random.default_rng(length)
    whole = pl.Series("x", draw.normal(size=skipped + length))
    series = pl.select(pl.when(pl.Series(draw.uniform(size=len(whole)) > 0.3)).then(whole).alias("x"))["x"]
    series = series[skipped:]
    for operations in ([Affine(0.3, 0.7)], [Fill(0.25), Affine(0.3, 0.7)]):
        got = run_program(series, operations, pl.Float64())
        expected = run_reference(series.to_numpy(), operations)
        assert bits(got.to_numpy()) == bits(expected)
        assert got.null_count() == np.isnan(expected).sum()
        ones = [run_program(series[row : row + 1], operations, pl.Float64()) for row in range(min(length, 9))]
        assert [it.item() for it in ones] == got.to_list()[:9]


@pytest.mark.parametrize(
    "dtype", ["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64"]
)
def test_columns_of_any_type_are_read_and_cleaned_ones_keep_it(dtype: str) -> None:
    """Filling and limiting write the type that was read; scaling writes floats."""
    kind: pl.DataType = getattr(pl, dtype)()
    series = pl.Series("x", [1, None, 3, 120, 0], dtype=kind)
    cleaned = run_programs(series.to_frame(), {"x": [Fill(7), Limit(1, 100)]})["x"]
    assert cleaned.dtype == kind
    assert cleaned.to_list() == [1, 7, 3, 100, 1]
    scaled = run_programs(series.to_frame(), {"x": [Affine(1, 2)]})["x"]
    assert scaled.dtype == pl.Float64
    assert scaled.to_list() == [0.0, None, 1.0, 59.5, -0.5]


@pytest.mark.parametrize("dtype", [pl.Boolean(), pl.Decimal(10, 2), pl.Int128(), pl.Float16()])
def test_other_types_become_floats_before(dtype: pl.DataType) -> None:
    """What the kernel cannot read, it is given as floats."""
    series = pl.Series("x", [1, None, 0], dtype=pl.Int64).cast(dtype)
    assert run_program(series, [Affine(offset=0.5)], pl.Float64()).to_list() == [1.5, None, 0.5]


def test_types_are_foretold() -> None:
    """Positions are Int32, new numbers Float64, cleaned ones as they were."""
    assert dtype_after(pl.Int8(), [Fill(1), Limit(0, 1)]) == pl.Int8
    assert dtype_after(pl.Int8(), [Affine(), Fill(1)]) == pl.Float64
    assert dtype_after(pl.Float32(), [Bucket(XS)]) == pl.Int32
    assert dtype_after(pl.Float32(), [Bucket(XS), Affine()]) == pl.Float64
    assert dtype_after(pl.Int32(), [Pick(np.array([3, 4]), is_whole=True)]) == pl.Int32
    assert dtype_after(pl.Float16(), []) == pl.Float16


def test_float16_saturates() -> None:
    """Finite numbers stay finite; infinity was infinite before."""
    series = pl.Series("x", [1e9, -1e9, 65519.0, 0.1, np.inf, None])
    got = run_program(series, [Affine()], pl.Float16())
    assert got.dtype == pl.Float16
    assert got.to_list() == [65504.0, -65504.0, 65504.0, float(np.float16(0.1)), np.inf, None]


@pytest.mark.parametrize("value", [2**53 + 1, -(2**62) - 1])
def test_long_whole_numbers_stay_exact_or_warn(value: int) -> None:
    """Filled and limited, they keep every digit; as floats, those that lose digits are warned of."""
    frame = pl.DataFrame({"x": [value, None, 5]})
    assert run_programs(frame, {"x": [Fill(0)]})["x"].to_list() == [value, 0, 5]
    assert run_programs(frame, {"x": [Limit(-(2**63), 2**63)]})["x"].to_list() == [value, None, 5]
    assert run_programs(frame, {"x": [Limit(1, 7, to_null=True)]})["x"].to_list() == [None, None, 5]
    with pytest.warns(PrecisionWarning, match=r"column `x`: 1 whole numbers beyond 2\*\*53"):
        run_programs(frame, {"x": [Affine(1.0)]})
    small = pl.DataFrame({"x": [None, 5]}, schema={"x": pl.Int64})
    assert run_programs(small, {"x": [Fill(value)]})["x"].to_list() == [value, 5]
    assert run_programs(pl.DataFrame({"x": [2**60]}), {"x": [Affine()]})["x"].to_list() == [2.0**60]


def test_values_without_a_result_are_refused() -> None:
    """A logarithm of what is not positive is an error that names the column, or null where that is wanted."""
    frame = pl.DataFrame({"age": [1.0, -1.0, 0.0, None]})
    with pytest.raises(PrepareError, match=r"column `age`: 2 values .* logarithm of x \+ 0"):
        run_programs(frame, {"age": [Log(0.0)]})
    assert run_programs(frame, {"age": [Log(0.0, to_null=True)]})["age"].to_list() == [0.0, None, None, None]
    with pytest.raises(PrepareError, match="Box-Cox"):
        run_programs(frame, {"age": [Power(0.5, is_signed=False)]})


def test_functions_are_as_precise_as_said() -> None:
    """Logarithm and exponential within 2 units in the last place, the normal distribution within 1e-14."""
    draw = np.random.default_rng(1)
    sizes = draw.uniform(0.1, 1, 20_000) * 10.0 ** draw.integers(-300, 300, 20_000)
    assert units_off(reference.log_sum(sizes, 0.0), np.log(sizes)) <= 2
    near = draw.uniform(-0.99, 1, 20_000) * 10.0 ** draw.integers(-20, 1, 20_000)
    assert units_off(reference.log_sum(near, 1.0), np.log1p(near)) <= 2
    around = draw.normal(size=20_000) * 10.0 ** draw.integers(-20, 3, 20_000)
    assert units_off(reference.exp_less_1(around), np.expm1(around)) <= 2
    shares = draw.uniform(1e-7, 1 - 1e-7, 20_000)
    np.testing.assert_allclose(reference.normal_quantile(shares), special.ndtri(shares), 1e-13, 1e-15)
    normal = draw.normal(size=5000) * 3
    np.testing.assert_allclose(reference.normal_share(normal), special.ndtr(normal), 0, 1e-14)


def units_off(got: Numbers, expected: Numbers) -> float:
    finite = np.isfinite(expected)
    return float(np.max(np.abs(got - expected)[finite] / np.spacing(np.abs(expected[finite]))))


def test_plain_values_are_run_too() -> None:
    """What has no result is NaN."""
    got = run_values(np.array([1.0, -1.0, np.nan]), [Log()])
    np.testing.assert_array_equal(got, [0.0, np.nan, np.nan])
