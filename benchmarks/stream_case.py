"""Measure one case of the Parquet streaming benchmark in this process and print the result as a line of JSON.

`stream_parquet.py` starts this program once for each case and round. With `--cold` it measures one thing
only: the time from the start of the process, imports and compilation included, to the first batch.

Libraries are imported by the case that needs them, so that no case pays for the imports of another.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import measure
from criteo_like import CATEGORY_COLUMNS, DENSE_COLUMNS


@dataclass(slots=True)
class Case:
    """One loader under measurement: opened anew by every call of `row_counts`."""

    name: str
    batch_size: int
    foretold_memory: int | None = None

    def row_counts(self, folder: Path, epochs: int) -> Iterator[int]:
        """The row count of each batch as it is delivered, epoch after epoch."""
        if self.name == "headrace":
            return self._headrace(folder, epochs)
        return self._peer(folder, epochs)

    def _peer(self, folder: Path, epochs: int) -> Iterator[int]:
        import stream_peers

        files = sorted(folder.glob("*.parquet"))
        if self.name == "raw_decode":
            yield from stream_peers.raw_decode(files, epochs)
            return
        for dense, categories in stream_peers.PEERS[self.name](files, self.batch_size, epochs):
            yield self._checked(dense, categories)

    def _headrace(self, folder: Path, epochs: int) -> Iterator[int]:
        import headrace as hr

        ds = hr.open(str(folder)).pack(dense=DENSE_COLUMNS, categories=CATEGORY_COLUMNS)
        with ds.loader(batch_size=self.batch_size, shuffle=True, seed=0, output="torch") as loader:
            for epoch in range(epochs):
                loader.set_epoch(epoch)
                for batch in loader:
                    yield self._checked(batch["dense"], batch["categories"])
            self.foretold_memory = loader.explain().peak_memory

    def _checked(self, dense: Any, categories: Any) -> int:
        """The number of rows; all cases must deliver the same kind of batch."""
        rows = len(dense)
        if dense.shape != (rows, len(DENSE_COLUMNS)) or categories.shape != (rows, len(CATEGORY_COLUMNS)):
            raise ValueError(f"wrong shapes: {tuple(dense.shape)} and {tuple(categories.shape)}")
        if rows > self.batch_size:
            raise ValueError(f"a batch must have at most {self.batch_size} rows, got {rows}")
        return rows


def measure_warm(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """Warm up on little data, then time the epochs with memory under watch."""
    for _ in case.row_counts(arguments.warmup_folder, epochs=1):
        pass
    measure.read_once(sorted(arguments.folder.glob("*.parquet")))
    gc.collect()
    clock = measure.RowClock(arguments.rows, arguments.seconds_limit)
    with measure.MemoryWatch() as memory:
        clock.run(lambda: case.row_counts(arguments.folder, arguments.epochs))
    return {
        "case": case.name,
        "epochs": [asdict(epoch) for epoch in clock.epochs],
        "first_batch_seconds": clock.first_batch_seconds,
        "peak_memory": memory.peak_total,
        "peak_anonymous": memory.peak_anonymous,
        "peak_growth": memory.growth,
        "is_capped": clock.is_capped,
        "foretold_memory": case.foretold_memory,
    }


def measure_cold(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the given start, which is before this process began, to the first batch."""
    stream = case.row_counts(arguments.folder, epochs=1)
    next(stream)
    return {"cold_first_batch_seconds": time.monotonic() - arguments.cold}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one case of the Parquet streaming benchmark.")
    parser.add_argument("case")
    parser.add_argument("folder", type=Path)
    parser.add_argument("warmup_folder", type=Path)
    parser.add_argument("--rows", type=int, required=True, help="rows of the data set")
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seconds-limit", type=float, required=True, help="longest time for one epoch")
    parser.add_argument(
        "--cold", type=float, help="measure a cold start; value of the monotonic clock at its start"
    )
    arguments = parser.parse_args()
    case = Case(arguments.case, arguments.batch_size)
    result = measure_warm(case, arguments) if arguments.cold is None else measure_cold(case, arguments)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
