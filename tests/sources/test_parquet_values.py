"""Values of Parquet columns arrive as they were written: numbers, text, nested columns, odd names."""

from __future__ import annotations

import datetime
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from parquet_files import write, write_groups

import headrace as hr


def nested_table() -> pa.Table:
    return pa.table(
        {
            "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "z"}]),
            "list": pa.array([[1, 2], [], None], pa.list_(pa.int32())),
            "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
            "deep": pa.array([[[{"v": "a"}]], None, [[]]]),
            "text": pa.array(["a", None, "ü" * 100]),
            "bytes": pa.array([b"\0", None, b"\xff"]),
            "when": pa.array([datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), None, None]),
            "flag": pa.array([True, None, False]),
            "vector": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32(), 2)),
            "word": pa.array(["x", "y", "x"]).dictionary_encode(),
        }
    )


def test_columns_of_every_kind(tmp_path: Path) -> None:
    """Flat and nested columns, nulls included, come back equal; so does each one alone."""
    table = nested_table()
    ds = hr.open(write(tmp_path / "a.parquet", table))

    assert ds.to_arrow().equals(table)
    assert ds.to_polars().height == 3
    for name in table.schema.names:
        assert ds.select([name]).to_arrow().equals(table.select([name]))


def test_whole_numbers_stay_exact(tmp_path: Path) -> None:
    """Whole numbers beyond 2**53 are exact, also beside nulls and in batches."""
    numbers = [2**53 + 1, None, -(2**63), 2**63 - 1]
    ds = hr.open(write(tmp_path / "a.parquet", {"x": pa.array(numbers, pa.int64())}))

    assert ds.to_arrow()["x"].to_pylist() == numbers
    assert ds.to_polars()["x"].to_list() == numbers
    batch = ds.pack(x="x", null_mask=True).take([0, 1, 2, 3])
    assert batch["x"].dtype == np.int64
    assert batch["x"].tolist() == [2**53 + 1, 0, -(2**63), 2**63 - 1]
    assert batch["x_null_mask"].tolist() == [False, True, False, False]


def test_nulls_in_whole_numbers_are_refused_in_batches(tmp_path: Path) -> None:
    """A null in a column of whole numbers never becomes a float; the error names both ways out."""
    ds = hr.open(write(tmp_path / "a.parquet", {"x": pa.array([1, None])}))

    with pytest.raises(
        hr.SchemaError, match=r"a\.parquet, row group 0, column `x`: 1 of 2 .*fill.*null_mask"
    ):
        ds.take([1])


def test_odd_column_names(tmp_path: Path) -> None:
    """Names with dots, spaces, or without a letter are read exactly, beside structs of the same path."""
    columns = {"a": [{"b": 1, "c": 2}], "a.b": [5], "a.b.c": [{"d": 7}], "": [9], "x y": [3], "ü": [4]}
    table = pa.table(columns)
    ds = hr.open(write(tmp_path / "a.parquet", table))

    for names in (["a"], ["a.b"], ["a.b.c"], [""], ["x y"], ["ü"], ["a.b.c", "a"], ["a.b", "a.b.c"]):
        assert ds.select(names).to_arrow().equals(table.select(names))


def test_no_columns_keep_their_rows(tmp_path: Path) -> None:
    """A read of no columns still delivers the promised number of rows."""
    source = hr.open(write(tmp_path / "a.parquet")).recipe.source

    assert source.read(source.manifest[0], []).num_rows == 3


def test_dictionaries_that_differ(tmp_path: Path) -> None:
    """Dictionary columns of shards with other dictionaries join as their values."""
    for name, words in {"a": ["x", "y"], "b": ["z", "y", "z"]}.items():
        write(tmp_path / f"{name}.parquet", {"w": pa.array(words).dictionary_encode()})
    ds = hr.open(tmp_path)

    assert ds.to_polars()["w"].to_list() == ["x", "y", "z", "y", "z"]
    assert ds.take([4, 0, 3])["w"].to_pylist() == ["z", "x", "y"]


def test_numbers_in_dictionaries_are_arrays(tmp_path: Path) -> None:
    """A dictionary of numbers is delivered as an array of numbers."""
    ds = hr.open(write(tmp_path / "a.parquet", {"n": pa.array([7, 9, 7]).dictionary_encode()}))

    assert ds.take([0, 1])["n"].tolist() == [7, 9]


def test_lists_of_fixed_size_are_arrays(tmp_path: Path) -> None:
    """A column of lists of fixed size is delivered as [n, k], whether or not Polars was on the way."""
    vectors = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))
    ds = hr.open(write(tmp_path / "a.parquet", {"v": vectors, "x": [0, 1]}))

    for one in (ds, ds.with_columns(y=1)):
        batch = one.take([1, 0])
        assert batch["v"].dtype == np.float32
        assert batch["v"].tolist() == [[3.0, 4.0], [1.0, 2.0]]


def test_tensor_columns_survive_the_file(tmp_path: Path) -> None:
    """A fixed-shape tensor that was written comes back as [n, ...]."""
    images = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    table = pa.table({"image": pa.FixedShapeTensorArray.from_numpy_ndarray(images)})
    ds = hr.open(write(tmp_path / "a.parquet", table))

    assert np.array_equal(ds.take([1, 0])["image"], images[::-1])


def test_source_is_picklable(tmp_path: Path) -> None:
    """A source sent through pickle reads the same rows and keeps its fingerprint."""
    ds = hr.open(write(tmp_path / "k=1" / "a.parquet", nested_table()))
    again = pickle.loads(pickle.dumps(ds))

    assert again.to_arrow().equals(ds.to_arrow())
    assert again.fingerprint == ds.fingerprint


def test_source_is_thread_safe(tmp_path: Path) -> None:
    """Eight threads that read the same row groups at once all get the right rows."""
    groups = [
        pa.table({"x": np.arange(5000) + begin, "s": [f"{begin}"] * 5000}) for begin in range(0, 20000, 5000)
    ]
    source = hr.open(write_groups(tmp_path / "a.parquet", groups)).recipe.source

    def read(number: int) -> bool:
        row_group = source.manifest[number % 4]
        return pa.Table.from_batches([source.read(row_group, ["x", "s"])]).equals(groups[number % 4])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, [number // 8 for number in range(64)]))


def test_many_shards_open_quickly(tmp_path: Path) -> None:
    """A thousand small shards open, and give their first batch, within seconds."""
    content = Path(write(tmp_path / "one.parquet", {f"c{k}": np.arange(20) for k in range(10)})).read_bytes()
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1000):
        (folder / f"part-{number}.parquet").write_bytes(content)
    begin = time.perf_counter()
    ds = hr.open(folder)
    opened = time.perf_counter() - begin
    next(iter(ds.loader(64, shuffle=True, output="numpy")))
    first = time.perf_counter() - begin

    assert len(ds) == 20_000
    assert opened < 5  # about half a second on two idle cores
    assert first < 10
