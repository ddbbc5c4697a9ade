"""How fast a loader turns compressed Parquet shards into shuffled batches of two torch tensors.

The data is `criteo_like`: by default 6 million rows of 13 float32 and 26 int64 columns in 16 shards. Measured
are headrace, through its public names only, and the peers of `stream_peers`: what people write by hand, and
the best that we could write by hand. `raw_decode` is pyarrow decoding the same files on two threads and
nothing else, which no loader over pyarrow can pass; the ratio to it says how much of the machine a loader
leaves unused.

Every case runs in fresh processes, in interleaved rounds, on a warm page cache and with compiled code warm.
The first epoch of a process pays for memory that nobody touched before and is shown apart; `rows/s` is the
median over rounds of the median epoch. Ratios are taken within a round, then their median.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import measure
from criteo_like import Compression, DataSettings, default_folder, ensure_data
from measure import Measurement

CASES = ["raw_decode", "torch_dataloader", "pyarrow_pool", "tuned_stream", "headrace"]
LIMIT_CASE, OPPONENT_CASE = "raw_decode", "tuned_stream"
HEADER = [
    "case", "rows/s", "min..max", "1st epoch", "/raw", "/tuned", "CPU s/M", "1st batch s", "cold s",
    "peak GB", "anon GB", "growth GB", "foretold/grown", "kept",
]  # fmt: skip
CASE_PROGRAM = Path(__file__).with_name("stream_case.py")


def main() -> None:
    arguments = parse_arguments()
    refuse_missing_headrace(arguments.cases)
    canary = measure.Canary(arguments.canary_bytes)
    report: dict[str, Any] = {
        "settings": measure.public_settings(arguments),
        "versions": measure.versions(),
        "results": {},
    }
    compressions: list[Compression] = (
        ["zstd", "none"] if arguments.compression == "both" else [arguments.compression]
    )
    for compression in compressions:
        rounds = measure_compression(arguments, compression, canary)
        print(f"\n{compression}: {arguments.rows:,} rows, batches of {arguments.batch_size:,}")
        print(measure.format_table(HEADER, table_rows(rounds)))
        report["results"][compression] = [[asdict(one) for one in measured] for measured in rounds]
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Benchmark: Parquet shards to shuffled batches of torch tensors."
    )
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="epochs in each process")
    parser.add_argument("--compression", choices=["zstd", "none", "both"], default="zstd")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--seconds-limit", type=float, default=10.0, help="end an epoch that takes longer")
    parser.add_argument(
        "--data", type=Path, help="folder of the data sets; default: the system's temporary folder"
    )
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--short", action="store_true", help="little data, one round: does it run at all?")
    arguments = parser.parse_args()
    arguments.canary_bytes = 1 << 30
    if arguments.short:
        arguments.rows, arguments.rounds, arguments.epochs = 60_000, 1, 1
        arguments.seconds_limit, arguments.canary_bytes = 1.0, 64 << 20
    return arguments


def refuse_missing_headrace(cases: list[str]) -> None:
    """Say it before any data is written."""
    if "headrace" in cases and importlib.util.find_spec("headrace") is None:
        print(
            "The case `headrace` needs headrace: install it, or name other cases with --cases.",
            file=sys.stderr,
        )
        sys.exit(2)


def measure_compression(
    arguments: argparse.Namespace, compression: Compression, canary: measure.Canary
) -> list[list[Measurement]]:
    """Make sure that the data is there, then run the rounds."""
    settings = DataSettings(arguments.rows, arguments.shards, compression)
    warmup = DataSettings(6_000, 2, compression)
    folder = data_folder(arguments.data, settings)
    ensure_data(settings, folder)
    ensure_data(warmup, default_folder(warmup))
    commands = {
        name: [
            sys.executable, str(CASE_PROGRAM), name, str(folder), str(default_folder(warmup)),
            "--rows", str(arguments.rows), "--batch-size", str(arguments.batch_size),
            "--epochs", str(arguments.epochs), "--seconds-limit", str(arguments.seconds_limit),
        ]
        for name in arguments.cases
    }  # fmt: skip
    return measure.run_rounds(commands, arguments.rounds, canary)


def data_folder(root: Path | None, settings: DataSettings) -> Path:
    """Below the root, full-size data lies under its compression and other sizes under a name of their own."""
    if root is None:
        return default_folder(settings)
    is_full_size = settings == DataSettings(compression=settings.compression)
    return root / (settings.compression if is_full_size else default_folder(settings).name)


def table_rows(rounds: list[list[Measurement]]) -> list[list[str]]:
    """One line a case; disturbed measurements are left out while others remain."""
    best_canary = max(one.canary_rows_per_second for measured in rounds for one in measured)
    by_case: dict[str, list[Measurement | None]] = {}
    for measured in rounds:
        for one in measured:
            kept = None if measure.is_disturbed(one, best_canary) else one
            by_case.setdefault(one.case, []).append(kept)
    for name, measured_case in by_case.items():
        if not any(measured_case):
            by_case[name] = [one for measured in rounds for one in measured if one.case == name]
    return [table_row(name, by_case) for name in by_case]


def table_row(name: str, by_case: dict[str, list[Measurement | None]]) -> list[str]:
    kept = [one for one in by_case[name] if one is not None]
    epochs = [epoch for one in kept for epoch in one.epochs]
    rates = [epoch.rows_per_second for epoch in epochs]
    foretold = [one.foretold_memory / one.peak_growth for one in kept if one.foretold_memory]
    cold = [one.cold_first_batch_seconds for one in kept if one.cold_first_batch_seconds is not None]
    return [
        name + (" (capped)" if any(one.is_capped for one in kept) else ""),
        f"{median(median_rate(one) for one in kept):,.0f}",
        f"{min(rates):,.0f}..{max(rates):,.0f}",
        f"{median(one.epochs[0].rows_per_second for one in kept):,.0f}",
        ratio_to(LIMIT_CASE, name, by_case),
        ratio_to(OPPONENT_CASE, name, by_case),
        f"{median(epoch.cpu_seconds_per_million for epoch in epochs):.2f}",
        "" if name == LIMIT_CASE else f"{median(one.first_batch_seconds for one in kept):.2f}",
        "" if name == LIMIT_CASE or not cold else f"{median(cold):.2f}",
        f"{max(one.peak_memory for one in kept) / 1e9:.2f}",
        f"{max(one.peak_anonymous for one in kept) / 1e9:.2f}",
        f"{max(one.peak_growth for one in kept) / 1e9:.2f}",
        f"{median(foretold):.2f}" if foretold else "",
        f"{len(kept)}/{len(by_case[name])}",
    ]


def median_rate(measurement: Measurement) -> float:
    return median(epoch.rows_per_second for epoch in measurement.epochs)


def ratio_to(base: str, name: str, by_case: dict[str, list[Measurement | None]]) -> str:
    """The median over rounds in which both sides count; empty when the base was not measured."""
    pairs = zip(by_case.get(base, []), by_case[name], strict=False)
    ratios = [
        median_rate(one) / median_rate(other) for other, one in pairs if one is not None and other is not None
    ]
    return f"{median(ratios):.2f}" if ratios else ""


if __name__ == "__main__":
    main()
