"""Prepare flights once, for two epochs and two runs, and see that a damaged cache changes no batch.

python examples/cache.py
"""

import tempfile
import time
from pathlib import Path

import polars as pl

import headrace as hr

HERE = Path(__file__).parent


def prepared_flights() -> hr.Dataset:
    """Flights that arrived, with numbers scaled and carriers encoded, as two arrays."""
    ds = hr.open(HERE / "flights" / "data" / "*.parquet").drop_nulls(["arr_delay"])
    ds = ds.with_columns(late=(pl.col("arr_delay") > 15).cast(pl.Float32))
    pipe = hr.Pipeline(
        [
            hr.FillMissing("median", columns=["dep_delay", "air_time"]),
            hr.StandardScaler(columns=["dep_delay", "air_time", "distance"]),
            hr.OrdinalEncoder(columns=["carrier", "origin", "dest"]),
        ]
    )
    return ds.prepare(pipe.fit(ds)).pack(
        numbers=["dep_delay", "air_time", "distance"],
        codes=["carrier", "origin", "dest"],
        late="late",
        dtype={"numbers": "float32"},
    )


def run(ds: hr.Dataset, title: str) -> list[bytes]:
    """Two epochs in a full random order; returns the bytes of each batch."""
    seen: list[bytes] = []
    with ds.loader(batch_size=4096, shuffle="global", seed=7, output="numpy") as loader:
        for epoch in range(2):
            begin = time.perf_counter()
            seen += [b"".join(array.tobytes() for array in batch.values()) for batch in loader]
            stats = loader.stats()
            counts = f"{stats['cache_misses']:>3} prepared so far, {stats['cache_corrupt']} damaged"
            print(f"{title:<16} epoch {epoch}: {time.perf_counter() - begin:6.3f} s, {counts}")
    return seen


def flip_a_byte(path: Path) -> None:
    """Damage a file in its middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))


def main() -> None:
    """Run without a cache, with a cold one, a warm one, and a damaged one."""
    bare = prepared_flights()
    expected = run(bare, "without a cache")
    with tempfile.TemporaryDirectory() as folder:
        print(bare.materialize(folder, progress=False))
        assert run(bare.cache(folder), "from a folder") == expected
        flip_a_byte(next(Path(folder).rglob("*numbers*.npy")))
        assert run(bare.cache(folder), "after damage") == expected
    assert run(bare.cache("memory"), "from memory") == expected
    print("the same batches, byte for byte")


if __name__ == "__main__":
    main()
