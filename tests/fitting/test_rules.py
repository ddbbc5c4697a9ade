"""FixInconsistent: rules mend, null or refuse values, and count them."""

from __future__ import annotations

import datetime
import math
from typing import Any

import polars as pl
import pytest
from prepared import events, transform

import headrace as hr

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("settings", "values", "expected", "counts"),
    [
        (
            {"synonyms": {"USA": ["US", "U.S."]}, "allowed": ["USA", "FR"]},
            ["US", "U.S.", "FR", "xx", None, "us"],
            ["USA", "USA", "FR", None, None, None],
            {"synonym": 2, "not_allowed": 2},
        ),
        ({"ranges": (0, 100)}, [-1, 0, 100, 101, None], [None, 0, 100, None, None], {"out_of_range": 2}),
        (
            {"ranges": (0.1, None)},
            [0.1, 0.05, NAN, INF, -INF],
            [0.1, None, None, INF, None],
            {"out_of_range": 2},
        ),
        ({"allowed": [1, 2.5, 999]}, [1, 2, None], [1, None, None], {"not_allowed": 1}),
        ({"synonyms": {0: [-1, 99]}}, [-1, 99, 5], [0, 0, 5], {"synonym": 2}),
        (
            {"ranges": (None, datetime.date(2013, 1, 2))},
            [datetime.date(2013, 1, 2), datetime.date(2013, 1, 3)],
            [datetime.date(2013, 1, 2), None],
            {"out_of_range": 1},
        ),
        ({"synonyms": {"a": []}, "allowed": ["a"]}, ["b"], [None], {"synonym": 0, "not_allowed": 1}),
    ],
)
def test_rules_mend_and_null(
    settings: dict[str, Any], values: list[Any], expected: list[Any], counts: dict[str, int]
) -> None:
    """Each rule does what it says, in order; what breaks one is null, and every kind is counted."""
    frame = pl.DataFrame({"x": values})

    after = transform(frame, hr.FixInconsistent(**settings))["x"]

    assert after.to_list() == expected
    assert after.dtype == frame["x"].dtype
    assert events(frame, hr.FixInconsistent(**settings)) == {"x": counts}


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Int8, pl.UInt64])
def test_a_limit_is_within_the_range_in_every_type(dtype: Any) -> None:
    """Limits are compared in the column's own type, also those that it cannot hold."""
    frame = pl.DataFrame({"x": pl.Series([0, 1, 100], dtype=dtype)})
    small = pl.DataFrame({"x": pl.Series([0.1], dtype=pl.Float32)})

    assert transform(frame, hr.FixInconsistent(ranges=(1, 1000)))["x"].to_list() == [None, 1, 100]
    assert transform(small, hr.FixInconsistent(ranges=(0.1, 0.1)))["x"].null_count() == 0


def test_units_are_converted() -> None:
    """Values are multiplied by their unit's factor, then moved; one of no known unit breaks the rule."""
    frame = pl.DataFrame(
        {
            "t": [20.0, 68.0, NAN, 20.0, 5.0, None],
            "i": [1, 50, 3, 4, 5, 6],
            "unit": ["C", "F", "F", "K", None, None],
        }
    )
    step = hr.FixInconsistent(convert={"C": 1, "F": (5 / 9, -160 / 9)}, unit_column="unit")

    after = transform(frame, step)

    assert after["t"].to_list() == [20.0, 20.0, None, None, None, None]
    assert after["i"].to_list() == [1.0, 10.0, pytest.approx(-145 / 9), None, None, None]
    assert after["unit"].to_list() == frame["unit"].to_list()
    assert events(frame, step) == {
        "t": {"unknown_unit": 2, "converted": 1},
        "i": {"unknown_unit": 3, "converted": 2},
    }


def test_converted_floats_keep_their_type() -> None:
    """A product is computed in float64 and rounded once to the column's type."""
    frame = pl.DataFrame({"x": pl.Series([1.1], dtype=pl.Float32), "unit": ["in"]})

    after = transform(frame, hr.FixInconsistent(convert={"in": 2.54}, unit_column="unit"))["x"]

    assert after.dtype == pl.Float32
    assert after[0] == pl.Series([float(frame["x"][0]) * 2.54], dtype=pl.Float32)[0]


