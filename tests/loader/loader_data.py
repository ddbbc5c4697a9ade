"""Data sets for the tests of loaders: small, uneven, and with every kind of column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import headrace as hr
from headrace.testing.strategies import LaidSource

UNEVEN = ([7, 0, 5], [1], [0], [11, 3, 2, 9])  # rows of the row groups of each file; 38 in all


def table_of(begin: int, rows: int) -> pa.Table:
    """Columns whose values tell the row: a float, a whole number, text and a list."""
    number = np.arange(begin, begin + rows)
    return pa.table(
        {
            "x": number * 0.5,
            "y": number,
            "label": (number % 3).astype(np.int8),
            "text": pa.array([f"row {row}" for row in number], pa.string()),
            "tokens": pa.array([list(range(row % 4)) for row in number], pa.list_(pa.int32())),
        }
    )


def write_shards(folder: Path, layout: tuple[list[int], ...] = UNEVEN) -> list[Path]:
    """Write Parquet files with row groups of these sizes."""
    begin, paths = 0, []
    for number, rows in enumerate(layout):
        paths.append(folder / f"part-{number}.parquet")
        with pq.ParquetWriter(paths[-1], table_of(0, 0).schema) as writer:
            for count in rows:
                writer.write_table(table_of(begin, count), row_group_size=max(count, 1))
                begin += count
    return paths


def parquet(folder: Path) -> hr.Dataset:
    """Several files, uneven and empty row groups."""
    write_shards(folder)
    return hr.open(folder)


def laid(*rows: int) -> hr.Dataset:
    """A data set without files, in row groups of these sizes."""
    return hr.Dataset.of(LaidSource(list(rows)))


def in_memory() -> hr.Dataset:
    """Arrays of one and more dimensions and text."""
    number = np.arange(45)
    return hr.from_arrays(
        {
            "x": number * 1.5,
            "image": (np.arange(45 * 6) % 251).astype(np.uint8).reshape(45, 2, 3),
            "text": [str(row) for row in number],
        }
    )


def triple(frame: pl.DataFrame) -> pl.DataFrame:
    """Add three times `y`."""
    return frame.with_columns(triple=pl.col("y") * 3)


def prepared(folder: Path) -> hr.Dataset:
    """A function, expressions and arrays side by side."""
    dataset = parquet(folder).map(triple).with_columns((pl.col("x") + pl.col("triple")).alias("sum"))
    return dataset.pack(dense=["x", "sum"], numbers=["y", "triple"], label="label")
