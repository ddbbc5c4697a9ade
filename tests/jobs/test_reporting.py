"""Progress: lines and bars say what is so, are few, and never disturb the work."""

from __future__ import annotations

import os
import pty
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from terminals import HIDE_CURSOR, Terminal, last_lines

import headrace as hr
from headrace.execution.reporting import Lines, reporter_for
from headrace.execution.stages import Stage, Stages


class Clock:
    """Time that passes only when it is told to."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("headrace.execution.stages.time", clock := Clock())
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal of the usual kind."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    yield terminal
    if not terminal.stream.closed:
        terminal.hang_up()


def write(total: int, error: type[BaseException], before: Callable[[], None] = lambda: None) -> None:
    """Fail after the first shard."""
    with Stages(reporter_for(True)).stage("write", total) as advance:
        before()
        advance()
        raise error


def test_lines_without_a_terminal(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    """A line per tenth says how far, how fast and how long, and the last what the stage took."""
    stages = Stages(reporter_for(True))
    with stages.stage("write", 20) as advance:
        for _ in range(20):
            clock.now += 1.5
            advance(rows=1_000)
    with stages.stage("short", 20) as advance:
        for _ in range(20):
            advance(rows=1_000)
    lines = capfd.readouterr().err.splitlines()

    assert len(lines) == 10
    assert lines[0] == "write: 2 of 20 shards, 2,000 rows, 667 rows/s, 27 s left"
    assert lines[3] == "write: 8 of 20 shards, 8,000 rows, 667 rows/s, 18 s left"
    assert lines[9] == "write: 20 of 20 shards, 20,000 rows, 667 rows/s, took 30 s"


def test_what_was_done_before_does_not_count_as_speed(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    """A job that is continued foretells its end by what it does now."""
    with Stages(reporter_for(True)).stage("write", 100) as advance:
        clock.now = 0.01
        advance(items=80)
        for _ in range(10):
            clock.now += 6
            advance()

    assert "write: 90 of 100 shards, 60 s left" in capfd.readouterr().err.splitlines()


def test_a_stage_that_is_given_up_says_so(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    """An error ends the stage, and passes."""
    with pytest.raises(ZeroDivisionError):
        write(4, ZeroDivisionError, lambda: setattr(clock, "now", 200.0))

    lines = capfd.readouterr().err.splitlines()
    assert lines == [lines[0], "write: stopped at 1 of 4 shards, after 3 min"]


@settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    total=st.integers(0, 50),
    moves=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 500), st.floats(0, 9)), max_size=20),
)
def test_lines_are_few(total: int, moves: list[tuple[int, int, float]]) -> None:
    """Whatever a stage does: at most ten lines, none in its first second, and no number that is not so."""
    written: list[str] = []

    class Stream:
        def write(self, text: str) -> None:
            written.append(text)

        def flush(self) -> None:
            pass

    stage, lines = Stage("write", total), Lines(Stream())
    lines.begin(stage)
    for items, rows, seconds in moves:
        stage.done, stage.rows = stage.done + items, stage.rows + rows
        stage.seconds += seconds
        before = len(written)
        lines.advance(stage)
        for line in written[before:]:
            assert stage.seconds >= 1
            assert line.startswith(f"write: {stage.done} of {total} shards" if total else "write: ")
    lines.end(stage)

    assert len(written) <= 10
    assert bool(written) == (stage.seconds >= 1)


def test_bars_on_a_terminal(terminal: Terminal, capfd: pytest.CaptureFixture[str]) -> None:
    """Every stage has its bar; what is printed meanwhile goes where it went before."""
    with terminal.as_standard_error():
        stages = Stages(reporter_for(True))
        with stages.stage("select", 2, "row groups") as advance:
            advance(2, rows=30)
        with stages.stage("write [all]", 4) as advance:
            advance()
            print("a result")
            print("a [red]warning[/red]", file=sys.stderr)
    written = terminal.hang_up()
    shown = last_lines(written)

    assert re.fullmatch(r"select ━+ 2 of 2 row groups, 30 rows.*, took 0.. s", shown[0])
    assert shown[1] == "a [red]warning[/red]"
    assert re.fullmatch(r".? ?write \[all\] .* stopped at 1 of 4 shards, after 0.. s", shown[2])
    assert HIDE_CURSOR not in written
    assert capfd.readouterr().out == "a result\n"


@pytest.mark.parametrize("columns", [1, 7, 40])
def test_bars_on_a_narrow_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """No width is too small."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with terminal.as_standard_error(), Stages(reporter_for(True)).stage("write", 4) as advance:
        for _ in range(4):
            advance(rows=10)
    written = terminal.hang_up()

    assert HIDE_CURSOR not in written
    assert all(len(line) <= columns for line in last_lines(written))


