"""Steps that clean types and values: what they change, refuse and count."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared import assert_foretold, assert_same_everywhere, columns_read, events, transform

import headrace as hr

NAN, INF = math.nan, math.inf


# Cast


@pytest.mark.parametrize(
    ("values", "dtype", "expected", "invalid"),
    [
        (["1", "-2", None], "int64", [1, -2, None], 0),
        (["1", " 2", "", "1.5", "1_000", "x"], "int64", [1, None, None, None, None, None], 5),
        (["1.5", "1e3", "inf", "nan", None, "?"], "float64", [1.5, 1000.0, INF, None, None, None], 1),
        ([1.0, 1.5, NAN, INF, 1e30], "int64", [1, None, None, None, None], 3),
        ([1, 300, -1, None], pl.UInt8, [1, None, None, None], 2),
        ([0.5, 1e300, INF, NAN], "float32", [0.5, None, INF, None], 1),
        ([0, 1, 2], "bool", [False, True, None], 1),
        (["a", "c", None], pl.Enum(["a", "b"]), ["a", None, None], 1),
        ([1.5, NAN, None], "string", ["1.5", None, None], 0),
        ([True, None], "int8", [1, None], 0),
        ([datetime.date(2013, 1, 31), None], "string", ["2013-01-31", None], 0),
        ([None, None], "float32", [None, None], 0),
    ],
)
def test_cast_makes_null_of_what_it_cannot_cast(
    values: list[Any], dtype: Any, expected: list[Any], invalid: int
) -> None:
    """What the new type cannot hold becomes null and is counted; missing values are null."""
    frame = pl.DataFrame({"x": values})
    step = hr.Cast(dtype, on_error="null")

    after = transform(frame, step)["x"]

    assert after.to_list() == expected
    assert after.dtype == step.dtype
    assert events(frame, step)["x"]["invalid"] == invalid


def test_cast_names_the_first_value_and_the_count() -> None:
    """By default what cannot be cast is an error that tells the column, the first value and how many."""
    frame = pl.DataFrame({"age": ["39", "?", "x", None]})

    with pytest.raises(
        hr.PrepareError, match=r"column `age`: 2 of 4 values cannot be cast to Int64.*'\?'.*null"
    ):
        transform(frame, hr.Cast("int64"))


def test_cast_error_names_the_row_group(tmp_path: Path) -> None:
    """In a data set, the error also tells where the value lies."""
    path = tmp_path / "ages.parquet"
    pl.DataFrame({"age": ["1", "2", "x"]}).write_parquet(path, row_group_size=2)
    ds = hr.open(path)
    pipe = hr.Pipeline([hr.Cast("int64")]).fit(ds, progress=False)

    with pytest.raises(hr.PrepareError, match=r"ages\.parquet, row group 1: column `age`: 1 of 1 .*'x'"):
        ds.prepare(pipe).to_polars()


def test_cast_counts_whole_numbers_that_a_float_rounds() -> None:
    """2^53 + 1 is no float64, and 2^24 + 1 no float32; both are rounded and counted."""
    frame = pl.DataFrame({"x": [2**53, 2**53 + 1, None], "y": [2**24, 2**24 + 1, 3]})

    assert events(frame, hr.Cast("float64")) == {
        "x": {"invalid": 0, "rounded": 1},
        "y": {"invalid": 0, "rounded": 0},
    }
    assert events(frame.select("y"), hr.Cast("float32"))["y"]["rounded"] == 1


@pytest.mark.parametrize(
    ("values", "dtype"), [(["true"], "bool"), (["2013-01-31"], "date"), ([1.5], "categorical")]
)
def test_cast_that_no_value_survives_is_refused_at_the_fit(values: list[Any], dtype: str) -> None:
    """A cast between types that have none says what to use instead."""
    with pytest.raises(hr.SchemaError, match="`ParseDates`"):
        transform(pl.DataFrame({"x": values}), hr.Cast(dtype))


@pytest.mark.parametrize("dtype", ["real", pl.List(pl.Int8), 5, None])
def test_cast_to_no_plain_type_is_refused(dtype: Any) -> None:
    """The type must be one of Polars, and not nested."""
    with pytest.raises(hr.OptionError, match="`dtype` must be"):
        hr.Cast(dtype)


def test_cast_refuses_lists() -> None:
    """A named column of lists is refused; unnamed ones are left alone."""
    frame = pl.DataFrame({"x": [1], "y": [[1]]})

    assert transform(frame, hr.Cast("int8")).schema == {"x": pl.Int8, "y": pl.List(pl.Int64)}
    with pytest.raises(hr.SchemaError, match="cannot treat column `y`"):
        transform(frame, hr.Cast("int8", columns="y"))


# Replace


@pytest.mark.parametrize(
    ("values", "mapping", "expected", "replaced"),
    [
        (["?", "a", None, " ?"], {"?": None}, [None, "a", None, " ?"], 1),
        (["?", None], {"?": "x", None: "y"}, ["x", "y"], 2),
        ([0, 1, 2, None], {0: None, 2: 5}, [None, 1, 5, None], 2),
        ([0.0, -0.0, NAN, 2.5], {0: 9, None: 7.5}, [9.0, 9.0, 7.5, 2.5], 3),
        ([1, 2], {1.5: 3, 1: 4, 300: 5}, [4, 2], 1),
        ([2.0**53], {2**53 + 1: 0}, [2.0**53], 0),
        ([True, False, None], {False: None}, [True, None, None], 1),
        (["a", "b"], {"c": "d"}, ["a", "b"], 0),
        ([datetime.date(2013, 1, 1)], {datetime.date(2013, 1, 1): None}, [None], 1),
        (["a", "b"], {"a": "b", "b": "a"}, ["b", "a"], 2),
    ],
)
def test_replace_changes_exact_matches_alone(
    values: list[Any], mapping: dict[Any, Any], expected: list[Any], replaced: int
) -> None:
    """Values equal to a key are replaced at once, others stay, and the type stays."""
    frame = pl.DataFrame({"x": values})
    step = hr.Replace(mapping)

    after = transform(frame, step)["x"]

    assert after.to_list() == expected
    assert after.dtype == frame["x"].dtype
    assert events(frame, step) == {"x": {"replaced": replaced}}


def test_replace_treats_columns_of_the_keys_kind() -> None:
    """Texts are looked for in text alone; a column of another kind that is named is refused."""
    frame = pl.DataFrame({"x": ["?"], "n": [1], "f": [1.5]})

    assert events(frame, hr.Replace({"?": None})) == {"x": {"replaced": 1}}
    assert events(frame, hr.Replace({1: 2})) == {"n": {"replaced": 1}, "f": {"replaced": 0}}
    assert events(frame, hr.Replace({True: False})) == {}
    assert events(frame, hr.Replace({None: "none"})) == {"x": {"replaced": 0}}
    with pytest.raises(hr.SchemaError, match="cannot treat column `n`"):
        transform(frame, hr.Replace({"?": None}, columns=["x", "n"]))


def test_replace_tells_dates_times_and_durations_apart() -> None:
    """Each is looked for in columns of its own kind; a moment is no day."""
    moments = [datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 1, 3)]
    moment = pl.Series(moments)
    frame = pl.DataFrame(
        {
            "day": moment.cast(pl.Date),
            "moment": moment,
            "zoned": moment.dt.replace_time_zone("Europe/Berlin"),
            "hour": moment.dt.time(),
            "length": moment - datetime.datetime(2019, 12, 31),
        }
    )
    zoned = frame["zoned"][0]
    for key, counts in (
        (datetime.date(2020, 1, 1), {"day": 2, "moment": 0, "zoned": 0}),
        (moments[0], {"day": 0, "moment": 1, "zoned": 0}),
        (zoned, {"day": 0, "moment": 0, "zoned": 1}),
        (datetime.time(3), {"hour": 1}),
        (datetime.timedelta(days=1), {"length": 1}),
    ):
        found = events(frame, hr.Replace({key: None}))
        assert {name: event["replaced"] for name, event in found.items()} == counts


def test_replace_of_all_values_changes_the_type() -> None:
    """Where others are not kept, labels become numbers; missing ones stay missing and are no others."""
    frame = pl.DataFrame({"label": ["no", "yes", None, "nein"]})
    step = hr.Replace({"no": 0, "yes": 1}, others="null")

    assert transform(frame, step)["label"].to_list() == [0, 1, None, None]
    assert events(frame, step) == {"label": {"replaced": 2, "other": 1}}
    with pytest.raises(hr.PrepareError, match=r"`label`: 1 of 4 values are not in the mapping.*'nein'"):
        transform(frame, hr.Replace({"no": 0, "yes": 1}, others="raise"))
    with pytest.raises(hr.SchemaError, match="column `label` must hold the new values, but 0"):
        transform(frame, hr.Replace({"no": 0, "yes": 1}))


def test_replace_keeps_categories() -> None:
    """Categories are compared as text; an enumeration must list the new value."""
    frame = pl.DataFrame({"x": ["a", "b", None]}, schema={"x": pl.Enum(["a", "b"])})

    after = hr.Replace({"a": "b"}).bound(frame.schema).apply(frame)["x"]

    assert after.to_list() == ["b", "b", None]
    assert after.dtype == pl.Enum(["a", "b"])
    with pytest.raises(hr.SchemaError, match="'z' is none of type Enum"):
        hr.Replace({"a": "z"}).bound(frame.schema).apply(frame)
    categories = frame.cast(pl.Categorical)
    assert transform(categories, hr.Replace({"a": "z"}))["x"].to_list() == ["z", "b", None]
    assert transform(categories, hr.Replace({"a": "z"}))["x"].dtype == pl.Categorical


@pytest.mark.parametrize("mapping", [{}, {"a": 1, 2: 3}, {"a": 1, "b": "x"}, {"a": [1]}, ["a"]])
def test_replace_by_no_mapping_is_refused(mapping: Any) -> None:
    """Keys are of one kind, and so are new values."""
    with pytest.raises(hr.OptionError):
        hr.Replace(mapping)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.sampled_from("abcd")), max_size=8),
    st.dictionaries(st.sampled_from("abx"), st.one_of(st.none(), st.sampled_from("cy")), min_size=1),
)
def test_replace_is_a_lookup(values: list[str | None], mapping: dict[str, str | None]) -> None:
    """Any mapping does what a dictionary does."""
    frame = pl.DataFrame({"x": [*values, "a"]}, schema={"x": pl.String})

    expected = [mapping.get(value, value) if value is not None else None for value in frame["x"]]
    assert transform(frame, hr.Replace(mapping))["x"].to_list() == expected


# DropConstant


CONSTANTS = pl.DataFrame(
    {
        "same": [1, 1, 1],
        "text": ["a", "a", "a"],
        "some": [1.0, None, NAN],
        "null": pl.Series([None, None, None], dtype=pl.Float64),
        "varies": [1, 1, 2],
        "inf": [1.0, INF, 1.0],
        "zero": [0.0, -0.0, 0.0],
    }
)


@pytest.mark.parametrize(
    ("missing_is_value", "left"), [(False, ["varies", "inf"]), (True, ["some", "varies", "inf"])]
)
def test_constant_columns_are_dropped(missing_is_value: bool, left: list[str]) -> None:
    """A column in which no samples differ is left out; whether missing ones differ is said."""
    step = hr.DropConstant(missing_is_value=missing_is_value)

    assert transform(CONSTANTS, step).columns == left
    assert_foretold(CONSTANTS, step)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_constant_columns_are_told_over_row_groups(size: int, tmp_path: Path) -> None:
    """Row groups that are constant in themselves, or all missing, do not make a constant column."""
    path = tmp_path / "x.parquet"
    CONSTANTS.write_parquet(path, row_group_size=size)

    for executor in (hr.Serial(), hr.Threads(2)):
        pipe = hr.Pipeline([hr.DropConstant()]).fit(hr.open(path), executor=executor, progress=False)
        assert pipe.steps[0].dropped_ == ["same", "text", "some", "null", "zero"]


def test_what_is_found_of_constants_can_be_kept(tmp_path: Path) -> None:
    """Shards whose states were kept are not read again, and the same columns are dropped; of dates too."""
    frame = CONSTANTS.with_columns(day=pl.lit(datetime.date(2013, 1, 1)), when=pl.Series([None, "a", "b"]))
    paths = [tmp_path / f"{row}.parquet" for row in range(3)]
    for row, path in enumerate(paths):
        frame.slice(row, 1).write_parquet(path)
    pipe = hr.Pipeline([hr.DropConstant(missing_is_value=True)])

    found = [
        pipe.fit(hr.open(paths), cache=tmp_path / "kept", progress=False).steps[0].dropped_ for _ in range(2)
    ]

    assert pipe.fit_report.row_groups == 0
    assert found == [["same", "text", "null", "zero", "day"]] * 2


def test_bytes_are_constant_or_not() -> None:
    """Bytes are compared as a whole."""
    frame = pl.DataFrame({"same": [b"ab", None, b"ab"], "varies": [b"ab", b"cd", b"ab"]})
    assert transform(frame, hr.DropConstant()).columns == ["varies"]


def test_a_table_of_constants_is_refused() -> None:
    """At least one column must be left."""
    with pytest.raises(hr.PrepareError, match=r"must leave a column.*\['a'\]"):
        transform(pl.DataFrame({"a": [1, 1]}), hr.DropConstant())


def test_steps_behind_dropped_columns_are_fitted_to_the_rest() -> None:
    """A step that names no columns waits until the columns are known."""
    frame = pl.DataFrame({"a": [1.0, 1.0], "b": [1.0, 3.0]})

    assert transform(frame, hr.DropConstant(), hr.StandardScaler()).to_dict(as_series=False) == {
        "b": [-1.0, 1.0]
    }


# All of them


CLEANING = [
    hr.Cast("float32", on_error="null", columns=["n", "f"]),
    hr.Replace({"?": None}),
    hr.Replace({None: 1.5}, columns="f"),
    hr.Replace({"a": 1, "?": 2}, others="null", columns="t"),
    hr.FixInconsistent(synonyms={"a": ["?"]}, allowed=["a"]),
    hr.FixInconsistent(convert={"a": 0.1, "b": (1 / 3, 0.7)}, unit_column="t", ranges=(-5, 1e6)),
    hr.DropConstant(),
]
FRAME = pl.DataFrame(
    {
        "t": ["a", "?", None, "b", "a", "b", "b"],
        "n": [1, 2, None, 2**53 + 1, -3, 7, 9],
        "f": [0.1, NAN, None, 1e300, -1 / 3, 2.7, 3.1],
        "d": [datetime.date(2013, 1, day) for day in range(1, 8)],
    }
)


@pytest.mark.parametrize("step", CLEANING, ids=lambda step: repr(step)[:30])
def test_one_row_is_as_many_rows(step: Any, tmp_path: Path) -> None:
    """Rows by themselves, frames, files of any row groups and batches give the same bits."""
    assert_same_everywhere(FRAME, step, folder=tmp_path)
    assert_foretold(FRAME, step)


@pytest.mark.parametrize("step", CLEANING, ids=lambda step: repr(step)[:30])
def test_columns_that_nobody_wants_are_not_read(step: Any) -> None:
    """One column out is one column in, and the unit's where values are converted."""
    needs_unit = isinstance(step, hr.FixInconsistent) and step.convert is not None

    assert columns_read(FRAME, step, "f") == (("t", "f") if needs_unit else ("f",))
    assert columns_read(FRAME, step, "d") == ("d",)
