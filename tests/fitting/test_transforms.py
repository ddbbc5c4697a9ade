"""Transforms of distributions, logarithms and norms against scikit-learn."""

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
from scipy import stats
from sklearn import preprocessing

import headrace as hr
from headrace.prepare.step import PrepareStep

NAN = float("nan")


@pytest.mark.parametrize("output", ["uniform", "normal"])
@pytest.mark.parametrize("n_quantiles", [2, 10, 300])
def test_quantile_transforms_are_those_of_scikit_learn(output: Any, n_quantiles: int) -> None:
    """On every type, with ties and missing values, and on unseen samples: atol 1e-9."""
    train, test = mixed(), mixed(100, seed=1)
    theirs = preprocessing.QuantileTransformer(
        n_quantiles=n_quantiles, output_distribution=output, subsample=None
    ).fit(matrix(train))
    pipe = fit(train, hr.QuantileTransformer(n_quantiles, output))
    for frame in (train, test):
        got = matrix(pipe.transform(frame))
        np.testing.assert_allclose(got, theirs.transform(matrix(frame)), 0, 1e-9)
        back = pipe.inverse_transform(pipe.transform(frame))
        np.testing.assert_allclose(matrix(back), theirs.inverse_transform(got), 1e-9, 1e-9)


def test_case_20_places_between_quantiles() -> None:
    """Beyond the ends lie 0 and 1, or +-5.1993."""
    x = {"x": np.arange(9.0)}
    probe = pl.DataFrame({"x": [-1.0, 0.5, 20.0]})
    assert fit(x, hr.QuantileTransformer(5)).transform(probe)["x"].to_list() == [0.0, 0.0625, 1.0]
    normal = fit(x, hr.QuantileTransformer(5, "normal")).transform(probe)["x"].to_list()
    assert (normal[0], normal[2]) == (pytest.approx(-5.1993, abs=1e-4), pytest.approx(5.1993, abs=1e-4))


def test_case_21_ties() -> None:
    """A value that occurs often gets the middle of its places."""
    got = transformed({"x": [0.0, 1.0, 1.0, 1.0, 2.0, 0.5]}, hr.QuantileTransformer(4))
    pipe = fit({"x": [0.0, 1.0, 1.0, 1.0, 2.0]}, hr.QuantileTransformer(4))
    got = pipe.transform(pl.DataFrame({"x": [1.0, 0.5]}))["x"].to_list()
    assert got == [0.5, pytest.approx(1 / 6, rel=1e-15)]


def test_case_22_quantiles_are_exact() -> None:
    """Of 200,000 exponential values, where a sample of 10,000 is off by 0.0068."""
    x = np.random.default_rng(0).exponential(size=200_000)
    theirs = preprocessing.QuantileTransformer(subsample=None).fit_transform(x[:, None])
    got = transformed({"x": x}, hr.QuantileTransformer())["x"].to_numpy()
    np.testing.assert_allclose(got, theirs[:, 0], 0, 1e-12)


POWERS: list[tuple[PrepareStep, Any]] = [
    (hr.PowerTransformer(), preprocessing.PowerTransformer()),
    (hr.PowerTransformer(standardize=False), preprocessing.PowerTransformer(standardize=False)),
]


@pytest.mark.parametrize(("ours", "theirs"), POWERS, ids=["standardized", "raw"])
def test_power_transforms_are_those_of_scikit_learn(ours: PrepareStep, theirs: Any) -> None:
    """Lambda: atol 1e-6; values, which it moves: rtol 1e-5. Columns of positive, negative and mixed signs."""
    frame = mixed(500).drop("far").with_columns(negative=-pl.col("skewed"))
    theirs.fit(matrix(frame))
    pipe = fit(frame, ours)
    np.testing.assert_allclose(list(pipe.steps[0].lambdas_.values()), theirs.lambdas_, 0, 1e-6)
    got = matrix(pipe.transform(frame))
    np.testing.assert_allclose(got, theirs.transform(matrix(frame)), 1e-5, 1e-6)
    back = pipe.inverse_transform(pipe.transform(frame))
    np.testing.assert_allclose(matrix(back), matrix(frame), 1e-9, 1e-9)


def test_box_cox_is_that_of_scikit_learn() -> None:
    """For positive values; others are refused, in a fit and after it."""
    x = np.random.default_rng(0).lognormal(3, 2, size=500)
    pipe = fit({"x": x}, hr.PowerTransformer("box-cox"))
    theirs = preprocessing.PowerTransformer("box-cox").fit(x[:, None])
    assert pipe.steps[0].lambdas_["x"] == pytest.approx(theirs.lambdas_[0], abs=1e-6)
    got = pipe.transform(pl.DataFrame({"x": x}))
    np.testing.assert_allclose(got["x"].to_numpy(), theirs.transform(x[:, None])[:, 0], 1e-5, 1e-6)
    np.testing.assert_allclose(pipe.inverse_transform(got)["x"].to_numpy(), x, 1e-9)
    with pytest.raises(hr.PrepareError, match="column `x`: Box-Cox takes positive values, got 0"):
        fit({"x": [0.0, 1.0]}, hr.PowerTransformer("box-cox"))
    with pytest.raises(hr.PrepareError, match="column `x`: 1 values have no result"):
        pipe.transform(pl.DataFrame({"x": [-1.0]}))


