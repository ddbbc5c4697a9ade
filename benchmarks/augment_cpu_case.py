"""Measure the augmentation benchmark's cases in this process and print the result as a line of JSON.

`augment_cpu.py` starts this program: it fills the cache, tells what drawing parameters costs and lets all
cases take turns.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import augment_cpu_peers as peers
import measure
import numpy as np
from image_arrays import SHAPE

THREADS = {"headrace": 2, "headrace_one_thread": 1}  # of the loader
REPEATS = 50  # of what takes less than a millisecond


def chains() -> dict[str, list[Any]]:
    """The chain that is measured, and a longer one whose parameters are drawn too."""
    import headrace.augment as aug

    layout: dict[str, Any] = {"layout": "NCHW"}
    tone = [aug.Brightness("image", **layout), aug.Contrast("image", **layout)]
    color = [aug.Saturation("image", **layout), aug.Grayscale("image", **layout)]
    last = [aug.HorizontalFlip("image", **layout), aug.Normalize("image", peers.MEAN, peers.STD, **layout)]
    return {
        "crop": [aug.RandomCrop("image", peers.SIZE, **layout), *last],
        "color": [
            aug.RandomResizedCrop("image", peers.SIZE, **layout),
            *tone,
            *color,
            aug.RandomErasing("image", **layout),
            *last,
        ],
    }


def data_set(arguments: argparse.Namespace) -> Any:
    import headrace as hr

    return hr.open(str(arguments.source)).cache(str(arguments.cache))


def parameters(arguments: argparse.Namespace) -> dict[str, float]:
    """How long parameters take to be drawn, in microseconds for a sample and an augmentation."""
    from headrace.augment.base import Spec
    from headrace.augment.chain import Chain
    from headrace.draws import Draws
    from headrace.draws.draws import Samples

    found: dict[str, float] = {}
    for name, ops in chains().items():
        bound = Chain(tuple(ops)).bind({"image": Spec(SHAPE, np.dtype(np.uint8))})
        ids = np.random.default_rng(0).permutation(arguments.batch)
        bound.plan(Draws(0), Samples(ids))
        seconds: list[float] = []
        for _ in range(10):
            started = time.perf_counter()
            for epoch in range(REPEATS):
                bound.plan(Draws(0, epoch), Samples(ids))
            seconds.append((time.perf_counter() - started) / REPEATS)
        found[name] = min(seconds) / (len(ops) * arguments.batch) * 1e6
    return found


def fill_cache(arguments: argparse.Namespace) -> None:
    """Fill the cache, and look at one batch."""
    data = data_set(arguments)
    with data.loader(arguments.batch) as loader:
        rows = sum(len(batch["image"]) for batch in loader)
    if rows != len(data):
        raise ValueError(f"an epoch must deliver {len(data):,} rows, got {rows:,}")
    with data.augment(*chains()["crop"]).loader(arguments.batch, shuffle="global") as loader:
        images = next(iter(loader))["image"]
    expected = (arguments.batch, SHAPE[0], peers.SIZE, peers.SIZE), "torch.float32"
    if (tuple(images.shape), str(images.dtype)) != expected or not -3 < float(images.mean()) < 3:
        raise ValueError(f"the batch must hold {expected}, got {tuple(images.shape)}, {images.dtype}")


def turns(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Let every case deliver for some time, in turn, as often as there are rounds."""
    chosen = arguments.cases or [
        name for name, needs in peers.NEEDS.items() if importlib.util.find_spec(needs) is not None
    ]
    streams: dict[str, Iterator[int]] = {}
    loaders: list[Any] = []
    # Loaders with worker processes first, so that they start before there are threads.
    for name in sorted(chosen, key=lambda name: name not in peers.PER_SAMPLE):
        if name in THREADS:
            data = data_set(arguments).augment(*chains()["crop"])
            loaders.append(data.loader(arguments.batch, shuffle="global", threads=THREADS[name]))
            streams[name] = endless(loaders[-1])
        else:
            streams[name] = peers.PEERS[name](arguments.cache, arguments.lmdb, arguments.batch)
        run(streams[name], arguments.seconds)  # what is made once, compiled and touched for the first time
    canary = measure.Canary(arguments.canary_bytes)
    found: list[dict[str, Any]] = []
    for number in range(arguments.rounds):
        for name in chosen:
            mood = canary.rows_per_second(min(0.25, arguments.seconds))
            epoch = run(streams[name], arguments.seconds)
            rates = {"canary": mood, "rows_per_second": epoch.rows_per_second}
            cpu = epoch.cpu_seconds_per_million
            found.append({"case": name, "round": number, **rates, "cpu_seconds_per_million": cpu})
    for loader in loaders:
        loader.close()
    return found


def endless(loader: Any) -> Iterator[int]:
    while True:
        for batch in loader:
            yield len(batch["image"])


def run(stream: Iterator[int], seconds: float) -> measure.Epoch:
    """Take batches for so long."""
    started, cpu, rows = time.perf_counter(), measure.own_cpu_seconds(), 0
    while (elapsed := time.perf_counter() - started) < seconds or not rows:
        rows += next(stream)
    return measure.Epoch(rows, elapsed, measure.own_cpu_seconds() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the cases of the augmentation benchmark.")
    parser.add_argument("source", type=Path)
    parser.add_argument("lmdb", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="length of a turn")
    parser.add_argument("--canary-bytes", type=int, required=True)
    arguments = parser.parse_args()
    fill_cache(arguments)
    print(json.dumps({"parameters": parameters(arguments), "turns": turns(arguments)}))


if __name__ == "__main__":
    main()
