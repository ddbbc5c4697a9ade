"""How fast images of a full cache are cropped, flipped and normalised, beside their limit and other loaders.

The data is 50,000 uint8 images of shape [3, 64, 64], cached in a folder; batches of 256 in a full random
order are cropped to 56 x 56 at random places, half of the images are flipped, and all are normalised to
float32, as torch tensors. Measured are headrace, through its public names only, and

- `limit`: two threads of a compiled loop that is written for just this, with the order and all that is drawn
  known beforehand, from the cache's own file to buffers that are used again; `limit_one_thread`: one of them;
- `numpy_loader`, `torch_loader`, `lmdb_loader`: code by hand for each sample, in two workers of a
  `DataLoader`;
- `torchvision_loader`, `albumentations_loader` (for each sample, likewise) and `kornia` (whole batches),
  where they are installed.

All cases take turns of a second within one process: before each turn stands the rate of a canary, and turns
whose canary was below half of its best do not count. Ratios are taken within one round of turns, then their
median. The time of worker processes is not in the CPU seconds. Apart from that it is told how long a sample's
parameters take to be drawn, for this chain and for a longer one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import image_arrays
import measure

CASE_PROGRAM = Path(__file__).with_name("augment_cpu_case.py")
BASES = ("limit", "limit_one_thread")
PER_SAMPLE = ("numpy_loader", "torch_loader", "lmdb_loader", "torchvision_loader", "albumentations_loader")
HEADER = ["case", "images/s", "min..max", *(f"/{base}" for base in BASES), "/per sample", "CPU s/M", "kept"]


def main() -> None:
    arguments = parse_arguments()
    folder = arguments.data or image_arrays.default_folder(arguments.images)
    source = image_arrays.ensure_data("hdf5_64_none", arguments.images, folder)
    lmdb = folder / "lmdb"
    if importlib.util.find_spec("lmdb") is not None:
        lmdb = image_arrays.ensure_data("lmdb", arguments.images, folder)
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        values, others = measure.run_child(
            [
                sys.executable, str(CASE_PROGRAM), str(source), str(lmdb), cache,
                "--batch", str(arguments.batch), "--rounds", str(arguments.rounds),
                "--seconds", str(arguments.seconds), "--canary-bytes", str(arguments.canary_bytes),
                *(["--cases", *arguments.cases] if arguments.cases else []),
            ]
        )  # fmt: skip
    print(f"\n{arguments.images:,} images in batches of {arguments.batch}; others' share: {others:.0%}")
    bases = [*([base] for base in BASES), PER_SAMPLE]
    print(measure.format_table(HEADER, measure.table_rows(values["turns"], bases)))
    costs = [[name, f"{value:.3f}"] for name, value in values["parameters"].items()]
    print(measure.format_table(["parameters, us for a sample and augmentation", ""], costs))
    report = {"settings": measure.public_settings(arguments), "versions": measure.versions()}
    if arguments.json:
        arguments.json.write_text(json.dumps(report | values | {"others_share": others}, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Benchmark: images cropped, flipped and normalised on the CPU."
    )
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--cases", nargs="+", help="only these; default: all that are installed")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each case")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn")
    parser.add_argument(
        "--data", type=Path, help="folder of the images; default: one in the system's temporary folder"
    )
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--short", action="store_true", help="few images, one round: does it run at all?")
    arguments = parser.parse_args()
    arguments.canary_bytes = 1 << 30
    if arguments.short:
        arguments.images, arguments.batch, arguments.rounds, arguments.seconds = 1_000, 64, 1, 0.05
        arguments.canary_bytes = 64 << 20
    return arguments


if __name__ == "__main__":
    main()
