"""Filling and marking missing values."""

from __future__ import annotations

import datetime
from decimal import Decimal
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
from sklearn.impute import SimpleImputer

import headrace as hr

NAN = float("nan")
DAY = datetime.date(2024, 2, 29)


def filled(x: Any, step: hr.FillMissing, dtype: Any = None) -> pl.Series:
    return transformed(pl.DataFrame({"x": pl.Series(x, dtype=dtype, strict=False)}), step)["x"]


@pytest.mark.parametrize(
    ("ours", "theirs"), [("mean", "mean"), ("median", "median"), ("mode", "most_frequent")]
)
def test_fills_are_those_of_scikit_learn(ours: Any, theirs: str) -> None:
    """On float32, float64 and whole numbers, null and NaN: rtol 1e-12; a float32 column stays one."""
    frame = mixed()
    pipe = fit(frame, hr.FillMissing(ours))
    expected = SimpleImputer(strategy=theirs).fit(matrix(frame))
    got = list(pipe.steps[0].fill_.values())
    np.testing.assert_allclose(got, expected.statistics_, 1e-12)
    after = pipe.transform(frame)
    assert sum(after.null_count().row(0)) == 0
    assert after.schema["far"] == pl.Float32
    np.testing.assert_allclose(matrix(after), expected.transform(matrix(frame)), 1e-7)


def test_case_29_mode_and_median() -> None:
    """The smallest of several modes; a column without values is refused by name."""
    assert filled([2.0, 1.0, 2.0, 1.0, NAN], hr.FillMissing("mode")).to_list() == [2.0, 1.0, 2.0, 1.0, 1.0]
    assert filled([1.0, 2.0, 3.0, 10.0, NAN], hr.FillMissing("median"))[-1] == 2.5
    for strategy in ("mean", "median", "mode"):
        with pytest.raises(
            hr.PrepareError, match=f"column `x`: all values are missing, so there is no {strategy}"
        ):
            filled([None, NAN], hr.FillMissing(strategy), pl.Float64)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (["b", "a", None, "b"], "b"),
        ([True, False, None, False], False),
        ([DAY, None, DAY - datetime.timedelta(1), DAY], DAY),
        ([3, None, 2, 2, 3], 2),
        ([2**53 + 1, 2**53 + 1, None, 2**53], 2**53 + 1),
    ],
)
def test_the_mode_of_any_type(tmp_path: Path, x: list[Any], expected: Any) -> None:
    """The type stays."""
    series = filled(x, hr.FillMissing("mode"))
    assert series.dtype == pl.Series(x).dtype
    assert series.to_list() == [expected if it is None else it for it in x]
    assert_saved(pl.DataFrame({"x": x}), hr.FillMissing("mode"), tmp_path)


def test_whole_numbers_become_floats_where_a_mean_is_filled_in() -> None:
    """And those take the pipeline's dtype; a constant leaves them whole."""
    frame = pl.DataFrame({"x": [1, None, 2]})
    assert transformed(frame, hr.FillMissing("mean"))["x"].to_list() == [1.0, 1.5, 2.0]
    assert transformed(frame, hr.FillMissing("mean"), dtype="float32").schema["x"] == pl.Float32
    assert transformed(frame, hr.FillMissing("constant", value=0))["x"].dtype == pl.Int64
    big = pl.DataFrame({"x": [2**53 + 1, None]})
    assert transformed(big, hr.FillMissing("constant", value=0))["x"].to_list() == [2**53 + 1, 0]


def test_decimals_are_filled() -> None:
    """A mean makes floats of them, a constant does not."""
    frame = pl.DataFrame({"x": pl.Series([Decimal("1.5"), Decimal("2.5"), None])})
    assert transformed(frame, hr.FillMissing("mean"))["x"].to_list() == [1.5, 2.5, 2.0]
    assert transformed(frame, hr.FillMissing("constant", value=2))["x"].to_list()[2] == Decimal(2)


