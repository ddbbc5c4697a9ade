"""Measure one way to fit and transform in this process, and print the result as a line of JSON.

`prepare.py` starts this program once for each case and round. Every case fits the same numbers (median, 1 %
and 99 % quantile, mean and deviation of 13 columns, the 1,000 most frequent categories of 26), fills, clips,
standardises and encodes by them, and writes the result to Parquet files with zstd.

Libraries are imported by the case that needs them, so that no case pays for the imports of another.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
from criteo_like import CATEGORY_COLUMNS, DENSE_COLUMNS

VOCABULARY = 1000
Parts = tuple[Callable[[], None], Callable[[], None]]  # fit, then transform


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=list(CASES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    files = sorted(arguments.folder.glob("*.parquet"))
    shutil.rmtree(arguments.output, ignore_errors=True)
    arguments.output.mkdir(parents=True)
    measure.read_once(files)
    fit, transform = CASES[arguments.case](files, arguments.output)
    with measure.MemoryWatch() as memory:
        begun, used = time.perf_counter(), measure.own_cpu_seconds()
        fit()
        fitted = time.perf_counter()
        transform()
        done, spent = time.perf_counter(), measure.own_cpu_seconds() - used
    result = {
        "fit": fitted - begun,
        "transform": done - fitted,
        "cpu": spent,
        "peak": memory.peak_total,
        "growth": memory.growth,
    }
    print(json.dumps(result | {"check": check(arguments.output)}))


def check(output: Path) -> list[float]:
    """Numbers by which the results of all cases can be compared: means and deviations of some columns."""
    import polars as pl

    frame = pl.scan_parquet(sorted(output.glob("*.parquet")))
    columns = [pl.col(name).cast(pl.Float64) for name in (DENSE_COLUMNS[2], DENSE_COLUMNS[9])]
    found = frame.select(
        pl.len().alias("rows"),
        *[column.mean().name.suffix("_mean") for column in columns],
        *[column.std().name.suffix("_std") for column in columns],
        *[
            pl.col(name).n_unique().name.suffix("_ids")
            for name in (CATEGORY_COLUMNS[3], CATEGORY_COLUMNS[20])
        ],
    ).collect()
    return [float(value) for value in found.row(0)]


def headrace(files: list[Path], output: Path) -> Parts:
    """One scan that fits every step, then shards that are prepared and written side by side."""
    import polars as pl
    import pyarrow.parquet as pq

    import headrace as hr

    steps = [
        hr.ClipOutliers("quantile", columns=DENSE_COLUMNS),
        hr.FillMissing("median", columns=DENSE_COLUMNS),
        hr.StandardScaler(columns=DENSE_COLUMNS),
        hr.OrdinalEncoder(columns=CATEGORY_COLUMNS, max_size=VOCABULARY, dtype="int32"),
    ]
    pipe = hr.Pipeline(steps)

    def fit() -> None:
        pipe.fit(hr.open([str(path) for path in files]), progress=False)

    def write(path: Path) -> None:
        schema = hr.open(str(path)).prepare(pipe).schema
        options: Any = {"compression": "zstd", "use_dictionary": CATEGORY_COLUMNS}
        with (
            pq.ParquetFile(path) as source,
            pq.ParquetWriter(output / path.name, schema, **options) as target,
        ):
            for number in range(source.num_row_groups):
                frame = pl.from_arrow(source.read_row_group(number, use_threads=False))
                target.write_table(pipe.transform(frame).to_arrow())

    def transform() -> None:
        for _ in hr.Threads().map(write, files):
            pass

    return fit, transform


def polars(files: list[Path], output: Path) -> Parts:
    """Lazy queries on the streaming engine, as one writes them by hand."""
    import polars as pl

    found: dict[str, Any] = {}
    lazy = pl.scan_parquet(files)

    def fit() -> None:
        dense = pl.col(DENSE_COLUMNS)
        statistics = lazy.select(
            dense.median().name.suffix("/median"),
            dense.quantile(0.01, "linear").name.suffix("/low"),
            dense.quantile(0.99, "linear").name.suffix("/high"),
            dense.cast(pl.Float64).mean().name.suffix("/mean"),
            dense.cast(pl.Float64).std(ddof=0).name.suffix("/std"),
        )
        counts = [
            lazy.select(name).drop_nulls().group_by(name).len().top_k(VOCABULARY, by="len")
            for name in CATEGORY_COLUMNS
        ]
        numbers, *vocabularies = pl.collect_all([statistics, *counts], engine="streaming")
        found["numbers"] = numbers.row(0, named=True)
        found["vocabularies"] = [table.to_series(0).sort() for table in vocabularies]

    def transform() -> None:
        numbers = found["numbers"]
        dense = [
            (
                (
                    pl.col(name)
                    .fill_null(numbers[f"{name}/median"])
                    .clip(numbers[f"{name}/low"], numbers[f"{name}/high"])
                    .cast(pl.Float64)
                    - numbers[f"{name}/mean"]
                )
                / numbers[f"{name}/std"]
            ).cast(pl.Float32)
            for name in DENSE_COLUMNS
        ]
        categories = [
            pl.col(name)
            .replace_strict(known, range(2, len(known) + 2), default=1, return_dtype=pl.Int32)
            .pipe(lambda ids, name=name: pl.when(pl.col(name).is_null()).then(0).otherwise(ids))
            .cast(pl.Int32)
            .alias(name)
            for name, known in zip(CATEGORY_COLUMNS, found["vocabularies"], strict=True)
        ]
        lazy.select(*dense, *categories).sink_parquet(output / "all.parquet", compression="zstd")

    return fit, transform


def sklearn(files: list[Path], output: Path) -> Parts:
    """The frame of pandas and the estimators of scikit-learn, in memory."""
    import numpy as np
    import pandas as pd
    from sklearn.preprocessing import OrdinalEncoder, StandardScaler

    found: dict[str, Any] = {}

    def fit() -> None:
        frame = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
        dense = frame[DENSE_COLUMNS]
        median = dense.median()
        low, high = dense.quantile(0.01), dense.quantile(0.99)
        cleaned = dense.fillna(median).clip(low, high, axis=1)
        encoder = OrdinalEncoder(
            max_categories=VOCABULARY + 1,
            handle_unknown="use_encoded_value",
            unknown_value=-1,
            encoded_missing_value=-2,
            dtype=np.float32,
        )
        found.update(frame=frame, median=median, low=low, high=high)
        found["scaler"] = StandardScaler().fit(cleaned)
        found["encoder"] = encoder.fit(frame[CATEGORY_COLUMNS])

    def transform() -> None:
        frame = found["frame"]
        cleaned = frame[DENSE_COLUMNS].fillna(found["median"]).clip(found["low"], found["high"], axis=1)
        dense = pd.DataFrame(found["scaler"].transform(cleaned).astype("float32"), columns=DENSE_COLUMNS)
        ids = found["encoder"].transform(frame[CATEGORY_COLUMNS]).astype("int32")
        encoded = pd.DataFrame(ids, columns=CATEGORY_COLUMNS)
        pd.concat([dense, encoded], axis=1).to_parquet(output / "all.parquet", compression="zstd")

    return fit, transform


def dask(files: list[Path], output: Path) -> Parts:
    """dask.dataframe with its approximate quantiles, on threads."""
    import dask.dataframe as dd

    found: dict[str, Any] = {}
    frame = dd.read_parquet([str(path) for path in files])

    def fit() -> None:
        import dask

        dense = frame[DENSE_COLUMNS]
        counts = [frame[name].value_counts() for name in CATEGORY_COLUMNS]
        numbers, mean, std, *counted = dask.compute(
            dense.quantile([0.01, 0.5, 0.99]), dense.mean(), dense.std(ddof=0), *counts
        )
        found.update(numbers=numbers, mean=mean, std=std)
        found["known"] = {
            name: sorted(values.nlargest(VOCABULARY).index)
            for name, values in zip(CATEGORY_COLUMNS, counted, strict=True)
        }

    def prepare(part: Any) -> Any:
        import pandas as pd

        numbers = found["numbers"]
        dense = (
            part[DENSE_COLUMNS].fillna(numbers.loc[0.5]).clip(numbers.loc[0.01], numbers.loc[0.99], axis=1)
        )
        part[DENSE_COLUMNS] = ((dense - found["mean"]) / found["std"]).astype("float32")
        for name in CATEGORY_COLUMNS:
            ids = pd.Index(found["known"][name]).get_indexer(part[name])
            part[name] = pd.Series(ids + 2, part.index).mask(ids < 0, 1).mask(part[name].isna(), 0)
        return part.astype(dict.fromkeys(CATEGORY_COLUMNS, "int32"))

    def transform() -> None:
        prepared = frame.map_partitions(prepare, meta=prepare(frame._meta.copy()))
        prepared.to_parquet(str(output), compression="zstd", write_index=False)

    return fit, transform


CASES: dict[str, Callable[[list[Path], Path], Parts]] = {
    "headrace": headrace,
    "polars": polars,
    "sklearn": sklearn,
    "dask": dask,
}

if __name__ == "__main__":
    main()
