"""Moments: exact sums against Python's fractions, and the same state for any partition."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from statistics_data import fractions_of, merged, numbers_of_every_kind, reread

import headrace as hr
from headrace.prepare.statistics import Moments, MomentsState

some = settings(max_examples=60, deadline=None, derandomize=True)
KINDS = numbers_of_every_kind()


def moments(values: Any) -> MomentsState:
    return Moments("x").of(pl.DataFrame({"x": values}))


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_those_of_fractions(kind: str) -> None:
    """Sum, sum of squares, counts and extremes have no error, whatever the numbers."""
    values = KINDS[kind]
    exact, finite = fractions_of(values), values[np.isfinite(values)]
    sums = moments(values).sums

    assert Fraction(sums.total, 2**1074) == sum(exact)
    assert Fraction(sums.squares, 2**2148) == sum(value * value for value in exact)
    assert (sums.count, sums.low, sums.high) == (len(finite), finite.min(), finite.max())
    assert (sums.nans, sums.infinities) == (np.isnan(values).sum(), np.isinf(values).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_any_partition_gives_the_same_state(kind: str) -> None:
    """One row group, every length up to 1,100 or a hundred: bit for bit the same, negative zero included."""
    frame = pl.DataFrame({"x": KINDS[kind]})
    whole = moments(KINDS[kind])
    draw = np.random.default_rng(1)

    for cuts in ([], [1, 2, 3, 286, 500], draw.integers(0, 3001, 100).tolist()):
        assert merged(Moments("x"), frame, cuts) == whole
    assert merged(Moments("x"), frame.reverse(), [1024, 2047]).pack() == whole.pack()


def test_sums_of_every_length() -> None:
    """Blocks of any length far from zero, where plain sums of bits come near to overflowing."""
    values = np.random.default_rng(0).normal(1e8, 1, 1100)
    whole = [Fraction(0)]
    for value in values.tolist():
        whole.append(whole[-1] + Fraction(value))

    for length in range(len(whole)):
        assert Fraction(moments(values[:length]).sums.total, 2**1074) == whole[length]


@some
@given(
    st.lists(st.floats(width=64) | st.floats(width=32), max_size=60),
    st.lists(st.integers(0, 100), max_size=5),
    st.integers(0, 9),
)
def test_mean_and_variance_are_rounded_once(values: list[float], cuts: list[int], seed: int) -> None:
    """Python's fractions are the oracle; no partition and no order changes a bit."""
    state = merged(Moments("x"), pl.DataFrame({"x": values}, schema={"x": pl.Float64}), cuts, seed)
    exact = [Fraction(value) for value in values if np.isfinite(value)]
    if not exact:
        assert np.isnan(state.mean)
        assert np.isnan(state.variance())
        return
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / len(exact)
    assert state.mean == float(mean)
    assert state.variance() == (float(variance) if variance < 2**1024 else np.inf)


def test_case_1_and_2_far_from_zero() -> None:
    """numerics 1, 2: no digit is lost where the mean is far larger than the deviation."""
    assert moments([1e9 + 1, 1e9 + 2, 1e9 + 3]).variance() == 0.6666666666666666
    values = 1e8 + np.random.default_rng(0).standard_normal(100_000)
    expected = float(np.var(values.astype(np.longdouble)))
    for partitions in (1, 3, 97, 1000):
        cuts = np.linspace(0, len(values), partitions + 1).astype(int)[1:-1].tolist()
        found = merged(Moments("x"), pl.DataFrame({"x": values}), cuts, seed=partitions).variance()
        assert found == moments(values).variance()
        assert found == pytest.approx(expected, rel=1e-15)


def test_case_9_and_10_parts_without_values() -> None:
    """numerics 8, 9, 10: parts that are all NaN or null change nothing."""
    nan = float("nan")
    frame = pl.DataFrame({"x": [nan, nan, 1.0, 2.0, None, None, 3.0, nan]})
    state = merged(Moments("x"), frame, [2, 4, 6])

    assert (state.mean, state.variance(), state.count) == (2.0, 2 / 3, 3)
    assert (state.rows, state.nulls, state.sums.nans) == (8, 2, 3)
    assert np.isnan(moments([nan]).mean)


def test_case_13_large_whole_numbers() -> None:
    """numerics 13: whole numbers beyond 2**53 are exact, at both ends of their type."""
    assert moments([2**53, 2**53 + 1]).variance() == 0.25
    assert moments([-(2**63), 2**63 - 1]).mean == -0.5
    assert moments(np.array([2**64 - 1, 2**64 - 3], np.uint64)).variance() == 1.0
    assert moments(pl.Series([Decimal("1.50"), None, Decimal("-0.25")])).mean == 0.625


def weighted(values: Any, weights: Any) -> MomentsState:
    return Moments("x", weights="w").of(pl.DataFrame({"x": values, "w": weights}))


def test_case_12_weights() -> None:
    """numerics 12: as scikit-learn weighs, exactly; a weight of 0 leaves a sample out, infinite ones too."""
    state = weighted([1.0, 2.0, 4.0, float("inf")], [1, 2, 0, 0])

    assert (state.mean, state.variance()) == (1.6666666666666667, 0.2222222222222222)
    assert (state.count, state.weight, state.sums.high, state.sums.infinities) == (2, 3.0, 2.0, 0)
    draw = np.random.default_rng(0)
    values, weights = draw.normal(1000, 1, 500), draw.random(500)
    oracle = StandardScaler().fit(values[:, None], sample_weight=weights)
    found = weighted(values, weights)
    assert (found.mean, found.variance()) == pytest.approx((oracle.mean_[0], oracle.var_[0]), rel=1e-11)
    repeats = draw.integers(0, 4, 500)
    repeated = moments(np.repeat(values, repeats))
    assert weighted(values, repeats).mean == repeated.mean
    assert weighted(values, repeats).variance(1) == repeated.variance(1)


@pytest.mark.parametrize(
    "kind", ["normal", "float32", "any bits", "ends", "missing", "int64", "uint64", "truth"]
)
def test_weighted_sums_are_those_of_fractions(kind: str) -> None:
    """No product is rounded, whatever the sizes; any partition gives the same state."""
    values = KINDS[kind][:300]
    draw = np.random.default_rng(3)
    extreme = 10.0 ** draw.integers(-300, 300, len(values))
    weights = np.where(draw.random(len(values)) < 0.1, extreme, draw.random(len(values)))
    frame = pl.DataFrame({"x": values, "w": weights})
    state = Moments("x", weights="w").of(frame)
    pairs = [
        (Fraction(value), Fraction(weight))
        for value, weight in zip(values.tolist(), weights.tolist(), strict=True)
        if np.isfinite(value)
    ]

    assert Fraction(state.sums.weight, 2**1074) == sum(weight for _, weight in pairs)
    assert Fraction(state.sums.total, 2**2148) == sum(value * weight for value, weight in pairs)
    assert Fraction(state.sums.squares, 2**3222) == sum(value * value * weight for value, weight in pairs)
    assert merged(Moments("x", weights="w"), frame, [7, 100, 101]) == state


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), None])
def test_wrong_weights_are_refused(weight: Any) -> None:
    """A weight that is none is named with its column and row."""
    with pytest.raises(hr.PrepareError, match=r"column `w`.*in row 1"):
        weighted([1.0, 2.0], [1.0, weight])


def test_a_state_survives_its_data_form() -> None:
    """JSON holds all digits of the sums."""
    for values in KINDS.values():
        state = moments(values)
        assert reread(Moments("x"), state) == state
