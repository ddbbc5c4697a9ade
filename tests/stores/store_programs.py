"""Data for the tests of stores, and programs that build, use and empty one cache in processes of their own.

python store_programs.py ranks DATA CACHE: run through two epochs of each of `RUNS` in four processes that
    begin together, with one cache for each run below CACHE, and print what each of them got as JSON.
python store_programs.py killed DATA CACHE SEED ROUNDS: build a cache CACHE/<round> in each round by four
    processes, of which each is killed at a random moment unless it has ended before; print how many were.
python store_programs.py disturb DATA CACHE LIMIT ROUNDS: in each round build a cache of other arrays in the
    same folder within the limit, and clear the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import headrace as hr

HERE = Path(__file__)
RUNS = ((True, ""), ("global", ""), (True, "lmdb://"))  # a shuffle and the kind of cache, a folder by default
BUILDERS = RANKS = 4


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start one of the programs."""
    return subprocess.Popen(
        [sys.executable, str(HERE), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[2] / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def write_shards(folder: Path, shards: int = 3, row_groups: int = 8, rows: int = 200, seed: int = 0) -> Path:
    """Write Parquet files of arrays of fixed width, text and lists."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    count = row_groups * rows
    for shard in range(shards):
        wide = rng.random((count, 64), np.float32)
        lengths = rng.integers(0, 5, count)
        table = pa.table(
            {
                "wide": pa.FixedSizeListArray.from_arrays(pa.array(wide.ravel()), 64),
                "y": np.arange(count) + shard * count,
                "text": [f"row {number} of {seed}" for number in range(count)],
                "tokens": pa.array([list(range(length)) for length in lengths], pa.list_(pa.int32())),
            }
        )
        pq.write_table(table, folder / f"{shard}.parquet", row_group_size=rows)
    return folder


def digest_of(loader: hr.Loader, epochs: int = 1) -> str:
    """Digest of all that a loader delivers in so many epochs, in its order."""
    digest = hashlib.sha256()
    for _ in range(epochs):
        for batch in loader:
            for name, column in batch.items():
                digest.update(name.encode())
                digest.update(_bytes_of(column))
    return digest.hexdigest()


def _bytes_of(column: Any) -> bytes:
    if isinstance(column, hr.Ragged):
        return column.values.tobytes() + column.offsets.tobytes()
    return column.tobytes() if isinstance(column, np.ndarray) else repr(column).encode()


def dataset_of(folder: str | Path, cache: str | Path | None, **options: Any) -> hr.Dataset:
    """The prepared data, with a cache or without."""
    dataset = hr.open(folder)
    return dataset if cache is None else dataset.cache(cache, **options)


def rank_loader(dataset: hr.Dataset, shuffle: Any, world: hr.World, threads: int = 2) -> hr.Loader:
    """What one rank runs through."""
    options: Any = {"shuffle": shuffle, "seed": 5, "output": "numpy", "with_ids": True}
    return dataset.loader(20, world=world, threads=threads, **options)


def ranks(data: str, cache: str) -> None:
    for shuffle in (True, "global"):  # compiled code is loaded once, and not by each child
        warm = dataset_of(data, Path(cache, "warm"))
        with rank_loader(warm, shuffle, hr.World(0, 1), threads=0) as loader:
            digest_of(loader)
    answers = {number: Path(cache, f"answer-{number}") for number in range(RANKS)}
    read, write = os.pipe()
    children: list[int] = []
    for number, answer in answers.items():
        children.append(
            fork(lambda number=number, answer=answer: _rank(data, cache, number, answer, read, write))
        )
    os.close(write)  # the start
    end(children)
    print(json.dumps([json.loads(answer.read_text()) for answer in answers.values()]), flush=True)


def _rank(data: str, cache: str, number: int, answer: Path, read: int, write: int) -> None:
    os.close(write)
    os.read(read, 1)
    found: list[Any] = []
    for place, (shuffle, kind) in enumerate(RUNS):
        dataset = dataset_of(data, f"{kind}{cache}/{place}")
        with rank_loader(dataset, shuffle, hr.World(number, RANKS)) as loader:
            found.append((digest_of(loader, epochs=2), loader.stats()["cache_misses"]))
    answer.write_text(json.dumps(found))


def build(data: str | Path, cache: str | Path, seed: int = 0, threads: int = 2) -> dict[str, Any]:
    """Run through the data once, from another row group on for each seed; return what was counted."""
    dataset = dataset_of(data, cache)
    with dataset.loader(50, shuffle=True, seed=seed, output="numpy", threads=threads) as loader:
        for _ in loader:
            pass
        return loader.stats()


def killed(data: str, cache: str, seed: str, rounds: str) -> None:
    rng = random.Random(int(seed))
    build(data, f"{cache}/clean", threads=0)  # compiled code is loaded once, and not by each child
    shutil.rmtree(f"{cache}/clean")
    begin = time.monotonic()
    end(_fork_builders(data, f"{cache}/clean"))
    span = time.monotonic() - begin
    kills = 0
    for number in range(int(rounds)):
        builders = _fork_builders(data, f"{cache}/{number}")
        begin = time.monotonic()
        for builder in builders:
            time.sleep(max(0.0, begin + rng.uniform(0, span) - time.monotonic()))
            os.kill(builder, signal.SIGKILL)
        kills += end(builders)
    print(kills, flush=True)


def _fork_builders(data: str, cache: str) -> list[int]:
    return [fork(lambda number=number: build(data, cache, number)) for number in range(BUILDERS)]


def fork(work: Callable[[], object]) -> int:
    """Do something in a child of this process."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def end(children: list[int]) -> int:
    """Wait for children to end, and return how many were killed; that one fails is an error."""
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(codes) <= {0, -signal.SIGKILL}, f"a process that nobody killed has failed: {codes}"
    return codes.count(-signal.SIGKILL)


def disturb(data: str, cache: str, limit: str, rounds: str) -> None:
    from headrace.stores.folder.checking import clear

    for _ in range(int(rounds)):
        dataset = dataset_of(data, None).select(["y", "wide"]).cache(cache, limit=int(limit))
        with dataset.loader(50, output="numpy", threads=0) as loader:
            for _ in loader:
                pass
        clear(cache)


if __name__ == "__main__":
    {"ranks": ranks, "killed": killed, "disturb": disturb}[sys.argv[1]](*sys.argv[2:])
