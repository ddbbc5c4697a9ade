"""A stored index is the right one, whole, or not there."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from index_data import check_answer

import headrace as hr
from headrace.testing import Resources

KINDS = ["hash", "btree", "bloom", "kdtree"]
PROGRAMS = Path(__file__).with_name("index_programs.py")


def write_shard(path: Path, values: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pl.DataFrame({"x": values, "y": [str(value) for value in values]}).to_arrow(), path)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards that hold 0, 1, 2, 3, 0, 1, 2, 3."""
    for number in range(2):
        write_shard(tmp_path / "data" / f"part-{number}.parquet", [0, 1, 2, 3])
    return tmp_path / "data"


def stored(folder: Path) -> list[Path]:
    """The indexes beside the shards, hidden folders included."""
    place = folder / "_indexes"
    return sorted(place.iterdir()) if place.exists() else []


@contextlib.contextmanager
def no_build(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if anything is read while an index is made: it must be the stored one."""
    with monkeypatch.context() as patch:
        patch.setattr("headrace.sources.parquet.ParquetSource.read", lambda *_: pytest.fail("it was built"))
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_stored_beside_the_shards_and_used_again(
    shards: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Building happens once; another handle, other selections and a moved folder use what is there."""
    ds = hr.open(shards)
    first = ds.index("x", kind=kind)
    assert [str(path) for path in stored(shards)] == [first.folder]
    with monkeypatch.context() as patch:
        if kind != "bloom":  # which reads row groups to answer
            patch.setattr(
                "headrace.sources.parquet.ParquetSource.read", lambda *_: pytest.fail("it was built")
            )
        check_answer(ds.rows([7, 2, 3]).index("x", kind=kind).lookup(3), [3, 7])
        check_answer(first.lookup([3]), [3, 7])
    moved = shards.rename(shards.with_name("moved"))
    with no_build(monkeypatch):
        hr.open(moved).index("x", kind=kind)
    assert len(hr.open(moved)) == 8, "what lies in the folder of indexes is no data"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own_path", [False, True])
def test_a_replaced_shard_makes_it_stale(shards: Path, kind: Any, own_path: bool, tmp_path: Path) -> None:
    """The index beside the shards is built anew, with one warning; one that the user named is refused."""
    path = tmp_path / "index" if own_path else None
    old = hr.open(shards).index("x", kind=kind, path=path)
    write_shard(shards / "part-1.parquet", [3, 3, 5, 5])
    ds = hr.open(shards)
    if own_path:
        with pytest.raises(
            hr.StateError, match=r"holds an index of other data .* delete it to have it built"
        ):
            ds.index("x", kind=kind, path=path)
        shutil.rmtree(tmp_path / "index")
        new = ds.index("x", kind=kind, path=path)
    else:
        with pytest.warns(UserWarning, match=r"an index is built anew: .* of other data") as caught:
            new = ds.index("x", kind=kind)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert len(stored(shards)) == 1
    check_answer(new.lookup([3]), [3, 4, 5])
    if kind == "bloom":  # it reads the shards, which tell that they have changed
        with pytest.raises(hr.ChangedSourceError):
            old.lookup([3])
    else:
        check_answer(old.lookup([3]), [3, 7])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.index("y", kind="hash", path="index"), "other columns"),
        (lambda ds: ds.index("x", kind="btree", path="index"), "another kind"),
        (lambda ds: ds.with_columns(pl.col("x") + 1).index("x", kind="hash", path="index"), "another recipe"),
        (
            lambda ds: ds.with_columns(pl.col("x").cast(pl.Int8)).index("x", kind="hash", path="index"),
            "other types",
        ),
    ],
)
def test_an_index_of_something_else_is_refused(
    shards: Path, change: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names what differs first."""
    monkeypatch.chdir(shards)
    ds = hr.open(shards)
    ds.index("x", kind="hash", path="index")
    with pytest.raises(hr.StateError, match=rf"holds an index of .*{message}"):
        change(ds)


def test_another_version_of_the_library_is_refused(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters are drawn by their library, so another version of it builds them anew."""
    ds = hr.open(shards)
    ds.index("x", kind="bloom")
    monkeypatch.setattr("headrace.index.bloom.version", lambda _: "0.0")
    with pytest.warns(UserWarning, match="another version of the library"):
        ds.index("x", kind="bloom")


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "empty"])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_seen_in_every_file(shards: Path, kind: Any, damage: str, tmp_path: Path) -> None:
    """No file can be cut off, changed or deleted unnoticed; beside the shards a new index is built."""
    ds = hr.open(shards)
    whole = ds.index("x", kind=kind, path=tmp_path / "index")
    names = sorted(path.name for path in (tmp_path / "index").iterdir())
    for name in names:
        broken = tmp_path / f"{name}.broken"
        shutil.copytree(whole.folder, broken)
        file = broken / name
        content = bytearray(file.read_bytes())
        if damage == "flip":
            content[len(content) // 2] ^= 0x10
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes({"cut": content[:-1], "flip": content, "empty": b""}[damage])
        kinds = (hr.CorruptSourceError, hr.OptionError) if name == "header.json" else hr.CorruptSourceError
        with pytest.raises(kinds, match=str(broken)):
            ds.index("x", kind=kind, path=broken)
        default = Path(ds.index("x", kind=kind).folder)
        shutil.rmtree(default)
        shutil.copytree(broken, default)
        with pytest.warns(UserWarning, match="built anew"):
            again = ds.index("x", kind=kind)
        check_answer(again.lookup([3]), [3, 7])


def test_a_folder_that_is_no_index_is_left_alone(shards: Path, tmp_path: Path) -> None:
    """What the user has in a folder is never replaced; an empty one is taken."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("all of it")
    ds = hr.open(shards)
    with pytest.raises(hr.OptionError, match=r"holds no index .* nothing of yours is replaced"):
        ds.index("x", kind="hash", path=mine)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    with pytest.raises(hr.OptionError, match="is a file"):
        ds.index("x", kind="hash", path=mine / "thesis.txt")
    with pytest.raises(hr.OptionError, match="`path` must name a folder, got 3"):
        ds.index("x", kind="hash", path=3)  # type: ignore[call-overload]
    (tmp_path / "empty").mkdir()
    check_answer(ds.index("x", kind="hash", path=tmp_path / "empty").lookup(3), [3, 7])


def test_a_header_that_leads_elsewhere_is_damage(shards: Path, tmp_path: Path) -> None:
    """A header names files of its own folder alone, even if its digest fits."""
    from headrace.index import storing

    ds = hr.open(shards)
    ds.index("x", kind="hash", path=tmp_path / "index")
    header = tmp_path / "index" / "header.json"
    content = json.loads(header.read_text())["content"]
    content["files"]["../data/part-0.parquet"] = content["files"].pop("ids.npy")
    header.write_text(json.dumps({"content": content, "digest": storing._digest(content)}))
    with pytest.raises(hr.CorruptSourceError, match="header of the index is damaged"):
        ds.index("x", kind="hash", path=tmp_path / "index")


def test_a_place_that_cannot_be_written_is_named(shards: Path, tmp_path: Path) -> None:
    """The error says what to do."""
    (shards / "_indexes").write_text("in the way")
    with pytest.raises(
        hr.OptionError, match=r"an index cannot be written to .*pass `path=` with a folder that can be"
    ):
        hr.open(shards).index("x", kind="hash")


@pytest.mark.parametrize("kind", KINDS)
def test_killed_while_building(shards: Path, kind: str) -> None:
    """Where a process was killed in mid-build, what is opened next is whole, and nothing stays behind."""
    large = list(range(50_000)) * 2
    write_shard(shards / "part-1.parquet", [3, *large])
    command = [sys.executable, str(PROGRAMS), "build", str(shards), kind]
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not stored(shards) and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    index = hr.open(shards).index("x", kind=kind)  # type: ignore[call-overload]

    check_answer(index.lookup([3]), [3, 4, 8, 50_008])
    assert [str(path) for path in stored(shards)] == [index.folder]


@pytest.mark.parametrize("kind", KINDS)
def test_a_build_that_fails_leaves_nothing(shards: Path, kind: Any) -> None:
    """An error of the recipe comes through, and the folder is as before."""
    ds = hr.open(shards).map(lambda frame: frame if frame["x"].len() == 0 else frame.with_columns(x=1 // 0))
    with pytest.raises(hr.PrepareError, match="ZeroDivisionError"):
        ds.index("x", kind=kind)
    assert stored(shards) == []


def test_two_processes_build_at_once(shards: Path) -> None:
    """Both get the right index, and one remains."""
    command = [sys.executable, str(PROGRAMS), "build", str(shards), "btree"]
    programs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    for program in programs:
        out, error = program.communicate(timeout=120)
        assert (out.decode().strip(), error) == ("[3, 7]", b"")
    assert len(stored(shards)) == 1


def test_threads_build_at_once(shards: Path) -> None:
    """Within one process too, each builder gets the right index, and one remains."""

    def build(_: int) -> list[int]:
        return hr.open(shards).index("x", kind="btree").lookup(3).tolist()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(build, range(4))) == [[3, 7]] * 4
    assert len(stored(shards)) == 1


def test_handles_are_pickled(shards: Path) -> None:
    """A pickled handle answers in a fresh process; one of a folder holds no more than its name."""
    stored, in_memory = hr.open(shards), hr.from_arrow(hr.open(shards).to_arrow())
    handles = [ds.index("x", kind=kind) for ds in (stored, in_memory) for kind in KINDS]
    for index in handles:
        check_answer(index.lookup([3]), [3, 7])
    contents = [pickle.dumps(index) for index in handles]
    assert all(len(contents[KINDS.index(kind)]) < 2500 for kind in KINDS if kind != "bloom")
    with get_context("spawn").Pool(1) as pool:
        assert pool.starmap(look_up, [(content, 3) for content in contents]) == [[3, 7]] * 8


def look_up(content: bytes, value: int) -> list[int]:
    return pickle.loads(content).lookup([value]).tolist()


@pytest.mark.parametrize("kind", ["hash", "btree", "kdtree"])
def test_an_index_built_anew_is_no_longer_the_one_pickled(shards: Path, kind: Any) -> None:
    """A handle never mixes the files of two indexes."""
    content = pickle.dumps(hr.open(shards).index("x", kind=kind))
    write_shard(shards / "part-1.parquet", [3, 3, 5, 5])
    with pytest.warns(UserWarning, match="built anew"):
        folder = hr.open(shards).index("x", kind=kind).folder
    with pytest.raises(hr.StateError, match=r"built anew since it was opened|gone or was replaced"):
        pickle.loads(content)
    assert folder is not None
    shutil.rmtree(folder)
    with pytest.raises(hr.StateError, match="gone"):
        pickle.loads(content)


@pytest.mark.parametrize("kind", KINDS)
def test_lookups_after_a_fork(shards: Path, kind: Any) -> None:
    """A forked child asks a copy of the handle and the one that its parent used; all get answers."""
    index = hr.open(shards).index("x", kind=kind)
    before, content = index.lookup([3]).tolist(), pickle.dumps(index)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            answers = [pickle.loads(content).lookup([3]).tolist()]
            answers += [index.lookup([3]).tolist() for _ in range(2)]
            os.write(writer, json.dumps(answers).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert json.loads(file.read()) == [before] * 3
    os.waitpid(child, 0)
    check_answer(index.lookup([3]), before)


def test_a_forked_child_sees_that_the_index_was_replaced(shards: Path) -> None:
    """The child opens LMDB anew, and would find the keys of another index beside its own ids."""
    index = hr.open(shards).index("x", kind="btree")
    index.lookup(3)
    write_shard(shards / "part-1.parquet", [3, 3, 5, 5])
    with pytest.warns(UserWarning, match="built anew"):
        hr.open(shards).index("x", kind="btree")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            index.lookup(3)
        except hr.StateError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert b"was built anew since it was opened" in file.read()
    os.waitpid(child, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_many_threads_ask_at_once(shards: Path, kind: Any) -> None:
    """The first lookups open what is needed, in all threads at once."""
    for _ in range(5):
        index = hr.open(shards).index("x", kind=kind)
        barrier = threading.Barrier(8)

        def ask(value: int, index: Any = index, barrier: Any = barrier) -> list[int]:
            barrier.wait()
            return index.lookup([value]).tolist()

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, [value % 4 for value in range(8)])) == [
                [v % 4, v % 4 + 4] for v in range(8)
            ]


@pytest.mark.parametrize("kind", KINDS)
def test_closing_leaves_no_descriptor(shards: Path, kind: Any) -> None:
    """Handles that are closed, and those that are dropped, hold no file; two of one index share it."""
    hr.open(shards).index("x", kind=kind).lookup([3])
    before = Resources.now()
    for _ in range(10):
        ds = hr.open(shards)
        one, two = ds.index("x", kind=kind), ds.index("x", kind=kind)
        check_answer(one.lookup([3]), [3, 7])
        check_answer(two.lookup([3]), [3, 7])
        one.close()
        one.close()
        check_answer(two.lookup([3]), [3, 7])
        with pytest.raises(hr.ClosedError, match="the index is closed"):
            one.lookup([3])
        assert "closed" in repr(one)
    del one, two
    assert Resources.now().left_behind(before) == []


@pytest.mark.parametrize(
    ("kind", "library"),
    [("btree", "lmdb"), ("bloom", "rbloom"), ("kdtree", "scipy")],
)
def test_a_missing_library_is_named(
    shards: Path, kind: Any, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install, before anything is read."""
    monkeypatch.setitem(sys.modules, library, None)
    with (
        no_build(monkeypatch),
        pytest.raises(hr.MissingDependencyError, match=r"pip install headrace\[index\]"),
    ):
        hr.open(shards).index("x", kind=kind)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    check_answer(hr.from_arrays({"x": [3, 4]}).index("x", kind="btree").lookup(4), [1])  # needs none


def test_what_it_runs_on(
    shards: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Any executor builds the same files, and progress is at most ten lines."""
    monkeypatch.setattr("headrace.execution.reporting.PATIENCE_SECONDS", 0.0)
    ds = hr.open(shards)
    contents: list[dict[str, bytes]] = []
    for executor in (None, hr.Serial(), hr.Threads(3), hr.Processes(1)):
        index = ds.index("x", kind="btree", executor=executor, progress=True)
        assert index.folder is not None
        contents.append({path.name: path.read_bytes() for path in Path(index.folder).glob("*.npy")})
        shutil.rmtree(index.folder)
    assert all(content == contents[0] for content in contents)
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(" row groups")[0] for line in lines] == [
        f"index over x: {done} of 2" for done in (1, 2)
    ] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_looked_up_ids_decode_their_row_groups_alone(tmp_path: Path, kind: Any) -> None:
    """Of twenty row groups the one that holds the key is read, and by `bloom` to look it up."""
    from headrace.testing import FaultySource

    frame = pl.DataFrame({"x": np.arange(2000) // 2 * 7, "y": np.arange(2000.0)})
    frame.write_parquet(tmp_path / "part.parquet", row_group_size=100)
    source = FaultySource(hr.open(tmp_path).recipe.source, {})
    ds = hr.Dataset.of(source)
    index = ds.index("x", kind=kind)
    assert source.reads == dict.fromkeys(range(20), 1), "built by reading each row group once"

    ids = index.lookup([7 * 421])
    looked_up = {8: 1} if kind == "bloom" else {}
    assert reads_since(source, 1) == looked_up
    assert ds.rows(ids).to_polars()["y"].to_list() == [842.0, 843.0]
    assert ds.take(ids)["y"].tolist() == [842.0, 843.0]
    assert reads_since(source, 1) == {8: 2 + len(looked_up)}
    if kind == "btree":
        assert ds.rows(index.range(7 * 40, 7 * 60)).to_polars().height == 42
        assert reads_since(source, 1) == {0: 1, 1: 1, 8: 2}
    if kind == "bloom":
        assert index.row_groups([7 * 421]).tolist() == [8]
        check_answer(index.lookup(3), [])


def reads_since(source: Any, built: int) -> dict[int, int]:
    return {number: count - built for number, count in sorted(source.reads.items()) if count > built}
