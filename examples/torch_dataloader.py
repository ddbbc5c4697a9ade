"""headrace under `torch.utils.data.DataLoader`: whole batches from workers, or samples by index.

    python examples/torch_dataloader.py

A loader by itself is the simplest and the quickest way. These are for programs that already have a
`DataLoader` in their middle.
"""

from pathlib import Path

import polars as pl
import torch
from torch.utils.data import DataLoader, DistributedSampler

import headrace as hr

SHARDS = Path(__file__).parent / "flights" / "data" / "flights-2013-0[1-3].parquet"


def main() -> None:
    """Read the first months' flights in both ways."""
    ds = (
        hr.open(SHARDS)
        .with_columns(miles=pl.col("distance").cast(pl.Float32))
        .pack(x=["miles"], month="month")
    )

    # Whole batches: `DataLoader` must not batch again. The order is the same for any number of workers.
    seen = {}
    for workers in (0, 2):
        loader = ds.loader(batch_size=1024, shuffle=True, seed=5, with_ids=True)
        batches = DataLoader(loader.to_torch(), batch_size=None, num_workers=workers)
        seen[workers] = torch.cat([batch["sample_id"] for batch in batches])
        print(f"{workers} workers: {len(seen[workers]):,} samples in {len(batches)} batches")
    print(f"the same order: {torch.equal(seen[0], seen[2])}")

    # Samples by index: torch's samplers choose, and each access decodes what it touches. The sampler
    # shuffles whole data sets, so this reads far more than a loader does; keep it for small ones.
    samples = hr.from_polars(ds.rows(range(4_000)).to_polars()).select(["distance", "month"]).to_torch_map()
    for rank in range(2):
        sampler = DistributedSampler(samples, num_replicas=2, rank=rank, shuffle=True, seed=5)
        months = [batch["month"] for batch in DataLoader(samples, batch_size=500, sampler=sampler)]
        print(f"rank {rank}: {len(torch.cat(months)):,} samples in {len(months)} batches")


if __name__ == "__main__":
    main()
