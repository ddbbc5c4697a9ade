"""Programs that hold and claim leases in processes of their own.

python lease_programs.py hold FOLDER NAME SECONDS [fork]: claim, say "held", and hold until a line comes;
    then let go and say "released". With "fork", a child without any work outlives the holder.
python lease_programs.py wait FOLDER NAME: say "waiting", and claim for ever.
python lease_programs.py share FOLDER COUNT: once a line comes, claim each of so many names and note in a
    file which of them fell to this process.
python lease_programs.py unprivileged NAME: claim in the current folder as a user who may only read it, and
    say what was got.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from headrace.stores.leases import Leases

HERE = Path(__file__)


def start(*arguments: object, folder: Path | None = None) -> subprocess.Popen[str]:
    """Start one of the programs."""
    return subprocess.Popen(
        [sys.executable, str(HERE), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[2] / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


def line_of(program: subprocess.Popen[str]) -> str:
    """The next line that a program says."""
    assert program.stdout is not None
    return program.stdout.readline().strip()


def tell(program: subprocess.Popen[str]) -> None:
    """Let a program go on."""
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


def hold(folder: str, name: str, seconds: str, *options: str) -> None:
    with Leases(Path(folder), float(seconds)).claim(name, lambda: False):
        child = os.fork() if options else -1
        if child == 0:
            os.close(0)
            os.close(1)
            time.sleep(600)
        print("held", child, flush=True)
        sys.stdin.readline()
    print("released", flush=True)


def wait(folder: str, name: str) -> None:
    print("waiting", flush=True)
    with Leases(Path(folder)).claim(name, lambda: False):
        print("held", flush=True)


def share(folder: str, count: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    leases, done = Leases(Path(folder)), Path(folder).parent / "done"
    for number in range(int(count)):
        path = done / str(number)
        with leases.claim(str(number), path.exists) as is_mine:
            if is_mine:
                with open(done.parent / "computed", "a") as log:
                    log.write(f"{number}\n")
                time.sleep(0.002)
                path.touch()


def unprivileged(name: str) -> None:
    if os.getuid() == 0:
        os.setuid(65534)
    leases = Leases(Path())
    with leases.claim(name, lambda: False) as is_mine:
        print(is_mine, leases.is_claimed(name), flush=True)


if __name__ == "__main__":
    {"hold": hold, "wait": wait, "share": share, "unprivileged": unprivileged}[sys.argv[1]](*sys.argv[2:])
