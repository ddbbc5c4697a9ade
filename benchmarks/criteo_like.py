"""Generate the data set of the Parquet streaming benchmark.

The table has the shape of click-log data: 26 int64 category columns and 13 float32 columns, by default 6
million rows in 16 Parquet shards of three row groups each. Categories are skewed, with 10 to 1,000,000
distinct values a column; most floats are distinct. Both matter for the benchmark: skewed categories keep
their dictionary pages small, distinct floats do not, so decoding meets cheap and dear columns as it does in
practice. Two of the float columns hold whole counts, as real tables do.

Every row group draws from its own generator, keyed by the seed and its number, so a data set depends on its
settings alone and not on how many threads wrote it. Complete data found in the target folder is used again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Compression = Literal["zstd", "none"]

DENSE_COLUMNS = [f"dense_{number:02d}" for number in range(13)]
CATEGORY_COLUMNS = [f"category_{number:02d}" for number in range(26)]
CARDINALITIES = np.geomspace(10, 1_000_000, len(CATEGORY_COLUMNS)).round().astype(np.int64)
COUNT_COLUMNS = 2
ROW_GROUPS_PER_SHARD = 3
SETTINGS_FILE = ".settings.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class DataSettings:
    """What a data set is made of; two equal settings give equal values.

    A shard needs a row in each of its row groups, so very small row counts want fewer shards.
    """

    rows: int = 6_000_000
    shards: int = 16
    compression: Compression = "zstd"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shards < 1 or self.rows < self.shards * ROW_GROUPS_PER_SHARD:
            raise ValueError(f"need a row in each of {ROW_GROUPS_PER_SHARD} row groups a shard, got {self}")

    @property
    def row_group_count(self) -> int:
        return self.shards * ROW_GROUPS_PER_SHARD


def default_folder(settings: DataSettings) -> Path:
    """A folder under the system's temporary folder, named by the settings."""
    name = f"criteo-like-{settings.rows}-{settings.shards}-{settings.compression}-{settings.seed}"
    return Path(tempfile.gettempdir()) / name


def ensure_data(settings: DataSettings, folder: Path | None = None) -> list[Path]:
    """Write the data set unless the folder holds it already, and return its shards in order.

    The settings are written last, so their presence means that all shards are complete. A folder with
    other settings, or with files but no settings, is refused and left as it is.
    """
    folder = folder or default_folder(settings)
    shards = [folder / f"shard-{number:03d}.parquet" for number in range(settings.shards)]
    expected = {"version": FORMAT_VERSION, **asdict(settings)}
    record = folder / SETTINGS_FILE
    if record.exists():
        found = json.loads(record.read_text())
        if found != expected:
            raise ValueError(f"{folder} holds another data set: wanted {expected}, found {found}")
        return shards
    if folder.exists() and any(path not in shards for path in folder.iterdir()):
        raise ValueError(f"{folder} holds files that are not a data set of this benchmark")
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda number: _write_shard(shards[number], number, settings), range(settings.shards)))
    record.write_text(json.dumps(expected))
    return shards


def _write_shard(path: Path, shard: int, settings: DataSettings) -> None:
    bounds = np.linspace(0, settings.rows, settings.row_group_count + 1).astype(np.int64)
    first = shard * ROW_GROUPS_PER_SHARD
    schema = pa.schema(
        [(name, pa.float32()) for name in DENSE_COLUMNS] + [(name, pa.int64()) for name in CATEGORY_COLUMNS]
    )
    with pq.ParquetWriter(path, schema, compression=settings.compression, use_dictionary=True) as writer:
        for number in range(first, first + ROW_GROUPS_PER_SHARD):
            rows = int(bounds[number + 1] - bounds[number])
            writer.write_table(make_row_group(number, rows, settings.seed), row_group_size=rows)


def make_row_group(number: int, rows: int, seed: int) -> pa.Table:
    """The values of one row group; depends on nothing but the arguments."""
    draws = np.random.Generator(np.random.Philox(key=[seed, number]))
    columns: dict[str, pa.Array] = {}
    for index, name in enumerate(DENSE_COLUMNS):
        values = _dense_values(draws, rows, spread=0.5 + 0.1 * index)
        columns[name] = pa.array(np.floor(values) if index < COUNT_COLUMNS else values)
    for name, cardinality in zip(CATEGORY_COLUMNS, CARDINALITIES, strict=True):
        columns[name] = pa.array(_category_values(draws, rows, int(cardinality)))
    return pa.table(columns)


def _dense_values(draws: np.random.Generator, rows: int, spread: float) -> npt.NDArray[np.float32]:
    """Log-normal values, as counts and durations have; nearly all distinct."""
    return np.exp(spread * draws.standard_normal(rows, dtype=np.float32), dtype=np.float32)


def _category_values(draws: np.random.Generator, rows: int, cardinality: int) -> npt.NDArray[np.int64]:
    """Ids of a heavy-tailed popularity: the frequency of the k-th id falls like 1/k."""
    rank = np.floor(np.exp(draws.random(rows) * np.log(cardinality + 1)))
    return np.minimum(rank.astype(np.int64), cardinality) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate the data set of the Parquet streaming benchmark.")
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--compression", choices=["zstd", "none"], default="zstd")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="default: a folder under the system's temporary folder")
    arguments = parser.parse_args()
    settings = DataSettings(arguments.rows, arguments.shards, arguments.compression, arguments.seed)
    shards = ensure_data(settings, arguments.folder)
    size = sum(shard.stat().st_size for shard in shards)
    print(f"{shards[0].parent}: {settings.rows:,} rows, {len(shards)} shards, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
