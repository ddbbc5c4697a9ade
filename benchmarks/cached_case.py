"""Measure one thing of the cache benchmark in this process and print the result as a line of JSON.

`cached.py` starts this program. `build` times an epoch that fills the cache beside one without, `start` the
beginning of epochs and their memory, and `turns` lets all cases take turns in one process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measure
from criteo_like import CATEGORY_COLUMNS, DENSE_COLUMNS

IMAGE_BATCH, ROW_BATCH = 256, 4096


def dataset(kind: str, source: Path) -> Any:
    """The prepared data set, without a cache."""
    import headrace as hr

    if kind == "images":
        return hr.open(str(source))
    dtype = {"categories": kind}
    return hr.open(str(source)).pack(dense=DENSE_COLUMNS, categories=CATEGORY_COLUMNS, dtype=dtype)


def batch_size(kind: str) -> int:
    return IMAGE_BATCH if kind == "images" else ROW_BATCH


def rows_of(batch: dict[str, Any]) -> int:
    return len(next(iter(batch.values())))


def build(arguments: argparse.Namespace) -> dict[str, Any]:
    """An epoch that decodes everything and fills the cache, and one without a cache before it."""
    files = [arguments.source] if arguments.source.is_file() else sorted(arguments.source.glob("*.parquet"))
    measure.read_once(files)
    data = dataset(arguments.kind, arguments.source)
    for _ in range(2):  # the first epoch compiles, and touches memory for the first time
        plain = epoch_seconds(data, arguments)
    cached = data.cache(str(arguments.cache))
    return {
        "plain_seconds": plain,
        "build_seconds": epoch_seconds(cached, arguments),
        "rows": len(cached),
        "batch_size": batch_size(arguments.kind),
        "cache_bytes": sum(path.stat().st_size for path in arguments.cache.rglob("*") if path.is_file()),
    }


def epoch_seconds(data: Any, arguments: argparse.Namespace) -> float:
    with data.loader(batch_size(arguments.kind), shuffle=True) as loader:
        started = time.perf_counter()
        rows = sum(rows_of(batch) for batch in loader)
        seconds = time.perf_counter() - started
    if rows != len(data):
        raise ValueError(f"an epoch must deliver {len(data):,} rows, got {rows:,}")
    return seconds


def start(arguments: argparse.Namespace) -> dict[str, Any]:
    """The first batch of a process and of a later epoch, and what an epoch takes of anonymous memory."""
    made = time.perf_counter()
    cached = dataset(arguments.kind, arguments.source).cache(str(arguments.cache))
    with cached.loader(batch_size(arguments.kind), shuffle="global") as loader:
        batches = iter(loader)
        next(batches)
        result = {
            "cold_start": time.monotonic() - arguments.began,
            "first_batch": time.perf_counter() - made,
        }
        before = anonymous_bytes()
        with measure.MemoryWatch() as memory:
            for _ in batches:
                pass
            started = time.perf_counter()
            batches = iter(loader)
            next(batches)
            result["warm_start"] = time.perf_counter() - started
            for _ in batches:
                pass
    return result | {"anonymous_growth": max(memory.peak_anonymous - before, 0)}


def anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def turns(arguments: argparse.Namespace) -> dict[str, Any]:
    """Let every case deliver for some time, in turn, as often as there are rounds."""
    import cached_peers

    size = batch_size(arguments.kind)
    chosen = arguments.cases or [
        name for name, needs in cached_peers.NEEDS.items() if importlib.util.find_spec(needs) is not None
    ]
    streams: dict[str, Iterator[int]] = {}
    loaders: list[Any] = []
    for name in chosen:
        if name in ("headrace", "headrace_memory"):
            residency = "memory" if name == "headrace_memory" else "map"
            data = dataset(arguments.kind, arguments.source)
            loader = data.cache(str(arguments.cache), residency=residency).loader(size, shuffle="global")
            loaders.append(loader)
            streams[name] = endless(loader)
        else:
            streams[name] = cached_peers.PEERS[name](arguments.cache, size)
        next(streams[name])  # what is made once, compiled and touched for the first time
        run(streams[name], arguments.seconds)
    canary = measure.Canary(arguments.canary_bytes)
    found: list[dict[str, Any]] = []
    for number in range(arguments.rounds):
        for name, stream in streams.items():
            mood = canary.rows_per_second(min(0.25, arguments.seconds))
            epoch = run(stream, arguments.seconds)
            found.append(
                {
                    "case": name,
                    "round": number,
                    "canary": mood,
                    "rows_per_second": epoch.rows_per_second,
                    "cpu_seconds_per_million": epoch.cpu_seconds_per_million,
                }
            )
    for loader in loaders:
        loader.close()
    return {"turns": found}


def endless(loader: Any) -> Iterator[int]:
    while True:
        for batch in loader:
            yield rows_of(batch)


def run(stream: Iterator[int], seconds: float) -> measure.Epoch:
    """Take batches for so long."""
    started, cpu, rows = time.perf_counter(), measure.own_cpu_seconds(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        rows += next(stream)
    return measure.Epoch(rows, elapsed, measure.own_cpu_seconds() - cpu)


PARTS = {"build": build, "start": start, "turns": turns}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one thing of the cache benchmark.")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("kind", choices=["int64", "int32", "images"])
    parser.add_argument("source", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="length of a turn")
    parser.add_argument("--canary-bytes", type=int, required=True)
    parser.add_argument("--began", type=float, required=True, help="the monotonic clock as the process began")
    arguments = parser.parse_args()
    print(json.dumps(PARTS[arguments.part](arguments)))


if __name__ == "__main__":
    main()
