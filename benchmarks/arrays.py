"""How fast images in HDF5 and LMDB become shuffled batches of torch uint8 tensors.

200,000 images of shape [3, 64, 64], by default, in HDF5 files (chunks of 1 and of 64 images; plain, lzf,
gzip, blosc) and in LMDB. Measured are headrace, through its public names only; a torch DataLoader over single
items, with no worker and with two; and what limits them: h5py reading slices of 64 images in order, LMDB's
get and a copy on two threads, and a gather from one memory-mapped array.

Every case runs in fresh processes that took one batch before, in interleaved rounds, on a warm page cache; an
epoch that outlasts the limit is cut short and marked as capped. The first epoch pays for memory that nobody
touched before and is shown apart: `images/s` is the median over rounds of the best later epoch. Ratios are
taken within a round, then their median. Before the rounds, headrace's images are compared with those written.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import measure
import numpy as np
from image_arrays import FILES, HDF5_FILES, SHAPE, default_folder, ensure_data, make_blocks
from measure import Measurement

CASE_PROGRAM = Path(__file__).with_name("array_case.py")
HEADER = ["file", "case", "images/s", "1st epoch", "headrace/", "CPU us", "1st batch s", "peak GB", "kept"]
LIMITS = {**dict.fromkeys(HDF5_FILES, "slices"), "lmdb": "get_copy"}


def main() -> None:
    arguments = parse_arguments()
    paths = {name: ensure_data(name, arguments.images, arguments.data) for name in arguments.files}
    write_array(arguments.data / "images.npy", arguments.images)
    for path in paths.values():
        measure.run_child(command_of("check", path, arguments))
    canary = measure.Canary(arguments.canary_bytes)
    rounds = [measure_round(paths, arguments, canary, number) for number in range(arguments.rounds)]
    print(f"\n{arguments.images:,} images of {list(SHAPE)} uint8, batches of 256")
    print(measure.format_table(HEADER, table_rows(rounds)))
    if arguments.json:
        shown = {name: value for name, value in vars(arguments).items() if name not in ("data", "json")}
        results = [{key: asdict(one) for key, one in measured.items()} for measured in rounds]
        arguments.json.write_text(json.dumps({"settings": shown, "results": results}, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmark: images in HDF5 and LMDB to shuffled batches.")
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="epochs in each process")
    parser.add_argument("--files", nargs="+", choices=FILES, default=list(FILES))
    parser.add_argument(
        "--cases", nargs="+", choices=["limit", "dataloader", "dataloader_2", "headrace"],
        default=["limit", "dataloader", "dataloader_2", "headrace"],
    )  # fmt: skip
    parser.add_argument("--seconds-limit", type=float, default=4.0, help="end an epoch that takes longer")
    parser.add_argument(
        "--data", type=Path, help="folder of the files; default: the system's temporary folder"
    )
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--short", action="store_true", help="little data, one round: does it run at all?")
    arguments = parser.parse_args()
    arguments.canary_bytes = 1 << 30
    if arguments.short:
        arguments.images, arguments.rounds, arguments.epochs = 2_000, 1, 1
        arguments.seconds_limit, arguments.canary_bytes = 1.0, 64 << 20
    arguments.data = arguments.data or default_folder(arguments.images)
    return arguments


def write_array(path: Path, images: int) -> None:
    if not path.exists():
        aside = path.with_name("images.part.npy")
        array = np.lib.format.open_memmap(aside, "w+", np.uint8, (images, *SHAPE))
        start = 0
        for block in make_blocks(images):
            array[start : start + len(block)] = block
            start += len(block)
        array.flush()
        aside.rename(path)


def command_of(case: str, path: Path, arguments: argparse.Namespace) -> list[str]:
    return [
        sys.executable, str(CASE_PROGRAM), case, str(path), "--images", str(arguments.images),
        "--epochs", str(arguments.epochs), "--seconds-limit", str(arguments.seconds_limit),
    ]  # fmt: skip


def measure_round(
    paths: dict[str, Path], arguments: argparse.Namespace, canary: measure.Canary, number: int
) -> dict[str, Measurement]:
    """Measure every case of every file once, those of one file side by side."""
    measured: dict[str, Measurement] = {}
    todo = [(name, LIMITS[name] if case == "limit" else case) for name in paths for case in arguments.cases]
    first = next(iter(paths))
    for name, case in [*todo, (first, "mapped_gather")]:
        print(f"round {number + 1} of {arguments.rounds}: {name} {case}", file=sys.stderr, flush=True)
        mood = canary.rows_per_second()
        values, others = measure.run_child(command_of(case, paths[name], arguments))
        values |= {"canary_rows_per_second": mood, "others_share": others}
        measured[f"{'memory' if case == 'mapped_gather' else name} {case}"] = Measurement.from_json(values)
    return measured


def table_rows(rounds: list[dict[str, Measurement]]) -> list[list[str]]:
    """One line a case; disturbed measurements are left out while others remain."""
    best_canary = max(one.canary_rows_per_second for measured in rounds for one in measured.values())
    return [table_row(key, rounds, best_canary) for key in rounds[0]]


def table_row(key: str, rounds: list[dict[str, Measurement]], best_canary: float) -> list[str]:
    name, case = key.split()
    calm = [measured for measured in rounds if not measure.is_disturbed(measured[key], best_canary)]
    kept = [measured[key] for measured in calm or rounds]
    ratios = [
        rate(measured[f"{name} headrace"]) / rate(measured[key])
        for measured in rounds
        if f"{name} headrace" in measured
    ]
    return [
        name,
        case + (" (capped)" if any(one.is_capped for one in kept) else ""),
        f"{median(rate(one) for one in kept):,.0f}",
        f"{median(one.epochs[0].rows_per_second for one in kept):,.0f}",
        f"{median(ratios):.2f}" if ratios else "",
        f"{median(epoch.cpu_seconds_per_million for one in kept for epoch in later(one)):.1f}",
        f"{median(one.first_batch_seconds for one in kept):.2f}",
        f"{max(one.peak_memory for one in kept) / 1e9:.2f}",
        f"{len(calm)}/{len(rounds)}",
    ]


def later(measurement: Measurement) -> list[Any]:
    """The epochs behind the first, or that one if there is no other."""
    return measurement.epochs[1:] or measurement.epochs


def rate(measurement: Measurement) -> float:
    return max(epoch.rows_per_second for epoch in later(measurement))


if __name__ == "__main__":
    main()
