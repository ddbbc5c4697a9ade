"""Pack: which arrays columns become, and what is refused because no array could hold it."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr

DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float32", "float64", "bool"]


def batch_of(columns: dict[str, Any], **arguments: Any) -> hr.Batch:
    ds = hr.from_arrays(columns)
    return ds.pack(**arguments).take(list(range(len(ds))))


# dtypes


@settings(deadline=None)
@given(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=4))
def test_columns_side_by_side_take_the_common_dtype(dtypes: list[str]) -> None:
    """Columns packed together become [n, k] of the dtype that NumPy finds for all of them, row-major."""
    columns = {f"c{place}": np.array([0, 1, 1], dtype) for place, dtype in enumerate(dtypes)}
    x = batch_of(columns, x=list(columns))["x"]

    assert x.dtype == np.result_type(*dtypes)
    assert x.flags.c_contiguous
    assert np.array_equal(x, np.stack(list(columns.values()), axis=1))


def test_one_column_keeps_its_dtype() -> None:
    """A name alone gives an array of shape [n], a list of one name [n, 1]."""
    columns = {"a": np.array([1, 2], np.int8)}

    assert batch_of(columns, x="a")["x"].shape == (2,)
    assert batch_of(columns, x=["a"])["x"].shape == (2, 1)
    assert batch_of(columns, x="a")["x"].dtype == np.int8


def test_order_and_repeats_are_as_given() -> None:
    """Columns lie in the order given, and may be in several arrays."""
    batch = batch_of({"a": [1, 2], "b": [3, 4]}, x=["b", "a"], y="a", z=["a", "a"])

    assert batch["x"].tolist() == [[3, 1], [4, 2]]
    assert batch["y"].tolist() == [1, 2]
    assert batch["z"].tolist() == [[1, 1], [2, 2]]
    assert list(batch.columns) == ["x", "y", "z"]


def test_whole_numbers_beside_floats_stay_exact_or_are_refused() -> None:
    """Whole numbers up to 2**53 go beside floats; beyond, the error names the column and the ways out."""
    edge = np.array([2**53, -(2**53)])

    assert batch_of({"i": edge, "f": [0.5, 1.5]}, x=["i", "f"])["x"][:, 0].tolist() == edge.tolist()
    for beyond in (2**53 + 1, -(2**53) - 1, -(2**63)):
        with pytest.raises(hr.SchemaError, match=r"column `i`.*2\*\*53.*array of their own.*`dtype=`"):
            batch_of({"i": [0, beyond], "f": [0.5, 1.5]}, x=["i", "f"])
    with pytest.raises(hr.SchemaError, match=r"column `u`.*2\*\*53"):
        batch_of({"i": [0, -1], "u": np.array([1, 2**64 - 1], np.uint64)}, x=["i", "u"])
    assert batch_of({"i": [2**62 + 1], "f": [0.5]}, x=["i", "f"], dtype="float32")["x"].dtype == np.float32
    assert batch_of({"i": [2**62 + 1], "f": [0.5]}, x="i", y="f")["x"].tolist() == [2**62 + 1]


def test_dtype_for_all_or_by_name() -> None:
    """`dtype=` is one for all arrays or one by name."""
    columns = {"a": [1, 2], "b": [0.5, 1.5], "k": [True, False]}
    both = batch_of(columns, x=["a", "b"], y="k", dtype="float32")
    one = batch_of(columns, x=["a", "b"], y="k", dtype={"y": "int64"})

    assert (both["x"].dtype, both["y"].dtype) == (np.float32, np.float32)
    assert (one["x"].dtype, one["y"].dtype) == (np.float64, np.int64)
    assert one["y"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([300], "uint8"),
        ([-1], "uint64"),
        ([2**40], "int32"),
        ([300.0], "uint8"),
        ([float("nan")], "int64"),
        ([None, 1.0], "int32"),
        ([float("inf")], "int16"),
        ([1e300], "float32"),
        ([70000], "float16"),
    ],
)
def test_dtype_that_cannot_hold_the_values(values: list[Any], dtype: str) -> None:
    """A dtype that values do not fit into is refused; nothing wraps around or becomes infinite."""
    for group in ("a", ["a"]):
        with pytest.raises(
            hr.SchemaError, match=rf"row group 0, column `a`: `dtype=` asks for {dtype}, which cannot"
        ):
            batch_of({"a": values}, x=group, dtype=dtype)


def test_dtype_rounds_when_asked() -> None:
    """Digits may be lost where the user chose the dtype, and infinity stays what it is."""
    batch = batch_of(
        {"a": [0.1, float("inf")], "b": [1.9, -1.9]}, x="a", y="b", dtype={"x": "float32", "y": "int8"}
    )

    assert batch["x"].tolist() == [np.float32(0.1), float("inf")]
    assert batch["y"].tolist() == [1, -1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "at least one array"),
        ({"x": []}, "at least one column for `x`"),
        ({"x": "a", "dtype": "floot"}, "`dtype` of `x` must name numbers.*'floot'"),
        ({"x": "a", "dtype": "str"}, "`dtype` of `x` must name numbers"),
        ({"x": "a", "dtype": "object"}, "`dtype` of `x` must name numbers"),
        ({"x": "a", "dtype": {"y": "int8"}}, r"arrays that `pack` does not make: \['y'\]"),
        ({"x": "a", "x_null_mask": "b", "null_mask": True}, "`x_null_mask`"),
        ({"x": "wieght"}, "did you mean `weight`"),
        ({"x": ["a", "wieght"]}, "did you mean `weight`"),
    ],
)
def test_packs_that_cannot_be_right(arguments: dict[str, Any], message: str) -> None:
    """Options and names that cannot be right are refused when the data set is made."""
    with pytest.raises(hr.HeadraceError, match=message):
        hr.from_arrays({"a": [1], "b": [1], "weight": [1.0]}).pack(**arguments)


# Nulls


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, None, 3], pa.int64()),
        pa.array([1, None, 3], pa.uint8()),
        pa.array([True, None, False]),
        pa.array([datetime.date(2020, 1, 1), None, None]),
        pa.array([1, None, 3], pa.timestamp("us")),
        pa.array([1, None, 3], pa.duration("s")),
        pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
    ],
    ids=lambda values: str(values.type),
)
def test_nulls_without_a_number(values: pa.Array) -> None:
    """Where no number can stand for null, the error names both ways out; a mask is one of them."""
    with pytest.raises(
        hr.SchemaError, match=r"column `v`: \d of 3 values.*fill_null.*pack\(null_mask=True\)"
    ):
        batch_of({"v": values}, x="v")
    with pytest.raises(hr.SchemaError, match=r"column `v`: \d of 3 values"):
        hr.from_arrays({"v": values}).take([0, 1, 2])

    batch = batch_of({"v": values}, x="v", null_mask=True)
    assert batch["x_null_mask"].tolist() == [value is None for value in values.to_pylist()]
    valid = [place for place, value in enumerate(values.to_pylist()) if value is not None]
    packed = batch_of({"v": values.take(pa.array(valid))}, x="v")["x"]
    assert np.array_equal(batch["x"][valid], packed)
    assert batch["x"].dtype == packed.dtype
    assert not batch["x"][[place for place in range(3) if place not in valid]].astype(np.int64).any()


def test_null_floats_are_nan() -> None:
    """Null floats become NaN, alone, side by side and inside N-d samples."""
    columns = {
        "f": pa.array([1.5, None]),
        "i": [1, 2],
        "v": pa.array([[1.0, None], None], pa.list_(pa.float32(), 2)),
        "h": pa.array([np.float16(1), None], pa.float16()),
    }
    batch = batch_of(columns, x=["f", "i"], y="f", v="v", h="h")

    np.testing.assert_array_equal(batch["x"], [[1.5, 1], [np.nan, 2]])
    np.testing.assert_array_equal(batch["y"], [1.5, np.nan])
    np.testing.assert_array_equal(batch["v"], np.array([[1, np.nan], [np.nan, np.nan]], np.float32))
    np.testing.assert_array_equal(batch["h"], np.array([1, np.nan], np.float16))
    assert batch["v"].dtype == np.float32


def test_null_masks_side_by_side() -> None:
    """The mask of an [n, k] array is [n, k]; dtypes do not depend on whether there are nulls."""
    batch = batch_of({"a": [1, None], "b": [None, True], "c": [0.5, None]}, x=["a", "b", "c"], null_mask=True)

    assert batch["x_null_mask"].tolist() == [[False, True, False], [True, False, True]]
    np.testing.assert_array_equal(batch["x"], [[1, 0, 0.5], [0, 1, np.nan]])


def test_nulls_inside_samples() -> None:
    """A mask tells which samples are null, so a null number inside one is refused, never taken as 0."""
    for kind in (pa.list_(pa.int32(), 2), pa.list_(pa.bool_(), 2)):
        column = (
            pa.array([[1, None], [0, 1]], kind)
            if kind.value_type != pa.bool_()
            else pa.array([[True, None]], kind)
        )
        for null_mask in (False, True):
            with pytest.raises(hr.SchemaError, match=r"column `v`: 1 of \d values"):
                batch_of({"v": column}, x="v", null_mask=null_mask)
    nested = pa.array([[[1.0], None]], pa.list_(pa.list_(pa.float64(), 1), 2))
    with pytest.raises(hr.SchemaError, match="column `v`: lists inside a sample are null"):
        batch_of({"v": nested}, x="v")


# Types


def test_dates_and_times() -> None:
    """Dates, moments and durations become NumPy's, each in an array of its own."""
    columns = {
        "d": [datetime.date(2020, 1, 2)],
        "t": pa.array([1_000_001], pa.timestamp("us", tz="UTC")),
        "s": pa.array([90], pa.duration("s")),
    }
    batch = batch_of(columns, d="d", t="t", s="s")

    assert batch["d"].tolist() == [datetime.date(2020, 1, 2)]
    assert batch["t"] == np.array(["1970-01-01T00:00:01.000001"], "datetime64[us]")
    assert batch["s"] == np.array([90], "timedelta64[s]")
    with pytest.raises(hr.SchemaError, match=r"column `d`.*one number or boolean"):
        batch_of(columns, x=["d", "t"])


