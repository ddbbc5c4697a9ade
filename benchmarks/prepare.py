"""How fast a pipeline is fitted and applied, beside what people write by hand.

The data is `criteo_like` with nulls: 6 million rows, 13 float columns (2 to 26 % missing) and 26 columns of
categories (25 of them 3 % missing). Each case runs in a process of its own, in turn; ratios are taken within
a round, then their median. `loader` measures batches of prepared rows beside batches of the same rows
unprepared.

The cases fit the same kind of numbers, though not the same ones to the last digit: dask's quantiles are
approximate, scikit-learn keeps categories in its own way.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from criteo_like import CATEGORY_COLUMNS, DENSE_COLUMNS, DataSettings, ensure_data
from measure import format_table, run_child
from prepare_case import VOCABULARY
from stream_parquet import data_folder

import headrace as hr

CASE_PROGRAM = Path(__file__).with_name("prepare_case.py")
CASES = {"headrace": "headrace", "polars": "polars", "sklearn": "pandas", "dask": "dask"}  # what each needs


def main() -> None:
    arguments = parse_arguments()
    settings = DataSettings(arguments.rows, arguments.shards)
    source = data_folder(arguments.data, settings)
    ensure_data(settings, source)
    folder = source.with_name(source.name + "-nulls")
    add_nulls(source, folder)
    results: dict[str, Any] = {"rounds": run_cases(arguments, folder)}
    print(format_table(*summary(results["rounds"])))
    results["loader"] = measure_loader(folder, arguments.rounds)
    print(format_table(["", "value"], [[key, f"{value:,.4g}"] for key, value in results["loader"].items()]))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmark: fitting and applying a pipeline.")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder of the data; default: the temporary folder")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--short", action="store_true", help="little of everything: does it run at all?")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.rows, arguments.shards, arguments.rounds = 60_000, 2, 1
    missing = [name for name in arguments.cases if importlib.util.find_spec(CASES[name]) is None]
    for name in missing:
        print(f"The case `{name}` is left out: it needs {CASES[name]}.", file=sys.stderr)
    arguments.cases = [name for name in arguments.cases if name not in missing]
    return arguments


def add_nulls(source: Path, folder: Path) -> None:
    """Copy the shards with values missing; complete shards are used again."""
    folder.mkdir(parents=True, exist_ok=True)

    def copy(path: Path) -> None:
        target = folder / path.name
        if target.exists():
            return
        aside = target.with_suffix(".part")
        with (
            pq.ParquetFile(path) as opened,
            pq.ParquetWriter(aside, opened.schema_arrow, compression="zstd") as out,
        ):
            for number in range(opened.num_row_groups):
                draws = np.random.default_rng([int(path.stem.split("-")[1]), number])
                out.write_table(_with_nulls(opened.read_row_group(number), draws))
        aside.rename(target)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(copy, sorted(source.glob("*.parquet"))))


def _with_nulls(table: pa.Table, draws: np.random.Generator) -> pa.Table:
    shares = dict(zip(DENSE_COLUMNS, np.linspace(0.02, 0.26, len(DENSE_COLUMNS)), strict=True))
    shares |= dict.fromkeys(CATEGORY_COLUMNS[1:], 0.03)
    columns = {
        name: pa.array(column.to_numpy(), mask=draws.random(len(column)) < shares.get(name, 0))
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pa.table(columns)


def run_cases(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run every case once a round, in turn."""
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as output:
        for number in range(arguments.rounds):
            measured: dict[str, Any] = {}
            for name in arguments.cases:
                print(f"round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr, flush=True)
                command = [sys.executable, str(CASE_PROGRAM), name, str(folder), str(Path(output) / name)]
                measured[name], others = run_child(command)
                measured[name]["others"] = others
            rounds.append(measured)
    return rounds


def summary(rounds: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """One line a case, with its ratios to the hand-written Polars queries."""
    header = ["case", "fit s", "transform s", "total s", "/polars", "CPU s", "growth GB", "/polars", "others"]
    lines: list[list[str]] = []
    for name in rounds[0]:
        runs = [one[name] for one in rounds]
        totals = [run["fit"] + run["transform"] for run in runs]
        lines.append(
            [
                name,
                f"{median(run['fit'] for run in runs):.2f}",
                f"{median(run['transform'] for run in runs):.2f}",
                f"{median(totals):.2f}",
                _ratio(rounds, name, lambda run: run["fit"] + run["transform"]),
                f"{median(run['cpu'] for run in runs):.1f}",
                f"{median(run['growth'] for run in runs) / 1e9:.2f}",
                _ratio(rounds, name, lambda run: run["growth"]),
                f"{median(run['others'] for run in runs):.2f}",
            ]
        )
    return header, lines


def _ratio(rounds: list[dict[str, Any]], name: str, value: Any) -> str:
    if "polars" not in rounds[0]:
        return ""
    return f"{median(value(one[name]) / value(one['polars']) for one in rounds):.2f}"


def measure_loader(folder: Path, rounds: int) -> dict[str, float]:
    """Rows a second of prepared batches, beside those of the same rows unprepared."""
    plain = hr.open(str(folder))
    pipe = hr.Pipeline(
        [
            hr.ClipOutliers("quantile", columns=DENSE_COLUMNS),
            hr.FillMissing("median", columns=DENSE_COLUMNS),
            hr.StandardScaler(columns=DENSE_COLUMNS),
            hr.OrdinalEncoder(columns=CATEGORY_COLUMNS, max_size=VOCABULARY),
        ]
    ).fit(plain, progress=False)
    groups = {"dense": DENSE_COLUMNS, "categories": CATEGORY_COLUMNS}
    cases = {
        "prepared": plain.prepare(pipe).pack(**groups),
        "unprepared": plain.pack(null_mask=True, **groups),
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds + 1):
        for name, dataset in cases.items():
            begun = time.perf_counter()
            with dataset.loader(4096, shuffle=True, output="numpy") as loader:
                rows = sum(len(batch["dense"]) for batch in loader)
            rates[name].append(rows / (time.perf_counter() - begun))
    found = {f"{name}, rows/s": median(values[1:]) for name, values in rates.items()}
    ratios = [a / b for a, b in zip(rates["prepared"][1:], rates["unprepared"][1:], strict=True)]
    return {**found, "prepared / unprepared": median(ratios)}


if __name__ == "__main__":
    main()
