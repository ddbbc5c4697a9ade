"""Telling people how far a job's stages are: bars on a terminal, elsewhere at most a line per tenth.

Whatever happens to standard error, nothing is raised into the job.
"""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from headrace.errors import OptionError
from headrace.execution.stages import Quiet, Reporter, Stage, Told

if TYPE_CHECKING:
    from rich.progress import Progress as Display
    from rich.progress import TaskID

Progress = bool | Callable[[int, int], None] | Reporter
"""Whether to show how far work is; or a function of how many items are done and how many there are."""

PATIENCE_SECONDS = 1.0
"""Work that takes less is not worth a line."""

_PACE_SECONDS = 30.0  # the speed is that of the last half minute
_POINT_SECONDS = 0.1
_BAR_WIDTH = 24
_UNWRITABLE = (OSError, ValueError, AttributeError)  # a stream that is full, closed, or not there at all


def reporter_for(progress: Progress, is_brief: bool = False) -> Reporter:
    """Choose who is told.

    Args:
        progress: True for bars or lines on standard error, False for nothing, a function of items done
            and items in all, or a reporter.
        is_brief: Draw only what takes more than a second, leave nothing behind, and write no lines.

    Raises:
        OptionError: It is none of these.

    Example:
        >>> type(reporter_for(False)).__name__
        'Quiet'
    """
    if isinstance(progress, bool):
        return _Unfailing(_standard(is_brief)) if progress else Quiet()
    if isinstance(progress, Reporter):
        return progress
    if callable(progress):
        return Told(progress)
    raise OptionError(f"`progress` must be True, False or a function of two whole numbers, got {progress!r}")


def _standard(is_brief: bool) -> Reporter:
    """Bars where standard error is a terminal that can move its cursor, or else lines."""
    stream: Any = _Harmless(sys.stderr)
    if stream.isatty():
        from rich.console import Console

        if not Console(file=stream).is_dumb_terminal:
            return Bars(stream, is_brief)
    return Quiet() if is_brief else Lines(stream)


class Lines:
    """Writes at most ten lines for each stage, all but the last within it, and none in its first second.

    Example:
        >>> lines = Lines(sys.stdout)
        >>> stage = Stage("write", 100, done=40, rows=1_200_000, seconds=4.0)
        >>> lines.advance(stage)
        write: 40 of 100 shards, 1,200,000 rows
    """

    def __init__(self, stream: Any) -> None:
        """Keep where to write."""
        self._stream = stream
        self._paces: dict[Stage, Pace] = {}
        self._tenths: dict[Stage, int] = {}

    def begin(self, stage: Stage) -> None:
        """Remember where it began."""
        self._paces[stage] = Pace()
        self._paces[stage].note(stage)

    def advance(self, stage: Stage) -> None:
        """Write a line at each tenth but the last."""
        pace = self._paces.setdefault(stage, Pace())
        pace.note(stage)
        tenth = 10 * stage.done // max(stage.total, 1)
        if stage.seconds >= PATIENCE_SECONDS and self._tenths.get(stage, 0) < tenth < 10:
            self._tenths[stage] = tenth
            self._write(f"{stage.name}: {describe(stage, pace)}")

    def end(self, stage: Stage) -> None:
        """Write what came of it."""
        self._paces.pop(stage, None)
        self._tenths.pop(stage, None)
        if stage.seconds >= PATIENCE_SECONDS:
            self._write(f"{stage.name}: {describe_end(stage)}")

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


class Bars:
    """Draws a bar for each stage; those that are over stay, with the time that they took.

    The cursor is never hidden, so that nothing has to bring it back.
    """

    def __init__(self, stream: Any, is_brief: bool) -> None:
        """Draw on a terminal; a brief bar comes after a second, and goes when it is over."""
        self._stream = stream
        self._is_brief = is_brief
        self._display: Display | None = None
        self._shown: dict[Stage, TaskID | None] = {}  # stages that are under way
        self._paces: dict[Stage, Pace] = {}

    def begin(self, stage: Stage) -> None:
        """Draw its bar."""
        self._shown[stage] = None
        self._paces[stage] = Pace()
        self._paces[stage].note(stage)
        if not self._is_brief:
            self._draw(stage)

    def advance(self, stage: Stage) -> None:
        """Draw how far it is."""
        self._paces[stage].note(stage)
        if not self._is_brief or stage.seconds >= PATIENCE_SECONDS:
            self._draw(stage)

    def end(self, stage: Stage) -> None:
        """Draw its end; the terminal is given back with the last of the stages that are under way."""
        task = self._shown.pop(stage, None)
        self._paces.pop(stage, None)
        display = self._display
        try:
            if display is not None and task is not None:
                display.update(task, completed=stage.done, total=stage.total, detail=describe_end(stage))
                display.stop_task(task)
        finally:
            if display is not None and not self._shown:
                self._display = None
                display.stop()

    def _draw(self, stage: Stage) -> None:
        if self._display is None:
            self._display = _display(self._stream, self._is_brief)
            self._display.start()
        total = stage.total or None  # a bar that goes to and fro while nobody knows
        task = self._shown[stage]
        if task is None:
            task = self._shown[stage] = self._display.add_task(stage.name, total=total, detail="")
        detail = describe(stage, self._paces[stage])
        self._display.update(task, completed=stage.done, total=total, detail=detail)


