"""What tests of numeric steps have in common: a pipeline, applied in every way, gives the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import headrace as hr
from headrace.prepare.step import PrepareStep

Numbers = np.ndarray[Any, np.dtype[np.float64]]


def fit(frame: pl.DataFrame | dict[str, Any], *steps: PrepareStep, dtype: str = "float64") -> hr.Pipeline:
    return hr.Pipeline(steps, dtype=dtype).fit(hr.from_polars(pl.DataFrame(frame)), progress=False)


def transformed(
    frame: pl.DataFrame | dict[str, Any], *steps: PrepareStep, dtype: str = "float64"
) -> pl.DataFrame:
    return fit(frame, *steps, dtype=dtype).transform(pl.DataFrame(frame))


def mixed(rows: int = 300, seed: int = 0) -> pl.DataFrame:
    """Columns of several types and distributions, with null and NaN."""
    draw = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "normal": draw.normal(size=rows),
            "far": (1e4 + draw.normal(size=rows)).astype(np.float32),
            "skewed": draw.lognormal(size=rows),
            "whole": draw.integers(-20, 50, rows).astype(np.int16),
            "ties": draw.integers(0, 4, rows).astype(np.float64),
        }
    )
    missing = draw.uniform(size=(rows, 5)) < 0.07
    columns = [
        pl.when(pl.Series(missing[:, place])).then(None).otherwise(pl.col(name)).alias(name)
        for place, name in enumerate(frame.columns)
    ]
    frame = frame.select(columns)
    return frame.with_columns(pl.col("normal").fill_null(float("nan")))


def matrix(frame: pl.DataFrame) -> Numbers:
    """Rows and columns with NaN where something is missing, as scikit-learn takes them."""
    return np.column_stack(
        [frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in frame.columns]
    )


def bits(frame: pl.DataFrame) -> list[tuple[str, ...]]:
    return [tuple(repr(value) for value in row) for row in frame.rows()]


def assert_same_everywhere(frame: pl.DataFrame, *steps: PrepareStep, folder: Path) -> None:
    """Hold a frame against single rows, no rows, files of any row groups, and batches."""
    pipe = fit(frame, *steps, dtype="float32")
    whole = pipe.transform(frame)
    for row in range(0, frame.height, 37):
        assert bits(pipe.transform(frame[row : row + 1])) == bits(whole[row : row + 1])
        one = pipe.transform(frame.row(row, named=True))
        assert tuple(repr(one[name]) for name in whole.columns) == bits(whole)[row]
    assert pipe.transform(frame.clear()).schema == whole.schema
    for size in (3, 97):
        path = folder / f"{size}.parquet"
        frame.write_parquet(path, row_group_size=size)
        again = hr.Pipeline(steps, dtype="float32").fit(hr.open(path), progress=False)
        prepared = hr.open(path).prepare(again)
        assert bits(prepared.to_polars()) == bits(whole)
        with prepared.loader(batch_size=64, output="arrow", threads=0) as loader:
            batches = [pl.DataFrame(pl.from_arrow(batch)) for batch in loader]
        assert bits(pl.concat(batches).select(whole.columns)) == bits(whole)


def assert_foretold(frame: pl.DataFrame, step: PrepareStep) -> None:
    """Hold names and types that are foretold before a fit against those that come out."""
    foretold = step.bound(frame.schema).unfitted_schema(frame.schema)
    pipe = fit(frame, step)
    assert foretold == pipe.transform(frame).schema
    assert pipe.steps[0].outputs(tuple(frame.columns)) == tuple(pipe.transform(frame).columns)


def assert_saved(frame: pl.DataFrame, step: PrepareStep, folder: Path) -> None:
    """Hold a pipeline that was saved and loaded against itself."""
    pipe = fit(frame, step)
    pipe.save(folder / "pipe.json")
    assert bits(hr.Pipeline.load(folder / "pipe.json").transform(frame)) == bits(pipe.transform(frame))
