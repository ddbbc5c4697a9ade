"""Steps that compute columns of others."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared import assert_foretold, assert_same_everywhere, bits, columns_read, events, fit, transform
from sklearn.preprocessing import PolynomialFeatures

import headrace as hr
from headrace.prepare.steps.cycles import sin_cos

NAN, INF = math.nan, math.inf
FRAME = pl.DataFrame(
    {
        "a": [0.1, NAN, None, 1e300, -1 / 3, 2.7, 3.1],
        "b": [1, 2, None, 2**40, -3, 7, 9],
        "c": ["x", None, "x_y", "", "é", "x", "z"],
        "t": [datetime.datetime(2013, month, 28, 23, 59, 58) for month in range(1, 7)] + [None],
        "d": [datetime.date(2012, 12, 31 - day) for day in range(6)] + [None],
    }
)
STEPS = [
    (hr.Expression(ratio=(pl.col("a") - 1.1) / 3.3), "ratio", ("a",)),
    (hr.Expression([pl.col("b") * 2, (pl.col("a") / pl.col("b")).alias("q")]), "q", ("a", "b")),
    (hr.Expression([pl.col("b") * 2, (pl.col("a") / pl.col("b")).alias("q")]), "b", ("b",)),
    (hr.Cross(columns=["b", "c"]), "b_c", ("b", "c")),
    (hr.Polynomial(3, include_bias=True), "b^2", ("b",)),
    (hr.Polynomial(2), "a b", ("a", "b")),
    (hr.DateParts(), "t_hour", ("t",)),
    (hr.Cyclic(7.3), "a_cos", ("a",)),
    (hr.Cyclic(7.3), "b_sin", ("b",)),
]


@pytest.mark.parametrize(
    "step", {repr(step): step for step, _, _ in STEPS}.values(), ids=lambda it: repr(it)[:40]
)
def test_one_row_is_as_many_rows(step: Any, tmp_path: Path) -> None:
    """Rows by themselves, frames, files of any row groups and batches give the same bits."""
    assert_same_everywhere(FRAME, step, folder=tmp_path)
    assert_foretold(FRAME, step)


@pytest.mark.parametrize(("step", "wanted", "read"), STEPS, ids=lambda it: repr(it)[:30])
def test_columns_that_nobody_wants_are_not_read(step: Any, wanted: str, read: tuple[str, ...]) -> None:
    """What is computed needs its inputs alone, and what is not computed needs itself."""
    assert columns_read(FRAME, step, wanted) == read
    assert columns_read(FRAME, step, "c") == ("c",)
    assert columns_read(FRAME, step, wanted, "d") == tuple(
        name for name in FRAME.columns if name in {*read, "d"}
    )


@pytest.mark.parametrize(
    "kind", [hr.Cross(columns=["b", "c"], into="a"), hr.Cross(columns=["b", "c"], into="b")]
)
def test_a_name_that_is_taken_is_refused(kind: Any) -> None:
    """No column is overwritten unasked."""
    with pytest.raises(hr.SchemaError, match=r"adds column `[ab]`, but there is one"):
        transform(FRAME, kind)


def test_two_products_of_one_name_are_refused() -> None:
    """The names of columns can make two products sound alike."""
    frame = pl.DataFrame({"a": [1.0], "b c": [1.0], "a b": [1.0], "c": [1.0]})

    with pytest.raises(hr.SchemaError, match="adds column `a b`"):
        transform(frame.select("a", "a b", pl.col("c").alias("b")), hr.Polynomial())
    with pytest.raises(hr.SchemaError, match="adds column `a b c`"):
        transform(frame, hr.Polynomial())


# Expression


def test_one_division_is_as_many(tmp_path: Path) -> None:
    """Polars divides by a literal in two ways, for one row and for more; the step in one."""
    values = np.random.default_rng(0).normal(size=500)
    frame = pl.DataFrame({"x": values})
    expression = (pl.col("x") - 1.1) / 3.3
    pipe = fit(frame, hr.Expression(y=expression))

    whole = pipe.transform(frame)

    assert [pipe.transform({"x": value})["y"] for value in values.tolist()] == whole["y"].to_list()
    assert bits(whole.select("y")) == bits(frame.select(expression.alias("y")))
    chunks = pl.concat([frame.slice(row, 1) for row in range(frame.height)], rechunk=False)
    assert bits(pipe.transform(chunks)) == bits(whole)
    repeated = pl.select(x=pl.repeat(values[19], 3)), frame.slice(0, 3).with_columns(x=pl.lit(values[19]))
    assert {bits(pipe.transform(it))[0] for it in repeated} == {bits(whole)[19]}


def test_expressions_see_the_columns_that_come_in() -> None:
    """A replaced column is computed of the old ones, and the order of the columns stays."""
    frame = pl.DataFrame({"a": [1, 2], "b": [10, 20]})
    step = hr.Expression([pl.col("a") + pl.col("b"), (pl.col("a") * 2).alias("b")], c=pl.col("a"))

    assert transform(frame, step).to_dict(as_series=False) == {"a": [11, 22], "b": [2, 4], "c": [1, 2]}


def test_columns_made_of_no_other_are_added() -> None:
    """A constant, and the ones of a polynomial, need no column but one that carries the rows."""
    step = hr.Polynomial(include_bias=True)

    assert transform(FRAME, hr.Expression(one=pl.lit(1, pl.Int8)))["one"].to_list() == [1] * FRAME.height
    assert columns_read(FRAME, hr.Expression(one=pl.lit(1, pl.Int8)), "one") == ("a",)
    assert columns_read(FRAME, step, "1") == ("a",)


def test_computed_floats_take_the_dtype_of_the_pipeline() -> None:
    """New numbers are float32 by default; a column that only passes keeps its type."""
    frame = pl.DataFrame({"a": [1.5], "b": [2.5]})

    after = transform(frame, hr.Expression(c=pl.col("a") / 3, b=pl.col("b")), dtype="float32")

    assert after.schema == {"a": pl.Float64, "b": pl.Float32, "c": pl.Float32}


@pytest.mark.parametrize(
    "wrong",
    [
        (pl.col("a") - pl.col("a").mean(),),
        (pl.col("a").shift(1),),
        (pl.col("a").sum().over("c"),),
        ("a",),
        (),
    ],
)
def test_expressions_that_look_at_other_samples_are_refused(wrong: tuple[Any, ...]) -> None:
    """A row group is not the data set."""
    with pytest.raises(hr.OptionError):
        hr.Expression(list(wrong))


def test_expressions_that_cannot_be_are_refused() -> None:
    """The fit tells what does not fit, and data that fails is named."""
    with pytest.raises(hr.SchemaError, match='unable to find column "z"'):
        transform(FRAME, hr.Expression(y=pl.col("z")))
    with pytest.raises(hr.SchemaError, match="several expressions make `y`"):
        transform(FRAME, hr.Expression([pl.col("a").alias("y")], y=pl.col("b")))
    with pytest.raises(hr.FingerprintError, match="calls a Python function"):
        hr.Expression(y=pl.col("a").map_batches(math.floor))
    with pytest.raises(hr.PrepareError, match=r"Expression failed: .*failed in column 'b'"):
        transform(FRAME, hr.Expression(y=pl.col("b").cast(pl.Int8)))


# Cross


def test_crossed_categories_are_joined() -> None:
    """Values are joined as text, null if one is null; a separator within a value is counted."""
    frame = FRAME.select("b", "c")

    after = transform(frame, hr.Cross(columns=["c", "b"], into="k"))

    assert after["k"].to_list() == ["x_1", None, None, f"_{2**40}", "é_-3", "x_7", "z_9"]
    assert events(frame, hr.Cross(columns=["c", "b"], into="k")) == {"k": {"separator": 1}}
    assert events(frame, hr.Cross(columns=["c", "b"], into="k", separator="|")) == {"k": {"separator": 0}}


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, hr.OptionError),
        ({"columns": ["b"]}, hr.OptionError),
        ({"columns": ["b", "c"], "separator": ""}, hr.OptionError),
        ({"columns": ["a", "c"]}, hr.SchemaError),
        ({"columns": ["b", "no"]}, hr.UnknownColumnError),
    ],
)
def test_a_cross_of_what_is_no_category_is_refused(settings: dict[str, Any], error: type[Exception]) -> None:
    """It takes two columns of categories at least; floats are none."""
    with pytest.raises(error):
        transform(FRAME, hr.Cross(**settings))


# Polynomial


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
@pytest.mark.parametrize(
    "settings",
    [{}, {"degree": 3}, {"degree": 4, "interaction_only": True}, {"degree": 3, "include_bias": True}],
)
def test_products_are_those_of_scikit_learn(settings: dict[str, Any], dtype: Any) -> None:
    """Names, order and values: bit for bit on float64 and whole numbers, rtol 1e-6 on float32."""
    values = (np.random.default_rng(0).normal(size=(50, 4)) * 100).astype(dtype)
    frame = pl.DataFrame(values, schema=list("abcd"))
    oracle = PolynomialFeatures(**{"include_bias": False, **settings}).set_output(transform="default")
    wide = dtype == np.int32
    expected = oracle.fit_transform(frame.to_numpy().astype(np.float64 if wide else dtype))
    names = list(oracle.get_feature_names_out(frame.columns))

    after = transform(frame, hr.Polynomial(**settings))

    assert [name for name in after.columns if name not in frame.columns] == [
        name for name in names if name not in frame.columns
    ]
    rtol = 1e-6 if dtype == np.float32 else 0
    np.testing.assert_allclose(after.select(names).to_numpy(), expected, rtol=rtol)


def test_a_missing_factor_makes_a_missing_product() -> None:
    """Null and NaN are missing, infinity times zero is; an overflow is infinite."""
    frame = pl.DataFrame({"a": [NAN, INF, 1e200, None], "b": [1.0, 0.0, 1e200, 2.0]})

    after = transform(frame, hr.Polynomial())

    assert after["a b"].to_list() == [None, None, INF, None]
    assert after["a"].to_list()[1:] == frame["a"].to_list()[1:]


def test_polynomial_keeps_its_inputs() -> None:
    """Products take the pipeline's dtype, and the columns that they are made of stay as they are."""
    after = transform(FRAME.select("a", "b"), hr.Polynomial(), dtype="float32")

    assert after.schema["a"] == pl.Float64
    assert after.schema["a b"] == pl.Float32


