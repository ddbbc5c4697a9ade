"""What a fit does where its states take more memory than it may: sketches, and counts on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from census import opened

import headrace as hr
from headrace.prepare.statistics import Counts, Statistic, Values
from headrace.prepare.step import Found, PrepareStep


@dataclass(frozen=True)
class Learner(PrepareStep):
    """Learns medians with their error, and how many values there are."""

    def treats(self, dtype: pl.DataType) -> bool:
        return True

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        return [Values("x"), Counts("x")]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        values, counts = found[Values("x")], found[Counts("x")]
        return {
            "medians_": values.quantiles((0.5,)),
            "rank_error_": values.rank_error,
            "distinct_": counts.table.height,
            "is_on_disk_": bool(counts.runs),
        }


def test_beyond_the_limit_quantiles_have_an_error_and_counts_none(tmp_path: Path) -> None:
    """The same pipeline, with plenty of memory and with little."""
    values = np.random.default_rng(0).permutation(200_000) / 7
    ds = opened(tmp_path, pl.DataFrame({"x": values}), shards=3, row_group=20_000)

    def fitted(**options: Any) -> PrepareStep:
        return hr.Pipeline([Learner()]).fit(ds, progress=False, **options).steps[0]

    plenty, little = fitted(), fitted(memory_limit="2MB")

    assert (plenty.medians_, plenty.rank_error_) == ([np.median(values)], 0.0)
    assert 0 < little.rank_error_ < 0.002
    rank = np.searchsorted(np.sort(values), little.medians_[0]) / len(values)
    assert abs(rank - 0.5) < 0.004
    assert (plenty.distinct_, plenty.is_on_disk_) == (200_000, False)
    assert (little.distinct_, little.is_on_disk_) == (200_000, True)
