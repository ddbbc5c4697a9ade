"""`ds.write` that is killed at random moments and run again: the files of a run that nothing happened to."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from journal_jobs import tree
from write_programs import main

PROGRAM = Path(__file__).with_name("write_programs.py")
MOST = 60  # runs until one goes through, of which each is likelier than the one before


def put(folder: Path, numbers: range) -> None:
    folder.mkdir()
    for number in numbers:
        table = pa.table({"x": np.arange(number * 40, (number + 1) * 40)})
        pq.write_table(table, folder / f"in-{number:02}.parquet", row_group_size=10)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards as they are first, and later, when one is new, one gone and one changed."""
    folder = tmp_path_factory.mktemp("data")
    put(folder / "first", range(8))
    put(folder / "second", range(1, 9))
    pq.write_table(pa.table({"x": [1, 2, 3]}), folder / "second" / "in-04.parquet")
    return folder


def clean(data: Path, out: Path) -> dict[str, bytes | None]:
    """What is written when nothing happens."""
    main(os.fspath(data), os.fspath(out), "threads")
    return tree(out)


def start(data: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Run the program in a group of processes of its own, until it begins to write."""
    command = [sys.executable, os.fspath(PROGRAM), os.fspath(data), os.fspath(out), *options]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert program.stdout is not None
    with program.stdout:
        assert program.stdout.readline() == "begun\n"
    return program


def kill_until_done(rng: random.Random, span: float, data: Path, out: Path, *options: str) -> int:
    """Run the program until it goes through, kill each run at a random moment, and return how many were.

    Half of them lose all processes, and half the one that leads the others, which may go on a while.
    """
    for kills in range(MOST):
        program = start(data, out, *options)
        try:
            code = program.wait(timeout=rng.uniform(0, span))
        except subprocess.TimeoutExpired:
            kill = rng.choice([os.kill, os.killpg])
            kill(program.pid, signal.SIGKILL)
            code = program.wait()
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            return kills
        span *= 1.1  # on a machine that gets slower
    raise AssertionError(f"no run of {MOST} went through")


def test_killed_write_comes_to_the_files_of_a_clean_run(data: Path, tmp_path: Path) -> None:
    """Killed when it had written some shards, and run again: no shard is wrong, doubled or lost."""
    out = tmp_path / "out"
    program = start(data / "first", out, "threads")
    while program.poll() is None and len(list(out.glob("plain/_unfinished/*/part-*.parquet"))) < 3:
        time.sleep(0.002)
    program.kill()
    program.wait()

    assert clean(data / "first", out) == clean(data / "first", tmp_path / "clean")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_kills_of_two_processes(data: Path, tmp_path: Path) -> None:
    """The same holds after a hundred kills of jobs that write by two processes, first runs and updates."""
    rng, kills, number = random.Random(1), 0, 0
    first = clean(data / "first", tmp_path / "clean-first")
    second = clean(data / "second", tmp_path / "clean-second")
    begin = time.monotonic()
    assert start(data / "first", tmp_path / "timed", "processes").wait() == 0
    span = time.monotonic() - begin
    while kills < 100:
        out = tmp_path / str(number)
        kills += kill_until_done(rng, span, data / "first", out, "processes")
        assert tree(out) == first
        kills += kill_until_done(rng, span, data / "second", out, "processes", "update")
        assert tree(out) == second
        number += 1
