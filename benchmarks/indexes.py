"""How long index lookups take, and what they save against a full scan.

The data: by default 2 million samples in 8 Parquet shards of 16 row groups each, in no order, with a time
stamp, a user's name and a place. Measured are, on a warm page cache, each index's build, its opening, its
size, and single questions: the median and the 99th percentile of many. Beside them stand what the same
question costs without an index, as Polars scanning the one column of all shards on all cores, and the read of
the row group that a looked-up sample lies in. Questions and scans take turns; a ratio is the median of those
of its pairs. Every answer is compared with the scan's before anything is measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import measure
import numpy as np
import polars as pl

import headrace as hr

HEADER = ["question", "median us", "99 % us", "scan ms", "scan/index", "samples found"]
SECOND = np.timedelta64(1, "s")
START = np.datetime64("2024-01-01T00:00:00", "us")


@dataclass(frozen=True, slots=True)
class Question:
    """What one question costs, by an index and by a scan. Times are in seconds."""

    name: str
    median_seconds: float
    slowest_percent_seconds: float
    scan_seconds: float | None
    ratio: float | None
    found: int


def main() -> None:
    arguments = parse_arguments()
    folder = arguments.data / f"events-{arguments.rows}"
    ensure_data(folder, arguments.rows)
    indexes = Path(tempfile.mkdtemp(prefix="headrace-indexes-"))
    try:
        report = measure_all(folder, indexes, arguments)
    finally:
        shutil.rmtree(indexes)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmark: index lookups against full scans.")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--questions", type=int, default=2000, help="asked of each kind")
    parser.add_argument("--scans", type=int, default=7, help="full scans beside them")
    parser.add_argument(
        "--data", type=Path, help="folder of the shards; default: the system's temporary folder"
    )
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--short", action="store_true", help="little data: does it run at all?")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.rows, arguments.questions, arguments.scans = 40_000, 20, 1
    arguments.data = arguments.data or Path(tempfile.gettempdir()) / "headrace-benchmarks"
    return arguments


def ensure_data(folder: Path, rows: int, shards: int = 8) -> None:
    """Write the shards unless they are there; half as many users and seconds as samples."""
    if folder.exists():
        return
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(shards):
        count = rows // shards
        frame = pl.DataFrame(
            {
                "time": START + generator.integers(0, rows // 2, count) * SECOND,
                "user": pl.Series(generator.integers(0, rows // 2, count)).cast(pl.String).str.zfill(12),
                "lat": generator.uniform(-90, 90, count),
                "lon": generator.uniform(-180, 180, count),
                "value": generator.random(count),
            }
        )
        frame.write_parquet(aside / f"part-{number}.parquet", row_group_size=max(count // 16, 1))
    aside.rename(folder)


def measure_all(folder: Path, indexes: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    ds = hr.open(folder)
    frame = ds.select(["time", "user", "lat", "lon"]).to_polars()
    lines: list[list[str]] = []
    made: dict[str, Any] = {}
    for kind, columns in [("btree", "time"), ("hash", "user"), ("bloom", "user"), ("kdtree", ["lat", "lon"])]:
        path = indexes / kind
        began = time.perf_counter()
        ds.index(columns, kind=kind, path=path).close()
        built, began = time.perf_counter() - began, time.perf_counter()
        made[kind] = ds.index(columns, kind=kind, path=path)
        opened = time.perf_counter() - began
        size = sum(file.stat().st_size for file in path.iterdir())
        lines.append([f"{kind} over {columns}", f"{built:.2f}", f"{opened:.3f}", f"{size / len(ds):.1f}"])
    print(f"{len(ds):,} samples in {len(ds.manifest)} row groups\n")
    print(measure.format_table(["index", "built s", "opened s", "bytes/sample"], lines))
    questions = ask_all(ds, frame, made, folder, arguments)
    print()
    print(measure.format_table(HEADER, [line_of(question) for question in questions]))
    return {
        "settings": {"rows": arguments.rows, "questions": arguments.questions},
        "indexes": lines,
        "questions": [asdict(question) for question in questions],
    }


def ask_all(
    ds: hr.Dataset, frame: pl.DataFrame, made: dict[str, Any], folder: Path, arguments: argparse.Namespace
) -> list[Question]:
    generator = np.random.default_rng(1)
    picked = generator.integers(0, len(ds), arguments.questions)
    times, users = frame["time"].to_numpy()[picked], frame["user"].gather(picked).to_list()
    points = frame.select("lat", "lon").to_numpy()[picked]
    lazy = pl.scan_parquet(folder / "*.parquet").with_row_index("id")

    def scan(condition: pl.Expr) -> np.ndarray:
        return lazy.filter(condition).select("id").collect()["id"].to_numpy()

    def span(seconds: int) -> Callable[[int], np.ndarray]:
        return lambda n: made["btree"].range(times[n], times[n] + seconds * SECOND)

    def scan_span(seconds: int) -> Callable[[int], np.ndarray]:
        return lambda n: scan(pl.col("time").is_between(times[n], times[n] + seconds * SECOND))

    def scan_square(n: int) -> np.ndarray:
        lat, lon = points[n]
        return scan((pl.col("lat") - lat) ** 2 + (pl.col("lon") - lon) ** 2 <= 1)

    def time_of(n: int) -> pl.Expr:
        return pl.col("time") == times[n]

    hour, tenth = 3600, max(arguments.rows // 20, 1)
    btree, by_hash, bloom, tree = (made[kind] for kind in ("btree", "hash", "bloom", "kdtree"))
    few = min(arguments.questions, 100)

    def scan_user(n: int) -> np.ndarray:
        return scan(pl.col("user") == users[n])

    def scan_users(n: int) -> np.ndarray:
        return scan(pl.col("user").is_in(users))

    def read(n: int) -> np.ndarray:
        return ds.take(btree.lookup(times[n])).ids

    return [
        ask("btree: one time stamp", lambda n: btree.lookup(times[n]), lambda n: scan(time_of(n)), arguments),
        ask("  and the read of its samples", read, None, arguments, few),
        ask("btree: an hour", span(hour), scan_span(hour), arguments),
        ask("btree: a tenth of all", span(tenth), scan_span(tenth), arguments, few),
        ask("hash: one user", lambda n: by_hash.lookup(users[n]), scan_user, arguments),
        ask("hash: all these users at once", lambda _: by_hash.lookup(users), scan_users, arguments, few),
        ask("bloom: one user", lambda n: bloom.lookup(users[n]), scan_user, arguments, few),
        ask("kdtree: within one degree", lambda n: tree.within(points[n], 1)[0], scan_square, arguments),
        ask("kdtree: ten nearest", lambda n: tree.nearest(points[n], 10)[0][0], None, arguments),
    ]


def ask(
    name: str,
    by_index: Callable[[int], np.ndarray],
    by_scan: Callable[[int], np.ndarray] | None,
    arguments: argparse.Namespace,
    count: int | None = None,
) -> Question:
    """Compare one answer with the scan's, then measure many, with scans between them."""
    count = min(count or arguments.questions, arguments.questions)
    found = by_index(0)
    if by_scan is not None and not np.array_equal(found, by_scan(0)):
        raise ValueError(f"{name}: the index finds {len(found)} samples, the scan {len(by_scan(0))}")
    spent: list[float] = []
    scanned: list[float] = []
    ratios: list[float] = []
    for part in np.array_split(np.arange(count), arguments.scans):
        here = [seconds(by_index, int(number)) for number in part]
        spent += here
        if by_scan is not None and here:
            scanned.append(seconds(by_scan, int(part[0])))
            ratios.append(scanned[-1] / median(here))
    return Question(
        name,
        median(spent),
        float(np.percentile(spent, 99)),
        median(scanned) if scanned else None,
        median(ratios) if ratios else None,
        len(found),
    )


def seconds(function: Callable[[int], Any], number: int) -> float:
    began = time.perf_counter()
    function(number)
    return time.perf_counter() - began


def line_of(question: Question) -> list[str]:
    return [
        question.name,
        f"{question.median_seconds * 1e6:,.0f}",
        f"{question.slowest_percent_seconds * 1e6:,.0f}",
        "" if question.scan_seconds is None else f"{question.scan_seconds * 1e3:.1f}",
        "" if question.ratio is None else f"{question.ratio:,.0f}",
        f"{question.found:,}",
    ]


if __name__ == "__main__":
    main()
