"""How fast a full cache becomes batches in a full random order: gathers from memory, beside what limits them.

The data is `criteo_like`, by default 6 million rows of 13 float32 and 26 int64 columns, packed into two
arrays and cached in a folder; `shuffle="global"`, batches of 4,096 rows as two torch tensors. With `--images`
it is 200,000 images of shape [3, 64, 64]. Measured are headrace, through its public names only, and

- `gather_limit`: two threads of compiled code that copy the same rows from the cache's own files to buffers
  that are used again, in an order that is known beforehand; a loader on two threads cannot pass it;
- `index_select`: torch by hand, `tensor.index_select` over tensors in memory, the order known beforehand;
- `tensor_dataset`: torch's `TensorDataset` in a `DataLoader` with a `BatchSampler`;
- `hf_datasets` and `tf_data`, over less data, where they are installed.

All cases take turns of a second within one process, since random reads of large memory have fast and slow
moments: before each turn stands the rate of a canary, and turns whose canary was below half of its best do
not count. Ratios are taken within one round of turns, then their median. What the cache costs is measured in
processes of its own: an epoch that fills it beside one without, the start of an epoch in a new process and
in a warm one, and the growth of anonymous memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import image_arrays
import measure
from criteo_like import DataSettings, default_folder, ensure_data

CASE_PROGRAM = Path(__file__).with_name("cached_case.py")
HEADER = [
    "case",
    "rows/s",
    "min..max",
    "/gather_limit",
    "/index_select",
    "/tensor_dataset",
    "CPU s/M",
    "kept",
]
BASES = ("gather_limit", "index_select", "tensor_dataset")


def main() -> None:
    arguments = parse_arguments()
    report: dict[str, Any] = {
        "settings": measure.public_settings(arguments),
        "versions": measure.versions(),
        "results": {},
    }
    for kind in arguments.kinds:
        source, cache = prepare(kind, arguments)
        result = measure_kind(kind, source, cache, arguments)
        report["results"][kind] = result
        print(f"\n{kind}: {result['rows']:,} rows in batches of {result['batch_size']:,}")
        print(measure.format_table(HEADER, measure.table_rows(result["turns"], [[base] for base in BASES])))
        print(measure.format_table(["what it costs", ""], cost_rows(result)))
        if not arguments.keep:
            shutil.rmtree(cache)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmark: a full cache to batches in a full random order.")
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--images", type=int, nargs="?", const=200_000, help="measure images, so many")
    parser.add_argument("--variants", nargs="+", choices=["int64", "int32"], default=["int64", "int32"])
    parser.add_argument("--cases", nargs="+", help="only these; default: all that are installed")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each case")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn")
    parser.add_argument(
        "--data", type=Path, help="folder of data and cache; default: the system's temporary folder"
    )
    parser.add_argument("--keep", action="store_true", help="leave the cache where it is")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--short", action="store_true", help="little data, one round: does it run at all?")
    arguments = parser.parse_args()
    arguments.canary_bytes = 1 << 30
    if arguments.short:
        arguments.rows, arguments.rounds, arguments.seconds = 60_000, 1, 0.05
        arguments.images = arguments.images and 2_000
        arguments.canary_bytes = 64 << 20
    arguments.kinds = ["images"] if arguments.images else arguments.variants
    return arguments


def prepare(kind: str, arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Make sure that the source is there and the cache is not."""
    root = arguments.data or Path(tempfile.gettempdir())
    if kind == "images":
        folder = arguments.data or image_arrays.default_folder(arguments.images)
        source = image_arrays.ensure_data("hdf5_64_none", arguments.images, folder)
    else:
        settings = DataSettings(arguments.rows, arguments.shards)
        is_full_size = settings == DataSettings() and arguments.data is not None
        source = root / ("zstd" if is_full_size else default_folder(settings).name)
        ensure_data(settings, source)
    cache = root / f"headrace-benchmark-cache-{kind}"
    if cache.exists():
        shutil.rmtree(cache)
    return source, cache


def measure_kind(kind: str, source: Path, cache: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in ("build", "start", "turns"):
        print(f"{kind}: {name}", file=sys.stderr, flush=True)
        values, others = measure.run_child(
            [
                sys.executable, str(CASE_PROGRAM), name, kind, str(source), str(cache),
                "--rounds", str(arguments.rounds), "--seconds", str(arguments.seconds),
                "--canary-bytes", str(arguments.canary_bytes), "--began", str(time.monotonic()),
                *(["--cases", *arguments.cases] if arguments.cases else []),
            ]
        )  # fmt: skip
        result |= values | {f"{name}_others_share": others}
    return result


def cost_rows(result: dict[str, Any]) -> list[list[str]]:
    return [
        ["an epoch without a cache, block shuffle, s", f"{result['plain_seconds']:.2f}"],
        ["an epoch that fills the cache, block shuffle, s", f"{result['build_seconds']:.2f}"],
        ["first batch in a new process, imports and verification included, s", f"{result['cold_start']:.2f}"],
        ["of that, from making the loader on, s", f"{result['first_batch']:.2f}"],
        ["first batch of a later epoch, ms", f"{result['warm_start'] * 1e3:.1f}"],
        ["anonymous memory that an epoch takes, GB", f"{result['anonymous_growth'] / 1e9:.3f}"],
        ["files of the cache, GB", f"{result['cache_bytes'] / 1e9:.2f}"],
    ]


if __name__ == "__main__":
    main()
