"""The space of the folder store: never above the limit, nothing by half, no file of somebody else."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from folder_tables import arrays_of, bytes_of, columns_of, fill, layout_of, present, table_folder

import headrace as hr
from headrace.stores.base import Layout
from headrace.stores.folder.store import FolderStore
from headrace.stores.folder.table import FolderTable

SOURCE = Path(__file__).parents[2] / "src"
COUNT, ENTRY_ROWS = 12, 500
ENTRY_BYTES = sum(array.nbytes for array in arrays_of(0, ENTRY_ROWS).values())


def big(name: str = "a") -> Layout:
    return layout_of(name, [ENTRY_ROWS] * COUNT)


def size_of_one(folder: Path) -> int:
    """What a whole table takes."""
    store = FolderStore(str(folder))
    fill(store, big(), arrays_of)
    return bytes_of(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> int:
    return size_of_one(tmp_path_factory.mktemp("measured") / "cache")


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def tables(place: str) -> set[str]:
    return {path.name for path in Path(place, "tables").iterdir()}


def test_a_table_that_does_not_fit_keeps_its_first_entries(place: str, whole: int) -> None:
    """As many as there is room for, and the same ones over and over."""
    store = FolderStore(place, limit=whole - 5 * ENTRY_BYTES)
    table = store.open(big())
    for _ in range(3):
        for number in reversed(range(COUNT)):
            if table.get(number) is None:
                table.put(number, arrays_of(number, ENTRY_ROWS))
            assert bytes_of(place) <= store.limit  # type: ignore[operator]

    assert present(table, big(), arrays_of) == list(range(COUNT - 5))
    assert table.whole() is None
    assert not table.check(COUNT - 1)
    assert table.counts.evicted == 0
    table.close()


def test_the_table_used_longest_ago_goes_first(place: str, whole: int) -> None:
    """Whole tables are removed, those that nobody has open, and no more of them than must be."""
    store = FolderStore(place, limit=3 * whole)
    for name in "abc":
        fill(store, big(name), arrays_of)
        time.sleep(0.02)
    table = store.open(big("a"))  # which is its last use
    assert present(table, big("a"), arrays_of) == list(range(COUNT))
    table.close()
    time.sleep(0.02)
    fourth = store.open(big("d"))
    fourth.put(0, arrays_of(0, ENTRY_ROWS))

    assert tables(place) == {big(name).key for name in "acd"}
    assert fourth.counts.evicted == COUNT
    assert bytes_of(place) <= 3 * whole
    fourth.close()


def test_a_table_in_use_is_never_removed(place: str, whole: int) -> None:
    """Another one gets what the limit leaves, with a warning if that is nothing."""
    store = FolderStore(place, limit=whole + 3 * ENTRY_BYTES)
    fill(store, big("a"), arrays_of)
    used = store.open(big("a"))
    assert used.get(0) is not None
    some = store.open(big("b"))
    for number in range(COUNT):
        some.put(number, arrays_of(number, ENTRY_ROWS))
    assert 0 < len(present(some, big("b"), arrays_of)) < 3
    none = store.open(big("c"))
    with pytest.warns(UserWarning, match="taken by caches that are in use"):
        none.put(0, arrays_of(0, ENTRY_ROWS))
    none.put(1, arrays_of(1, ENTRY_ROWS))
    assert present(used, big("a"), arrays_of) == list(range(COUNT))
    assert bytes_of(place) <= whole + 3 * ENTRY_BYTES
    some.close()

    none.put(2, arrays_of(2, ENTRY_ROWS))  # there is room now
    assert present(none, big("c"), arrays_of) == []
    none.put(0, arrays_of(0, ENTRY_ROWS))
    assert present(none, big("c"), arrays_of) == [0]
    for table in (used, none):
        table.close()


def test_a_raised_limit_lets_a_table_grow(place: str, whole: int) -> None:
    """What is there stays, others that have it open stay right, and the rest finds its place."""
    small = FolderStore(place, limit=whole - 5 * ENTRY_BYTES)
    fill(small, big(), arrays_of)
    before = small.open(big())
    assert len(present(before, big(), arrays_of)) == COUNT - 5
    rows = before.get(2)
    for limit in (whole - 2 * ENTRY_BYTES, None):
        table = FolderStore(place, limit).open(big())
        kept = len(present(table, big(), arrays_of))
        fill(FolderStore(place, limit), big(), arrays_of)
        assert kept < len(present(table, big(), arrays_of)) == (COUNT - 2 if limit else COUNT)
        table.close()
    assert len(present(before, big(), arrays_of)) == COUNT - 5
    assert rows is not None
    before.close()
    table = small.open(big())  # lowered again: it is too large as a whole
    assert table.get(0) is None
    table.put(0, arrays_of(0, ENTRY_ROWS))
    assert bytes_of(place) <= small.limit  # type: ignore[operator]
    table.close()


def test_columns_without_a_width_are_counted(place: str) -> None:
    """The limit holds with entries of differing sizes, put by one thread or by many at once."""

    def make(number: int, rows: int) -> dict[str, Any]:
        return {"id": np.arange(rows), "text": pa.array(["x" * (number % 7) * 9] * rows)}

    limit = 60_000
    store = FolderStore(place, limit)
    for name, threads in (("first", 1), ("second", 8)):
        layout = layout_of(name, [50] * 40)
        table = store.open(layout)

        def put(number: int, table: FolderTable = table, threads: int = threads) -> None:
            table.put(number, make(number, 50))
            # With more threads, a file may be renamed, and seen twice, while sizes are added up.
            assert threads > 1 or bytes_of(place) <= limit

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(put, range(40)))
        assert 5 < len(present(table, layout, make)) < 40
        assert bytes_of(place) <= limit
        table.close()
    assert tables(place) == {layout.key}


def test_a_limit_below_an_entry(place: str) -> None:
    """Is refused with the first entry, and names the sizes, also where only files of its own are large."""
    text = {"text": pa.array(["x" * 10_000] * 4)}
    for columns in (arrays_of(0, 4000), text):
        rows = len(next(iter(columns.values())))
        table = FolderStore(place, limit=9_000).open(layout_of("a", [rows]))
        with pytest.raises(hr.OptionError, match=r"`limit` must hold one prepared row group.*9,000"):
            table.put(0, columns)
        table.close()
    assert bytes_of(place) < 9_000


def test_files_of_others_survive(place: str, whole: int) -> None:
    """Whatever lies in the folder, below it and in a table's folder stays, whatever is evicted and made."""
    store = FolderStore(place, limit=whole + ENTRY_BYTES)
    fill(
        store,
        big("a"),
        lambda number, rows: columns_of(number, 20) if rows == 20 else arrays_of(number, rows),
    )
    folder = table_folder(store, big("a"))
    mixed = layout_of("mixed", [4, 3, 5])
    fill(FolderStore(place), mixed)
    other = table_folder(store, mixed)
    mine = [
        Path(place, "mine.txt"),
        Path(place, "tables", "mine.npy"),
        Path(place, "tables", "f" * 32, "0-x.npy"),
    ]
    mine += [folder / "notes.npy", folder / "deep" / "a.arrow", other / "1-text" / "mine.arrow"]
    mine += [Path(place, "tables", f".{'0' * 31}.new", "table.json"), other / "aside" / "a.part"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    for name in "bcab":
        fill(store, big(name), arrays_of)
        fill(store, mixed)
    assert present(store.open(mixed)) == [0, 1, 2]
    FolderStore(place).open(mixed).close()

    assert all(path.read_text() == "mine" for path in mine)
    table = store.open(big("a"))  # into the folder that is only the user's by now
    for number in range(COUNT):
        table.put(number, arrays_of(number, ENTRY_ROWS))
    assert len(present(table, big("a"), arrays_of)) > 0
    assert all(path.read_text() == "mine" for path in mine)
    table.close()


def test_what_the_dead_leave_is_removed(place: str) -> None:
    """Tables that were never finished and files that were never renamed go when a table is made or opened."""
    store = FolderStore(place)
    fill(store)
    folder = table_folder(store)
    unfinished = Path(place, "tables", f".{'0' * 32}.new")
    unfinished.mkdir()
    (unfinished / "0-x.npy").write_bytes(bytes(1000))
    headless = Path(place, "tables", "1" * 32)
    headless.mkdir()
    (headless / "lock").touch()
    (headless / "0-x.npy").write_bytes(bytes(1000))
    part = folder / "aside" / f"{'a' * 32}.part"
    part.write_bytes(bytes(1000))
    fill(store, layout_of("b"))
    fill(store)

    assert not unfinished.exists()
    assert not headless.exists()
    assert not part.exists()


FULL = """
import os, resource, signal, sys, warnings
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from folder_tables import arrays_of, columns_of, layout_of, present
from headrace import CacheError
from headrace.stores.folder.store import FolderStore
place, largest = sys.argv[3], int(sys.argv[4])
make = {"arrays": arrays_of, "columns": columns_of}[sys.argv[5]]
resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
layout = layout_of("full", [200] * 5)
table = FolderStore(place).open(layout)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for number in range(5):
        table.put(number, make(number, 200))
        present(table, layout, make)
    print(len(caught), str(caught[0].message) if caught else "")
print(present(table, layout, make), table.counts.outages)
table.close()
try:
    table = FolderStore(place, on_unavailable="raise").open(layout)
    table.put(4, make(4, 200))
except CacheError as error:
    print(type(error.__cause__).__name__)
"""


@pytest.mark.parametrize("make", ["arrays", "columns"])
@pytest.mark.parametrize("largest", [100, 1500])
def test_no_room_for_a_file(place: str, make: str, largest: int) -> None:
    """One warning that says what to do, no entry by half, no leftovers, no signal that ends the process."""
    arguments = [str(SOURCE), str(Path(__file__).parent), place, str(largest), make]
    done = subprocess.run(
        [sys.executable, "-c", FULL, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    warned, entries, *raised = done.stdout.splitlines()
    assert warned.startswith("1 ")
    assert "File too large, where one file needs" in warned
    assert "lower `limit=`" in warned
    assert entries.startswith("[]")
    assert raised == ["OSError"]
    assert not list(Path(place).rglob("*.part"))


CALLS = ("posix_fallocate", "pwrite", "fdatasync", "rename", "mkdir", "open", "unlink")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, int], None]:
    """Make one kind of call fail from its nth use on, and count how often it was used."""

    def install(call: str, after: int, code: int) -> None:
        real, left = getattr(os, call), iter(range(after))

        def fail(*arguments: Any, **options: Any) -> Any:
            if next(left, None) is None:
                raise OSError(code, os.strerror(code))
            return real(*arguments, **options)

        monkeypatch.setattr(os, call, fail)

    return install


@pytest.mark.parametrize("call", CALLS)
def test_a_fault_at_every_call(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: Callable[[str, int, int], None],
    call: str,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """Wherever the disk is full or fails: an entry is there as a whole or not at all, at once and later."""
    code = errno.ENOSPC if call in ("posix_fallocate", "pwrite", "mkdir") else errno.EIO
    after, done = 0, False
    while not done:
        store = FolderStore(str(tmp_path / str(after)))
        failing(call, after, code)
        table = store.open(layout_of())
        for number in range(3):
            table.put(number, columns_of(number))
        done = present(table) == [0, 1, 2] and table.counts.outages == 0
        table.close()
        monkeypatch.undo()
        again = store.open(layout_of())
        there = present(again)
        assert again.counts.corrupt == 0, (call, after)
        for number in range(3):
            again.put(number, columns_of(number))
        assert present(again) == [0, 1, 2], (call, after, there)
        again.close()
        after += 1 if after < 6 else 5
    assert after > 1
    assert recwarn.list


@pytest.fixture
def folder_of_somebody_else(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(folder, 12345, -1)
        yield folder
    else:
        yield Path("/")  # which belongs to the superuser


def test_folders_of_others_are_refused(folder_of_somebody_else: Path) -> None:
    """Somebody else could have put rows there: an error, whatever is to be done if it is unavailable."""
    store = FolderStore(str(folder_of_somebody_else))
    with pytest.raises(hr.CacheError, match=r"belongs to the user with id .*name a folder of your own"):
        store.open(layout_of())
    with pytest.raises(hr.CacheError, match="belongs to"):
        _ = store.digests


def test_folders_that_everyone_may_write_to_are_refused(place: str) -> None:
    """The folder itself when it is opened; one below it is no table."""
    store = FolderStore(place)
    fill(store)
    Path(place).chmod(0o777)
    with pytest.raises(hr.CacheError, match=rf"everyone may write.*chmod o-w {place}"):
        store.open(layout_of())
    Path(place).chmod(0o700)
    table_folder(store).chmod(0o777)
    table = store.open(layout_of())
    with pytest.warns(UserWarning, match="everyone may write"):
        assert table.get(0) is None
    table.close()


@pytest.mark.parametrize("name", ["tables", "leases"])
def test_what_lies_below_is_a_folder_of_the_users_own_too(place: str, name: str) -> None:
    """Not one that everyone may write to, nor a link, behind which the files would be somebody's."""
    store, below = FolderStore(place), Path(place, name)
    fill(store)
    below.chmod(0o777)
    with pytest.raises(hr.CacheError, match=rf"everyone may write.*chmod o-w {below}"):
        store.open(layout_of())
    below.chmod(0o700)
    below.rename(f"{place} elsewhere")
    below.symlink_to(f"{place} elsewhere")
    with pytest.raises(hr.CacheError, match=f"{below}: a cache must be a folder"):
        store.open(layout_of())


@pytest.mark.parametrize("name", ["0-x.npy", "entries.npy", "table.json", "lock", "1-text/0.arrow"])
def test_files_that_everyone_may_write_to_are_misses(place: str, name: str) -> None:
    """Nobody knows whose rows they hold, whatever their checksums; they are made anew."""
    store = FolderStore(place)
    fill(store)
    (table_folder(store) / name).chmod(0o666)
    table = store.open(layout_of())
    assert present(table) == ([1, 2] if name == "1-text/0.arrow" else [])
    table.close()
    fill(store)
    table = store.open(layout_of())
    assert present(table) == [0, 1, 2]
    table.close()


def test_what_is_no_folder_or_of_another_version_is_refused(place: str) -> None:
    """A file in its place, and a cache that a later release has made."""
    store = FolderStore(place)
    Path(place).write_text("mine")
    with pytest.raises(hr.CacheError, match="must be a folder"):
        store.open(layout_of())
    Path(place).unlink()
    fill(store)
    marker = Path(place, "headrace-cache.json")
    marker.write_text(marker.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(hr.CacheError, match="format version 2"):
        store.open(layout_of())


def test_a_folder_is_made_for_its_owner_alone(place: str) -> None:
    """Whatever the process allows others otherwise."""
    before = os.umask(0)
    try:
        fill(FolderStore(place))
    finally:
        os.umask(before)
    assert all(path.stat().st_mode & 0o022 == 0 for path in Path(place).rglob("*") if path.suffix != ".json")
    assert Path(place).stat().st_mode & 0o077 == 0


def test_a_table_that_cannot_grow_stays_as_it_is(
    place: str, whole: int, failing: Callable[[str, int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the limit allows more and the disk does not, what is there is not lost."""
    fill(FolderStore(place, limit=whole - 5 * ENTRY_BYTES), big(), arrays_of)
    for after in range(2):
        failing("posix_fallocate", after, errno.ENOSPC)
        table = FolderStore(place).open(big())
        monkeypatch.undo()
        assert len(present(table, big(), arrays_of)) == COUNT - 5
        table.close()
    table = FolderStore(place).open(big())
    assert len(present(table, big(), arrays_of)) == COUNT - 5
    table.put(COUNT - 1, arrays_of(COUNT - 1, ENTRY_ROWS))
    assert len(present(table, big(), arrays_of)) == COUNT - 4
    table.close()
