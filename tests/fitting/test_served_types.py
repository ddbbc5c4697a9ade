"""Numbers that come in another type than the one of the fit have the results of those that were fitted to."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import headrace as hr

STEPS: list[Any] = [
    hr.ClipOutliers("limits", limits=(0.3, 5.3)),
    hr.ClipOutliers("quantile", limits=(0.1, 0.9)),
    hr.FillMissing("mean"),
    hr.FillMissing("constant", value=7),
    hr.StandardScaler(),
    hr.KBinsDiscretizer(n_bins=2),
    hr.OrdinalEncoder(),
]


def samples() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "single": pl.Series([0.1, None, 0.7, 5.4], dtype=pl.Float32),
            "whole": pl.Series([1, None, 4, 9], dtype=pl.Int32),
            "double": [1.0, 2.5, None, 4.0],
        }
    )


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_any_form_gives_the_same_bits(step: Any) -> None:
    """A row holds Python's floats, arrays and pandas hold whole numbers with missing ones as floats."""
    frame = samples()
    pipe = hr.Pipeline([step]).fit(hr.from_polars(frame), progress=False)
    whole = pipe.transform(frame)
    wide = frame.with_columns(pl.col("single", "whole").cast(pl.Float64))
    rows = pl.DataFrame([pipe.transform(row) for row in wide.iter_rows(named=True)], whole.schema)
    assert rows.equals(whole)
    for got in (pipe.transform(wide), pipe.transform(hr.from_polars(wide)).to_polars()):
        assert got.equals(whole)
        assert got.schema == whole.schema
    arrays = pipe.transform({name: frame[name].to_numpy() for name in frame.columns})
    table = pipe.transform(frame.to_pandas())
    for name in frame.columns:
        np.testing.assert_array_equal(arrays[name], whole[name].to_numpy())
        np.testing.assert_array_equal(table[name].to_numpy(), whole[name].to_numpy())


@pytest.mark.parametrize("value", [2.5, float("inf")])
def test_no_whole_number_is_refused(value: float) -> None:
    """A fraction in a column that held whole numbers is other data, for one row as in a data set."""
    pipe = hr.Pipeline([hr.FillMissing("mean")]).fit(hr.from_polars(samples()), progress=False)
    row = {"single": 1.0, "whole": value, "double": 1.0}
    with pytest.raises(hr.SchemaError, match=f"`whole` must hold Int32.*{value}"):
        pipe.transform(row)
    with pytest.raises(hr.SchemaError, match="`whole`"):
        pipe.transform(hr.from_polars(pl.DataFrame([row]))).to_polars()


def test_larger_whole_numbers_are_treated() -> None:
    """A number that the type of the fit does not hold is a number still."""
    ds = hr.from_polars(pl.DataFrame({"x": pl.Series([0, 100], dtype=pl.Int8)}))
    pipe = hr.Pipeline([hr.StandardScaler()]).fit(ds, progress=False)
    assert pipe.transform({"x": 300}) == {"x": 5.0}


def test_arrays_of_objects_hold_plain_values() -> None:
    """NumPy keeps texts, truth values with None and bytes as objects."""
    frame = pl.DataFrame({"t": ["a", None], "b": [True, None], "d": [b"a", None]})
    pipe = hr.Pipeline([hr.OrdinalEncoder()]).fit(hr.from_polars(frame), progress=False)
    arrays = pipe.transform({name: frame[name].to_numpy() for name in frame.columns})
    assert {name: values.tolist() for name, values in arrays.items()} == {
        "t": [2, 0],
        "b": [2, 0],
        "d": [2, 0],
    }


def test_decimals_tell_groups_apart() -> None:
    """A row's decimal has digits of its own, and is the same number."""
    prices = pl.Series([Decimal("1.10"), Decimal("2.00"), Decimal("2.00")], dtype=pl.Decimal(9, 2))
    frame = pl.DataFrame({"price": prices, "x": [1.0, 2.0, None]})
    pipe = hr.Pipeline([hr.FillMissing("mean", by="price", columns="x")], dtype="float64")
    pipe.fit(hr.from_polars(frame), progress=False)
    whole = pipe.transform(frame)
    assert whole["x"].to_list() == [1.0, 2.0, 2.0]
    assert pipe.transform(hr.from_polars(frame)).to_polars().equals(whole)
    assert pipe.transform({"price": Decimal("2"), "x": None}) == {"price": Decimal("2.00"), "x": 2.0}


def test_moments_need_the_time_zone_of_the_fit_or_another() -> None:
    """A moment without a time zone is not taken for one in UTC, nor the other way round."""
    naive = datetime.datetime(2020, 1, 1, 23, 30)
    zoned = naive.replace(tzinfo=datetime.UTC)
    berlin = pl.Series("t", [zoned]).dt.convert_time_zone("Europe/Berlin")
    pipe = hr.Pipeline([hr.DateParts(["hour"])]).fit(hr.from_polars(berlin.to_frame()), progress=False)
    assert pipe.transform({"t": zoned})["t_hour"] == 0
    other = pipe.clone().fit(hr.from_polars(pl.DataFrame({"t": [naive]})), progress=False)
    assert other.transform({"t": np.datetime64(naive)})["t_hour"] == 23
    for fitted, moment in ((pipe, naive), (other, zoned)):
        with pytest.raises(hr.SchemaError, match=r"column `t`.*time zone"):
            fitted.transform({"t": moment})


def test_columns_of_pandas_that_mix_types_are_refused() -> None:
    """It is our error, whatever the library below says."""
    pipe = hr.Pipeline([hr.OrdinalEncoder()]).fit(hr.from_arrays({"c": ["a", "b"]}), progress=False)
    with pytest.raises(hr.SchemaError, match="several types"):
        pipe.transform(pd.DataFrame({"c": ["a", 3]}))
