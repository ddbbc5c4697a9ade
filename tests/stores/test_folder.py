"""The folder store: what is put comes back as it was, from files that anything can open."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from folder_tables import ROWS, arrays_of, columns_of, fill, layout_of, present, same, table_folder

import headrace as hr
from headrace.stores.base import Entry, Layout, Store
from headrace.stores.folder.store import FolderStore
from headrace.stores.folder.table import FolderTable
from headrace.testing import StoreTests

SOURCE = Path(__file__).parents[2] / "src"
UTC = pa.timestamp("us", "UTC")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "cache"))


def put_all(table: FolderTable) -> None:
    for number in range(len(ROWS)):
        table.put(number, arrays_of(number))


class TestFolder(StoreTests):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[int | None], Store]:
        return lambda limit: FolderStore(str(tmp_path / "kept"), limit)

    @pytest.fixture
    def damages(self, tmp_path: Path) -> Sequence[Callable[[], None]]:
        def spoil(pattern: str, change: Callable[[bytearray], Any]) -> Callable[[], None]:
            def do() -> None:
                found = list((tmp_path / "kept" / "tables").rglob(pattern))
                assert found
                for path in found:
                    content = bytearray(path.read_bytes())
                    change(content)
                    path.write_bytes(content)

            return do

        def flip(content: bytearray) -> None:
            content[len(content) // 2] ^= 1
            content[-1] ^= 1

        return [
            spoil("*.npy", flip),
            spoil("table.json", flip),
            spoil("entries.npy", lambda content: content.pop()),
            spoil("[0-9]*.npy", bytearray.clear),
        ]


VALUES: dict[str, Any] = {
    "bool": np.array([True, False, True]),
    "int8": np.array([-128, 0, 127], np.int8),
    "uint64": np.array([0, 1, 2**64 - 1], np.uint64),
    "NaNs": np.array([0x7FC0_0001, 0xFFFF_FFFF, 0x8000_0000], np.uint32).view(np.float32),
    "half": np.array([1.5, -0.0, np.inf], np.float16),
    "big-endian": np.array([1, 2, 3], ">i4"),
    "when": np.array(["2020-01-01", "NaT", "1969-12-31"], "datetime64[us]"),
    "day": np.array([0, 1, -1], "datetime64[D]"),
    "span": np.array([1, 2, 3], "timedelta64[ns]"),
    "image": np.arange(3 * 2 * 4 * 3, dtype=np.uint8).reshape(3, 2, 4, 3),
    "no numbers": np.zeros((3, 0), np.float32),
    "in Fortran's order": np.asfortranarray(np.arange(6.0).reshape(3, 2)),
    "text": pa.array(["a", None, "ü" * 300]),
    "binary": pa.array([b"", b"\0\xff", None], pa.large_binary()),
    "lists": pa.array([[1, 2], [], [3]], pa.list_(pa.field("element", pa.int32()))),
    "long lists": pa.array([[1.5], [], []], pa.large_list(pa.float16())),
    "lists of nothing": pa.array([[], [], []], pa.list_(pa.float64())),
    "lists of booleans": pa.array([[True], [False, True], []]),
    "lists with a null": pa.array([[1, None], None, []]),
    "lists of times": pa.array([[1], [], [2]], pa.list_(UTC)),
    "lists of days": pa.array([[1], [], [2]], pa.list_(pa.date32())),
    "lists of lists": pa.array([[["a"], []], None, []]),
    "lists of pairs": pa.array([[[1, 2]], [], [[3, 4]]], pa.list_(pa.list_(pa.int8(), 2))),
    "categories": pa.array(["a", "b", "a"]).dictionary_encode(),
    "struct": pa.array([{"a": 1, "b": [2]}, None, {"a": None, "b": []}]),
    "nulls": pa.nulls(3),
    "integers with nulls": pa.array([1, None, 3]),
    "decimals": pa.array([1, None, 3], pa.decimal128(20, 3)),
    "part of something": pa.array(["x", "y", "z", "a", "b"]).slice(1, 3),
    "part of lists": pa.array([[9], [1, 2], [], [3]]).slice(1),
}


@pytest.mark.parametrize("verify", ["first", "always", "never"])
def test_every_kind_of_column(store: FolderStore, verify: Any) -> None:
    """All bits come back, in a table that was opened later too, and the data that was put stays as it was."""
    layout = layout_of(rows=[3])
    fill(store, layout, lambda number, rows: VALUES)

    table = FolderStore(store.path, verify=verify).open(layout)
    for _ in range(2):
        assert same(table.get(0), VALUES)
    assert (table.counts.corrupt, table.counts.outages) == (0, 0)
    table.close()


def test_a_column_of_each_kind_alone(store: FolderStore) -> None:
    """No column leans on another one's file."""
    for name, column in VALUES.items():
        layout = layout_of(name, rows=[3])
        fill(store, layout, lambda number, rows, column=column: {"column": column})
        table = store.open(layout)
        assert same(table.get(0), {"column": column}), name
        assert (table.whole() is not None) == isinstance(column, np.ndarray)
        table.close()


