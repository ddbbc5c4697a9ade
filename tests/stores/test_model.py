"""The folder store against a dictionary: whatever happens, an entry is read right or not there.

One machine uses a store's tables, the other one the loaders of a file that is edited.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import headrace as hr
from headrace.stores.base import Columns, Entry, Layout
from headrace.stores.folder.store import FolderStore

ROWS = (40, 1, 70, 25, 60)
LAYOUTS = 2
NUMBERS = st.integers(0, len(ROWS) - 1)
ANY = st.integers(0, 100_000)  # which file, which byte: the remainder by how many there are
LIMITS = st.sampled_from([None, 8_000, 12_000, 20_000, 40_000])
WRITING = (
    *("open", "pwrite", "pwritev", "write", "fsync", "fdatasync", "posix_fallocate", "ftruncate", "truncate"),
    *("rename", "replace", "link", "unlink", "mkdir", "rmdir", "utime"),
)


def rows_of(content: int, number: int) -> Columns:
    """What the steps would compute for an entry, from what its row group holds."""
    rng, rows = np.random.default_rng((content, number)), ROWS[number]
    return {
        "wide": rng.random((rows, 8), np.float32),
        "y": rng.integers(0, 2**60, rows),
        "text": pa.array([f"{content} {row}" for row in range(rows)]),
    }


def is_equal(found: Columns, expected: Columns) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], column) if isinstance(column, np.ndarray) else column.equals(found[name])
        for name, column in expected.items()
    )


def in_child(work: Callable[[], bool]) -> int:
    """Do something in a forked process; return 0 if it was true, and minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # rather than hang
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def files_below(folder: Path) -> list[Path]:
    """All files, those that hold rows first."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: (not path.name[0].isdigit(), path))


def flip_byte(files: list[Path], which: int, place: int, change: int) -> None:
    """Turn a byte of one of the files into another one."""
    if files := [path for path in files if path.stat().st_size]:
        path = files[which % len(files)]
        with open(path, "r+b") as file:
            file.seek(place % path.stat().st_size)
            old = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([old ^ change]))


def kill_at(call: int) -> None:
    """End this process by force at the so many-th call that writes; it has written half by then.

    A record of 64 bytes lies in one page of a file, so that it is written as a whole or not at all.
    """
    left = call

    def dying(function: Any) -> Any:
        def work(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                if function.__name__ in ("write", "pwrite") and len(arguments[1]) > 64:
                    half = len(arguments[1]) // 2
                    function(arguments[0], memoryview(arguments[1])[:half], *arguments[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return work

    for name in WRITING:
        setattr(os, name, dying(getattr(os, name)))


class FolderMachine(RuleBasedStateMachine):
    """Builders, kills, damage, limits and edits, one after the other; `contents` is all that is true."""

    @initialize(limit=LIMITS, is_empty=st.booleans(), is_safe=st.booleans())
    def begin(self, limit: int | None, is_empty: bool, is_safe: bool) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.cache = self.root / "cache"
        self.contents = dict.fromkeys(range(len(ROWS)), 0)
        self.limit, self.is_safe = limit, is_safe
        self.notes: dict[Path, bytes] = {}
        self.tables = [self.open(which) for which in range(LAYOUTS)]
        if not is_empty:
            for which in range(LAYOUTS):
                self.build_all(which)

    def teardown(self) -> None:
        for table in self.tables:
            table.close()
        shutil.rmtree(self.root)

    def layout(self, which: int) -> Layout:
        """The row groups as they are now; the second layout leaves out the last."""
        entries = [
            Entry(f"{number:016x}{content:016x}", ROWS[number]) for number, content in self.contents.items()
        ]
        return Layout(tuple(entries[: len(entries) - which]))

    def open(self, which: int) -> Any:
        return FolderStore(str(self.cache), self.limit, verify="always").open(self.layout(which))

    def expected(self, number: int) -> Columns:
        return rows_of(self.contents[number], number)

    def reopen(self) -> None:
        for table in self.tables:
            table.close()
        self.tables = [self.open(which) for which in range(LAYOUTS)]

    def files(self) -> list[Path]:
        """The files that the store made; the first ones hold rows."""
        return [path for path in files_below(self.cache) if path not in self.notes]

    @rule(which=st.integers(0, LAYOUTS - 1))
    def build_all(self, which: int) -> None:
        """An epoch."""
        for number in range(len(ROWS) - which):
            self.build(which, number)

    @rule(which=st.integers(0, LAYOUTS - 1), number=NUMBERS)
    def build(self, which: int, number: int) -> None:
        """What a loader does: look, compute, put, look again."""
        table, number = self.tables[which], min(number, len(ROWS) - 1 - which)
        if table.get(number) is None:
            with table.claim(number) as is_mine:
                assert is_mine
                table.put(number, self.expected(number))
        found = table.get(number)
        assert is_equal(found or self.expected(number), self.expected(number))
        assert found is not None or self.limit is not None or not self.is_safe

    @rule(which=st.integers(0, LAYOUTS - 1))
    def read(self, which: int) -> None:
        """All that is there is right, entry by entry and as a whole."""
        assert self.is_right(self.tables[which], len(ROWS) - which)

    def is_right(self, table: Any, entries: int) -> bool:
        found = [table.get(number) for number in range(entries)]
        whole, starts = table.whole(), [0, *np.cumsum(ROWS).tolist()]
        for number in range(entries):
            expected, each = self.expected(number), found[number]
            if each is not None and not is_equal(each, expected):
                return False
            if whole is not None and table.check(number):
                part = {name: array[starts[number] : starts[number + 1]] for name, array in whole.items()}
                if not is_equal(part, {name: expected[name] for name in part}):
                    return False
        return True

    @rule(number=NUMBERS, call=st.integers(0, 60))
    def build_and_be_killed(self, number: int, call: int) -> None:
        """A builder dies at some call of the operating system, or just after its work."""

        def work() -> bool:
            kill_at(call)
            table = self.open(0)
            table.put(number, self.expected(number))
            os.kill(os.getpid(), signal.SIGKILL)
            return False

        assert in_child(work) == -signal.SIGKILL

    @rule(number=NUMBERS)
    def build_elsewhere(self, number: int) -> None:
        """Another process reads what is there, and adds to it."""

        def work() -> bool:
            table = self.open(0)
            with table.claim(number) as is_mine:
                if is_mine:
                    table.put(number, self.expected(number))
            is_right = self.is_right(table, len(ROWS))
            table.close()
            return is_right

        assert in_child(work) == 0

    @rule(number=NUMBERS)
    def edit(self, number: int) -> None:
        """A row group is given other contents: its entry is another one."""
        self.contents[number] += 1
        self.reopen()

    @rule(limit=LIMITS)
    def change_limit(self, limit: int | None) -> None:
        """The next runs use another limit."""
        self.limit = limit
        self.reopen()

    @rule()
    def begin_anew(self) -> None:
        """Another run of the same program."""
        self.reopen()

    @precondition(lambda self: not self.is_safe)
    @rule(which=ANY, place=ANY, change=st.integers(1, 255), is_seen_later=st.booleans())
    def flip(self, which: int, place: int, change: int, is_seen_later: bool) -> None:
        """A byte of any file turns into another one."""
        flip_byte(self.files(), which, place, change)
        if not is_seen_later:
            for table in range(LAYOUTS):
                self.read(table)

    @precondition(lambda self: not self.is_safe)
    @rule(which=ANY, size=ANY)
    def cut_off(self, which: int, size: int) -> None:
        """A file ends too early when the next run begins."""
        if files := self.files():
            path = files[which % len(files)]
            for table in self.tables:
                table.close()
            os.truncate(path, size % (path.stat().st_size + 1))
            self.tables = [self.open(which) for which in range(LAYOUTS)]

    @precondition(lambda self: not self.is_safe)
    @rule(which=ANY)
    def remove(self, which: int) -> None:
        """A file is gone."""
        if files := self.files():
            files[which % len(files)].unlink()

    @precondition(lambda self: not self.is_safe)
    @rule()
    def remove_all(self) -> None:
        """The whole folder is gone."""
        shutil.rmtree(self.cache, ignore_errors=True)
        self.notes = {}

    @rule(which=ANY)
    def place_note(self, which: int) -> None:
        """The user keeps a file in the folder."""
        if folders := sorted(path for path in [self.cache, *self.cache.rglob("*")] if path.is_dir()):
            path = folders[which % len(folders)] / "notes.npy"
            path.write_bytes(b"notes")
            self.notes[path] = b"notes"

    @invariant()
    def is_never_damaged_by_itself(self) -> None:
        """Kills, limits and edits leave no entry that is there and not sound."""
        assert not self.is_safe or sum(table.counts.corrupt for table in self.tables) == 0

    @invariant()
    def stays_within_the_limit(self) -> None:
        """The store's files never take more than it may keep, and those of the user are as they were."""
        if self.limit is not None:
            assert sum(path.stat().st_size for path in self.files()) <= self.limit
        for path, content in self.notes.items():
            assert path.read_bytes() == content


