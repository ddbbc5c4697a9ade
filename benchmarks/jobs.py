"""How fast an offline job runs on threads and on a cluster, in how much memory, beside others.

The job is that of `prepare.py`: a pipeline is fitted to `criteo_like` with nulls, and what it prepares is
written to Parquet. Each case runs in a process of its own, in turn; ratios are taken within a round, then
their median. All of headrace's cases must write the same bytes.

Then the same job on two processes, on data and on ten times as much of it, to see what a process takes at
most; and scans of up to 10,000 row groups of hardly any work, to see what a task costs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from criteo_like import ROW_GROUPS_PER_SHARD, DataSettings, ensure_data
from measure import format_table, run_child
from stream_parquet import data_folder

from prepare import add_nulls

HERE = Path(__file__).parent
# What each case needs beside headrace.
CASES = {
    "threads_2": "headrace",
    "threads_1": "headrace",
    "dask_2": "distributed",
    "dask_1": "distributed",
    "polars": "polars",
    "dask_frame": "dask.dataframe",
    "dask_frame_2": "distributed",
    "ray": "ray",
}
OURS = ("threads_2", "threads_1", "dask_2", "dask_1")
RATIOS = {
    "Threads / Polars": ("threads_2", "polars"),
    "dask.dataframe / Threads": ("dask_frame", "threads_2"),
    "dask.dataframe on 2 processes / Dask": ("dask_frame_2", "dask_2"),
    "Ray Data / Threads": ("ray", "threads_2"),
    "Dask / Threads, 2 cores": ("dask_2", "threads_2"),
    "Dask / Threads, 1 core": ("dask_1", "threads_1"),
    "Threads, 1 / 2": ("threads_1", "threads_2"),
    "Dask, 1 / 2": ("dask_1", "dask_2"),
}
TEN = 10


def main() -> None:
    arguments = parse_arguments()
    files = ensure_shards(arguments.data, DataSettings(arguments.rows, arguments.shards))
    results: dict[str, Any] = {"rounds": run_cases(arguments, files)}
    print(format_table(*summary(results["rounds"])))
    print(format_table(["ratio of seconds", "median", "of each round"], ratios(results["rounds"])))
    if not arguments.skip_memory:
        results["memory"] = measure_memory(arguments)
        print(format_table(*memory_summary(results["memory"], arguments.worker_memory)))
    if not arguments.skip_scheduling:
        command = [sys.executable, str(HERE / "jobs_scheduling.py"), "--row-groups"]
        results["scheduling"], _ = run_child([*command, *map(str, arguments.row_groups)])
        print(format_table(*scheduling_summary(results["scheduling"])))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmark: offline jobs on threads and on a cluster.")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-rows", type=int, default=750_000, help="and ten times as many")
    parser.add_argument("--worker-memory", default="2GB", help="what a worker may take")
    parser.add_argument(
        "--row-groups", type=int, nargs="+", default=[1000, 10_000], help="of hardly any work"
    )
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--skip-scheduling", action="store_true")
    parser.add_argument("--data", type=Path, help="folder of the data; default: the temporary folder")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--short", action="store_true", help="little of everything: does it run at all?")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.rows, arguments.shards, arguments.rounds = 60_000, 2, 1
        arguments.memory_rows, arguments.row_groups = 6000, [200, 400]
    missing = [name for name in arguments.cases if not is_there(CASES[name])]
    for name in missing:
        print(f"The case `{name}` is left out: it needs {CASES[name]}.", file=sys.stderr)
    arguments.cases = [name for name in arguments.cases if name not in missing]
    return arguments


def is_there(module: str) -> bool:
    package = module.partition(".")[0]
    return importlib.util.find_spec(package) is not None and importlib.util.find_spec(module) is not None


def ensure_shards(data: Path | None, settings: DataSettings) -> list[Path]:
    """Return shards with nulls, made where they are not there yet."""
    source = data_folder(data, settings)
    ensure_data(settings, source)
    folder = source.with_name(source.name + "-nulls")
    add_nulls(source, folder)
    return sorted(folder.glob("*.parquet"))


def run_cases(arguments: argparse.Namespace, files: Sequence[Path]) -> list[dict[str, Any]]:
    """Run every case once a round, in turn."""
    rounds: list[dict[str, Any]] = []
    for number in range(arguments.rounds):
        measured: dict[str, Any] = {}
        for name in arguments.cases:
            print(f"round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr, flush=True)
            measured[name] = run_case(name, files, arguments.worker_memory)
        check_alike(measured)
        rounds.append(measured)
    return rounds


def run_case(name: str, files: Sequence[Path], worker_memory: str) -> dict[str, Any]:
    """Run one case in a process of its own, into a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as output:
        program = [sys.executable, str(HERE / "jobs_case.py"), name, str(Path(output) / name)]
        found, others = run_child([*program, *map(str, files), "--worker-memory", worker_memory])
    return found | {"others": others, "total": found["fit"] + found["transform"]}


