"""Data sets to keep prepared, and their streams, to hold them against those without a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import headrace as hr
from headrace.batch import Ragged

LAYOUT = ([7, 0, 5], [1], [0], [11, 3, 2, 9])  # rows of the row groups of each file; 38 in all


def table_of(begin: int, rows: int) -> pa.Table:
    """Numbers with and without nulls, text and lists, whose values tell the row."""
    number = np.arange(begin, begin + rows)
    return pa.table(
        {
            "x": number * 0.5,
            "y": number,
            "label": (number % 3).astype(np.int8),
            "maybe": pa.array([None if row % 5 == 2 else row for row in number.tolist()], pa.float32()),
            "word": pa.array([None if row % 7 == 3 else f"row {row}" for row in number], pa.string()),
            "tokens": pa.array([list(range(row % 4)) for row in number], pa.list_(pa.int32())),
        }
    )


def write_shards(folder: Path, layout: tuple[list[int], ...] = LAYOUT) -> Path:
    """Write Parquet files of uneven and empty row groups."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = 0
    for number, rows in enumerate(layout):
        with pq.ParquetWriter(folder / f"part-{number}.parquet", table_of(0, 0).schema) as writer:
            for count in rows:
                writer.write_table(table_of(begin, count), row_group_size=max(count, 1))
                begin += count
    return folder


def triple(frame: pl.DataFrame) -> pl.DataFrame:
    """Add three times `y`."""
    return frame.with_columns(triple=pl.col("y") * 3)


def plain(folder: Path) -> hr.Dataset:
    return hr.open(folder).drop(["maybe"])


def packed(folder: Path) -> hr.Dataset:
    made = hr.open(folder).map(triple).with_columns((pl.col("x") + pl.col("triple")).alias("sum"))
    return made.pack(dense=["x", "sum"], numbers=["y", "triple"], label="label", dtype={"dense": "float32"})


def without_nulls(folder: Path) -> hr.Dataset:
    return hr.open(folder).drop_nulls(["maybe", "word"]).pack(both=["maybe", "x"], y="y")


def padded(folder: Path) -> hr.Dataset:
    return hr.open(folder).pack(tokens="tokens", y="y", pad_to={"tokens": "longest"}, null_mask=True)


def chosen(folder: Path) -> hr.Dataset:
    """Out of order and with repeats, and by far not all."""
    ids = [37, 3, 3, 0, 12, 11, 30, 3, 8, 25, 24, 23, 1, 36, 35, 12, 5, 6, 7, 19, 20, 2]
    return packed(folder).rows(ids)


def fitted(folder: Path) -> hr.Dataset:
    """Values that depend on the samples' ids: each fold is encoded by what the others hold."""
    opened = hr.open(folder).drop(["maybe"]).drop_nulls(["word"])
    pipe = hr.Pipeline([hr.StandardScaler(columns=["x"]), hr.TargetEncoder(columns=["label"], target="y")])
    return opened.prepare(pipe.fit(opened)).pack(x=["x", "label"], y="y")


def wide(folder: Path) -> hr.Dataset:
    """Rows that are copied right from the file into batches where nothing keeps them."""
    path = folder.with_name("wide.h5")
    if not path.exists():
        with h5py.File(path, "w") as file:
            values = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
            file.create_dataset("image", data=values, chunks=(8, 16, 16, 3), compression="gzip")
            file["label"] = np.arange(40)
    return hr.open(path)


def mixed(folder: Path) -> hr.Dataset:
    half = hr.open(folder).select(["x", "y"])
    return hr.mix({"a": half, "b": half.filter(pl.col("y") > 20)}, {"a": 2, "b": 1}, stop="all", seed=3)


DATA: Mapping[str, Callable[[Path], hr.Dataset]] = {
    each.__name__: each for each in (plain, packed, without_nulls, padded, chosen, fitted, wide, mixed)
}


def hash_of(batches: Iterable[Any]) -> list[str]:
    """Digest each batch: names, order, types, shapes and bytes."""
    return [hashlib.blake2b(repr(_plain(batch)).encode(), digest_size=16).hexdigest() for batch in batches]


def _plain(value: Any) -> Any:
    """Say all of a value in a form that `repr` shows in full."""
    if isinstance(value, dict):
        return [(name, _plain(column)) for name, column in value.items()]
    if isinstance(value, pa.RecordBatch):
        return [_plain(dict(zip(value.schema.names, value.columns, strict=True)))]
    if isinstance(value, pa.Array):
        return str(value.type), value.to_pylist()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return _plain_tensor(value)


def _plain_tensor(value: Any) -> Any:
    if isinstance(value, Ragged):
        return _plain(value.values), _plain(value.offsets)
    if getattr(value, "is_nested", False):
        return _plain(value.values()), _plain(value.offsets())
    return (str(value.dtype), _plain(value.contiguous().numpy())) if hasattr(value, "numpy") else repr(value)
