"""Functions that are compiled for a kind are found on disk by the next process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = """
from functools import cache

from numba import njit, types

from headrace.augment.fused.compiling import compiled


@cache
def adder(kind, step):
    @compiled(kind(kind))
    def add(value):
        return value + kind(step)

    return add


@cache
def twice(kind, step):
    add = adder(kind, step)

    @njit(inline="always")
    def inner(value):
        return add(value)

    @compiled(kind(kind))
    def run(value):
        return inner(inner(value))

    return run


for kind, step in ((types.int64, 1), (types.int64, 5), (types.float32, 1)):
    run = twice(kind, step)
    misses = sum(sum(each.stats.cache_misses.values()) for each in (run, adder(kind, step)))
    print(run(10), misses)
"""


def run(folder: Path) -> list[str]:
    """Run the script in a process of its own."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")}
    found = subprocess.run(
        [sys.executable, str(folder / "kernels.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.splitlines()


def test_the_next_process_compiles_nothing(tmp_path: Path) -> None:
    """Kinds and values around a function, and its code, are told apart; in functions that it calls too."""
    (tmp_path / "kernels.py").write_text(KERNELS)

    assert run(tmp_path) == ["12 2", "20 2", "12.0 2"]
    assert run(tmp_path) == ["12 0", "20 0", "12.0 0"]
    (tmp_path / "kernels.py").write_text(KERNELS.replace("value + kind(step)", "value - kind(step)"))
    assert run(tmp_path) == ["8 2", "0 2", "8.0 2"]


def test_other_files_are_compiled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function may call others of another file, whose old code must not go on in it."""
    told = (
        "import os\nfrom headrace.augment.fused import compiling\n"
        "compiling.sources = lambda: os.environ['FILES']\n"
    )
    (tmp_path / "kernels.py").write_text(told + KERNELS)
    misses: list[list[str]] = []
    for files in ("one", "one", "two", "one"):
        monkeypatch.setenv("FILES", files)
        misses.append([line.split()[1] for line in run(tmp_path)])

    assert misses == [["2"] * 3, ["0"] * 3, ["2"] * 3, ["0"] * 3]
