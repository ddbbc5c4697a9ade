"""Data sets, functions and comparisons for the tests of the border to PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import torch
from torch.utils.data import DataLoader

import headrace as hr


def numbers(count: int = 100) -> hr.Dataset:
    """Samples whose `x` is three times their id."""
    return hr.from_arrays({"x": np.arange(count) * 3})


def loader(dataset: hr.Dataset | None = None, **options: Any) -> hr.Loader:
    """A shuffled loader of batches with a remainder."""
    settings = {"batch_size": 7, "shuffle": True, "seed": 4, "with_ids": True, "threads": 1} | options
    return (dataset or numbers()).loader(**settings)


def workers(source: hr.Loader, count: int, context: str = "fork", **options: Any) -> DataLoader[Any]:
    """A plain `DataLoader` over a loader."""
    if count:
        options["multiprocessing_context"] = context
    return DataLoader(source.to_torch(), batch_size=None, num_workers=count, **options)


def ids(batches: Iterable[Any]) -> list[list[int]]:
    """The sample ids of each batch, after checking that the values are theirs."""
    found: list[list[int]] = []
    for batch in batches:
        if "x" in batch:
            assert torch.equal(batch["x"], batch["sample_id"] * 3)
        found.append(batch["sample_id"].tolist())
    return found


def epochs(count: int, **options: Any) -> list[list[list[int]]]:
    """The sample ids of an uninterrupted loader's first epochs."""
    source = loader(**options)
    return [ids(source) for _ in range(count)]


def triple(frame: pl.DataFrame) -> pl.DataFrame:
    """Add three times `x`, by expressions that Polars runs at the same time."""
    return frame.with_columns((pl.col("x") * 3).alias("triple"), (pl.col("x") + 1).alias("next"))


def refuse(frame: pl.DataFrame) -> pl.DataFrame:
    """Fail."""
    raise ZeroDivisionError("no division today")