def test_samples_of_many_dimensions() -> None:
    """N-d columns are packed alone, with a dtype if asked, and refused side by side."""
    images = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    flags = np.array([[True, False]] * 4)
    batch = batch_of({"image": images, "flags": flags}, x="image", f="flags", dtype={"x": "float32"})

    assert batch["x"].dtype == np.float32
    assert np.array_equal(batch["x"], images)
    assert batch["f"].dtype == np.bool_
    assert np.array_equal(batch["f"], flags)
    with pytest.raises(hr.SchemaError, match=r"column `image`.*pack it alone"):
        batch_of({"image": images}, x=["image"])


@pytest.mark.parametrize(
    "values",
    [["a", "b"], [["a"], []], [{"k": 1}, None], [decimal.Decimal("1.5"), None], [b"x", b""]],
    ids=str,
)
def test_what_has_no_fixed_width(values: list[Any]) -> None:
    """What is no number is packed alone, as it is, and refused side by side or with a dtype."""
    assert batch_of({"v": values}, x="v")["x"].to_pylist() == values
    with pytest.raises(
        hr.SchemaError, match=r"row group 0, column `v`: .*packed side by side.*pack it alone"
    ):
        batch_of({"n": [1, 2], "v": values}, x=["n", "v"])
    with pytest.raises(hr.SchemaError, match=r"column `v`: .* no fixed width .* `dtype=`"):
        batch_of({"v": values}, x="v", dtype="float32")


