"""Prepare flights and write them out: interrupted, continued, and brought up to date with a new month.

python examples/write.py
"""

import shutil
import tempfile
from pathlib import Path

import polars as pl

import headrace as hr

MONTHS = sorted((Path(__file__).parent / "flights" / "data").glob("*.parquet"))
AIRLINES = pl.DataFrame(
    {
        "carrier": ["AA", "B6", "DL", "EV", "UA", "US", "WN"],
        "seats": [160, 140, 170, 50, 165, 150, 145],  # of a usual aeroplane, roughly
    }
)


def read(inbox: Path) -> hr.Dataset:
    """Flights that arrived, with how many seats an airline's aeroplanes have; one sample stays one sample."""
    ds = hr.open(inbox).drop_nulls(["arr_delay"])
    return ds.join(AIRLINES, on="carrier").select(
        ["month", "carrier", "dest", "distance", "seats", "arr_delay"]
    )


def fitted(ds: hr.Dataset) -> hr.Pipeline:
    """Learn once, from the months that there are at first; later months are prepared by the same numbers."""
    steps = [
        hr.FillMissing("median", columns=["seats"]),
        hr.ClipOutliers("quantile", columns=["arr_delay"]),
        hr.StandardScaler(columns=["distance", "seats"]),
        hr.OrdinalEncoder(columns=["carrier", "dest"]),
    ]
    return hr.Pipeline(steps).fit(ds)


def stop_after_two(done: int, total: int) -> None:
    """Interrupt the job, as Ctrl-C or a power cut would."""
    if done == 2:
        raise KeyboardInterrupt


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every shard."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def main() -> None:
    """Write six months with an interruption, then add the seventh."""
    with tempfile.TemporaryDirectory() as folder:
        inbox, out, clean = (Path(folder) / name for name in ("inbox", "out", "clean"))
        inbox.mkdir()
        for month in MONTHS[:6]:
            shutil.copy(month, inbox)
        ds = read(inbox)
        pipe = fitted(ds)
        try:
            ds.prepare(pipe).write(out, executor=hr.Serial(), progress=stop_after_two)
        except KeyboardInterrupt:
            print("interrupted")
        try:
            hr.open(out)
        except hr.UnfinishedError:
            print("nobody takes the unfinished output for data")

        written = ds.prepare(pipe).write(out, progress=False)  # the very same call continues
        print(f"continued: {written.kept} shards were there, {written.written} are new")
        ds.prepare(pipe).write(clean, progress=False)
        print(f"the same bytes as without an interruption: {contents(out) == contents(clean)}")

        shutil.copy(MONTHS[6], inbox)
        written = read(inbox).prepare(pipe).write(out, update=True, progress=False)
        print(f"updated: {written.kept} shards are kept, {written.written} is new, {written.rows:,} samples")

        data = hr.open(out, verify=True)  # every byte is held against the manifest's hashes
        loader = data.pack(x=["distance", "seats"], carrier="carrier", y="arr_delay").loader(
            4096, shuffle=True
        )
        print(f"{len(loader)} batches an epoch from {len(data.manifest.shards)} shards")


if __name__ == "__main__":
    main()