def test_files_can_be_opened_by_anything(store: FolderStore) -> None:
    """Arrays lie as `.npy` in the order of the layout; lists as values and offsets; text as Arrow."""
    fill(store)
    folder = table_folder(store)
    parts = [columns_of(number) for number in range(len(ROWS))]

    whole = np.load(folder / "0-x.npy", allow_pickle=False)
    assert whole.tolist() == np.concatenate([part["x"] for part in parts]).tolist()
    with pa.ipc.open_file(folder / "1-text" / "2.arrow") as reader:
        assert reader.read_all().column(0).combine_chunks().equals(parts[2]["text"])
    values = np.load(folder / "2-lists" / "1.values.npy", allow_pickle=False)
    offsets = np.load(folder / "2-lists" / "1.offsets.npy", allow_pickle=False)
    lists = [values[begin:end].tolist() for begin, end in pairwise(offsets)]
    assert lists == parts[1]["lists"].to_pylist()


def test_names_may_be_anything(store: FolderStore, tmp_path: Path) -> None:
    """Names that mean something to a file system, that differ by nothing it can hold, or are very long."""
    names = [
        "../x",
        "..",
        ".",
        "",
        "a/b",
        "a_b",
        "a\0b",
        "A",
        "a",
        "lock",
        "x" * 5000,
        "ü\n",
        "\ud800",
        "a.npy",
    ]
    names += [f"{name} text" for name in names]
    columns = {
        name: pa.array([str(number)]) if name.endswith("text") else np.array([number])
        for number, name in enumerate(names)
    }
    before = {path for path in tmp_path.rglob("*") if store.path not in str(path)}
    fill(store, layout_of(rows=[1]), lambda number, rows: columns)
    table = store.open(layout_of(rows=[1]))
    assert same(table.get(0), columns)
    table.close()

    assert {path for path in tmp_path.rglob("*") if store.path not in str(path)} == before
    assert all(path.name.isascii() and len(path.name) < 60 for path in Path(store.path).rglob("*"))


def test_another_table_sees_what_is_put(store: FolderStore) -> None:
    """At once, in this process and in others, be the table there already or not."""
    reader, writer = store.open(layout_of()), store.open(layout_of())
    for number in range(len(ROWS)):
        assert reader.get(number) is None
        writer.put(number, columns_of(number))
        assert same(reader.get(number), columns_of(number))
    writer.close()
    reader.close()


def test_what_is_there_is_not_written_again(store: FolderStore) -> None:
    """A second put of an entry takes no time, and counts nothing."""
    fill(store)
    files = {path: path.stat().st_mtime_ns for path in table_folder(store).rglob("*.*")}
    table = store.open(layout_of())
    table.put(0, columns_of(0))

    assert table.counts.nbytes == 0
    assert {path: path.stat().st_mtime_ns for path in table_folder(store).rglob("*.*")} == files
    table.close()


def test_columns_that_differ_are_let_go(store: FolderStore) -> None:
    """What does not look as the first entry does has no place; that is told once."""
    table = store.open(layout_of())
    table.put(0, arrays_of(0))
    with pytest.warns(UserWarning, match="not those of the others"):
        table.put(1, {**arrays_of(1), "y": np.zeros(ROWS[1], np.int8)})
    table.put(1, {"x": arrays_of(1)["x"]})
    table.put(1, arrays_of(1, rows=ROWS[1] + 1))

    assert present(table, make=arrays_of) == [0]
    table.close()