def test_case_35_lambda() -> None:
    """1, 2, 3, 10 and NaN."""
    step = fit({"x": [1.0, 2.0, 3.0, 10.0, NAN]}, hr.PowerTransformer()).steps[0]
    assert step.lambdas_["x"] == pytest.approx(-0.69159399, abs=1e-7)


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e5, 1e15])
def test_lambda_of_values_of_any_size(scale: float) -> None:
    """Neither cancellation nor overflow leads the search astray: no other lambda is more likely."""
    x = np.random.default_rng(0).lognormal(size=300) * scale
    ours = fit({"x": x}, hr.PowerTransformer("box-cox")).steps[0].lambdas_["x"]
    best = stats.boxcox_normmax(x, method="mle")
    assert stats.boxcox_llf(ours, x) >= stats.boxcox_llf(best, x) - 1e-6


def test_constant_missing_and_infinite_columns() -> None:
    """A constant keeps its values, a column without values becomes null, infinity is refused."""
    frame = {"x": [3.0, 3.0], "y": [NAN, NAN]}
    step = fit(frame, hr.PowerTransformer()).steps[0]
    assert step.lambdas_["x"] == 1.0
    for transform in (hr.PowerTransformer(), hr.QuantileTransformer()):
        pipe = fit(frame, transform)
        assert pipe.transform(pl.DataFrame({"x": [3.0], "y": [1.0]})).rows() == [(0.0, None)]
        with pytest.raises(hr.PrepareError, match="column `x`: 1 values are infinite"):
            fit({"x": [1.0, float("inf")]}, transform)


def test_logarithms() -> None:
    """Natural, of x + offset, and precise near 0; what has none is refused or null."""
    x = np.array([1e-18, 1e-3, 1.0, 1e10])
    got = transformed({"x": x}, hr.Log(1))["x"].to_numpy()
    np.testing.assert_allclose(got, np.log1p(x), 1e-15)
    np.testing.assert_allclose(transformed({"x": x}, hr.Log())["x"].to_numpy(), np.log(x), 1e-15)
    pipe = fit({"x": x}, hr.Log(1))
    np.testing.assert_allclose(pipe.inverse_transform(pl.DataFrame({"x": got}))["x"].to_numpy(), x, 1e-14)
    invalid = pl.DataFrame({"x": [-1.0, NAN, 0.0]})
    with pytest.raises(hr.PrepareError, match="column `x`: 1 values have no result"):
        pipe.transform(invalid)
    forgiving = fit(invalid, hr.Log(1, invalid="null"))
    assert forgiving.transform(invalid)["x"].to_list() == [None, None, 0.0]
    assert forgiving.steps[0].events(invalid) == {"x": {"out_of_range": 1}}


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_norms_are_those_of_scikit_learn(norm: Any) -> None:
    """Of many rows: rtol 1e-14."""
    x = np.random.default_rng(0).normal(size=(100, 5))
    frame = pl.DataFrame(x, schema=list("abcde"))
    np.testing.assert_allclose(
        transformed(frame, hr.Normalizer(norm)).to_numpy(), preprocessing.normalize(x, norm), 1e-14
    )


def test_case_34_norms() -> None:
    """A row of zeros stays; a missing value leaves its row without a norm."""
    frame = pl.DataFrame({"x": [3.0, 0.0, None], "y": [4, 0, 1]})
    assert transformed(frame, hr.Normalizer()).rows() == [(0.6, 0.8), (0.0, 0.0), (None, None)]
    assert transformed({"x": [-4.0], "y": [2.0]}, hr.Normalizer("max")).rows() == [(-1.0, 0.5)]
    assert transformed({"x": [float("inf")], "y": [2.0]}, hr.Normalizer()).rows() == [(None, 0.0)]
    ds = hr.from_polars(frame)
    chosen = ds.prepare(hr.Pipeline([hr.Normalizer()], dtype="float64").fit(ds, progress=False)).select(["x"])
    assert chosen.to_polars()["x"].to_list() == [0.6, 0.0, None]


@pytest.mark.parametrize(
    "make",
    [
        lambda: hr.Log("a"),  # pyright: ignore[reportArgumentType]
        lambda: hr.Log(0, "drop"),  # pyright: ignore[reportArgumentType]
        lambda: hr.Normalizer("l3"),  # pyright: ignore[reportArgumentType]
        lambda: hr.QuantileTransformer(0),
        lambda: hr.QuantileTransformer(5, "cauchy"),  # pyright: ignore[reportArgumentType]
        lambda: hr.PowerTransformer("log"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_settings_that_cannot_be_right(make: Any) -> None:
    """They are refused at once."""
    with pytest.raises(hr.OptionError, match="must be"):
        make()


@pytest.mark.parametrize(
    "step",
    [
        hr.QuantileTransformer(50, "normal"),
        hr.PowerTransformer(),
        hr.Normalizer(),
        hr.Log(30, invalid="null"),
    ],
    ids=repr,
)
def test_transforms_are_the_same_everywhere(tmp_path: Path, step: PrepareStep) -> None:
    """One row, a frame, files of any row groups and the loader's batches agree."""
    assert_same_everywhere(mixed(), step, folder=tmp_path)
    assert_foretold(mixed(), step)
    assert_saved(mixed(), step, tmp_path)