@pytest.mark.parametrize("degree", [1, 0, 2.0, True])
def test_a_degree_below_two_is_refused(degree: Any) -> None:
    """There is nothing to add."""
    with pytest.raises(hr.OptionError, match="`degree`"):
        hr.Polynomial(degree)


# DateParts


def test_dates_are_taken_apart() -> None:
    """Every part is that of Python's own calendar."""
    parts = (
        "year",
        "quarter",
        "month",
        "week",
        "day",
        "weekday",
        "ordinal_day",
        "hour",
        "minute",
        "second",
        "microsecond",
    )
    moments = [datetime.datetime(2012, 12, 31, 23, 59, 58, 7), datetime.datetime(2013, 1, 1), None]

    after = transform(pl.DataFrame({"t": moments}), hr.DateParts(parts))

    for moment, row in zip(moments, after.select(pl.exclude("t")).rows(named=True), strict=True):
        expected = moment and {
            "quarter": (moment.month + 2) // 3,
            "week": moment.isocalendar().week,
            "weekday": moment.isoweekday(),
            "ordinal_day": moment.timetuple().tm_yday,
        }
        for part in parts:
            value = None if moment is None else expected.get(part, getattr(moment, part, None))
            assert row[f"t_{part}"] == value
    assert set(after.drop("t").dtypes) == {pl.Int32}


