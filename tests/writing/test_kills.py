"""Jobs that end at any moment, on disks that get full, and run again: one output, byte for byte."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_jobs import FIRST, run, tree

import headrace as hr
from headrace.writing.journal import Journal

PROGRAM = Path(__file__).with_name("journal_programs.py")


def answer(*args: object) -> str:
    """Run a program to its end, and return what it printed."""
    command = [sys.executable, os.fspath(PROGRAM), *map(str, args)]
    program = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert program.returncode == 0, program.stderr
    assert program.stderr == ""
    return program.stdout


def stopped(text: str) -> list[int]:
    """How many jobs a program stopped, for each scenario; one was not."""
    counts = [tuple(map(int, line.split())) for line in text.splitlines()]
    assert [through for _, through in counts] == [1] * len(counts)
    return [count for count, _ in counts]


def test_job_ends_before_any_operation_on_files(tmp_path: Path) -> None:
    """Wherever a job ends there is a whole output or none, and the next run makes that of a clean one."""
    assert min(stopped(answer("steps", tmp_path, "write,update"))) > 60


def test_disk_that_is_full_from_an_operation_on(tmp_path: Path) -> None:
    """The error says so and what to do, and the next run makes the output of a clean one."""
    assert stopped(answer("refused", tmp_path, "update", 4))[0] > 15


def test_jobs_that_end_again_and_again(tmp_path: Path) -> None:
    """A run that continues another may end as well, as may the one after it."""
    assert int(answer("again", tmp_path, 0, 5)) > 5


def test_jobs_are_killed_at_random_moments(tmp_path: Path) -> None:
    """With the processes that write for it, or without them, whose work then ends beside the next run's."""
    assert int(answer("killed", tmp_path, 0, 4)) > 3


@pytest.mark.slow
def test_jobs_are_killed_a_hundred_times(tmp_path: Path) -> None:
    """The same holds for a hundred moments and more, and for a thousand operations."""
    assert len(stopped(answer("steps", tmp_path / "steps", "continue,anew"))) == 2
    assert stopped(answer("refused", tmp_path / "write", "write", 1))[0] > 60
    assert stopped(answer("refused", tmp_path / "update", "update", 1))[0] > 60
    kills, number = 0, 1
    while kills < 100:
        kills += int(answer("killed", tmp_path / f"killed-{number}", number, 20))
        number += 1
    assert int(answer("again", tmp_path / "again", 1, 300)) > 1000


def test_file_that_may_not_grow(tmp_path: Path) -> None:
    """A shard beyond the limit of a file's size is told, and what was written before it is kept."""
    out = tmp_path / "out"
    text = answer("limited", out)

    assert text.startswith(f"{out}: a file reached the size allowed; raise the limit (`ulimit -f`)")
    assert text.endswith("run again: 1 of 2 shards is kept\n")
    assert run(out, FIRST) == FIRST.names[1:]


# Two jobs at once


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that begins a job and waits, with a child."""
    command = [sys.executable, os.fspath(PROGRAM), "hold", os.fspath(tmp_path / "out"), "fork"]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield program
    finally:
        program.kill()
        program.communicate()


def line_of(program: subprocess.Popen[str]) -> list[str]:
    assert program.stdout is not None
    return program.stdout.readline().split()


def test_second_job_is_refused_until_the_first_ends(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """The second is told at once who is at it; a job that is killed leaves nothing to wait for."""
    _, process, child = line_of(holder)
    out = tmp_path / "out"
    try:
        for resume in (True, False):
            with pytest.raises(hr.OutputError, match="another job is writing") as caught:
                Journal.open(out, FIRST.identity, resume=resume, update=False)
            assert f"(process {process} on {socket.gethostname()})" in str(caught.value)
        holder.kill()
        holder.wait()
        assert run(out, FIRST) == FIRST.names  # although the child lives
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_job_that_lets_go_is_followed(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """After `close` the folder is free, while process and child live on."""
    _, _, child = line_of(holder)
    try:
        assert holder.stdin is not None
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert line_of(holder) == ["released"]
        assert run(tmp_path / "out", FIRST) == FIRST.names
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