def test_dictionaries() -> None:
    """A dictionary of numbers packs like its numbers, a categorical like its texts."""
    numbers = pa.array([7, 9, 7]).dictionary_encode()

    assert batch_of({"n": numbers, "f": [0.5] * 3}, x=["n", "f"])["x"].tolist() == [
        [7, 0.5],
        [9, 0.5],
        [7, 0.5],
    ]
    frame = pl.DataFrame({"c": pl.Series(["a", "b"], dtype=pl.Categorical)})
    assert hr.from_polars(frame).pack(x="c").take([1, 0])["x"].to_pylist() == ["b", "a"]


def test_without_pack_every_column_is_its_own_array() -> None:
    """A data set without `pack` delivers each column by itself under its name."""
    ds = hr.from_arrays({"a": [1, 2], "s": ["x", None], "f": [0.5, None]})
    batch = ds.take([1])

    assert batch["a"].tolist() == [2]
    assert batch["s"].to_pylist() == [None]
    assert np.isnan(batch["f"][0])


def test_error_names_file_row_group_and_column(tmp_path: Any) -> None:
    """A null deep in a file is named by file, row group and column, whatever reads it."""
    path = tmp_path / "part.parquet"
    pl.DataFrame({"a": [1, 2, 3, None]}).write_parquet(path, row_group_size=2)
    ds = hr.open(path).pack(x=["a"])

    assert ds.take([0, 1])["x"].tolist() == [[1], [2]]
    for read in (lambda: ds.take([3]), lambda: list(ds.loader(2, output="numpy"))):
        with pytest.raises(hr.SchemaError, match=r"part\.parquet, row group 1, column `a`: 1 of 2"):
            read()