def test_arrays_outlive_table_and_files(store: FolderStore) -> None:
    """What was handed out stays as it is when the table is closed and when the files are gone."""
    fill(store, make=arrays_of)
    table = store.open(layout_of())
    whole, rows = table.whole(), table.get(1)
    assert whole is not None
    table.close()
    shutil.rmtree(store.path)

    assert whole["y"].tolist() == [value for number in range(3) for value in arrays_of(number)["y"]]
    assert same(rows, arrays_of(1))


def test_a_folder_that_is_deleted_while_in_use(store: FolderStore) -> None:
    """What was there is still there for whoever has it open; new entries are let go, with one warning."""
    table = store.open(layout_of())
    table.put(0, arrays_of(0))
    shutil.rmtree(store.path)
    assert present(table, make=arrays_of) == [0]
    with pytest.warns(UserWarning, match="cannot be written") as warned:
        put_all(table)
    assert len(warned) == 1
    assert present(table, make=arrays_of) == [0]
    table.close()

    fill(store, make=arrays_of)  # and it can be made anew
    table = store.open(layout_of())
    assert present(table, make=arrays_of) == [0, 1, 2]
    table.close()


def test_residency_in_memory(store: FolderStore) -> None:
    """The arrays are copies of their own: what happens to the files later does not reach them."""
    fill(store, make=arrays_of)
    table = FolderStore(store.path, residency="memory").open(layout_of())
    whole = table.whole()
    assert whole is not None
    assert table.whole()["x"] is whole["x"]  # type: ignore[index]
    assert all(not array.flags.writeable for array in whole.values())
    for path in table_folder(store).glob("[0-9]*.npy"):
        path.write_bytes(bytes(path.stat().st_size))

    assert all(table.check(number) for number in range(3))
    assert whole["y"].tolist() == [value for number in range(3) for value in arrays_of(number)["y"]]
    table.close()


def test_a_damaged_copy_is_made_anew(store: FolderStore) -> None:
    """With `residency="memory"` too, a damaged entry is a miss, and the next copy is right."""
    fill(store, make=arrays_of)
    path = table_folder(store) / "1-y.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    table = FolderStore(store.path, residency="memory").open(layout_of())
    assert table.whole() is not None
    assert [table.check(number) for number in range(3)] == [True, True, False]
    assert table.whole() is None
    table.put(2, arrays_of(2))
    whole = table.whole()

    assert whole is not None
    assert whole["y"][-ROWS[2] :].tolist() == arrays_of(2)["y"].tolist()
    assert (table.counts.corrupt, table.counts.rebuilt) == (1, 1)
    table.close()


def test_threads_that_make_a_table(store: FolderStore) -> None:
    """Many that begin at once make one table, and lose nothing."""
    layout = layout_of(rows=[3] * 16)
    tables = [store.open(layout) for _ in range(4)]
    barrier = threading.Barrier(16)

    def work(number: int) -> None:
        barrier.wait()
        tables[number % 4].put(number, columns_of(number, 3))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    for table in tables:
        assert present(table, layout) == list(range(16))
        table.close()
    assert len(list(Path(store.path, "tables").iterdir())) == 1


def test_a_fork_does_not_give_up_its_parents_lock(store: FolderStore) -> None:
    """A child that closes what it inherited leaves the table locked; one that lives on does not lock it."""
    fill(store, make=arrays_of)
    table = store.open(layout_of())
    assert table.get(0) is not None
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        table.close()
        os.read(reading, 1)
        os._exit(0)
    size = sum(path.stat().st_size for path in Path(store.path).rglob("*") if path.is_file())
    other = layout_of("other")
    try:
        evicting = FolderStore(store.path, limit=size + 100)
        with pytest.warns(UserWarning, match="in use"):
            fill(evicting, other, arrays_of)
        table.close()
        fill(evicting, other, arrays_of)
    finally:
        os.write(writing, b".")
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    assert not table_folder(store).exists()


