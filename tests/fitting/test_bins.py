"""Bins, given and fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numbers_frames import (
    assert_foretold,
    assert_same_everywhere,
    assert_saved,
    fit,
    matrix,
    mixed,
    transformed,
)
from sklearn import preprocessing

import headrace as hr
from headrace.prepare.step import PrepareStep

NAN = float("nan")


@pytest.mark.parametrize("strategy", ["quantile", "uniform"])
@pytest.mark.parametrize("n_bins", [2, 7])
def test_bins_are_those_of_scikit_learn(strategy: Any, n_bins: int) -> None:
    """Every column without its missing values; edges and middles: rtol 1e-12."""
    frame = mixed()
    pipe = fit(frame, hr.KBinsDiscretizer(n_bins, strategy))
    got = pipe.transform(frame)
    back = pipe.inverse_transform(got)
    for place, name in enumerate(frame.columns):
        column = matrix(frame)[:, place : place + 1]
        known = ~np.isnan(column[:, 0])
        theirs = preprocessing.KBinsDiscretizer(
            n_bins,
            encode="ordinal",
            strategy=strategy,
            subsample=None,
            quantile_method="averaged_inverted_cdf",
        )
        if strategy == "quantile" and name == "ties" and n_bins == 7:  # some of its edges coincide
            with pytest.warns(UserWarning, match="Bins whose width"):
                theirs.fit(column[known])
        else:
            theirs.fit(column[known])
        np.testing.assert_allclose(pipe.steps[0].bin_edges_[name], theirs.bin_edges_[0], 1e-12)
        assert got[name].dtype == pl.Int32
        assert got[name].is_null().to_numpy().tolist() == (~known).tolist()
        expected = theirs.transform(column[known])
        assert got[name].drop_nulls().to_list() == expected[:, 0].tolist()
        middles = theirs.inverse_transform(expected)[:, 0]
        np.testing.assert_allclose(back[name].drop_nulls().to_numpy(), middles, 1e-12)


def test_case_24_edges_that_coincide() -> None:
    """They count once, and values beyond the fit fall into the outer bins."""
    pipe = fit({"x": [0.0, 0.0, 0.0, 0.0, 1.0, 2.0]}, hr.KBinsDiscretizer(3))
    assert pipe.steps[0].bin_edges_ == {"x": [0.0, 0.5, 2.0]}
    assert pipe.steps[0].n_bins_ == {"x": 2}
    got = pipe.transform(pl.DataFrame({"x": [-3.0, 0.5, 9.0, NAN, float("inf")]}))["x"]
    assert got.to_list() == [0, 1, 1, None, 1]


def test_constant_and_missing_columns() -> None:
    """A constant column has one bin; one without values is refused by name, and so is infinity."""
    assert transformed({"x": [3, 3]}, hr.KBinsDiscretizer(3))["x"].to_list() == [0, 0]
    with pytest.raises(hr.PrepareError, match="column `x`: all values are missing"):
        fit({"x": [NAN]}, hr.KBinsDiscretizer(3))
    with pytest.raises(hr.PrepareError, match="column `x`: 1 values are infinite"):
        fit({"x": [1.0, float("inf")]}, hr.KBinsDiscretizer(3))


def test_given_edges() -> None:
    """An edge belongs to the bin above it."""
    x = [17.9, 18.0, 64.0, 65.0, NAN, float("inf"), float("-inf")]
    got = transformed({"x": x}, hr.Bucketize([18, 65]))["x"]
    assert got.dtype == pl.Int32
    assert got.to_list() == [0, 1, 1, 2, None, 2, 0]
    by_column = transformed({"x": [1, 2], "y": [1, 2]}, hr.Bucketize({"x": [2], "y": [0, 1]}))
    assert by_column.rows() == [(0, 2), (1, 2)]
    with pytest.raises(hr.OptionError, match="lacks `y`"):
        transformed({"x": [1], "y": [1]}, hr.Bucketize({"x": [2]}))


def test_bins_can_be_filled_and_scaled() -> None:
    """Bins are whole numbers to the steps that follow."""
    frame = {"x": [1.0, NAN, 9.0]}
    got = transformed(frame, hr.Bucketize([5]), hr.FillMissing("constant", value=-1))["x"]
    assert (got.dtype, got.to_list()) == (pl.Int32, [0, -1, 1])
    scaled = transformed(frame, hr.Bucketize([5]), hr.MaxAbsScaler())["x"]
    assert scaled.to_list() == [0.0, None, 1.0]


@pytest.mark.parametrize("edges", [(), [1, 1], [2, 1], [NAN], [1, NAN], ["a"], 3, {"x": [2, 1]}])
def test_edges_that_cannot_be_right(edges: Any) -> None:
    """They are refused at once."""
    with pytest.raises(hr.OptionError, match="`edges` must be rising numbers"):
        hr.Bucketize(edges)


def test_other_settings_that_cannot_be_right() -> None:
    """They are refused at once."""
    with pytest.raises(hr.OptionError, match="n_bins"):
        hr.KBinsDiscretizer(1)
    with pytest.raises(hr.OptionError, match="strategy"):
        hr.KBinsDiscretizer(2, "even")  # pyright: ignore[reportArgumentType]


def test_bins_are_the_same_everywhere(tmp_path: Path) -> None:
    """One row, a frame, files of any row groups and the loader's batches agree."""
    assert_same_everywhere(mixed(), hr.KBinsDiscretizer(4), folder=tmp_path)
    assert_foretold(mixed(), hr.KBinsDiscretizer(4))
    assert_saved(mixed(), hr.KBinsDiscretizer(4), tmp_path)
    assert_saved(mixed(), hr.Bucketize({"normal": [0.5]}, columns="normal"), tmp_path)


