"""Measure what a row group costs that is hardly any work, and print a line of JSON.

A source makes up its row groups of a few rows, and a filter scans all of them on a cluster of two processes.
The scheduler runs in this process as well, so that its memory counts here too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import measure
import numpy as np
import polars as pl
import pyarrow as pa
from jobs_case import cluster

import headrace as hr
from headrace.manifest import Manifest, RowGroup, Shard

ROWS = 16
SHARD = 100  # row groups


@dataclass(frozen=True)
class Numbers:
    """So many row groups, each of the numbers of its samples."""

    manifest: Manifest

    @staticmethod
    def of(row_groups: int) -> Numbers:
        rows = (ROWS,) * SHARD
        sizes = tuple(8 * count for count in rows)
        shards = range(row_groups // SHARD)
        return Numbers(Manifest(tuple(Shard(f"numbers-{it}", rows, sizes, f"{it:032x}") for it in shards)))

    @property
    def schema(self) -> pa.Schema:
        return pa.schema({"x": pa.int64()})

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        values = np.arange(row_group.first, row_group.first + row_group.rows)
        return pa.record_batch(dict.fromkeys(columns, values))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--row-groups", type=int, nargs="+", default=[1000, 10_000])
    arguments = parser.parse_args()
    with cluster(2, "2GB") as client:
        executors = {"Threads(2)": hr.Threads(2), "Dask, 2 processes": hr.Dask(client)}
        found = {
            name: {str(count): scan(count, executor) for count in (SHARD, *arguments.row_groups)}
            for name, executor in executors.items()
        }
    for sizes in found.values():
        del sizes[str(SHARD)]  # which was to load what the first scan loads
    print(json.dumps(found))


def scan(row_groups: int, executor: hr.Threads | hr.Dask) -> dict[str, float]:
    """Keep every second sample; milliseconds for each row group, and the memory held at its end."""
    ds = hr.Dataset.of(Numbers.of(row_groups))
    with measure.MemoryWatch() as memory:
        begun = time.perf_counter()
        kept = len(ds.filter(pl.col("x") % 2 == 0, executor=executor, progress=False))
        seconds = time.perf_counter() - begun
    if kept != row_groups * ROWS // 2:
        raise AssertionError(f"half of {row_groups * ROWS} samples must be kept, got {kept}")
    return {"ms": 1000 * seconds / row_groups, "peak": memory.peak_total, "growth": memory.growth}


if __name__ == "__main__":
    main()