class LoaderMachine(RuleBasedStateMachine):
    """Runs over one file that is edited under its cache; `values` is all that is true."""

    rows = 1000  # of a row group; more than those whose values tell one file from another at its opening

    @initialize(limit=st.sampled_from([None, 60_000]))
    def begin(self, limit: int | None) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.source, self.cache = self.root / "data.parquet", self.root / "cache"
        self.values = np.arange(10_000_000, 10_000_000 + 5 * self.rows)  # of eight digits for ever
        self.limit = limit
        self.write()
        self.read()

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def write(self) -> None:
        table = pa.table({"x": self.values, "text": self.values.astype("S8")})
        content = pa.BufferOutputStream()
        plain: Any = {"use_dictionary": False, "write_statistics": False}
        pq.write_table(table, content, row_group_size=self.rows, compression="none", **plain)
        with open(self.source, "r+b" if self.source.exists() else "wb") as file:
            file.write(content.getvalue())

    def is_read_right(self) -> bool:
        dataset = hr.open(self.source).cache(self.cache, limit=self.limit)
        with dataset.loader(800, output="numpy", threads=0) as loader:
            epochs = [np.concatenate([batch["x"] for batch in loader]) for _ in range(2)]
        return all(np.array_equal(found, self.values) for found in epochs)

    @rule()
    def read(self) -> None:
        """A run delivers what the file holds now."""
        assert self.is_read_right()

    @rule(place=st.integers(0, 4999), is_seen_later=st.booleans())
    def edit(self, place: int, is_seen_later: bool) -> None:
        """The file is edited in place: its name, size and time of change stay."""
        before = self.source.stat()
        self.values[place] += 1000
        self.write()
        os.utime(self.source, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert self.source.stat().st_size == before.st_size
        if not is_seen_later:
            self.read()

    @rule(call=st.integers(0, 120))
    def run_and_be_killed(self, call: int) -> None:
        """A run dies at some call of the operating system, or just after its work."""

        def work() -> bool:
            kill_at(call)
            assert self.is_read_right()
            os.kill(os.getpid(), signal.SIGKILL)
            return False

        assert in_child(work) == -signal.SIGKILL

    @rule(which=ANY, place=ANY, change=st.integers(1, 255))
    def flip(self, which: int, place: int, change: int) -> None:
        """A byte of any of the cache's files turns into another one."""
        flip_byte(files_below(self.cache), which, place, change)


def as_test(machine: type[RuleBasedStateMachine], examples: int, steps: int, is_long: bool = False) -> Any:
    """Make a test of a machine; failures are not made shorter, which would take minutes."""
    machine.TestCase.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not is_long,
        phases=(Phase.generate,),
        report_multiple_bugs=False,
    )
    test = pytest.mark.filterwarnings("ignore::UserWarning")(machine.TestCase)
    return pytest.mark.slow(test) if is_long else test


class LongFolderMachine(FolderMachine):
    """The same, for long."""


class LongLoaderMachine(LoaderMachine):
    """The same, for long."""


TestFolder = as_test(FolderMachine, 12, 20)
TestLoader = as_test(LoaderMachine, 6, 10)
TestFolderForLong = as_test(LongFolderMachine, 1000, 40, is_long=True)
TestLoaderForLong = as_test(LongLoaderMachine, 300, 30, is_long=True)
