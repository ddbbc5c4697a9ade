"""Data sets for the tests of splits and folds: a table cut into row groups of any sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import settings

import headrace as hr
from headrace.manifest import Manifest, RowGroup
from headrace.testing.strategies import manifest_of

some = settings(max_examples=60, deadline=None, derandomize=True)


class TableSource:
    """A table in row groups of these sizes."""

    def __init__(self, table: pa.Table, rows: Sequence[int]) -> None:
        self.table = table
        self.schema: pa.Schema = table.schema
        self.manifest: Manifest = manifest_of(list(rows))

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        part = self.table.slice(row_group.first, row_group.rows).select(list(columns)).combine_chunks()
        arrays = [
            column.chunk(0) if column.num_chunks else pa.nulls(0, column.type) for column in part.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def cut(columns: Mapping[str, Any], rows: Sequence[int] | None = None) -> hr.Dataset:
    """A data set of these columns; by default in row groups of 7."""
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    if rows is None:
        rows = [min(7, len(table) - first) for first in range(0, len(table), 7)]
    return hr.Dataset.of(TableSource(table, rows))


def ids_of(parts: hr.Splits[hr.Dataset]) -> dict[str, list[int]]:
    return {name: part.sample_ids.tolist() for name, part in parts.items()}


def values_of(dataset: hr.Dataset, column: str) -> np.ndarray:
    return dataset.select([column]).to_polars()[column].to_numpy()


def skewed(count: int, groups: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Groups of very different sizes, and classes that each group has its own share of."""
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.full(groups, random.choice([0.3, 1.0, 10.0])))
    group = random.choice(groups, count, p=weights)
    shares = random.dirichlet(np.ones(classes), groups)
    label = np.array([random.choice(classes, p=shares[number]) for number in group])
    return group, label
