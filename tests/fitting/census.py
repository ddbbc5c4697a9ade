"""Data that pipelines are fitted to: numbers of all kinds and texts, in any number of row groups."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

import headrace as hr

ROWS = 2000


def people(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Columns of floats (one with nulls and NaN), whole numbers, texts with nulls and truth values."""
    draw = np.random.default_rng(seed)
    income = draw.lognormal(3, 2, rows)
    income[::17] = np.nan
    age = pl.Series("age", draw.integers(0, 90, rows))
    return pl.DataFrame(
        {
            "income": pl.Series(income).set(pl.Series(draw.random(rows) < 0.1), None),
            "height": (170 + 10 * draw.normal(size=rows)).astype(np.float32),
            "far": 1e8 + draw.normal(size=rows),
            "age": age,
            "city": pl.Series(draw.choice(["Bern", "Zürich", "Chur", "Genève"], rows)).set(
                pl.Series(draw.random(rows) < 0.05), None
            ),
            "owner": draw.random(rows) < 0.3,
        }
    )


def write_shards(folder: Path, frame: pl.DataFrame, shards: int = 1, row_group: int = ROWS) -> Path:
    """Write a frame to Parquet files of about equal length."""
    folder.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, frame.height, shards + 1).astype(int)
    for number, (begin, end) in enumerate(pairwise(bounds.tolist())):
        part = frame[begin:end]
        pq.write_table(part.to_arrow(), folder / f"{number:04}.parquet", row_group_size=row_group)
    return folder


def opened(folder: Path, frame: pl.DataFrame, shards: int = 1, row_group: int = ROWS) -> hr.Dataset:
    """Write a frame and open it."""
    return hr.open(write_shards(folder, frame, shards, row_group))