READER = """
import os, sys, warnings
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from folder_tables import arrays_of, layout_of, present
from headrace.hashing import xxh3_kernels
from headrace.stores.folder.store import FolderStore
os.setgid(int(sys.argv[4])); os.setuid(int(sys.argv[4]))  # which may not be allowed to import
for limit in (None, 10**9):
    table = FolderStore(sys.argv[3], limit).open(layout_of())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        print(present(table, make=arrays_of), len(caught))
        for _ in range(2):
            table.put(2, arrays_of(2))
        print(len(caught), "cannot be written" in str(caught[0].message), table.counts.outages > 0)
    assert table.whole() is None and table.check(0) and not table.check(2)
    table.close()
try:
    table = FolderStore(sys.argv[3], on_unavailable="raise").open(layout_of())
    table.put(2, arrays_of(2))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    """A folder that other users can get to, as those of a test cannot always be."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if os.stat(folder).st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o711)
    return tmp_path


def test_a_folder_that_can_only_be_read(reachable: Path) -> None:
    """Reading works without a warning; entries that are put are let go with one, or an error if asked for."""
    store = FolderStore(str(reachable / "cache"))
    table = store.open(layout_of())
    table.put(0, arrays_of(0))
    table.put(1, arrays_of(1))
    table.close()
    user = 12345 if os.geteuid() == 0 else os.geteuid()  # the superuser may write everywhere
    for path in [*Path(store.path).rglob("*"), Path(store.path)]:
        os.chown(path, user, user if os.geteuid() == 0 else -1)
        path.chmod(0o500 if path.is_dir() else 0o400)
    arguments = [str(SOURCE), str(Path(__file__).parent), store.path, str(user)]
    done = subprocess.run(
        [sys.executable, "-c", READER, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    for path in [Path(store.path), *Path(store.path).rglob("*")]:
        path.chmod(0o700)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["[0, 1] 0", "1 True True"] * 2 + ["CacheError", ""]


def test_a_place_that_cannot_be_made(tmp_path: Path) -> None:
    """A folder below a file: one warning and no cache, or an error if that was asked for."""
    (tmp_path / "file").write_text("mine")
    place = str(tmp_path / "file" / "cache")
    with pytest.warns(UserWarning, match="cannot be written") as warned:
        table = FolderStore(place).open(layout_of())
    put_all(table)
    assert len(warned) == 1
    assert present(table, make=arrays_of) == []
    table.close()
    with pytest.raises(hr.CacheError, match="cannot be written"):
        FolderStore(place, on_unavailable="raise").open(layout_of())


def test_more_arrays_than_files_may_be_open(store: FolderStore, recwarn: pytest.WarningsRecorder) -> None:
    """They are kept where maps need no open files; else one warning says what to do, and nothing breaks."""
    columns = {str(number): np.array([number]) for number in range(300)}
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, before[1]))
    try:
        table = store.open(layout_of(rows=[1, 1]))
        for number in range(2):
            table.put(number, columns)
        found = table.get(0)
        table.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    if sys.version_info >= (3, 13):
        assert same(found, columns)
    else:
        (warned,) = recwarn.list
        assert "pack columns side by side" in str(warned.message)
        assert found is None
        assert not table_folder(store, layout_of(rows=[1, 1])).exists()


def test_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store is plain settings: its path is absolute, its limit a number, and it can be pickled."""
    monkeypatch.chdir(tmp_path)
    store = FolderStore("cache", limit="2GB")  # type: ignore[arg-type]
    assert (store.path, store.limit) == (str(tmp_path / "cache"), 2_000_000_000)
    assert pickle.loads(pickle.dumps(store)) == store
    assert not Path("cache").exists()
    for wrong in ("", "a\0b"):
        with pytest.raises(hr.OptionError, match="path"):
            FolderStore(wrong)
    with pytest.raises(hr.OptionError, match="size"):
        FolderStore("cache", limit=-1)


def test_keys_of_any_text(store: FolderStore) -> None:
    """An entry's key may be any text; it never names a file."""
    layout = Layout((Entry("../../x\0", 4), Entry("ü", 3)))
    fill(store, layout, arrays_of)
    table = store.open(layout)
    assert present(table, layout, arrays_of) == [0, 1]
    table.close()
