"""Jobs that end at any moment, on disks that get full, and run again: one output, byte for byte."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from journal_jobs import FIRST, run, tree

import headrace as hr
from headrace.writing.journal import Journal

PROGRAM = Path(__file__).with_name("journal_programs.py")


Ask = Callable[..., str]


@contextmanager
def started(*args: object) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, os.fspath(PROGRAM), *map(str, args)]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield program
    finally:
        program.kill()
        program.communicate()


def ask_of(program: subprocess.Popen[str], *args: object) -> str:
    """Send a line and return the one that comes back; what goes wrong there is printed among the errors."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(" ".join(map(str, args)) + "\n")
    program.stdin.flush()
    line = program.stdout.readline()
    assert line, f"the program has ended with {program.wait()}"
    return line.strip()


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Ask a program that stops jobs."""
    with started("serve") as program:
        yield lambda *args: ask_of(program, *args)


def stopped(text: str) -> int:
    """How many jobs a program stopped; the last one went through."""
    count, through = map(int, text.split())
    assert through == 1
    return count


def test_job_ends_before_any_operation_on_files(ask: Ask, tmp_path: Path) -> None:
    """Wherever a job ends there is a whole output or none, and the next run makes that of a clean one."""
    assert stopped(ask("steps", tmp_path, "update")) > 60


def test_disk_that_is_full_from_an_operation_on(ask: Ask, tmp_path: Path) -> None:
    """The error says so and what to do, and the next run makes the output of a clean one."""
    assert stopped(ask("refused", tmp_path, "update", 5)) > 10


def test_jobs_that_end_again_and_again(ask: Ask, tmp_path: Path) -> None:
    """A run that continues another may end as well, as may the one after it."""
    assert int(ask("again", tmp_path, 0, 4)) > 3


def test_jobs_are_killed_at_random_moments(ask: Ask, tmp_path: Path) -> None:
    """With the processes that write for it, or without them, whose work then ends beside the next run's."""
    assert int(ask("killed", tmp_path, 0, 4)) > 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_jobs_are_killed_a_hundred_times(ask: Ask, tmp_path: Path) -> None:
    """The same holds for a hundred moments and more, and for many operations in a row."""
    for scenario in ("write", "continue", "anew"):
        assert stopped(ask("steps", tmp_path / f"steps-{scenario}", scenario)) > 60
    for scenario in ("write", "update"):
        assert stopped(ask("refused", tmp_path / f"refused-{scenario}", scenario, 1)) > 60
    kills, number = 0, 1
    while kills < 100:
        kills += int(ask("killed", tmp_path / f"killed-{number}", number, 20))
        number += 1
    assert int(ask("again", tmp_path / "again", 1, 80)) > 100


def test_file_that_may_not_grow(ask: Ask, tmp_path: Path) -> None:
    """A shard beyond the limit of a file's size is told, and what was written before it is kept."""
    out = tmp_path / "out"
    text = ask("limited", out)

    assert text.startswith(f"{out}: a file reached the size allowed; raise the limit (`ulimit -f`)")
    assert text.endswith("run again: 1 of 2 shards is kept")
    assert run(out, FIRST) == FIRST.names[1:]


# Two jobs at once


def test_second_job_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    """The second is told at once who is at it; one that lets go or is killed leaves nothing to wait for."""
    out = tmp_path / "out"
    with started("hold", out) as program:
        assert program.stdout is not None
        _, process, child = program.stdout.readline().split()
        try:
            for resume in (True, False):
                with pytest.raises(hr.OutputError, match="another job is writing") as caught:
                    Journal.open(out, FIRST.identity, resume=resume, update=False)
                assert f"(process {process} on {socket.gethostname()})" in str(caught.value)
            assert ask_of(program) == "released"
            assert run(out, FIRST) == FIRST.names
            assert ask_of(program) == "held"
            with pytest.raises(hr.OutputError, match="another job is writing"):
                run(out, FIRST)
            program.kill()
            program.wait()
            assert run(out, FIRST) == FIRST.names  # although a child of it lives
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_two_jobs_of_one_process(tmp_path: Path) -> None:
    """Two threads of one process are two jobs as well."""
    journal = Journal.open(tmp_path / "out", FIRST.identity, resume=True, update=False)
    with pytest.raises(hr.OutputError, match=f"process {os.getpid()} on"):
        run(tmp_path / "out", FIRST)
    journal.close()

    assert run(tmp_path / "out", FIRST) == FIRST.names


def test_forked_child_neither_publishes_nor_lets_go(tmp_path: Path) -> None:
    """The lock is its parent's, who holds it whatever the child does to the journal, and when it ends."""
    journal = Journal.open(tmp_path / "out", FIRST.identity, resume=True, update=False)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with pytest.raises(hr.ClosedError, match="another process"):
                journal.publish(None, {})  # pyright: ignore[reportArgumentType] - it gets no further
            journal.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(hr.OutputError, match="another job"):
        run(tmp_path / "out", FIRST)
    journal.close()

    assert tree(tmp_path / "out")
