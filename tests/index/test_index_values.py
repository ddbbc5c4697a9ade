"""Values are compared by what they are worth, and those of another kind are refused by name."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from index_data import check_answer, floats, many, whole

import headrace as hr

NUMBERS = {
    "int8": whole(8, signed=True),
    "int64": whole(64, signed=True),
    "uint64": whole(64, signed=False),
    "float64": floats(64),
}
EDGES = [2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**400, -(10**400)]


def order(number: float) -> tuple[bool, float]:
    """Sort as Polars does, NaN last; Python compares whole numbers and floats exactly."""
    is_nan = isinstance(number, float) and math.isnan(number)
    return is_nan, 0 if is_nan else number


@many
@given(st.data(), st.sampled_from(sorted(NUMBERS)))
def test_numbers_of_any_type_are_compared_exactly(data: st.DataObject, name: str) -> None:
    """A whole number finds the float that equals it and no other, and the other way round."""
    held = data.draw(st.lists(NUMBERS[name], min_size=1, max_size=12))
    near = [number + step for number in held if math.isfinite(number) for step in (-0.5, 0, 0.5, 1)]
    number = st.sampled_from([*EDGES, *held, *near]) | floats(64) | whole(64, signed=True)
    ds = hr.from_arrays({"x": np.array(held, name)})
    value, low, high = data.draw(number), data.draw(number), data.draw(number)

    btree, by_hash = ds.index("x", kind="btree"), ds.index("x", kind="hash")
    equal = [place for place, each in enumerate(held) if order(each) == order(value)]
    check_answer(btree.lookup(value), equal)
    check_answer(by_hash.lookup([value, value]), equal)
    between = [place for place, each in enumerate(held) if order(low) <= order(each) <= order(high)]
    check_answer(btree.range(low, high), between)


@many
@given(st.data(), st.sampled_from(sorted(NUMBERS)), st.sampled_from([*sorted(NUMBERS), "float32", "uint8"]))
def test_arrays_find_what_their_values_find(data: st.DataObject, name: str, asked: str) -> None:
    """A NumPy array, which is encoded as a whole, answers as a list of its values does."""
    held = data.draw(st.lists(NUMBERS[name], min_size=1, max_size=8))
    index = hr.from_arrays({"x": np.array(held, name)}).index("x", kind="btree")
    with np.errstate(all="ignore"):
        values = np.array(data.draw(st.lists(st.sampled_from(held), max_size=5)), name).astype(asked)

    check_answer(index.lookup(values), index.lookup(list(values)).tolist())


def test_floats_are_rounded_to_the_column() -> None:
    """0.1 is found in a float32 column; what lies beyond all float32 is not found as infinity."""
    index = hr.from_arrays({"x": np.array([0.1, np.inf, -np.inf, 3e38], np.float32)}).index("x", kind="btree")

    check_answer(index.lookup(0.1), [0])
    check_answer(index.range(0.1, 1e300), [0, 3])
    check_answer(index.lookup([1e300, -1e300]), [])
    check_answer(index.lookup(np.array([1e300, 0.1])), [0])
    check_answer(index.range(-1e300, None), [0, 1, 3])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_compared_across_units(unit: str) -> None:
    """Time stamps of all units, dates and NumPy's own are points of one line."""
    held = np.array(["2013-07-04T10:00:00", "1969-12-31T23:59:59", "2013-07-05"], f"datetime64[{unit}]")
    index = hr.from_arrays({"x": held}).index("x", kind="btree")
    noon = datetime.datetime(2013, 7, 4, 12)

    for asked in ("s", "ms", "us", "ns"):
        check_answer(index.lookup(held[:2].astype(f"datetime64[{asked}]")), [0, 1])
        check_answer(index.lookup(held[0].astype(f"datetime64[{asked}]")), [0])
    check_answer(index.lookup(np.array(["2013-07-05T00", "2013-07-04T10"], "datetime64[h]")), [0, 2])
    check_answer(index.lookup(datetime.date(2013, 7, 5)), [2])
    check_answer(index.range(None, noon), [0, 1])
    check_answer(index.range(np.datetime64("2013-07"), np.datetime64("2013-07-04", "D")), [])
    check_answer(index.range(noon, datetime.date(2013, 7, 5)), [2])
    check_answer(index.range(datetime.datetime(1969, 12, 31, 23, 59, 59, 1), noon), [0])
    check_answer(index.lookup(np.datetime64("NaT")), [])


def test_dates_and_durations_by_numpy() -> None:
    """A day as a time stamp of midnight, and durations of other units."""
    days = hr.from_arrays({"x": pa.array([datetime.date(2013, 7, 4), datetime.date(1600, 1, 1)])})
    spans = hr.from_arrays({"x": np.array([90, 5], "timedelta64[s]")})

    index = days.index("x", kind="hash")
    check_answer(index.lookup([np.datetime64("2013-07-04T00:00:00"), datetime.datetime(1600, 1, 1, 1)]), [0])
    check_answer(index.lookup(pl.Series([datetime.datetime(2013, 7, 4)])), [0])
    check_answer(index.lookup(pl.Series([datetime.datetime(2013, 7, 4, 1)])), [])
    far = pa.array([2**62, 90 * 10**6], pa.duration("us"))
    check_answer(spans.index("x", kind="hash").lookup([datetime.timedelta(seconds=90)]), [0])
    check_answer(spans.index("x", kind="btree").lookup(far), [0])
    check_answer(spans.index("x", kind="btree").range(np.timedelta64(1, "m"), np.timedelta64(1, "D")), [0])


