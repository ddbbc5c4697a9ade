"""Programs and functions for the tests of host processes; modules, so that another process finds them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import polars as pl

SOURCE = Path(__file__).parents[2] / "src"

# Trains until it is stopped, or for one batch.
TRAINING = """
import sys, time
import numpy as np
import headrace as hr
from host_programs import slowly

def main():
    dataset = hr.from_arrays({"x": np.arange(40)})
    if sys.argv[1] == "sleep":
        dataset = dataset.map(slowly, version="1")
    loader = dataset.loader(4, output="numpy", host="process")
    for batch in loader:
        break
    print("done")

if __name__ == "__main__":
    main()
"""

UNGUARDED = """
import numpy as np
import headrace as hr
print(len(list(hr.from_arrays({"x": np.arange(40)}).loader(4, output="numpy", host="process"))))
"""


@dataclass(frozen=True)
class Noting:
    """A function of a frame that notes each call in a file."""

    path: str

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Note the call."""
        with open(self.path, "a") as file:
            file.write(".")
        return frame


def warn(frame: pl.DataFrame) -> pl.DataFrame:
    """Complain."""
    warnings.warn("the samples are odd", UserWarning, stacklevel=2)
    return frame


def slowly(frame: pl.DataFrame) -> pl.DataFrame:
    """Say which process this is, and take a minute."""
    print(os.getpid(), flush=True)
    time.sleep(60)
    return frame


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run a program from a file, as spawned processes must find it, in a process group of its own."""
    paths = os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])
    script = Path(tempfile.mkdtemp(prefix="headrace-")) / "program.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(code: str, *arguments: str) -> tuple[str, str]:
    """Run a program to its end; return what it printed, and what it complained of."""
    output, errors = (program := start(code, *arguments)).communicate(timeout=120)
    assert program.returncode == 0, errors
    return output, errors


def interrupt(program: subprocess.Popen[str], times: int) -> float:
    """Press Ctrl-C, and return how long the program took to end."""
    begin = time.monotonic()
    for _ in range(times):
        os.killpg(program.pid, signal.SIGINT)
        time.sleep(0.1)
    program.wait(20)
    return time.monotonic() - begin


def is_alive(number: int) -> bool:
    """Whether a process runs; one that has ended and is not yet taken note of does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
