"""Scalers against scikit-learn, and the cases in which numbers go wrong."""

from __future__ import annotations

from fractions import Fraction
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
ROOT = 1.2247448713915890

SCALERS: list[tuple[PrepareStep, Any]] = [
    (hr.StandardScaler(), preprocessing.StandardScaler()),
    (hr.StandardScaler(with_mean=False), preprocessing.StandardScaler(with_mean=False)),
    (hr.StandardScaler(with_std=False), preprocessing.StandardScaler(with_std=False)),
    (hr.MinMaxScaler((-1, 2), clip=False), preprocessing.MinMaxScaler(feature_range=(-1, 2))),
    (hr.MinMaxScaler(clip=True), preprocessing.MinMaxScaler(clip=True)),
    (hr.MaxAbsScaler(), preprocessing.MaxAbsScaler()),
    (hr.RobustScaler(), preprocessing.RobustScaler()),
    (hr.RobustScaler((10, 80)), preprocessing.RobustScaler(quantile_range=(10, 80))),
    (hr.RobustScaler(with_centering=False), preprocessing.RobustScaler(with_centering=False)),
    (hr.RobustScaler(with_scaling=False), preprocessing.RobustScaler(with_scaling=False)),
]
IDS = [repr(theirs) for _, theirs in SCALERS]


def values(x: list[Any] | np.ndarray[Any, Any], *steps: PrepareStep, dtype: str = "float64") -> list[Any]:
    return transformed({"x": x}, *steps, dtype=dtype)["x"].to_list()


@pytest.mark.parametrize(("ours", "theirs"), SCALERS, ids=IDS)
def test_scalers_give_what_scikit_learn_gives(ours: PrepareStep, theirs: Any) -> None:
    """On float32, float64, whole numbers, null and NaN, and on samples that the fit has not seen: rtol 1e-9.

    Values near 1e4 are reduced to those near 0, which costs digits on both sides.
    """
    train, test = mixed(), mixed(100, seed=1)
    theirs.fit(matrix(train))
    pipe = fit(train, ours)
    for frame in (train, test):
        got = matrix(pipe.transform(frame))
        np.testing.assert_allclose(got, theirs.transform(matrix(frame)), 1e-9, 1e-11)
        back = pipe.inverse_transform(pipe.transform(frame))
        np.testing.assert_allclose(matrix(back), theirs.inverse_transform(got), 1e-9, 1e-11)


@pytest.mark.parametrize(
    "ours", [hr.StandardScaler(), hr.MinMaxScaler(), hr.MaxAbsScaler(), hr.RobustScaler()], ids=repr
)
def test_scalers_give_the_same_bits_everywhere(tmp_path: Path, ours: PrepareStep) -> None:
    """One row, a frame, files of any row groups and the loader's batches agree."""
    assert_same_everywhere(mixed(), ours, folder=tmp_path)
    assert_foretold(mixed(), ours)
    assert_saved(mixed(), ours, tmp_path)


def test_case_1_digits_far_from_zero() -> None:
    """The variance of 1e9 + (1, 2, 3) is not lost."""
    x = [1e9 + 1, 1e9 + 2, 1e9 + 3]
    assert fit({"x": x}, hr.StandardScaler()).steps[0].var_ == {"x": 0.6666666666666666}
    assert values(x, hr.StandardScaler()) == pytest.approx([-ROOT, 0, ROOT], rel=1e-15)


