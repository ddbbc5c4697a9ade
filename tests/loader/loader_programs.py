"""Programs that tests run in processes of their own, and end by force or by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def start(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Run a program in a process group of its own, with headrace and the tests' data sets at hand."""
    paths = os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(code: str, *arguments: object, **environment: str) -> str:
    """Run a program to its end and return what it printed."""
    process = start(code, *arguments, **environment)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output


def interrupt(process: subprocess.Popen[str], times: int = 1) -> float:
    """Press Ctrl-C once the program has said that it is ready; return how long it took to end."""
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise AssertionError(process.communicate(timeout=10))
    begin = time.monotonic()
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return time.monotonic() - begin


def left_members(group: int, seconds: float = 2.0) -> list[int]:
    """The processes of a group that have not followed its first one to its end after a moment."""
    end = time.monotonic() + seconds
    while (members := _group_members(group)) and time.monotonic() < end:
        time.sleep(0.05)
    return members


def _group_members(group: int) -> list[int]:
    members: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                members.append(int(folder.name))
    return members
