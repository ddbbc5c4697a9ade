"""Quantiles: exact ones against NumPy, sketched ones against their stated error."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistics_data import merged, numbers_of_every_kind, reread

import headrace as hr
from headrace.prepare.statistics import Moments, SketchState, Values, ValuesState, merge_states
from headrace.prepare.statistics.ranks import Method

some = settings(max_examples=80, deadline=None, derandomize=True)
METHODS: list[Method] = [
    "linear", "lower", "higher", "nearest", "midpoint", "inverted_cdf", "averaged_inverted_cdf"
]  # fmt: skip
LEVELS = [0, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.99, 1]
KINDS = {
    kind: values[np.isfinite(values)]
    for kind, values in numbers_of_every_kind(20_000).items()
    if kind != "any bits"
}


def values_of(values: Any) -> ValuesState:
    return Values("x").of(pl.DataFrame({"x": values}))


@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_are_those_of_numpy(kind: str) -> None:
    """Every method, every type, bit for bit, of parts that are never put together."""
    state = merged(Values("x"), pl.DataFrame({"x": KINDS[kind]}), [11, 5000, 5001, 19_000])
    for method in METHODS:
        expected = np.quantile(KINDS[kind].astype(np.float64), LEVELS, method=method).tolist()
        assert state.quantiles(LEVELS, method) == expected


@some
@given(
    st.lists(st.floats(-1e300, 1e300) | st.integers(-3, 3).map(float), min_size=1, max_size=30),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.sampled_from(METHODS),
    st.lists(st.integers(0, 30), max_size=3),
)
def test_quantiles_of_few_values(
    values: list[float], levels: list[float], method: Method, cuts: list[int]
) -> None:
    """Ties, single values and any level."""
    state = merged(Values("x"), pl.DataFrame({"x": values}), cuts)

    assert state.quantiles(levels, method) == np.quantile(values, levels, method=method).tolist()


def test_case_18_and_19_medians_and_quartiles() -> None:
    """numerics 18, 19: where other libraries go astray."""
    median = [
        merged(Values("x"), pl.DataFrame({"x": values}), cuts).quantiles((0.5,))
        for values, cuts in (([-1, 0, 0, 0, 1, 1], [3]), ([1, 2, 3], [1, 2]), ([5, 1], []))
    ]
    quartile = {method: values_of([1, 2, 3, 4]).quantiles((0.25,), method)[0] for method in METHODS}

    assert median == [[0.0], [2.0], [3.0]]
    expected = {"linear": 1.75, "lower": 1, "nearest": 2, "inverted_cdf": 1, "averaged_inverted_cdf": 1.5}
    assert {method: quartile[method] for method in expected} == expected


@pytest.mark.parametrize("kind", ["normal", "float32", "int32", "zeros", "wide"])
def test_median_deviations_are_exact(kind: str) -> None:
    """The median of the distances from the median."""
    state, wide = values_of(KINDS[kind]), KINDS[kind].astype(np.float64)
    (median,) = state.quantiles((0.5,))

    assert state.median_deviation(median) == np.median(np.abs(wide - np.median(wide)))


def test_missing_values_have_no_part_and_others_are_not_copied() -> None:
    """Null, NaN and infinity are left out; a column without any is looked at where it lies."""
    series = pl.Series("x", [3.0, None, float("nan"), float("inf"), 1.0])
    state = Values("x").of(series.to_frame())
    whole = pl.DataFrame({"x": np.arange(5000.0)})
    (part,) = Values("x").of(whole).parts

    assert (state.array().tolist(), state.count, state.nbytes, state.rank_error) == ([3.0, 1.0], 2, 16, 0.0)
    assert np.shares_memory(part, whole["x"].to_numpy())
    for kind in (np.float16, np.float32, np.float64):
        for wrong in (np.nan, np.inf, -np.inf):
            assert values_of(np.array([1, wrong, -2], kind)).array().tolist() == [1, -2]
    empty = values_of(np.array([np.nan]))
    assert np.isnan([*empty.quantiles((0.5,)), empty.median_deviation(0.0)]).all()
    assert reread(Values("x"), empty).count == 0


def rank_errors(state: SketchState, values: np.ndarray[Any, Any]) -> float:
    levels = np.linspace(0.001, 0.999, 999)
    found = np.array(state.quantiles(levels.tolist()))
    ordered = np.sort(values)
    below = np.searchsorted(ordered, found, side="left") / len(values)
    above = np.searchsorted(ordered, found, side="right") / len(values)
    return float(np.maximum(np.maximum(below - levels, levels - above), 0).max())


@pytest.mark.parametrize(("k", "stated"), [(200, 0.0133), (800, 0.0035), (2000, 0.0015)])
def test_case_22_and_23_sketches_keep_their_error(k: int, stated: float) -> None:
    """numerics 22, 23: ranks are within what the library states, merged from sketches and values alike."""
    draw = np.random.default_rng(5)
    for values in (draw.lognormal(size=300_000), draw.exponential(size=200_000).astype(np.float32)):
        parts = [Values("x", k).of(pl.DataFrame({"x": part})) for part in np.array_split(values, 7)]
        state: Any = parts[0].reduced()
        for number, part in enumerate(parts[1:]):
            state = state.merge(part.reduced() if number % 2 else part)
        state = reread(Values("x", k), state)
        state = reread(Values("x", k), state)

        assert state.count == len(values)
        assert 0 < state.rank_error < stated
        assert rank_errors(state, values) <= 1.5 * state.rank_error  # beyond its bound in 1 of 100 cases
        assert state.nbytes < 60_000


def test_values_merged_into_a_sketch_are_a_sketch() -> None:
    """Whichever comes first; a sketch that still holds all values has no error."""
    few, more = values_of(np.arange(100.0)), values_of(np.arange(100.0, 200.0))
    for state in (few.merge(more.reduced()), few.reduced().merge(more), few.reduced().reduced().merge(more)):
        assert isinstance(state, SketchState)
        assert (state.count, state.rank_error) == (200, 0.0)
        assert state.quantiles((0.0, 0.5, 1.0)) == [0.0, 99.0, 199.0]
        assert state.median_deviation(100.0) == pytest.approx(50, abs=1)


def test_states_beyond_a_limit_are_reduced_the_largest_first() -> None:
    """Values give way to a sketch only where all states together are too large; moments stay exact."""
    frame = pl.DataFrame({"x": np.arange(20_000.0), "y": np.arange(20_000, dtype=np.int8)})
    asked = [Values("x"), Values("y"), Moments("x")]
    parts = [{ask: ask.of(frame[begin : begin + 2000]) for ask in asked} for begin in range(0, 20_000, 2000)]

    exact, reduced = merge_states(parts, 200_000), merge_states(parts, 100_000)
    assert isinstance(exact[asked[0]], ValuesState)
    assert isinstance(reduced[asked[0]], SketchState)
    assert isinstance(reduced[asked[1]], ValuesState)
    assert reduced[asked[0]].count == 20_000
    assert reduced[asked[2]] == exact[asked[2]] == Moments("x").of(frame)


def test_a_damaged_sketch_is_refused() -> None:
    """Bytes that are no sketch end in an error, and no accuracy beyond the library's is asked for."""
    state = Values("x").unpack(({}, {"sketch": pa.array([b"no sketch"])}))
    with pytest.raises(hr.StateError, match="damaged"):
        state.quantiles((0.5,))
    with pytest.raises(hr.OptionError, match="between 8 and 65,535, got 7"):
        Values("x", 7)


def test_the_library_of_sketches_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, values that need no sketch are as good as ever, and others say what to install."""
    monkeypatch.setitem(sys.modules, "datasketches", None)
    state = values_of([1.0, 2.0])

    assert state.quantiles((0.5,)) == [1.5]
    with pytest.raises(
        hr.MissingDependencyError, match=r"`memory_limit` needs `datasketches`.*headrace\[sketch\]"
    ):
        state.reduced()
