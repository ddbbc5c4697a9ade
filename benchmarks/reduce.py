"""What exact sums of products cost, and how fast components are fitted and applied.

`products` sums the products of columns without rounding, on one core, beside one multiplication of the same
numbers by BLAS in float64, which rounds. `components` fits PCA to a Parquet file and applies it, beside
scikit-learn: its PCA, which holds all data in memory, and its IncrementalPCA, which reads the file by row
groups as headrace does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from measure import format_table
from sklearn.decomposition import PCA, IncrementalPCA

import headrace as hr
from headrace.prepare.statistics.products import multiply

KEPT = 8  # components


def main() -> None:
    arguments = parse_arguments()
    results = {name: PARTS[name](arguments) for name in arguments.parts}
    for name, found in results.items():
        print(f"\n{name}")
        print(format_table(["", "value"], [[key, f"{value:,.4g}"] for key, value in found.items()]))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmark: principal components.")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--columns", type=int, nargs="+", default=[13, 100, 512])
    parser.add_argument("--values", type=int, default=4_000_000, help="in all columns of a table together")
    parser.add_argument("--rounds", type=int, default=3, help="of which the quickest counts")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--short", action="store_true", help="little of everything: does it run at all?")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.columns, arguments.values, arguments.rounds = [13], 130_000, 1
    return arguments


def measure_products(arguments: argparse.Namespace) -> dict[str, float]:
    """Exact sums beside rounded ones, for two dtypes."""
    results: dict[str, float] = {}
    for count in arguments.columns:
        for dtype in (np.float32, np.float64):
            columns = list(table(arguments.values // count, count, dtype).T.copy())
            wide = np.stack(columns).astype(np.float64)
            exact = best(lambda it=columns: multiply(it), arguments.rounds)
            rounded = best(lambda it=wide: it @ it.T, arguments.rounds)
            name = f"{count} columns, {np.dtype(dtype).name}"
            results |= {f"{name}, ms": 1000 * exact, f"{name}, exact / BLAS": exact / rounded}
    return results


def measure_components(arguments: argparse.Namespace) -> dict[str, float]:
    """Fits of a file, and the components of a frame."""
    results: dict[str, float] = {}
    for count in arguments.columns:
        values = table(arguments.values // count, count, np.float32)
        frame = pl.DataFrame({f"x{place}": values[:, place] for place in range(count)})
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.parquet"
            frame.write_parquet(path, row_group_size=max(len(values) // 16, count))
            fitted, times = fit_all(path, arguments.rounds)
        ours, theirs = fitted["headrace"], fitted["scikit-learn"]
        if not np.allclose(ours.steps[0].explained_variance_, theirs.explained_variance_, rtol=1e-4):
            raise ValueError(f"headrace and scikit-learn differ in the variances of {count} columns")
        for name, seconds in times.items():
            results[f"{count} columns, fit by {name}, s"] = seconds
        applied = {
            "headrace": partial(ours.transform, frame),
            "scikit-learn": lambda it=theirs, data=frame: it.transform(data.to_numpy()),
        }
        for name, case in applied.items():
            results[f"{count} columns, apply by {name}, s"] = best(case, arguments.rounds)
    return results


def fit_all(path: Path, rounds: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit to a file by each; return what was fitted and the seconds."""
    fitted: dict[str, Any] = {}

    def headrace() -> None:
        fitted["headrace"] = hr.Pipeline([hr.PCA(KEPT)]).fit(hr.open(str(path)), progress=False)

    def in_memory() -> None:
        fitted["scikit-learn"] = PCA(KEPT).fit(pl.read_parquet(path).to_numpy())

    def in_batches() -> None:
        fitted["IncrementalPCA"] = IncrementalPCA(KEPT)
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            rows = pl.DataFrame(file.read_row_group(group)).to_numpy()
            if len(rows) >= KEPT:
                fitted["IncrementalPCA"].partial_fit(rows)

    cases = {"headrace": headrace, "scikit-learn": in_memory, "IncrementalPCA": in_batches}
    return fitted, {name: best(case, rounds) for name, case in cases.items()}


def table(rows: int, count: int, dtype: type) -> np.ndarray[Any, Any]:
    """Draw normal columns, some of which depend on others."""
    generator = np.random.default_rng(0)
    hidden = generator.normal(size=(rows, KEPT)) * np.arange(KEPT, 0, -1)
    mixed = hidden @ generator.normal(size=(KEPT, count))
    return (mixed + generator.normal(size=(rows, count))).astype(dtype)


def best(case: Callable[[], Any], rounds: int) -> float:
    """Return the seconds of the quickest of some calls."""
    times: list[float] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        case()
        times.append(time.perf_counter() - begun)
    return min(times)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "products": measure_products,
    "components": measure_components,
}

if __name__ == "__main__":
    main()