@pytest.mark.parametrize("row_groups", [1, 3, 97, 1000])
def test_case_2_any_row_groups_in_any_order(tmp_path: Path, row_groups: int) -> None:
    """1e8 + N(0, 1): within 1e-15 of the true variance, and the same bits however it is cut."""
    x = 1e8 + np.random.default_rng(0).normal(size=100_000)
    frame = pl.DataFrame({"x": x}).sample(fraction=1.0, shuffle=row_groups > 1, seed=row_groups)
    frame.write_parquet(tmp_path / "x.parquet", row_group_size=-(-len(x) // row_groups))
    step = hr.Pipeline([hr.StandardScaler()]).fit(hr.open(tmp_path / "x.parquet"), progress=False).steps[0]
    assert step.var_["x"] == pytest.approx(1.0002570246017113, rel=1e-15)
    whole = fit({"x": x}, hr.StandardScaler()).steps[0]
    assert (step.var_, step.mean_) == (whole.var_, whole.mean_)


def test_case_3_mean_and_deviation() -> None:
    """1, 2, 4."""
    step = fit({"x": [1.0, 2.0, 4.0]}, hr.StandardScaler()).steps[0]
    assert (step.mean_["x"], step.var_["x"]) == (7 / 3, pytest.approx(1.5555555555555554, rel=1e-15))
    expected = [-1.0690449676496978, -0.2672612419124245, 1.3363062095621219]
    assert values([1.0, 2.0, 4.0], hr.StandardScaler()) == pytest.approx(expected, rel=1e-15)


def test_cases_4_to_7_constant_columns() -> None:
    """Constant, nearly constant, tiny but not constant, a single row."""
    step = fit({"x": np.full(100_000, 0.1)}, hr.StandardScaler()).steps[0]
    assert (step.var_["x"], step.scale_["x"]) == (0.0, 1.0)
    assert set(values(np.full(1000, 0.1), hr.StandardScaler())) == {0.0}
    near = fit({"x": [1e15, 1e15 + 0.125, 1e15]}, hr.StandardScaler()).steps[0]
    assert near.scale_["x"] == 1.0
    tiny = values([1e-20, 2e-20, 3e-20], hr.StandardScaler())
    assert tiny == pytest.approx([-ROOT, 0, ROOT], rel=1e-15)
    assert values([5.0], hr.StandardScaler()) == [0.0]


def test_case_8_missing_values() -> None:
    """They are counted, have no part in the fit and stay missing; a column without values has no mean."""
    frame = {"x": [1.0, 2.0, NAN, 4.0], "y": [NAN] * 4}
    step = fit(frame, hr.StandardScaler()).steps[0]
    assert step.mean_["x"] == 7 / 3
    assert np.isnan(step.mean_["y"])
    assert step.n_seen_ == {"x": 3, "y": 0}
    got = transformed(frame, hr.StandardScaler())
    assert got["x"].is_null().to_list() == [False, False, True, False]
    assert got["y"].null_count() == 4


@pytest.mark.parametrize(
    "chunks", [[[1.0, 2.0], [NAN, NAN], [3.0, NAN]], [[NAN, NAN], [1.0, 2.0]]], ids=["case 9", "case 10"]
)
def test_cases_9_and_10_row_groups_without_values(tmp_path: Path, chunks: list[list[float]]) -> None:
    """A row group that is all missing spoils nothing."""
    x = [value for chunk in chunks for value in chunk]
    pl.DataFrame({"x": x}).write_parquet(tmp_path / "x.parquet", row_group_size=2)
    step = hr.Pipeline([hr.StandardScaler()]).fit(hr.open(tmp_path / "x.parquet"), progress=False).steps[0]
    known = np.array([value for value in x if not np.isnan(value)])
    assert (step.mean_["x"], step.var_["x"]) == (np.mean(known), pytest.approx(np.var(known), rel=1e-15))


def test_case_11_float32_is_summed_as_float64() -> None:
    """1e4 + N(0, 1) in float32: statistics as of float64, float32 out."""
    x = (1e4 + np.random.default_rng(0).normal(size=1_000_000)).astype(np.float32)
    pipe = fit({"x": x}, hr.StandardScaler(), dtype="float32")
    assert pipe.steps[0].var_["x"] == pytest.approx(np.var(x.astype(np.longdouble)), rel=1e-12)
    assert pipe.transform(pl.DataFrame({"x": x})).schema["x"] == pl.Float32


def test_case_13_whole_numbers_beyond_2_to_the_53() -> None:
    """Their variance is exact; scaling them warns, as float64 cannot hold them."""
    x = [2**53, 2**53 + 1]
    mean = Fraction(sum(x), 2)
    assert sum((Fraction(it) - mean) ** 2 for it in x) / 2 == Fraction(1, 4)
    pipe = fit({"x": x}, hr.StandardScaler())
    assert pipe.steps[0].var_["x"] == 0.25
    with pytest.warns(hr.PrecisionWarning, match="column `x`: 1 whole numbers"):
        pipe.transform(pl.DataFrame({"x": x}))


def test_case_14_a_constant_column_by_its_range() -> None:
    """The range of a constant column counts as 1."""
    pipe = fit({"x": [3.0, 3.0]}, hr.MinMaxScaler())
    assert pipe.transform(pl.DataFrame({"x": [3.0, 5.0, 1.0]}))["x"].to_list() == [0.0, 2.0, -2.0]
    assert pipe.inverse_transform(pl.DataFrame({"x": [0.0, 1.0]}))["x"].to_list() == [3.0, 4.0]


def test_case_15_another_range() -> None:
    """Unseen values leave the range unless they are clipped."""
    x = [1.0, 2.0, 4.0, NAN]
    pipe = fit({"x": x}, hr.MinMaxScaler((-1, 1)))
    assert pipe.steps[0].scale_["x"] == pytest.approx(2 / 3)
    assert pipe.transform(pl.DataFrame({"x": [7.0, NAN]}))["x"].to_list() == [3.0, None]
    clipped = fit({"x": x}, hr.MinMaxScaler((-1, 1), clip=True))
    assert clipped.transform(pl.DataFrame({"x": [7.0, -9.0, NAN]}))["x"].to_list() == [1.0, -1.0, None]


def test_float32_does_not_leave_the_range_by_rounding() -> None:
    """Columns of float32 are clipped where nothing else is said; 0.1 to 0.7 is scikit-learn's trap."""
    x = np.array([0.1, 0.7], np.float32)
    assert values(x, hr.MinMaxScaler(), dtype="float32") == [0.0, 1.0]
    unseen = pl.DataFrame({"x": np.array([9.0], np.float32)})
    assert fit({"x": x}, hr.MinMaxScaler()).transform(unseen)["x"].to_list() == [1.0]
    assert fit({"x": x}, hr.MinMaxScaler(clip=False)).transform(unseen)["x"].item() > 1


def test_case_16_largest_absolute_value() -> None:
    """Zeros stay, and so does what is missing."""
    assert values([0.0, 0.0], hr.MaxAbsScaler()) == [0.0, 0.0]
    assert values([-4.0, 2.0, NAN], hr.MaxAbsScaler()) == [-1.0, 0.5, None]


@pytest.mark.parametrize(
    ("x", "center", "scale"),
    [([1.0, 2.0, 3.0, 4.0, NAN], 2.5, 1.5), ([1, 1, 1, 9], 1, 2), ([5, 5, 5, 5], 5, 1)],
)
def test_case_17_quartiles(x: list[float], center: float, scale: float) -> None:
    """Median and distance of the quartiles, of which the latter cannot be 0."""
    step = fit({"x": x}, hr.RobustScaler()).steps[0]
    assert (step.center_["x"], step.scale_["x"]) == (center, scale)


@pytest.mark.parametrize(
    ("chunks", "median"), [([[-1, 0, 0], [0, 1, 1]], 0.0), ([[1], [2], [3]], 2.0), ([[5], [1]], 3.0)]
)
def test_case_18_medians_of_parts(tmp_path: Path, chunks: list[list[int]], median: float) -> None:
    """The median is that of all values, not one of the parts' medians."""
    x = [value for chunk in chunks for value in chunk]
    pl.DataFrame({"x": x}).write_parquet(tmp_path / "x.parquet", row_group_size=len(chunks[0]))
    pipe = hr.Pipeline([hr.RobustScaler()]).fit(hr.open(tmp_path / "x.parquet"), progress=False)
    assert pipe.steps[0].center_["x"] == median


def test_case_19_quantiles_are_interpolated() -> None:
    """The lower quartile of 1, 2, 3, 4 is 1.75."""
    step = fit({"x": [1, 2, 3, 4]}, hr.RobustScaler((0, 25), with_centering=False)).steps[0]
    assert step.scale_["x"] == 1.75 - 1


@pytest.mark.parametrize(
    "step", [hr.StandardScaler(), hr.MinMaxScaler(), hr.MaxAbsScaler(), hr.RobustScaler()]
)
def test_infinity_in_a_fit_is_refused(step: PrepareStep) -> None:
    """The error names the column; outside of a fit infinity stays."""
    with pytest.raises(hr.PrepareError, match="column `x`: 1 values are infinite"):
        fit({"x": [1.0, float("inf")]}, step)
    pipe = fit({"x": [1.0, 2.0]}, step)
    assert pipe.transform(pl.DataFrame({"x": [float("-inf")]}))["x"].to_list() == [float("-inf")]


@pytest.mark.parametrize(
    "make",
    [
        lambda: hr.MinMaxScaler((1, 0)),
        lambda: hr.MinMaxScaler(("a", 1)),  # pyright: ignore[reportArgumentType]
        lambda: hr.RobustScaler((75, 25)),
        lambda: hr.RobustScaler((0, 101)),
        lambda: hr.RobustScaler(5),  # pyright: ignore[reportArgumentType]
    ],
)
def test_settings_that_cannot_be_right(make: Any) -> None:
    """They are refused at once."""
    with pytest.raises(hr.OptionError, match="_range"):
        make()


def test_the_dtype_that_is_delivered() -> None:
    """Chains are rounded once; float16 saturates."""
    frame = pl.DataFrame({"x": [0.0, 1e-3, 1.0]})
    pipe = fit(frame, hr.MinMaxScaler(), dtype="float16")
    assert pipe.transform(frame).schema["x"] == pl.Float16
    assert pipe.transform(pl.DataFrame({"x": [1e9]}))["x"].to_list() == [65504.0]
    chain = (hr.StandardScaler(), hr.MinMaxScaler())
    narrow, wide = transformed(frame, *chain, dtype="float32"), transformed(frame, *chain)
    assert narrow["x"].to_list() == wide["x"].cast(pl.Float32).to_list()


@pytest.mark.parametrize(
    ("step", "what"),
    [
        (hr.StandardScaler(), "variance"),
        (hr.MinMaxScaler(), "range"),
        (hr.KBinsDiscretizer(n_bins=2, strategy="uniform"), "range"),
    ],
    ids=repr,
)
def test_values_beyond_what_float64_can_square_are_refused(step: Any, what: str) -> None:
    """No scale is made up where variance or range are beyond float64."""
    with pytest.raises(hr.PrepareError, match=f"column `x`: float64 cannot hold the {what}"):
        fit({"x": [1e308, -1e308, 0.0]}, step)