def test_units_that_a_step_before_fills_are_used() -> None:
    """A unit that another step mends is read after it, in a fit too."""
    frame = pl.DataFrame({"x": [1.0, 2.0], "unit": ["cm", "?"]})
    mend = hr.Replace({"?": "m"}, columns="unit")
    fix = hr.FixInconsistent(convert={"cm": 1, "m": 100}, unit_column="unit")

    after = transform(frame, mend, fix, hr.StandardScaler(columns="x"))

    assert after["x"].to_list() == [-1.0, 1.0]
    ds = hr.from_polars(frame)
    pipe = hr.Pipeline([mend, fix, hr.StandardScaler(columns="x")]).fit(ds, progress=False)
    assert pipe.steps[2].mean_["x"] == 100.5


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"allowed": ["a"]}, r"`x`: 2 of 3 values are not allowed, the first of them 'b'"),
        (
            {"convert": {"a": 1}, "unit_column": "unit", "columns": "n"},
            r"`n`: 1 of 3 values have a unit in `unit` that is not in `convert`, the first of them 2",
        ),
        ({"ranges": (1, 2)}, r"`n`: 1 of 3 values lie out of \(1, 2\), the first of them 3"),
    ],
)
def test_violations_can_be_refused(settings: dict[str, Any], reason: str) -> None:
    """With on_violation="raise" the error tells the column, the rule, the first value and the count."""
    frame = pl.DataFrame({"x": ["a", "b", "c"], "n": [1, 2, 3], "unit": ["a", "b", "a"]})

    with pytest.raises(hr.PrepareError, match=reason):
        transform(
            frame.select("n") if "ranges" in settings else frame,
            hr.FixInconsistent(**settings, on_violation="raise"),
        )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"allowed": ["a"], "ranges": (0, 1)},
        {"allowed": [None]},
        {"ranges": (2, 1)},
        {"ranges": (None, None)},
        {"ranges": (NAN, 1)},
        {"ranges": (1,)},
        {"ranges": ("a", 1)},
        {"ranges": (datetime.date(2020, 1, 1), datetime.datetime(2021, 1, 1))},
        {"convert": {"a": 1}},
        {"unit_column": "u", "ranges": (0, 1)},
        {"convert": {"a": 0}, "unit_column": "u"},
        {"convert": {"a": (1, 2, 3)}, "unit_column": "u"},
        {"convert": {"a": INF}, "unit_column": "u"},
        {"synonyms": {"a": "bc"}},
        {"synonyms": {"a": ["c"], "b": ["c"]}},
        {"synonyms": {"a": ["b"], "b": ["c"]}},
        {"allowed": ["a"], "on_violation": "keep"},
    ],
)
def test_rules_that_contradict_themselves_are_refused(settings: dict[str, Any]) -> None:
    """A step checks its rules when it is made."""
    with pytest.raises(hr.OptionError):
        hr.FixInconsistent(**settings)


def test_units_must_be_there_and_be_text() -> None:
    """The fit looks at the unit's column."""
    frame = pl.DataFrame({"x": [1.0], "unit": [1]})

    with pytest.raises(hr.UnknownColumnError, match="`units`"):
        transform(frame, hr.FixInconsistent(convert={"a": 1}, unit_column="units"))
    with pytest.raises(hr.SchemaError, match="units must be text, got column `unit`"):
        transform(frame, hr.FixInconsistent(convert={"a": 1}, unit_column="unit"))


def test_a_synonym_must_fit_the_column() -> None:
    """What is meant must be a value that the column can hold; what it cannot hold is never written there."""
    frame = pl.DataFrame({"x": pl.Series([1, 2], dtype=pl.Int8)})

    assert transform(frame, hr.FixInconsistent(synonyms={5: [1, 1000]}))["x"].to_list() == [5, 2]
    with pytest.raises(hr.SchemaError, match="must hold what is meant, but 1000"):
        transform(frame, hr.FixInconsistent(synonyms={1000: [1]}))


def test_moments_with_and_without_a_time_zone_are_not_compared() -> None:
    """What Polars cannot compare is our error, in a fit as in a frame, and names the column."""
    moment = datetime.datetime(2020, 1, 1)
    frame = pl.DataFrame({"x": pl.Series([moment]).dt.replace_time_zone("UTC")})
    with pytest.raises(hr.PrepareError, match=r"FixInconsistent failed.*'x'"):
        transform(frame, hr.FixInconsistent(ranges=(moment, None)))