def test_a_constant_fills_columns_of_its_kind() -> None:
    """A text fills texts and a number numbers, unless columns are named."""
    frame = pl.DataFrame(
        {"n": [1, None], "f": [NAN, 2.5], "s": [None, "a"], "b": [None, True], "d": [DAY, None]}
    )
    numbers = transformed(frame, hr.FillMissing("constant", value=7))
    assert numbers.rows() == [(1, 7.0, None, None, DAY), (7, 2.5, "a", True, None)]
    assert transformed(frame, hr.FillMissing("constant", value="?"))["s"].to_list() == ["?", "a"]
    assert transformed(frame, hr.FillMissing("constant", value=False))["b"].to_list() == [False, True]
    assert transformed(frame, hr.FillMissing("constant", value=DAY))["d"].to_list() == [DAY, DAY]
    assert frame["n"].dtype == numbers["n"].dtype
    with pytest.raises(hr.SchemaError, match="cannot treat column `s`"):
        transformed(frame, hr.FillMissing("constant", value=7, columns="s"))


@pytest.mark.parametrize(
    ("value", "dtype"), [(300, pl.Int8), (-1, pl.UInt16), (0.5, pl.Int64), (1 << 63, pl.Int64)]
)
def test_a_constant_that_a_type_cannot_hold_is_refused(value: Any, dtype: Any) -> None:
    """Nothing wraps around."""
    with pytest.raises(hr.SchemaError, match="column `x`"):
        filled([1, None], hr.FillMissing("constant", value=value), dtype)


def test_the_mean_of_a_group(tmp_path: Path) -> None:
    """A group that the fit knows nothing of gets the mean of all; missing keys are a group."""
    frame = pl.DataFrame(
        {
            "x": pl.Series([1.0, None, 4.0, NAN, None, 7.0, 8.0, None], dtype=pl.Float32),
            "n": [1, 2, None, 4, None, 6, 7, None],
            "city": ["a", "a", "a", "b", "b", None, None, None],
            "year": [0.0, -0.0, NAN, 1.0, 1.0, 2.0, 2.0, 2.0],
        }
    )
    got = transformed(frame, hr.FillMissing("mean", columns=["x", "n"], by="city"))
    assert got["x"].to_list() == [1.0, 2.5, 4.0, 5.0, 5.0, 7.0, 8.0, 7.5]
    assert got["n"].to_list() == [1.0, 2.0, 1.5, 4.0, 4.0, 6.0, 7.0, 6.5]
    assert (got["x"].dtype, got["n"].dtype) == (pl.Float32, pl.Float64)
    narrow = transformed(frame, hr.FillMissing("mean", columns=["x", "n"], by="city"), dtype="float32")
    assert (narrow["n"].dtype, narrow["year"].dtype) == (pl.Float32, pl.Float64)
    both = hr.FillMissing("mean", by=["city", "year"])
    assert both.bound(frame.schema).names == ("x", "n")
    assert transformed(frame, both)["x"].to_list() == [1.0, 1.0, 4.0, 5.0, 5.0, 7.0, 8.0, 7.5]
    pipe = fit(frame, hr.FillMissing("mean", columns="x", by="city"))
    unseen = pipe.transform({"x": None, "n": 1, "city": "z", "year": 0.0})
    assert unseen["x"] == 5.0
    assert_same_everywhere(mixed(), hr.FillMissing("mean", columns="normal", by="ties"), folder=tmp_path)
    assert_saved(frame, both, tmp_path)
    ds = hr.from_polars(frame)
    assert ds.prepare(pipe).select(["x"]).to_polars()["x"].to_list() == pipe.transform(frame)["x"].to_list()
    with pytest.raises(hr.UnknownColumnError, match="town"):
        fit(frame, hr.FillMissing("mean", by="town"))
    with pytest.raises(hr.PrepareError, match="column `x`: all values are missing"):
        fit({"x": [NAN], "city": ["a"]}, hr.FillMissing("mean", by="city"))
    with pytest.raises(hr.PrepareError, match="column `x`: 1 values are infinite"):
        fit({"x": [float("inf")], "city": ["a"]}, hr.FillMissing("mean", by="city"))


def test_forward_is_right_or_refused() -> None:
    """A row group that begins with a missing value is refused, as the value before it lies elsewhere."""
    frame = pl.DataFrame({"x": [1.0, None, NAN, 4.0], "s": ["a", None, "b", None]})
    got = transformed(frame, hr.FillMissing("forward"))
    assert got.rows() == [(1.0, "a"), (1.0, "a"), (1.0, "b"), (4.0, "b")]
    pipe = fit(frame, hr.FillMissing("forward"))
    with pytest.raises(hr.PrepareError, match="begins with a missing value"):
        pipe.transform(frame[1:])