def check_alike(measured: dict[str, Any]) -> None:
    """Refuse cases of headrace that differ in a byte, and others that lose rows."""
    digests = {name: run["digest"] for name, run in measured.items() if name in OURS}
    if len(set(digests.values())) > 1:
        raise AssertionError(f"the same job must write the same bytes anywhere, got {digests}")
    rows = {name: run["check"][0] for name, run in measured.items()}
    if len(set(rows.values())) > 1:
        raise AssertionError(f"all cases must write as many rows, got {rows}")


def summary(rounds: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """One line a case."""
    header = ["case", "start s", "fit s", "transform s", "total s", "CPU s", "own GB", "worker GB", "others"]
    lines: list[list[str]] = []
    for name in rounds[0]:
        runs = [one[name] for one in rounds]
        keys = ("start", "fit", "transform", "total")
        lines.append(
            [
                name,
                *(f"{median(run[key] for run in runs):.2f}" for key in keys),
                f"{median(run['cpu'] for run in runs):.1f}",
                f"{median(run['own_peak'] for run in runs) / 1e9:.2f}",
                gigabytes(runs),
                f"{median(run['others'] for run in runs):.2f}",
            ]
        )
    return header, lines


def gigabytes(runs: list[dict[str, Any]]) -> str:
    """The peak of the largest worker; empty without workers."""
    if not all(run["worker_peaks"] for run in runs):
        return ""
    return f"{median(run['worker_peaks'][0] for run in runs) / 1e9:.2f}"


def ratios(rounds: list[dict[str, Any]]) -> list[list[str]]:
    """One line a ratio of two cases."""
    lines: list[list[str]] = []
    for label, (above, below) in RATIOS.items():
        if above in rounds[0] and below in rounds[0]:
            found = [one[above]["total"] / one[below]["total"] for one in rounds]
            lines.append([label, f"{median(found):.2f}", ", ".join(f"{ratio:.2f}" for ratio in found)])
    return lines


def measure_memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the job on two processes on so many rows and on ten times as many, in row groups of one size."""
    shards = max(arguments.memory_rows // 375_000, 1)
    files = ensure_shards(arguments.data, DataSettings(TEN * arguments.memory_rows, TEN * shards))
    runs: dict[str, Any] = {}
    for times, chosen in ((1, files[:shards]), (TEN, files)):
        print(f"memory: {times} x {arguments.memory_rows:,} rows", file=sys.stderr, flush=True)
        runs[f"{times} x"] = run_case("dask_2", chosen, arguments.worker_memory) | {
            "row_groups": len(chosen) * ROW_GROUPS_PER_SHARD
        }
    return runs


def memory_summary(runs: dict[str, Any], worker_memory: str) -> tuple[list[str], list[list[str]]]:
    """One line a size of the data."""
    header = [f"Dask, {worker_memory} a worker", "rows", "row groups", "seconds", "workers GB", "client GB"]
    lines = [
        [
            name,
            f"{run['check'][0]:,.0f}",
            f"{run['row_groups']:,}",
            f"{run['total']:.2f}",
            " ".join(f"{peak / 1e9:.2f}" for peak in run["worker_peaks"][:2]),
            f"{run['own_peak'] / 1e9:.2f}",
        ]
        for name, run in runs.items()
    ]
    return header, lines


def scheduling_summary(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """One line an executor and number of row groups."""
    header = ["row groups of 16 rows", "number", "ms each", "client's peak GB", "growth GB"]
    lines = [
        [
            executor,
            f"{int(count):,}",
            f"{run['ms']:.2f}",
            f"{run['peak'] / 1e9:.3f}",
            f"{run['growth'] / 1e9:.3f}",
        ]
        for executor, sizes in found.items()
        for count, run in sizes.items()
    ]
    return header, lines


if __name__ == "__main__":
    main()
