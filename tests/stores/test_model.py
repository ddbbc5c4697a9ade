"""The folder store against a dictionary: whatever happens to it, an entry is read right or not there."""

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
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headrace.stores.base import Columns, Entry, Layout
from headrace.stores.folder.store import FolderStore

ROWS = (40, 1, 70, 25, 60)
LAYOUTS = 2
NUMBERS = st.integers(0, len(ROWS) - 1)
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
        found[name].equals(column) if isinstance(column, pa.Array) else np.array_equal(found[name], column)
        for name, column in expected.items()
    )


def in_child(work: Callable[[], bool]) -> int:
    """Do something in a forked process; return 0 if it was true, and minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(call: int) -> None:
    """End this process by force at the so many-th call that writes; a write has written half by then."""
    left = call

    def dying(function: Any) -> Any:
        def work(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                if function.__name__ in ("write", "pwrite"):
                    half = len(arguments[1]) // 2
                    function(arguments[0], memoryview(arguments[1])[:half], *arguments[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return work

    for name in WRITING:
        setattr(os, name, dying(getattr(os, name)))


class FolderMachine(RuleBasedStateMachine):
    """Builders, kills, damage, limits and edits, one after the other; `contents` is all that is true."""

    @initialize(limit=LIMITS)
    def begin(self, limit: int | None) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.cache = self.root / "cache"
        self.contents = dict.fromkeys(range(len(ROWS)), 0)
        self.limit = limit
        self.notes: dict[Path, bytes] = {}
        self.tables = [self.open(which) for which in range(LAYOUTS)]

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
        """The files that the store made."""
        found = sorted(path for path in self.cache.rglob("*") if path.is_file())
        return [path for path in found if path not in self.notes]

    @rule(which=st.integers(0, LAYOUTS - 1), number=NUMBERS)
    def build(self, which: int, number: int) -> None:
        """What a loader does: look, compute, put, look again."""
        table, number = self.tables[which], min(number, len(ROWS) - 1 - which)
        if table.get(number) is None:
            with table.claim(number) as is_mine:
                assert is_mine
                table.put(number, self.expected(number))
        found = table.get(number)
        assert found is None or is_equal(found, self.expected(number))

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
                table.put(number, self.expected(number))
            right = is_mine and self.is_right(table, len(ROWS))
            table.close()
            return right

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

    @rule(data=st.data())
    def flip(self, data: st.DataObject) -> None:
        """A byte of any file turns into another one."""
        if files := [path for path in self.files() if path.stat().st_size]:
            path = data.draw(st.sampled_from(files))
            place = data.draw(st.integers(0, path.stat().st_size - 1))
            with open(path, "r+b") as file:
                file.seek(place)
                old = file.read(1)[0]
                file.seek(place)
                file.write(bytes([old ^ data.draw(st.integers(1, 255))]))

    @rule(data=st.data())
    def cut_off(self, data: st.DataObject) -> None:
        """A file ends too early when the next run begins."""
        if files := self.files():
            path = data.draw(st.sampled_from(files))
            for table in self.tables:
                table.close()
            os.truncate(path, data.draw(st.integers(0, path.stat().st_size)))
            self.tables = [self.open(which) for which in range(LAYOUTS)]

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """A file is gone."""
        if files := self.files():
            data.draw(st.sampled_from(files)).unlink()

    @rule()
    def remove_all(self) -> None:
        """The whole folder is gone."""
        shutil.rmtree(self.cache, ignore_errors=True)
        self.notes = {}

    @rule(data=st.data())
    def place_note(self, data: st.DataObject) -> None:
        """The user keeps a file in the folder."""
        if folders := [path for path in [self.cache, *self.cache.rglob("*")] if path.is_dir()]:
            path = data.draw(st.sampled_from(folders)) / "notes.npy"
            path.write_bytes(b"notes")
            self.notes[path] = b"notes"

    @invariant()
    def stays_within_the_limit(self) -> None:
        """The store's files never take more than it may keep, and those of the user are as they were."""
        if self.limit is not None:
            assert sum(path.stat().st_size for path in self.files()) <= self.limit
        for path, content in self.notes.items():
            assert path.read_bytes() == content


FolderMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestFolder = FolderMachine.TestCase
