"""How fast samples are chosen, and how little memory a choice takes.

`filter` plans a filter on 2 of the 39 columns of `criteo_like` (6 million rows by default) and compares it
with Polars' own scan of the same files by the same predicate. They take turns in one process, on a warm page
cache; ratios are taken of neighbours, then their median, of wall time and of CPU time. headrace decodes by
pyarrow, whose decoding of the two columns, and nothing else, stands beside both.

`sets` makes selections of 10^8 samples, a random half of them and long runs, and looks samples up in them.

A further part is a function in `PARTS` that returns its measurements by name.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from criteo_like import DataSettings, ensure_data
from measure import format_table, read_once
from stream_parquet import data_folder

import headrace as hr
from headrace.planning.idset import IdSet
from headrace.planning.selection import Selection

COLUMNS = ["dense_02", "category_10"]
PREDICATE = (pl.col("dense_02") > 0.5) & (pl.col("category_10") < 5)
LOOK_UPS = 100_000


def main() -> None:
    arguments = parse_arguments()
    results = {name: PARTS[name](arguments) for name in arguments.parts}
    for name, found in results.items():
        print(f"\n{name}")
        print(format_table(["", "value"], [[key, f"{value:,.4g}"] for key, value in found.items()]))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmark: choosing samples.")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--samples", type=int, default=100_000_000, help="of the selections in memory")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--data", type=Path, help="folder of the data; default: the temporary folder")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--short", action="store_true", help="little of everything: does it run at all?")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.rows, arguments.samples, arguments.rounds = 60_000, 1_000_000, 2
    return arguments


def measure_filter(arguments: argparse.Namespace) -> dict[str, float]:
    """The planning of a filter beside Polars' scan, and the decoding that neither can do without."""
    settings = DataSettings(arguments.rows, arguments.shards)
    files = ensure_data(settings, data_folder(arguments.data, settings))
    read_once(files)
    ds = hr.open([str(path) for path in files])

    def headrace() -> int:
        return len(ds.filter(PREDICATE, progress=False))

    def polars() -> int:
        scan = pl.scan_parquet(files, row_index_name="place")
        return scan.filter(PREDICATE).select("place").collect().height

    def decode() -> int:
        return sum(pq.read_table(path, columns=COLUMNS).num_rows for path in files)

    cases: dict[str, Callable[[], int]] = {"headrace": headrace, "polars": polars, "pyarrow": decode}
    if (found := headrace()) != (expected := polars()):
        raise ValueError(f"headrace finds {found:,} samples, Polars {expected:,}")
    rounds = [{name: timed(case) for name, case in cases.items()} for _ in range(arguments.rounds)]
    results: dict[str, float] = {"samples found": found}
    for name in cases:
        results[f"{name}, wall ms"] = 1000 * median(one[name][0] for one in rounds)
        results[f"{name}, CPU ms"] = 1000 * median(one[name][1] for one in rounds)
    for place, clock in enumerate(("wall", "CPU")):
        ratios = [one["headrace"][place] / one["polars"][place] for one in rounds]
        results[f"headrace / polars, {clock}"] = median(ratios)
    return results


def measure_sets(arguments: argparse.Namespace) -> dict[str, float]:
    """Bytes of selections, and the time to combine them and to look samples up."""
    total = arguments.samples
    generator = np.random.default_rng(0)
    words = generator.integers(0, 2**64, total // 64, np.uint64, endpoint=False)
    edges = np.sort(generator.choice(total // 64, 2 * (total // 2000), replace=False)) * 64
    random = Selection.of_set(IdSet.of_words(words, total // 64 * 64))
    runs = Selection.of_set(IdSet.of_runs(edges[::2], edges[1::2], total // 64 * 64))
    wanted = generator.integers(0, total // 64 * 64, LOOK_UPS)
    results: dict[str, float] = {}
    for name, selection in {"random half": random, "runs": runs}.items():
        results[f"{name}, MB"] = selection.nbytes / 1e6
        results[f"{name}, bytes per sample there is"] = selection.nbytes / selection.total
        results[f"{name}, rank, ns"] = 1e9 * best(lambda one=selection: one.rank(wanted)) / LOOK_UPS
        places = wanted % selection.count
        results[f"{name}, at, ns"] = 1e9 * best(lambda one=selection, it=places: one.at(it)) / LOOK_UPS
    results["and, ms"] = 1000 * best(lambda: random & runs)
    results["minus, ms"] = 1000 * best(lambda: random - runs)
    return results


def timed(case: Callable[[], Any]) -> tuple[float, float]:
    """Seconds on the clock and of CPU."""
    begun, used = time.perf_counter(), time.process_time()
    case()
    return time.perf_counter() - begun, time.process_time() - used


def best(case: Callable[[], Any]) -> float:
    case()
    return min(timed(case)[0] for _ in range(5))


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "filter": measure_filter,
    "sets": measure_sets,
}

if __name__ == "__main__":
    main()
