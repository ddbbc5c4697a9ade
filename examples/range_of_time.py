"""Find the flights of one stormy evening by an index over time, and read their row groups alone.

    python examples/range_of_time.py

The index lies in a temporary folder here. Without `path=` it would lie beside the shards, and the next run
would use it again.
"""

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

import headrace as hr

SHARDS = Path(__file__).parent / "flights" / "data" / "*.parquet"


def main() -> None:
    """Ask for an evening, and hold the answer against a scan of all flights."""
    ds = hr.open(SHARDS, columns=["time_hour", "dep_delay"])
    begin, end = datetime(2013, 7, 10, 20, tzinfo=UTC), datetime(2013, 7, 11, 3, tzinfo=UTC)
    with (
        tempfile.TemporaryDirectory() as folder,
        ds.index("time_hour", "btree", path=f"{folder}/time") as times,
    ):
        began = time.perf_counter()
        ids = times.range(begin, end)
        micros = (time.perf_counter() - began) * 1e6
    groups = set(ds.manifest.locate(ids)[0].tolist())
    print(f"{len(ids)} of {len(ds):,} flights, found in {micros:,.0f} us")
    print(f"they lie in {len(groups)} of {len(ds.manifest)} row groups")

    evening, year = ds.rows(ids).to_polars(), ds.to_polars()
    scanned = year.filter(pl.col("time_hour").is_between(begin, end))
    late, usual = evening["dep_delay"].mean(), year["dep_delay"].mean()
    print(f"minutes late on average: {late:.0f}, in the whole year {usual:.0f}")
    print(f"the same as a scan finds: {evening.equals(scanned)}")

    packed = ds.rows(ids).with_columns(pl.col("dep_delay").fill_null(0)).pack(late="dep_delay")
    with packed.loader(batch_size=128, shuffle=True, output="numpy") as loader:
        print(f"as batches: {[len(batch['late']) for batch in loader]}")


if __name__ == "__main__":
    main()