@pytest.mark.parametrize(
    "step",
    [
        hr.RobustScaler(),
        hr.QuantileTransformer(),
        hr.KBinsDiscretizer(5),
        hr.ClipOutliers("mad"),
        hr.FillMissing("median"),
    ],
    ids=repr,
)
def test_sketches_say_how_far_they_are_off(step: PrepareStep) -> None:
    """Where the values take more memory than a fit has, quantiles are near, and the error is written down."""
    ds = hr.from_arrays({"x": np.random.default_rng(0).normal(size=20_000)})
    exact = hr.Pipeline([step]).fit(ds, progress=False)
    near = hr.Pipeline([step]).fit(ds, progress=False, memory_limit=50_000)
    assert exact.steps[0].rank_error_ == {"x": 0.0}
    assert 0 < near.steps[0].rank_error_["x"] < 0.01
    probe = pl.DataFrame({"x": [-1.0, 0.1, 2.0, None]})
    np.testing.assert_allclose(matrix(near.transform(probe)), matrix(exact.transform(probe)), 0, 0.02)


def test_a_power_transform_needs_all_values() -> None:
    """And says so where they take more memory than a fit has."""
    ds = hr.from_arrays({"x": np.random.default_rng(0).normal(size=20_000)})
    with pytest.raises(hr.MemoryLimitError, match="column `x`: a power transform"):
        hr.Pipeline([hr.PowerTransformer()]).fit(ds, progress=False, memory_limit=50_000)


@pytest.mark.parametrize(
    "step", [hr.KBinsDiscretizer(2), hr.MinMaxScaler(), hr.QuantileTransformer()], ids=repr
)
def test_values_beyond_the_fit_are_counted(step: PrepareStep) -> None:
    """Missing values are not among them."""
    pipe = fit({"x": [1.0, 2.0, 3.0]}, step)
    probe = pl.DataFrame({"x": [1.0, 0.5, 3.5, float("inf"), NAN, None]})
    assert pipe.steps[0].events(probe) == {"x": {"out_of_range": 3}}
    if not isinstance(step, hr.KBinsDiscretizer):
        empty = fit(pl.DataFrame({"x": [None, NAN]}, schema={"x": pl.Float64}), step)
        assert empty.steps[0].events(probe) == {"x": {"out_of_range": 0}}
