"""What tests of steps have in common: one fitted step, applied in every way, must give one result."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import polars as pl

import headrace as hr
from headrace.prepare.step import PrepareStep


def fit(frame: pl.DataFrame, *steps: PrepareStep, dtype: str = "float64") -> hr.Pipeline:
    return hr.Pipeline(steps, dtype=dtype).fit(hr.from_polars(frame), progress=False)


def transform(frame: pl.DataFrame, *steps: PrepareStep, dtype: str = "float64") -> pl.DataFrame:
    """Fit and apply steps to one frame."""
    return fit(frame, *steps, dtype=dtype).transform(frame)


def events(frame: pl.DataFrame, step: PrepareStep) -> dict[str, dict[str, int]]:
    """Count what one step meets in a frame."""
    return fit(frame, step).steps[0].events(frame)


def bits(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Return rows that are equal only bit for bit; NaN is equal to itself, minus zero is no zero."""
    return [tuple(repr(value) for value in row) for row in frame.rows()]


def assert_same_everywhere(frame: pl.DataFrame, *steps: PrepareStep, folder: Path) -> pl.DataFrame:
    """Hold a frame against single rows, no rows, files of any row groups, and the loader's batches."""
    pipe = fit(frame, *steps)
    whole = pipe.transform(frame)
    ones = [pipe.transform(frame.slice(row, 1)) for row in range(frame.height)]
    assert bits(pl.concat(ones)) == bits(whole)
    assert pipe.transform(frame.clear()).schema == whole.schema
    row = pipe.transform(frame.row(0, named=True))
    assert [repr(value) for value in row.values()] == list(bits(whole)[0])
    for size in (1, 3, frame.height):
        path = folder / f"{size}.parquet"
        frame.write_parquet(path, row_group_size=size)
        prepared = hr.open(path).prepare(pipe)
        assert bits(prepared.to_polars()) == bits(whole)
        with prepared.loader(batch_size=4, output="arrow", threads=0) as loader:
            batches = [pl.from_arrow(batch) for batch in loader]
        assert bits(pl.concat(batches).select(whole.columns)) == bits(whole)
    assert_same_elsewhere(frame, pipe, folder)
    return whole


def assert_same_elsewhere(frame: pl.DataFrame, pipe: hr.Pipeline, folder: Path) -> None:
    """Hold a pipeline against itself in a file and in another process, by values and by fingerprint."""
    whole, ds = pipe.transform(frame), hr.from_polars(frame)
    functions = {step.name: step.function for step in pipe.steps if isinstance(step, hr.FunctionStep)}
    pipe.save(folder / "pipe.json")
    loaded = hr.Pipeline.load(folder / "pipe.json", functions=functions)
    loaded.save(folder / "again.json")
    assert (folder / "again.json").read_bytes() == (folder / "pipe.json").read_bytes()
    for step in (loaded.step, pickle.loads(pickle.dumps(pipe.step))):
        assert bits(step.apply(frame)) == bits(whole)
        assert ds.prepare(step).recipe.fingerprint == ds.prepare(pipe).recipe.fingerprint


def columns_read(frame: pl.DataFrame, step: PrepareStep, *wanted: str) -> tuple[str, ...]:
    """Return which columns of the data are read for these columns of what comes out."""
    ds = hr.from_polars(frame)
    pipe = hr.Pipeline([step], dtype="float64").fit(ds, progress=False)
    chosen = ds.prepare(pipe).select(list(wanted))
    assert bits(chosen.to_polars()) == bits(pipe.transform(frame).select(wanted))
    return chosen.recipe.columns


def assert_foretold(frame: pl.DataFrame, step: PrepareStep) -> None:
    """Hold names and types that are foretold before a fit against those that come out."""
    bound = step.bound(frame.schema)
    foretold = bound.unfitted_schema(frame.schema)
    pipe = fit(frame, step)
    after = pipe.transform(frame)
    assert foretold is None or foretold == after.schema
    assert pipe.steps[0].outputs(tuple(frame.columns)) == tuple(after.columns)
    for wanted in (frozenset(after.columns), *(frozenset([name]) for name in after.columns)):
        assert pipe.steps[0].narrowed(wanted)[1] <= set(frame.columns)
