"""Data sets over arrays, tables and frames in memory: what is taken, refused, and identifies them."""

from __future__ import annotations

import datetime
import pickle
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.arange(10)[::2], [0, 2, 4, 6, 8]),
        (np.arange(5)[::-1], [4, 3, 2, 1, 0]),
        (np.arange(3, dtype=">i4"), [0, 1, 2]),
        (np.ma.array([1, 2, 3], mask=[0, 1, 0]), [1, None, 3]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array(["2020-01-01"], "datetime64[D]"), [datetime.date(2020, 1, 1)]),
        (np.array([True, False]), [True, False]),
        ([1, None], [1, None]),
        (pa.array([2**53 + 1, None]), [2**53 + 1, None]),
        (pa.array([], pa.int32()), []),
        ([[1, 2], [3]], [[1, 2], [3]]),
        (pl.Series([1, 2]), [1, 2]),
        (pa.chunked_array([[1], [2, 3]]), [1, 2, 3]),
        (pa.chunked_array([], pa.int64()), []),
        (pa.array(["x", None], pa.string_view()), ["x", None]),
        (pa.array([[1, 2], None, [], [3]], pa.list_view(pa.int32())), [[1, 2], None, [], [3]]),
        (pa.array([[1], [2, 3], None], pa.large_list_view(pa.int8())).slice(1), [[2, 3], None]),
        (pa.ListViewArray.from_arrays([2, 0, 1], [1, 2, 0], pa.array([1, 2, 3])), [[3], [1, 2], []]),
        (pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]), ["a", "a", "b"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_columns_of_one_dimension(array: Any, expected: list[Any]) -> None:
    """Arrays of any layout, lists, Arrow and Polars columns arrive with their values."""
    ds = hr.from_arrays({"x": array})

    assert ds.to_polars()["x"].to_list() == expected
    assert ds.to_arrow()["x"].to_pylist() == expected


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.ones((3, 2), np.float16),
        np.arange(12, dtype=np.uint8).reshape(6, 2)[::3],
        np.array([[True, False], [False, False]]),
        np.zeros((0, 3, 4), np.int8),
        np.arange(4, dtype=">f8").reshape(2, 2),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_columns_of_many_dimensions(array: np.ndarray[Any, Any]) -> None:
    """An array of shape [n, ...] comes back as one, through frames and batches too."""
    ds = hr.from_arrays({"x": array})
    backwards = list(range(len(array)))[::-1]

    for one in (ds, ds.with_columns(y=1)):
        assert one.to_polars()["x"].to_list() == array.tolist()
        if backwards:
            batch = one.take(backwards)["x"]
            assert np.array_equal(batch, array[::-1])
            assert batch.dtype == array.dtype.newbyteorder("=")


def test_torch_tensors_are_columns() -> None:
    """A torch tensor is taken as the array that it is."""
    torch = pytest.importorskip("torch")
    ds = hr.from_arrays({"x": torch.arange(3), "y": torch.ones(3, 2)})

    assert ds.take([2])["x"].tolist() == [2]
    assert ds.take([2])["y"].tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    "array",
    [
        np.array(5),
        5,
        None,
        "text",
        [1, "a"],
        [object()],
        np.zeros(3, complex),
        np.zeros((3, 2), complex),
        np.zeros((3, 0)),
        np.zeros(3, "i4,f4"),
        np.ma.array([[1, 2]], mask=[[0, 1]]),
        np.array([["a"]]),
    ],
    ids=lambda array: repr(array).partition(" at 0x")[0],
)
def test_what_is_no_column(array: Any) -> None:
    """What cannot be a column is refused by its name."""
    with pytest.raises(hr.SchemaError, match="column `x` must hold values of one type and shape"):
        hr.from_arrays({"x": array})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hr.from_arrays({}), "at least one column"),
        (lambda: hr.from_arrays([1]), "mapping from name to array, got list"),
        (lambda: hr.from_arrays({1: [1]}), "must be a text, got 1"),
        (lambda: hr.from_arrays({"a": [1], "b": [1, 2]}), r"same number of samples, got \{'a': 1, 'b': 2\}"),
        (lambda: hr.from_arrow(3), "Arrow table is needed, got int"),
        (lambda: hr.from_arrow(pa.table({})), "at least one column"),
        (lambda: hr.from_arrow(pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"])), "unique"),
        (lambda: hr.from_polars({"a": [1]}), "Polars DataFrame is needed, got dict"),
        (lambda: hr.from_polars(pl.LazyFrame({"a": [1]})), "got LazyFrame; collect"),
        (
            lambda: hr.from_polars(pl.DataFrame({"a": [object()]}, {"a": pl.Object})),
            "column `a` holds Python objects",
        ),
        (lambda: hr.from_polars(pl.DataFrame({"a": [1]}, {"a": pl.Int128})), "column `a` of type Int128"),
    ],
)
def test_what_is_no_data_set(make: Any, message: str) -> None:
    """What cannot be a data set is refused with what was got."""
    with pytest.raises(hr.SchemaError, match=message):
        make()


