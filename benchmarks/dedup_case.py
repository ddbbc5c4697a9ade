"""Measure one way to find duplicates in this process, and print the result as a line of JSON.

`dedup.py` starts this program once for each case and round. Texts lie in memory as Arrow before the clock
starts, and some of them have gone through the case once, so that libraries are loaded and compiled code is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dedup_exact_case
import dedup_near_case
import measure
import numpy as np
from pyarrow import feather

WARM_UP = 2000  # texts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["exact", "near"])
    parser.add_argument("case")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--ngram", type=int)
    arguments = parser.parse_args()
    # Texts lie in one piece of memory of their own.
    texts = feather.read_table(arguments.folder / "texts.arrow", memory_map=False)["text"].combine_chunks()
    if arguments.kind == "exact":
        make = dedup_exact_case.CASES[arguments.case]
        make(texts[:WARM_UP])[0]()
        find, rows_of = make(texts)
        found, measured = run(find)
        measured |= judge(rows_of(found), np.load(arguments.folder / "first.npy"))
    else:
        case = dedup_near_case.CASES[arguments.case]
        settings = (arguments.threshold, arguments.ngram)
        case(texts[:WARM_UP], *settings)
        found, measured = run(lambda: case(texts, *settings))
        planted = np.load(arguments.folder / "planted.npy")
        quality = dedup_near_case.judge(texts, planted, found, *settings)
        measured |= {name: getattr(quality, name) for name in quality.__slots__}
    print(json.dumps(measured | {"texts": len(texts)}))


def run(find: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """Call a function, and measure time and memory."""
    with measure.MemoryWatch() as memory:
        begun, used = time.perf_counter(), measure.own_cpu_seconds()
        found = find()
        seconds, cpu = time.perf_counter() - begun, measure.own_cpu_seconds() - used
    return found, {"seconds": seconds, "cpu": cpu, "growth": memory.growth, "peak": memory.peak_total}


def judge(kept: np.ndarray, first: np.ndarray) -> dict[str, int]:
    """Count what was kept, which distinct texts were lost, and which copies were left."""
    is_kept = np.zeros(len(first), bool)
    is_kept[kept] = True
    return {
        "kept": int(is_kept.sum()),
        "lost": int((first & ~is_kept).sum()),
        "left": int((is_kept & ~first).sum()),
    }


if __name__ == "__main__":
    main()
