"""The job of `jobs.py` by Ray Data: its own aggregates, and functions of pandas frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
from criteo_like import CATEGORY_COLUMNS, DENSE_COLUMNS
from prepare_case import VOCABULARY, Parts
from ray.data.aggregate import ApproximateQuantile, Mean, Std


def ray_parts(files: list[Path], output: Path) -> Parts:
    """Quantiles are approximate, as dask's are; counts of categories are summed up in this process."""
    data = ray.data.read_parquet([str(path) for path in files])
    found: dict[str, Any] = {}

    def fit() -> None:
        dense: list[Any] = []
        for name in DENSE_COLUMNS:
            dense += [Mean(on=name), Std(on=name, ddof=0), ApproximateQuantile(name, [0.01, 0.5, 0.99])]
        numbers: Any = data.aggregate(*dense)
        found["low"], found["median"], found["high"] = (
            pd.Series(
                {name: numbers[f"approx_quantile({name})"][place] for name in DENSE_COLUMNS}, dtype="f4"
            )
            for place in range(3)
        )
        found["mean"] = pd.Series({name: numbers[f"mean({name})"] for name in DENSE_COLUMNS})
        found["std"] = pd.Series({name: numbers[f"std({name})"] for name in DENSE_COLUMNS})
        found["known"] = most_frequent(data)

    def transform() -> None:
        kept = ray.put(found)
        prepared = data.map_batches(prepare, batch_format="pandas", batch_size=None, fn_args=[kept])
        prepared.write_parquet(str(output), compression="zstd")

    return fit, transform


def most_frequent(data: Any) -> dict[str, pd.Index]:
    """Count the values of all categories in one pass."""
    sums: dict[str, list[pd.Series]] = {name: [] for name in CATEGORY_COLUMNS}
    counted = data.select_columns(CATEGORY_COLUMNS).map_batches(count, batch_format="pandas", batch_size=None)
    for block in counted.iter_batches(batch_format="pandas", batch_size=None):
        for number, part in block.groupby("column"):
            sums[CATEGORY_COLUMNS[number]].append(part.set_index("value")["count"])
    known: dict[str, pd.Index] = {}
    for name, parts in sums.items():
        total = pd.concat(parts).groupby(level=0).sum()
        known[name] = pd.Index(sorted(total.nlargest(VOCABULARY).index))
    return known


def count(frame: pd.DataFrame) -> pd.DataFrame:
    """How often each value of each column comes, one below the other."""
    counts = [frame[name].value_counts() for name in CATEGORY_COLUMNS]
    return pd.DataFrame(
        {
            "column": np.repeat(np.arange(len(counts)), [len(each) for each in counts]),
            "value": np.concatenate([each.index.to_numpy(np.int64) for each in counts]),
            "count": np.concatenate([each.to_numpy() for each in counts]),
        }
    )


def prepare(part: pd.DataFrame, found: Any) -> pd.DataFrame:
    """Fill, clip, scale and encode."""
    if not isinstance(found, dict):
        found = ray.get(found)
    dense = part[DENSE_COLUMNS].fillna(found["median"]).clip(found["low"], found["high"], axis=1)
    scaled = ((dense - found["mean"]) / found["std"]).astype("float32")
    ids = {name: found["known"][name].get_indexer(part[name]) for name in CATEGORY_COLUMNS}
    encoded = pd.DataFrame(
        {
            name: np.where(part[name].isna(), 0, np.where(place < 0, 1, place + 2)).astype(np.int32)
            for name, place in ids.items()
        },
        index=part.index,
    )
    return pd.concat([scaled, encoded], axis=1)
