"""Outliers: limits by each method against Polars and NumPy, and what is kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr

METHODS = ["quantile", "iqr", "zscore", "mad"]


def expected_limits(values: pl.Series, method: str) -> tuple[float, float]:
    """The oracle: each definition written out with Polars."""
    values = values.drop_nulls().drop_nans().cast(pl.Float64)
    values = values.filter(values.is_finite())

    def quantile(level: float) -> float:
        found = values.quantile(level, interpolation="linear")
        assert found is not None
        return found

    if method == "quantile":
        return quantile(0.01), quantile(0.99)
    if method == "iqr":
        width = 1.5 * (quantile(0.75) - quantile(0.25))
        return quantile(0.25) - width, quantile(0.75) + width
    if method == "zscore":
        center, reach = float(np.mean(values.to_numpy())), 3 * float(np.std(values.to_numpy()))
    else:
        center = quantile(0.5)
        distance = (values - center).abs().quantile(0.5, interpolation="linear")
        reach = 3.5 * 1.482602218505602 * float(distance or 0)
    return center - reach, center + reach


@pytest.fixture
def frame() -> pl.DataFrame:
    """5,000 samples, some missing, some infinite, some far out."""
    generator = np.random.default_rng(4)
    x = generator.normal(5, 2, 5000)
    x[::97], x[1::211], x[2::307], x[3::401] = 80, np.nan, np.inf, -np.inf
    y = generator.integers(0, 1000, 5000)
    return pl.DataFrame({"x": x, "y": y, "single": x.astype(np.float32)}).with_columns(
        pl.when(pl.col("y") % 50 == 0).then(None).otherwise(pl.col("x")).alias("x")
    )


@pytest.fixture
def ds(frame: pl.DataFrame, tmp_path: Path) -> hr.Dataset:
    """The same in Parquet, in eight row groups."""
    pq.write_table(frame.to_arrow(), tmp_path / "x.parquet", row_group_size=700)
    return hr.open(tmp_path)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("column", ["x", "y", "single"])
def test_limits_are_those_of_the_definition(
    ds: hr.Dataset, frame: pl.DataFrame, method: Any, column: str
) -> None:
    """Each method fits the finite values of the samples that take part; what is missing is kept."""
    low, high = ds.outlier_limits([column], method)[column]
    expected = expected_limits(frame[column], method)
    left = ds.drop_outliers([column], method).sample_ids.tolist()
    values = frame[column].cast(pl.Float64)
    kept = values.is_null() | values.is_nan() | ((values >= low) & (values <= high))

    assert (low, high) == pytest.approx(expected, rel=1e-12)
    assert left == kept.arg_true().to_list()
    assert all(math.isfinite(value) for value in values.drop_nulls().drop_nans() if low <= value <= high)


@pytest.mark.parametrize("method", METHODS)
def test_any_executor_fits_the_same(ds: hr.Dataset, method: Any) -> None:
    """The limits are the same to the last bit wherever row groups are read."""
    alone = ds.outlier_limits(["x", "y"], method, executor=hr.Serial())

    assert ds.outlier_limits(["x", "y"], method, executor=hr.Threads(4)) == alone
    if method == "zscore":
        assert ds.outlier_limits(["x", "y"], method, executor=hr.Processes(2)) == alone


@pytest.mark.parametrize("method", METHODS)
def test_only_samples_that_take_part_are_fitted(ds: hr.Dataset, frame: pl.DataFrame, method: Any) -> None:
    """A part, a list and a bag are fitted by what they hold, repeats counted."""
    for part in (
        ds.slice(650, 900),
        ds.rows([3, 3, 3, 4000, 17, 20, 2500]),
        ds.sample(fraction=0.5, replace=True, seed=1),
    ):
        expected = expected_limits(frame["y"][part.sample_ids], method)
        assert part.outlier_limits(["y"], method)["y"] == pytest.approx(expected, rel=1e-12)


def test_limits_that_are_given(ds: hr.Dataset, frame: pl.DataFrame) -> None:
    """Closed on both ends, open where None stands, one pair for all columns or one for each."""
    y = frame["y"]

    assert (
        ds.drop_outliers("y", "limits", (10, 20)).sample_ids.tolist()
        == y.is_between(10, 20).arg_true().to_list()
    )
    assert len(ds.drop_outliers(["y"], "limits", (None, 20))) == (y <= 20).sum()
    assert (
        len(ds.drop_outliers(["y", "x"], "limits", {"y": (900, None), "x": (None, None)})) == (y >= 900).sum()
    )
    train, rest = ds.slice(0, 4000), ds.slice(4000)
    limits = train.outlier_limits(["y"], "quantile", (0.1, 0.9))
    low, high = limits["y"]
    assert len(rest.drop_outliers(["y"], "limits", limits)) == y[4000:].is_between(low, high).sum()


def test_limits_prune(tmp_path: Path) -> None:
    """Row groups within the limits, or outside of them, are not read again."""
    pq.write_table(pa.table({"x": list(range(100))}), tmp_path / "x.parquet", row_group_size=10)
    heard: list[int] = []
    ds = hr.open(tmp_path)

    found = ds.drop_outliers(["x"], "limits", (25, 60), progress=lambda _, total: heard.append(total))
    assert found.sample_ids.tolist() == list(range(25, 61))
    assert heard == [2, 2]


def test_what_has_no_spread_keeps_what_is_equal() -> None:
    """A constant column has no outliers, nor has one without finite values."""
    nan, inf = float("nan"), float("inf")
    ds = hr.from_polars(pl.DataFrame({"same": [5.0] * 4, "none": [nan, inf, None, None], "null": [None] * 4},
                                     schema_overrides={"null": pl.Float32}))  # fmt: skip
    for method in METHODS:
        assert len(ds.drop_outliers(["same", "none", "null"], method)) == 4
        assert len(ds.slice(0, 0).drop_outliers(["same"], method)) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((["z"],), hr.UnknownColumnError, "no column `z`"),
        ((["text"],), hr.SchemaError, "column `text` is"),
        ((["flag"],), hr.SchemaError, "column `flag` is bool"),
        (([],), hr.OptionError, "at least one column"),
        ((["x"], "tukey"), hr.OptionError, '"iqr"'),
        ((["x"], "iqr", -1), hr.OptionError, "at least 0, got -1"),
        ((["x"], "iqr", (1, 2)), hr.OptionError, "must be a number"),
        ((["x"], "quantile", 0.1), hr.OptionError, "pair of numbers"),
        ((["x"], "quantile", (-0.1, 0.5)), hr.OptionError, "between 0 and 1"),
        ((["x"], "limits"), hr.OptionError, "pair of numbers"),
        ((["x"], "limits", (3, 1)), hr.OptionError, "lower one must come first"),
        ((["x"], "limits", {"y": (1, 2)}), hr.OptionError, "lacks `x`"),
    ],
)
def test_what_cannot_be_fitted_is_refused(arguments: Any, error: type[Exception], text: str) -> None:
    """Each wrong argument is named with its value."""
    ds = hr.from_polars(pl.DataFrame({"x": [1.0], "text": ["a"], "flag": [True]}))
    with pytest.raises(error, match=text):
        ds.drop_outliers(*arguments)


def test_quantiles_within_the_memory_limit(tmp_path: Path) -> None:
    """A column that is too large to hold is refused by name; the z-score holds one row group."""
    pq.write_table(pa.table({"x": np.arange(100_000.0)}), tmp_path / "x.parquet", row_group_size=10_000)
    ds = hr.open(tmp_path, memory_limit="800KB")

    with pytest.raises(hr.MemoryLimitError, match="column `x`: its exact quantiles"):
        ds.drop_outliers(["x"])
    assert len(ds.drop_outliers(["x"], "zscore")) == 100_000
    assert len(ds.drop_outliers(["x"], "limits", ds.sample(1000).outlier_limits(["x"]))) == 100_000
