"""Shards whose columns differ: unified, refused by name, filled or cast."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from parquet_files import write, write_groups

import headrace as hr

FILL = hr.ParquetOptions(on_schema_change="fill")
CAST = hr.ParquetOptions(on_schema_change="cast")


def test_reordered_columns_are_unified(tmp_path: Path) -> None:
    """Columns in another order are no difference; the first shard's order holds."""
    write(tmp_path / "a.parquet", {"x": [1], "y": ["a"]})
    write(tmp_path / "b.parquet", {"y": ["b"], "x": [2]})

    assert hr.open(tmp_path).to_arrow().equals(pa.table({"x": [1, 2], "y": ["a", "b"]}))


def test_names_inside_lists_are_no_difference(tmp_path: Path) -> None:
    """Writers call a list's values by other names; the columns are of one type all the same."""
    table = pa.table({"x": [[1, 2], [3]]})
    write(tmp_path / "a.parquet", table)
    write(tmp_path / "b.parquet", table, use_compliant_nested_type=False)

    assert hr.open(tmp_path).to_arrow()["x"].to_pylist() == [[1, 2], [3]] * 2


def test_required_and_optional_are_unified(tmp_path: Path) -> None:
    """A column that may be null in some shards may be null in the data set."""
    write(
        tmp_path / "a.parquet",
        pa.table({"x": [1]}, schema=pa.schema([pa.field("x", pa.int64(), nullable=False)])),
    )
    write(tmp_path / "b.parquet", {"x": pa.array([None], pa.int64())})

    assert hr.open(tmp_path).to_polars()["x"].to_list() == [1, None]


def test_missing_column(tmp_path: Path) -> None:
    """A column that some shards lack is an error that lists them and the remedy, which fills with nulls."""
    write(tmp_path / "a.parquet", {"x": [1]})
    write(tmp_path / "b.parquet", {"x": [2], "extra": [7]})
    write(tmp_path / "c.parquet", {"x": [3]})

    with pytest.raises(
        hr.SchemaError, match=r'`extra` is missing in .*a\.parquet, .*c\.parquet and.*"fill"'
    ) as caught:
        hr.open(tmp_path)
    assert "b.parquet" not in str(caught.value)

    filled = hr.open(tmp_path, options=FILL)
    assert filled.to_polars().to_dict(as_series=False) == {"x": [1, 2, 3], "extra": [None, 7, None]}
    assert filled.select(["extra"]).to_polars()["extra"].to_list() == [None, 7, None]
    with pytest.raises(hr.SchemaError, match=r"a\.parquet, row group 0, column `extra`"):
        filled.take([0])


def test_many_shards_that_differ(tmp_path: Path) -> None:
    """A long list of shards is cut, with the number of the others."""
    write(tmp_path / "a.parquet", {"x": [1], "y": [1]})
    for number in range(12):
        write(tmp_path / f"b-{number}.parquet", {"x": [1]})

    with pytest.raises(hr.SchemaError, match=r"b-4\.parquet and 7 more"):
        hr.open(tmp_path)


def test_other_type(tmp_path: Path) -> None:
    """A column of another type is an error that lists the shards and both types, also when filling."""
    write(tmp_path / "a.parquet", {"x": [1]})
    write(tmp_path / "b.parquet", {"x": [2.5]})

    for options in (None, FILL):
        with pytest.raises(hr.SchemaError, match=r'`x`.* int64 and, in .*b\.parquet, double; .*"cast"'):
            hr.open(tmp_path, options=options)


def test_cast_to_the_common_type(tmp_path: Path) -> None:
    """Casting finds one type for all shards, and fills what is missing too."""
    write(tmp_path / "a.parquet", {"x": pa.array([1], pa.int8()), "y": pa.array([None], pa.null())})
    write(tmp_path / "b.parquet", {"x": pa.array([300], pa.int32()), "y": ["b"], "z": [1]})
    write(tmp_path / "c.parquet", {"x": pa.array([0.5], pa.float64())})
    ds = hr.open(tmp_path, options=CAST)

    assert ds.schema.field("x").type == pa.float64()
    assert ds.to_polars().to_dict(as_series=False) == {
        "x": [1.0, 300.0, 0.5],
        "y": [None, "b", None],
        "z": [None, 1, None],
    }
    assert [batch["x"].tolist() for batch in ds.select(["x"]).loader(2, output="numpy")] == [
        [1.0, 300.0],
        [0.5],
    ]


def test_types_without_a_common_one(tmp_path: Path) -> None:
    """Where no type holds both, casting is refused at opening."""
    write(tmp_path / "a.parquet", {"x": [1]})
    write(tmp_path / "b.parquet", {"x": ["one"]})

    with pytest.raises(hr.SchemaError, match=r"`x`.*b\.parquet, string, which have no common type"):
        hr.open(tmp_path, options=CAST)


def test_cast_that_fails_while_reading(tmp_path: Path) -> None:
    """A value that the common type cannot hold is an error that names shard, row group and column."""
    groups = [pa.table({"x": [1, 2]}), pa.table({"x": [3, 2**60 + 1]})]
    write_groups(tmp_path / "a.parquet", groups)
    write(tmp_path / "b.parquet", {"x": [0.5]})
    ds = hr.open(tmp_path, options=CAST)

    assert ds.take([0, 4])["x"].tolist() == [1.0, 0.5]
    with pytest.raises(
        hr.SchemaError, match=r"a\.parquet, row group 1, column `x`: cannot be cast .* to double"
    ):
        ds.to_arrow()
