"""`partition_by`: folders named by values, and files without those columns."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

import headrace as hr


def frame(count: int = 200) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "x": np.arange(count),
            "year": rng.integers(2011, 2014, count),
            "where": [["a b", "c/d", "é=1", "", None][i] for i in rng.integers(0, 5, count)],
            "y": rng.normal(size=count),
        }
    )


@pytest.mark.parametrize("shuffle", [None, "global"])
def test_folders_hold_the_samples_of_their_values(tmp_path: Path, shuffle: str | None) -> None:
    """Samples of equal values lie in one folder, in their order; folders rise by value."""
    ds = hr.from_polars(frame())
    ds.write(tmp_path / "out", partition_by=["year", "where"], rows_per_shard=9, shuffle=shuffle, seed=2)
    back = hr.open(tmp_path / "out")
    assert back.schema == ds.schema
    loader = ds.loader(1, shuffle=shuffle or False, seed=2, output="numpy")
    order = pl.DataFrame({"x": [int(batch["x"][0]) for batch in loader]})
    expected = order.join(frame(), on="x", how="left", maintain_order="left")
    expected = expected.sort(["year", "where"], nulls_last=True, maintain_order=True)
    assert back.to_polars().equals(expected.select(frame().columns))


def test_other_readers_see_the_same_values(tmp_path: Path) -> None:
    """Polars and pyarrow read the folders as hive partitions."""
    hr.from_polars(frame()).write(tmp_path / "out", partition_by=["year"])
    expected = frame().sort("x")
    found = pl.read_parquet(tmp_path / "out" / "**/*.parquet", hive_partitioning=True)
    assert found.select(expected.columns).sort("x").equals(expected)
    table = pads.dataset(tmp_path / "out", partitioning="hive").to_table()
    assert sorted(zip(*(table[name].to_pylist() for name in ("x", "year")), strict=True)) == list(
        zip(expected["x"], expected["year"], strict=True)
    )


def test_samples_in_order_are_not_sorted_again(tmp_path: Path) -> None:
    """Data that lies in the order of its partitions goes straight to its shards."""
    sorted_frame = frame().sort("year")
    stages = hr.from_polars(sorted_frame).write(tmp_path / "out", partition_by="year").stages
    assert [stage.name for stage in stages] == ["partition", "write", "publish"]
    assert hr.open(tmp_path / "out").to_polars().equals(sorted_frame)


def test_no_samples_are_a_data_set_of_zero_rows(tmp_path: Path) -> None:
    """Nothing to partition: the schema stays."""
    ds = hr.from_polars(frame()).rows([])
    ds.write(tmp_path / "out", partition_by="year")
    assert hr.open(tmp_path / "out").schema == ds.schema
    assert len(hr.open(tmp_path / "out")) == 0


@pytest.mark.parametrize(
    ("columns", "arguments", "error", "message"),
    [
        (["nowhere"], {}, hr.UnknownColumnError, "`partition_by`: .*`nowhere`"),
        (["x", "year", "where", "y"], {}, hr.SchemaError, "must leave at least one column for the files"),
        (["year", "year"], {}, hr.SchemaError, "each column once"),
        (["y"], {}, hr.SchemaError, "column `y` has the type double"),
        (["nothing"], {}, hr.SchemaError, "column `nothing` has the type null"),
        (["year"], {"shards": 3}, hr.OptionError, "give `rows_per_shard` instead"),
    ],
)
def test_partitions_that_cannot_be_are_refused(
    tmp_path: Path, columns: list[str], arguments: dict[str, int], error: type[Exception], message: str
) -> None:
    """The message says what must hold; nothing is written."""
    ds = hr.from_polars(frame().with_columns(nothing=None))
    left = ds.drop(["nothing"]) if len(columns) > 2 else ds
    with pytest.raises(error, match=message):
        left.write(tmp_path / "out", partition_by=columns, **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**64 - 1, 0, None], pa.uint64()),
        pa.array([10**18 + 1, -1, None], pa.timestamp("ns", "Europe/Berlin")),
        pa.array([1, -1, None], pa.timestamp("s")),
        pa.array([Decimal("1.50"), Decimal("-0.01"), None], pa.decimal128(9, 2)),
        pa.array(["b", "a", None]).dictionary_encode(),
    ],
)
def test_types_come_back_from_the_folders(tmp_path: Path, column: pa.Array) -> None:
    """Values that Python or Polars would round, widen or rename are those that were written."""
    ds = hr.from_arrow(pa.table({"x": [1, 2, 3], "value": column}))
    ds.write(tmp_path / "out", partition_by="value", progress=False)
    back = hr.open(tmp_path / "out")
    assert back.schema == ds.schema
    found = back.to_arrow().sort_by("x").column("value").combine_chunks()
    assert repr(found.to_pylist()) == repr(column.to_pylist())


@pytest.mark.parametrize("kind", [pa.float64(), pa.list_(pa.int8()), pa.binary(), pa.time64("us"), pa.null()])
def test_types_that_no_name_tells_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    """Column and type are named before anything is written."""
    ds = hr.from_arrow(pa.table({"x": [1], "value": pa.nulls(1, kind)}))
    with pytest.raises(hr.SchemaError, match=r"`partition_by` takes .*column `value` has the type"):
        ds.write(tmp_path / "out", partition_by="value", progress=False)
    assert not (tmp_path / "out").exists()


def test_numbers_and_times_beyond_pythons_are_folders(tmp_path: Path) -> None:
    """Folders tell 64 bits without a sign, and nanoseconds."""
    rows = pl.DataFrame(
        {
            "big": pl.Series([2**64 - 1, 0, None], dtype=pl.UInt64),
            "when": pl.Series([10**18 + 1, None, -1]).cast(pl.Datetime("ns")),
            "x": [1, 2, 3],
        }
    )
    hr.from_polars(rows).write(tmp_path / "out", partition_by=["big", "when"])
    assert hr.open(tmp_path / "out").to_polars().sort("x").equals(rows)