class Pace:
    """How fast a stage goes on, over the last half minute.

    What is done in its first moment was there before, as when a job is continued, and does not count.
    """

    def __init__(self) -> None:
        """Begin without having seen anything."""
        self._points: deque[tuple[float, int, int]] = deque()

    def note(self, stage: Stage) -> None:
        """Look at a stage."""
        point = (stage.seconds, stage.done, stage.rows)
        points = self._points
        if len(points) == 1 and stage.seconds < _POINT_SECONDS:
            points[0] = point
        elif not points or stage.seconds - points[-1][0] >= _POINT_SECONDS:
            points.append(point)
        while len(points) > 2 and stage.seconds - points[0][0] > _PACE_SECONDS:
            points.popleft()

    def rows_per_second(self, stage: Stage) -> float:
        """Samples of each second; zero while unknown."""
        return self._rate(stage, stage.rows, 2)

    def seconds_left(self, stage: Stage) -> float | None:
        """How long the rest takes; None while unknown."""
        rate = self._rate(stage, stage.done, 1)
        return (stage.total - stage.done) / rate if rate > 0 else None

    def _rate(self, stage: Stage, now: int, place: int) -> float:
        if not self._points:
            return 0.0
        first = self._points[0]
        passed = stage.seconds - first[0]
        return (now - first[place]) / passed if passed > 0 else 0.0


def describe(stage: Stage, pace: Pace) -> str:
    """Say how far a stage is.

    Example:
        >>> pace = Pace()
        >>> for done in (0, 20, 40):
        ...     stage = Stage("write", 100, done=done, rows=done * 10, seconds=done / 4)
        ...     pace.note(stage)
        >>> describe(stage, pace)
        '40 of 100 shards, 400 rows, 40 rows/s, 15 s left'
    """
    parts = [*_items(stage), *_rows(stage, pace.rows_per_second(stage))]
    left = pace.seconds_left(stage)
    if left is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def describe_end(stage: Stage) -> str:
    """Say what came of a stage.

    Example:
        >>> describe_end(Stage("write", 2, done=2, rows=10, seconds=4.0))
        '2 of 2 shards, 10 rows, 2 rows/s, took 4.0 s'
        >>> describe_end(Stage("write", 2, done=1, seconds=90.0))
        'stopped at 1 of 2 shards, after 90 s'
    """
    rows = _rows(stage, stage.rows / stage.seconds if stage.seconds > 0 else 0.0)
    parts = ", ".join([*_items(stage), *rows])
    if stage.done < stage.total:
        return f"stopped at {parts}, after {duration(stage.seconds)}"
    return f"{parts}{', ' if parts else ''}took {duration(stage.seconds)}"


def duration(seconds: float) -> str:
    """Word a time.

    Example:
        >>> duration(0.26), duration(12.3), duration(300), duration(9000)
        ('0.3 s', '12 s', '5 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _items(stage: Stage) -> Iterator[str]:
    if stage.total:
        yield f"{stage.done:,} of {stage.total:,} {stage.unit}"


def _rows(stage: Stage, per_second: float) -> Iterator[str]:
    if stage.rows:
        yield f"{stage.rows:,} rows"
        if per_second >= 1:
            yield f"{per_second:,.0f} rows/s"


def _display(stream: Any, is_brief: bool) -> Display:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Display
    from rich.table import Column

    class OpenConsole(Console):
        def show_cursor(self, show: bool = True) -> bool:
            return False  # also without a bar's end, as after a kill, the cursor is where it was

    one_line = Column(no_wrap=True, overflow="ellipsis")
    return Display(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False, table_column=one_line),
        BarColumn(_BAR_WIDTH),
        TextColumn("{task.fields[detail]}", markup=False, table_column=one_line),
        console=OpenConsole(file=stream, highlight=False),
        transient=is_brief,
        redirect_stdout=_is_terminal(sys.stdout),  # what goes into a file must not come up here
    )


class _Unfailing:
    """Tells another reporter until that fails once: a job does not depend on whoever watches."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter: Reporter = reporter

    def begin(self, stage: Stage) -> None:
        with self._told():
            self._reporter.begin(stage)

    def advance(self, stage: Stage) -> None:
        with self._told():
            self._reporter.advance(stage)

    def end(self, stage: Stage) -> None:
        with self._told():
            self._reporter.end(stage)

    @contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except Exception:
            self._reporter = Quiet()


class _Harmless(io.TextIOBase):
    """A stream that drops what cannot be written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(*_UNWRITABLE):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(*_UNWRITABLE):
            self._stream.flush()

    def isatty(self) -> bool:
        return _is_terminal(self._stream)

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  nobody sets it
        return getattr(self._stream, "encoding", None) or "utf-8"


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except _UNWRITABLE:
        return False