def test_frames_and_tables_round_trip() -> None:
    """A Polars frame and an Arrow table come back as they were."""
    frame = pl.DataFrame(
        {
            "a": [1, None],
            "s": ["x", None],
            "v": pl.Series([[1.0, 2.0], None], dtype=pl.Array(pl.Float32, 2)),
            "m": pl.Series([[[1], [2]], [[3], [4]]], dtype=pl.Array(pl.Int16, (2, 1))),
            "n": pl.Series([None, [[3.0], [None]]], dtype=pl.Array(pl.Float64, (2, 1))),
            "l": [[1], []],
        }
    )
    table = pa.table({"a": [1, 2], "s": ["x", None]})

    assert hr.from_polars(frame).to_polars().equals(frame)
    assert hr.from_polars(frame).with_columns(z=pl.lit(1)).drop(["z"]).to_polars().equals(frame)
    assert hr.from_arrow(table).to_arrow().equals(table)
    assert hr.from_arrow(table.to_batches()[0]).to_arrow().equals(table)
    assert hr.from_arrow(table.to_reader()).to_arrow().equals(table)


def test_large_tables_are_cut_into_row_groups() -> None:
    """A large table has several row groups, so that several threads can work, and reads the same."""
    table = pa.table({"x": np.arange(1_000_000), "s": [None] * 1_000_000})
    ds = hr.from_arrow(table)

    assert len(ds.manifest) > 4
    assert ds.take([999_999, 500_000, 0])["x"].tolist() == [999_999, 500_000, 0]
    assert ds.select(["x"]).to_arrow().equals(table.select(["x"]))


def test_source_is_picklable() -> None:
    """A data set in memory survives pickle."""
    ds = hr.from_arrays({"x": np.arange(6).reshape(3, 2), "s": ["a", None, "c"]})
    again = pickle.loads(pickle.dumps(ds))

    assert again.to_arrow().equals(ds.to_arrow())
    assert again.fingerprint == ds.fingerprint


# Identity

VALUES = st.one_of(
    st.lists(st.none() | st.integers(-5, 5)).map(lambda values: pa.array(values, pa.int64())),
    st.lists(st.none() | st.text("ab", max_size=3)).map(lambda values: pa.array(values, pa.string())),
    st.lists(st.none() | st.booleans()).map(lambda values: pa.array(values, pa.bool_())),
    st.lists(st.none() | st.lists(st.none() | st.integers(0, 3), max_size=3)).map(
        lambda values: pa.array(values, pa.list_(pa.int32()))
    ),
    st.lists(st.none() | st.fixed_dictionaries({"a": st.none() | st.text("ab", max_size=2)})).map(
        lambda values: pa.array(values, pa.struct([("a", pa.string())]))
    ),
    st.lists(st.none() | st.text("ab", max_size=2)).map(
        lambda values: pa.array(values, pa.string()).dictionary_encode()
    ),
    st.lists(st.none() | st.lists(st.integers(0, 3), min_size=2, max_size=2)).map(
        lambda values: pa.array(values, pa.list_(pa.int8(), 2))
    ),
)


def fingerprint(column: pa.Array) -> str:
    return hr.from_arrays({"x": column}).fingerprint


@settings(deadline=None)
@given(VALUES, VALUES, st.integers(0, 4))
def test_fingerprint_is_of_the_values(column: pa.Array, other: pa.Array, begin: int) -> None:
    """Equal columns have equal fingerprints however they lie in memory, other columns have others."""
    part = column.slice(begin)
    fresh = pa.array(part.to_pylist(), part.type)

    assert fingerprint(part) == fingerprint(fresh)
    same = column.type == other.type and column.to_pylist() == other.to_pylist()
    assert (fingerprint(column) == fingerprint(other)) == same


def test_fingerprint_tells_what_looks_alike() -> None:
    """Other dictionaries, boundaries between texts, names, types and nulls are other data."""
    alike = [
        {"x": pa.array(["a", "b"]).dictionary_encode()},
        {"x": pa.array(["c", "d"]).dictionary_encode()},
        {"x": ["ab", "c"]},
        {"x": ["a", "bc"]},
        {"y": ["a", "bc"]},
        {"x": [0, 1]},
        {"x": [0.0, 1.0]},
        {"x": [None, 1]},
        {"x": np.array([[0, 1]])},
        {"x": np.array([[0], [1]])},
        {"x": pa.array([datetime.date(1970, 1, 1), datetime.date(1970, 1, 2)])},
        {"x": pa.array([None, None], pa.null())},
    ]

    assert len({hr.from_arrays(columns).fingerprint for columns in alike}) == len(alike)


def test_fingerprint_ignores_what_lies_under_nulls() -> None:
    """Two columns that differ only under their nulls are equal."""
    mask = pa.py_buffer(b"\x01")
    one, two = (
        pa.Array.from_buffers(pa.int64(), 2, [mask, pa.py_buffer(np.array([7, under]).tobytes())])
        for under in (1, 2)
    )

    assert one.equals(two)
    assert fingerprint(one) == fingerprint(two)