def test_zoned_times_are_those_of_the_clock_there() -> None:
    """Half past eleven in the evening in New York is the next day in Greenwich."""
    moment = datetime.datetime(2013, 1, 31, 23, 30)
    frame = pl.DataFrame({"t": pl.Series([moment]).dt.replace_time_zone("America/New_York")})

    assert transform(frame, hr.DateParts(["day", "hour"])).row(0)[1:] == (31, 23)


def test_parts_that_are_not_there_are_refused() -> None:
    """A date has no hour; by default each column gives what it has."""
    frame = pl.DataFrame({"d": [datetime.date(2013, 1, 31)], "o": [datetime.time(5)]})

    assert transform(frame, hr.DateParts()).columns[2:] == [
        "d_year",
        "d_month",
        "d_day",
        "d_weekday",
        "o_hour",
    ]
    with pytest.raises(hr.SchemaError, match="`d` of type Date has no hour"):
        transform(frame, hr.DateParts(["hour"]))
    for wrong in (["our"], "hour", [], ["day", "day"]):
        with pytest.raises(hr.OptionError, match="`parts`"):
            hr.DateParts(wrong)


# Cyclic


def test_sine_and_cosine_are_exact_to_the_last_digits() -> None:
    """An absolute error of 3e-16 at most, against the machine's long doubles."""
    turns = np.random.default_rng(0).uniform(-1, 1, 20_000)
    angles = turns.astype(np.longdouble) * (2 * np.longdouble("3.14159265358979323846264338327950288"))

    sines, cosines = sin_cos(turns)

    assert np.abs(sines - np.sin(angles)).max() < 3e-16
    assert np.abs(cosines - np.cos(angles)).max() < 3e-16


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40))
def test_a_place_on_the_circle_does_not_depend_on_the_others(turns: list[float]) -> None:
    """One value gives the bits that it gives among many, whatever their number."""
    together = np.stack(sin_cos(np.array(turns)))
    alone = np.concatenate([np.stack(sin_cos(np.array([turn]))) for turn in turns], axis=1)

    assert together.tobytes() == alone.tobytes()


def test_quarters_of_the_period_are_exact() -> None:
    """The circle closes: a whole period on is the same place, and quarters are 0 and 1."""
    frame = pl.DataFrame({"m": [0, 3, 6, 9, 12, -3, 10**9 * 12 + 3, None]})

    after = transform(frame, hr.Cyclic(12))

    assert after["m_sin"].to_list() == [0, 1, 0, -1, 0, -1, 1, None]
    assert after["m_cos"].to_list() == [1, 0, -1, 0, 1, 0, 0, None]
    assert "-0.0" not in {repr(value) for value in after["m_sin"].to_list() + after["m_cos"].to_list()}


def test_what_is_nowhere_on_the_circle_is_null() -> None:
    """Infinity and NaN have no place; infinities are counted."""
    frame = pl.DataFrame({"x": [NAN, INF, -INF, 1.0]})

    assert transform(frame, hr.Cyclic(4))["x_sin"].to_list() == [None, None, None, 1.0]
    assert events(frame, hr.Cyclic(4)) == {"x": {"infinite": 2}}


@pytest.mark.parametrize("period", [0, -1, NAN, INF, "12", None, True])
def test_a_period_must_be_a_positive_number(period: Any) -> None:
    """A circle has a circumference."""
    with pytest.raises(hr.OptionError, match="`period`"):
        hr.Cyclic(period)