def test_zones_are_points_in_time() -> None:
    """A column with a time zone is looked up by moments, in whatever zone they are told."""
    east = datetime.timezone(datetime.timedelta(hours=5))
    moment = datetime.datetime(2013, 7, 4, 10, tzinfo=datetime.UTC)
    index = hr.from_polars(pl.DataFrame({"x": [moment]})).index("x", kind="btree")

    check_answer(index.lookup(moment.astimezone(east)), [0])
    check_answer(index.lookup(pl.Series([moment.astimezone(east)])), [0])
    check_answer(index.range(moment.astimezone(east), None), [0])


COLUMNS: dict[str, Any] = {
    "whole": np.array([1, 2]),
    "float": np.array([1.0, 2.0]),
    "bool": np.array([True, False]),
    "text": ["a", "b"],
    "bytes": [b"a", b"b"],
    "time stamp": np.array(["2013-07-04"], "datetime64[us]"),
    "zoned": pa.array([0], pa.timestamp("us", "UTC")),
    "date": pa.array([datetime.date(2013, 7, 4)]),
    "time": pa.array([datetime.time(1)]),
    "duration": np.array([1], "timedelta64[s]"),
}
FITTING = {
    ("whole", "float"), ("float", "whole"), ("time stamp", "date"), ("date", "time stamp"),
}  # fmt: skip


@pytest.mark.parametrize("asked", COLUMNS)
@pytest.mark.parametrize("name", COLUMNS)
def test_values_of_another_kind_are_refused_by_name(name: str, asked: str) -> None:
    """The error names the column and its type, for one value and for arrays, in every question."""
    values = hr.from_arrays({"x": COLUMNS[asked]}).to_arrow()["x"].combine_chunks()
    ds = hr.from_arrays({f"the {name}": COLUMNS[name]})
    index = ds.index(f"the {name}", kind="btree")
    calls = [lambda: index.lookup(values[0].as_py()), lambda: index.range(values[0].as_py(), None)]
    calls += [lambda: index.lookup(values), lambda: ds.index(f"the {name}", kind="hash").lookup(values)]
    for call in calls:
        if name == asked or (name, asked) in FITTING:
            call()
            continue
        with pytest.raises(
            hr.SchemaError, match=rf"column `the {name}` of type .* is looked up by"
        ) as caught:
            call()
        assert str(index.fields[0].type) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "column"),
    [(object(), "whole"), ([[1, 2]], "whole"), ("\ud800", "text"), (np.datetime64(1, "ps"), "time stamp")],
)
def test_odd_values_are_refused(value: Any, column: str) -> None:
    """What can be no key of any column is an error too."""
    with pytest.raises(hr.SchemaError, match="column `x`"):
        hr.from_arrays({"x": COLUMNS[column]}).index("x", kind="hash").lookup(value)


def test_a_bound_must_be_a_value() -> None:
    """Not-a-time is no bound, and no open one either."""
    index = hr.from_arrays({"x": COLUMNS["time stamp"]}).index("x", kind="btree")
    with pytest.raises(hr.SchemaError, match="NaT"):
        index.range(np.datetime64("NaT"), None)


@pytest.mark.parametrize("kind", ["hash", "btree", "bloom", "kdtree"])
@pytest.mark.parametrize(
    "column",
    [
        pa.array([1], pa.decimal128(5, 2)),
        pa.array([[1]]),
        pa.array([{"a": 1}]),
        pa.nulls(2),
        np.zeros((2, 3)),
    ],
    ids=["decimal", "list", "struct", "null", "tensor"],
)
def test_columns_without_keys_are_refused_by_name(column: Any, kind: str) -> None:
    """Decimals, lists, structs, tensors and columns of no type cannot be indexed."""
    ds = hr.from_arrays({"x": column})
    with pytest.raises(hr.SchemaError, match=r"column `x` of type .* cannot be in an index of kind"):
        ds.index("x", kind=kind)


def test_unfit_questions_and_arguments() -> None:
    """An unknown column or kind, several columns, and what a kind cannot answer."""
    ds = hr.from_arrays({"x": [1, 2], "text": ["a", "b"]})
    with pytest.raises(hr.UnknownColumnError, match="did you mean `text`"):
        ds.index("texts", kind="hash")
    with pytest.raises(hr.OptionError, match="`kind` must be one of hash, btree, kdtree, bloom"):
        ds.index("x", kind="tree")  # type: ignore[call-overload]
    with pytest.raises(hr.OptionError, match="over one column"):
        ds.index(["x", "text"], kind="hash")
    with pytest.raises(hr.OptionError, match="named once"):
        ds.index(["x", "x"], kind="kdtree")
    with pytest.raises(hr.OptionError, match="at least one column"):
        ds.index([], kind="kdtree")
    for kind in ("hash", "bloom"):
        with pytest.raises(hr.OptionError, match='does not answer `range`; make one of kind="btree"'):
            ds.index("x", kind=kind).range(1, 2)
    with pytest.raises(hr.OptionError, match='does not answer `nearest`; make one of kind="kdtree"'):
        ds.index("x", kind="hash").nearest([1], k=1)
    with pytest.raises(hr.OptionError, match="does not answer `within`"):
        ds.index("x", kind="btree").within([1], 1)
    with pytest.raises(hr.SchemaError, match="has no prefixes"):
        ds.index("x", kind="btree").prefix("1")
    with pytest.raises(hr.SchemaError, match="column `text` of type"):
        ds.index("text", kind="btree").prefix(b"a")


@pytest.mark.parametrize("sign", [1, -1])
def test_whole_numbers_beyond_all_floats_lie_outside(sign: int) -> None:
    """A number of 400 digits is beyond every float but infinity."""
    index = hr.from_arrays({"x": [-math.inf, -1.0, 1.0, math.inf]}).index("x", kind="btree")
    far = sign * 10**400

    check_answer(index.lookup(far), [])
    check_answer(index.range(-far, far), [1, 2] if sign > 0 else [])