@pytest.mark.parametrize(
    "make",
    [
        lambda: hr.FillMissing("most"),  # pyright: ignore[reportArgumentType]
        lambda: hr.FillMissing("constant"),
        lambda: hr.FillMissing("constant", value=NAN),
        lambda: hr.FillMissing("mean", value=1),
        lambda: hr.FillMissing("median", by="x"),
    ],
)
def test_settings_that_cannot_be_right(make: Any) -> None:
    """They are refused at once."""
    with pytest.raises(hr.OptionError, match=r"value|strategy|by"):
        make()


def test_infinity_has_no_mean() -> None:
    """The error names the column."""
    with pytest.raises(hr.PrepareError, match="column `x`: 1 values are infinite"):
        filled([1.0, float("inf"), None], hr.FillMissing("mean"))


@pytest.mark.parametrize("strategy", ["mean", "median", "mode"])
def test_fills_are_the_same_everywhere(tmp_path: Path, strategy: Any) -> None:
    """One row, a frame, files of any row groups and the loader's batches agree, with steps after the fill."""
    assert_same_everywhere(mixed(), hr.FillMissing(strategy), hr.StandardScaler(), folder=tmp_path)
    assert_foretold(mixed(), hr.FillMissing(strategy))


def test_a_fill_is_rounded_to_its_column_in_any_chain() -> None:
    """Whether a column is written between two steps, as before an expression, does not show in its bits."""
    frame = pl.DataFrame({"x": pl.Series([0.1, None, 0.7], dtype=pl.Float32), "s": ["a", None, "b"]})
    together = transformed(frame, hr.FillMissing("mean", columns="x"), hr.StandardScaler())
    between = hr.FillMissing("mode", columns="s")
    apart = transformed(frame, hr.FillMissing("mean", columns="x"), between, hr.StandardScaler())
    assert together["x"].to_list() == apart["x"].to_list()


def test_missing_values_are_marked(tmp_path: Path) -> None:
    """Null and NaN alike, in columns of any type, after the columns that are there."""
    frame = pl.DataFrame({"x": [1.0, NAN, None], "s": ["a", None, "b"]})
    steps = (hr.MissingIndicator(), hr.FillMissing("constant", value=0))
    got = transformed(frame, *steps)
    assert got.columns == ["x", "s", "x_missing", "s_missing"]
    assert got["x_missing"].to_list() == [False, True, True]
    assert got["s_missing"].to_list() == [False, True, False]
    assert got["x"].to_list() == [1.0, 0.0, 0.0]
    assert_foretold(frame, hr.MissingIndicator())
    assert_saved(frame, hr.MissingIndicator(columns="x"), tmp_path)
    ds = hr.from_polars(frame)
    chosen = ds.prepare(hr.Pipeline([hr.MissingIndicator()]).fit(ds, progress=False)).select(["s_missing"])
    assert chosen.to_polars()["s_missing"].to_list() == [False, True, False]
    with pytest.raises(hr.OptionError, match="`x_missing` is there already"):
        transformed({"x": [1], "x_missing": [1]}, hr.MissingIndicator())


def test_missing_values_are_counted() -> None:
    """By column."""
    pipe = fit({"x": [1.0, NAN, None]}, hr.FillMissing("mean"))
    assert pipe.steps[0].events(pl.DataFrame({"x": [1.0, NAN, None]})) == {"x": {"missing": 2}}


@pytest.mark.parametrize("dtype", [pl.Datetime("ns"), pl.Datetime("ns", "Europe/Zurich"), pl.Duration("ns")])
def test_the_mode_keeps_nanoseconds(tmp_path: Path, dtype: pl.DataType) -> None:
    """A moment or a duration that is filled in has all its digits, also from a saved pipeline."""
    frame = pl.DataFrame({"t": pl.Series([1_000_000_001, 1_000_000_001, None, 5]).cast(dtype)})
    pipe = hr.Pipeline([hr.FillMissing("mode")]).fit(hr.from_polars(frame), progress=False)
    pipe.save(tmp_path / "pipe.json")

    for one in (pipe, hr.Pipeline.load(tmp_path / "pipe.json")):
        filled = one.transform(frame)["t"]
        assert filled.dtype == dtype
        assert filled.to_physical().to_list() == [1_000_000_001, 1_000_000_001, 1_000_000_001, 5]