def test_an_interrupt_gives_the_terminal_back(terminal: Terminal) -> None:
    """Ctrl-C leaves a line of its own, a cursor that shows, and nobody who goes on drawing."""
    threads = set(threading.enumerate())
    with terminal.as_standard_error():
        with pytest.raises(KeyboardInterrupt):
            write(4, KeyboardInterrupt)
        assert sys.stderr is terminal.stream
    assert set(threading.enumerate()) <= threads
    written = terminal.hang_up()

    assert HIDE_CURSOR not in written
    assert written.endswith("\n")


def test_a_terminal_that_goes_away_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window was closed, and the job goes on."""
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    with patch.object(sys, "stderr", stream):
        stages = Stages(reporter_for(True))
        with stages.stage("write", 4) as advance:
            advance()
            os.close(master)
            advance(3)
    assert stages.all[0].done == 4
    with pytest.raises(OSError, match="Input/output error"):
        stream.close()


def test_no_standard_error_disturbs_nobody(clock: Clock) -> None:
    """Closed, full, or not there at all: work goes on in silence."""
    with Path(os.devnull).open("w") as closed, Path("/dev/full").open("w", buffering=1) as full:
        closed.close()
        for stream in (closed, None, full):
            stages = Stages()
            with patch.object(sys, "stderr", stream):
                stages.reporter = reporter_for(True)
                with stages.stage("write", 4) as advance:
                    clock.now += 5
                    advance(4)
            assert stages.all[0].done == 4
        with suppress(OSError):
            full.close()


def test_a_dumb_terminal_gets_lines(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that cannot move its cursor is written to as a file is."""
    monkeypatch.setenv("TERM", "dumb")
    with terminal.as_standard_error(), Stages(reporter_for(True)).stage("write", 4) as advance:
        clock.now += 5
        advance(4)

    assert terminal.hang_up() == "write: 4 of 4 shards, took 5.0 s\r\n"


def test_a_scan_draws_one_bar_that_goes(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a verb reads is shown while it reads, and leaves nothing behind."""
    monkeypatch.setattr("headrace.execution.reporting.PATIENCE_SECONDS", 0.0)
    ds = hr.from_arrays({"x": list(range(10))})
    with terminal.as_standard_error():
        assert len(ds.filter(pl.col("x") > 4)) == 5
    written = terminal.hang_up()

    assert "1 of 1 row groups" in written
    assert last_lines(written)[-1] == ""


def test_quiet_and_told(capfd: pytest.CaptureFixture[str]) -> None:
    """False is silent, a function is told, a reporter is taken, and anything else is refused."""
    told: list[tuple[int, int]] = []
    for progress in (False, lambda done, total: told.append((done, total)), reporter_for(False)):
        with Stages(reporter_for(progress)).stage("write", 2) as advance:
            advance(2)

    assert told == [(2, 2)]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(hr.OptionError, match="`progress` must be True, False or a function"):
        reporter_for("bar")  # type: ignore[arg-type]


def test_a_function_that_raises_is_heard() -> None:
    """The user's own function is part of the work."""

    def refuse(done: int, total: int) -> None:
        raise ZeroDivisionError

    with Stages(reporter_for(refuse)).stage("write", 2) as advance, pytest.raises(ZeroDivisionError):
        advance()


def test_a_stage_that_reads_nothing(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    """Where there was nothing to count, only the time is told."""
    with Stages(reporter_for(True)).follow("select"):
        clock.now = 5.0

    assert capfd.readouterr().err == "select: took 5.0 s\n"


def test_a_stage_that_others_count() -> None:
    """Each pass adds its row groups and its samples to the stage."""
    ds = hr.from_arrays({"x": list(range(100))})
    stages = Stages()
    with stages.follow("select", rows=len(ds)) as progress:
        for least in (10, 20):
            ds.filter(pl.col("x") * 2 > least, progress=progress)
    with stages.follow("nothing") as progress:
        pass
    select, nothing = stages.all

    assert (select.name, select.unit, select.done, select.total) == ("select", "row groups", 2, 2)
    assert select.rows == 2 * len(ds)
    assert (nothing.done, nothing.total, nothing.rows) == (0, 0, 0)
