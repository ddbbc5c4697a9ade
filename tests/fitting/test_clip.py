"""Outliers: limits by every method, clipped or made null."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numbers_frames import assert_foretold, assert_same_everywhere, assert_saved, fit, mixed, transformed

import headrace as hr

NAN = float("nan")


def limits_of(x: np.ndarray[Any, Any], method: str) -> tuple[float, float]:
    """Compute the limits in plain NumPy."""
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
    match method:
        case "quantile":
            return tuple(np.quantile(x, [0.01, 0.99]))
        case "iqr":
            return low - 1.5 * (high - low), high + 1.5 * (high - low)
        case "zscore":
            return x.mean() - 3 * x.std(), x.mean() + 3 * x.std()
        case _:
            reach = 3.5 * np.median(np.abs(x - middle)) * 1.482602218505602
            return middle - reach, middle + reach


@pytest.mark.parametrize("method", ["quantile", "iqr", "zscore", "mad"])
@pytest.mark.parametrize("name", ["normal", "skewed", "far", "whole"])
def test_limits_are_those_of_numpy(method: Any, name: str) -> None:
    """Missing values have no part in them and stay missing; a column keeps its type: rtol 1e-12."""
    frame = mixed(1000).select(name)
    known = frame[name].cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy()
    pipe = fit(frame, hr.ClipOutliers(method))
    low, high = limits_of(known, method)
    np.testing.assert_allclose(pipe.steps[0].limits_[name], [low, high], 1e-12)
    got = pipe.transform(frame)[name]
    assert got.dtype == frame[name].dtype
    inside = got.cast(pl.Float64).drop_nulls()
    assert inside.len() == len(known)
    assert inside.is_between(low - 1e-9, high + 1e-9).all()
    nulls = transformed(frame, hr.ClipOutliers(method, action="null"))[name]
    assert nulls.count() == ((known >= low) & (known <= high)).sum()
    beyond = pipe.steps[0].events(frame)[name]["out_of_range"]
    assert beyond == len(known) - nulls.count()


def test_infinite_values_are_outliers() -> None:
    """They have no part in the fit, so that this is the step to remove them."""
    frame = {"x": [1.0, 2.0, 3.0, float("inf"), float("-inf"), NAN]}
    assert transformed(frame, hr.ClipOutliers("iqr"))["x"].to_list() == [1.0, 2.0, 3.0, 4.0, 0.0, None]
    got = transformed(frame, hr.ClipOutliers("iqr", action="null"), hr.StandardScaler())["x"]
    assert got.null_count() == 3


def test_given_limits() -> None:
    """For all columns or by column, open where None stands."""
    frame = {"x": [-5, 5, None], "y": [1.5, 9.5, NAN]}
    got = transformed(frame, hr.ClipOutliers("limits", limits=(0, 2)))
    assert got.rows() == [(0, 1.5), (2, 2.0), (None, None)]
    by_column = hr.ClipOutliers("limits", limits={"x": (None, 0), "y": (2.25, None)})
    assert transformed(frame, by_column).rows() == [(-5, 2.25), (0, 9.5), (None, None)]
    with pytest.raises(hr.OptionError, match="lacks `y`"):
        transformed(frame, hr.ClipOutliers("limits", limits={"x": (0, 1)}))
    with pytest.raises(hr.OptionError, match="no UInt8 lies within"):
        transformed({"x": pl.Series([1], dtype=pl.UInt8)}, hr.ClipOutliers("limits", limits=(300, 400)))


def test_whole_numbers_stay_whole_and_exact() -> None:
    """Limits are rounded inwards, but never past each other; nothing beyond 2**53 changes a digit."""
    given = hr.ClipOutliers("limits", limits=(1.5, 4.5))
    assert transformed({"x": [1, 2, 3, 100]}, given)["x"].to_list() == [2, 2, 3, 4]
    assert transformed({"x": [2, 3]}, hr.ClipOutliers())["x"].to_list() == [2, 3]
    big = {"x": [2**62 + 1, -5, None]}
    assert transformed(big, hr.ClipOutliers("limits", limits=(0, None)))["x"].to_list() == [
        2**62 + 1,
        0,
        None,
    ]


@pytest.mark.parametrize("dtype", [pl.Decimal(38, 2), pl.UInt64()])
def test_types_beyond_machine_numbers(dtype: pl.DataType) -> None:
    """What lies within the limits keeps every digit."""
    series = pl.Series("x", [2**60 + 1, 3, None], dtype=pl.Int64).cast(dtype)
    got = transformed(series.to_frame(), hr.ClipOutliers("limits", limits=(5, None)))["x"]
    assert got.dtype == dtype
    assert got.to_list() == [2**60 + 1, 5, None]


def test_columns_without_values_have_no_outliers() -> None:
    """Their limits are open."""
    frame = pl.DataFrame({"x": [None, NAN]}, schema={"x": pl.Float64})
    for method in ("quantile", "iqr", "zscore", "mad"):
        pipe = fit(frame, hr.ClipOutliers(method))
        assert pipe.transform(pl.DataFrame({"x": [7.5]}))["x"].to_list() == [7.5]


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "sigma"},
        {"action": "drop"},
        {"method": "quantile", "limits": (0.9, 0.1)},
        {"method": "quantile", "limits": 3},
        {"method": "iqr", "limits": -1},
        {"method": "zscore", "limits": True},
        {"method": "limits"},
        {"method": "limits", "limits": (3, 1)},
        {"method": "limits", "limits": (NAN, 1)},
        {"method": "limits", "limits": {"x": 3}},
    ],
)
def test_settings_that_cannot_be_right(settings: dict[str, Any]) -> None:
    """They are refused at once."""
    with pytest.raises(hr.OptionError):
        hr.ClipOutliers(**settings)


def test_clipped_columns_are_the_same_everywhere(tmp_path: Path) -> None:
    """One row, a frame, files of any row groups and the loader's batches agree."""
    assert_same_everywhere(mixed(), hr.ClipOutliers("mad"), hr.RobustScaler(), folder=tmp_path)
    assert_foretold(mixed(), hr.ClipOutliers("zscore"))
    assert_saved(mixed(), hr.ClipOutliers(), tmp_path)


def test_whole_limits_beyond_2_to_the_53_are_exact() -> None:
    """A limit that no float is equal to is not rounded."""
    x = np.array([2**53, 2**53 + 1, 2**53 + 3])
    ds = hr.from_arrays({"x": x})
    pipe = hr.Pipeline([hr.ClipOutliers("limits", limits=(None, 2**53 + 1))]).fit(ds, progress=False)
    assert pipe.transform({"x": x})["x"].tolist() == [2**53, 2**53 + 1, 2**53 + 1]
    assert [pipe.transform({"x": int(value)})["x"] for value in x] == [2**53, 2**53 + 1, 2**53 + 1]
    assert pipe.report()["count"].to_list() == [1, 1]
