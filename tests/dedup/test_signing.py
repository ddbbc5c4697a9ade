"""Signatures kept by shard: read once, never wrong, never in the way."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dedup_programs
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from dedup_data import NearNumbers, write_shards

import headrace as hr

SHARDS = 6
X = np.random.default_rng(0).integers(0, 50, 120)


class Reads:
    """Counts the row groups that searches read."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, done: int, total: int) -> None:
        self.count += 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six shards of three row groups each."""
    write_shards(tmp_path / "data", {"x": X, "y": range(120), "z": ["z"] * 120}, SHARDS)
    return tmp_path


def search(dataset: hr.Dataset, cache: object, **options: Any) -> tuple[pl.DataFrame, int]:
    """Find duplicates with a cache, hold them against those found without, and count what was read."""
    reads = Reads()
    options = {"on": "x"} | options
    report = hr.find_duplicates(dataset, cache=cache, progress=reads, **options)  # type: ignore[arg-type]
    assert report.edges.equals(hr.find_duplicates(dataset, **options).edges)
    return report.edges, reads.count


def entries(folder: Path) -> list[Path]:
    # What a killed process was about to write has a name that begins with a dot.
    return sorted((folder / "kept").rglob("[!.]*.arrow"))


def test_shards_are_read_once(folder: Path) -> None:
    """The second search reads nothing; nor does one that keeps other samples, or compares more strictly."""
    ds = hr.open(folder / "data")

    assert search(ds, folder / "kept")[1] == 18
    assert len(entries(folder)) == SHARDS
    assert search(ds, str(folder / "kept"))[1] == 0
    assert search(ds, folder / "kept", keep="last")[1] == 0
    assert search(ds, folder / "kept", executor=hr.Serial(), priority="y")[1] == 0
    assert search(ds.with_columns(w=pl.col("y") + 1), folder / "kept")[1] == 0  # which is not compared
    assert len(entries(folder)) == SHARDS


def test_another_threshold_reads_nothing(folder: Path) -> None:
    """Signatures do not depend on what is made of them."""
    ds = hr.open(folder / "data")

    assert search(ds, folder / "kept", method=NearNumbers(0.8))[1] == 18
    assert search(ds, folder / "kept", method=NearNumbers(0.6))[1] == 0


def test_shards_that_moved_are_known(folder: Path) -> None:
    """Entries follow contents: another folder, other names, another order, one shard more."""
    ds = hr.open(folder / "data")
    search(ds, folder / "kept")
    shutil.move(folder / "data", folder / "moved")
    for number, path in enumerate(sorted((folder / "moved").iterdir(), reverse=True)):
        path.rename(path.with_name(f"shard-{number}.parquet"))
    assert search(hr.open(folder / "moved"), folder / "kept")[1] == 0

    write_shards(folder / "more", {"x": [1, 2], "y": [3, 4], "z": ["z", "z"]})
    (folder / "more" / "000.parquet").rename(folder / "moved" / "a.parquet")
    assert search(hr.open(folder / "moved"), folder / "kept")[1] == 1


def test_whatever_changes_signatures_is_read_anew(folder: Path) -> None:
    """Other columns, settings, samples, steps or contents; and only the shards that they concern."""
    ds = hr.open(folder / "data")
    search(ds, folder / "kept")

    assert search(ds, folder / "kept", on=["x", "z"])[1] == 18
    assert search(ds, folder / "kept", method=hr.Exact(nulls_equal=True))[1] == 18
    assert search(ds.with_columns(x=pl.col("x") + 1), folder / "kept")[1] == 18
    assert search(ds.with_columns(x=pl.col("x") // 2), folder / "kept")[1] == 18
    assert search(ds.slice(0, 41), folder / "kept")[1] == 1  # one sample of the third shard
    assert search(ds.filter(pl.col("y") != 119), folder / "kept")[1] == 3
    assert search(ds.rows([3, 3, 119, 0]), folder / "kept")[1] == 2
    write_shards(folder / "other", {"x": X[:20] + 1, "y": range(20), "z": ["z"] * 20})
    shutil.move(folder / "other" / "000.parquet", folder / "data" / "000.parquet")
    assert search(hr.open(folder / "data"), folder / "kept")[1] == 3


def test_the_same_shard_of_another_type_is_another(folder: Path) -> None:
    """A text file that is read as other types has other values."""
    (folder / "a.csv").write_text("x\n1\n01\n1.0\n")
    for kind, count in ((pa.string(), 0), (pa.float64(), 2)):
        ds = hr.open(folder / "a.csv", options=hr.CsvOptions(types={"x": kind}))
        assert search(ds, folder / "kept")[0].height == count


def test_beside_the_data(folder: Path) -> None:
    """True keeps entries where opening the folder passes them over."""
    search(hr.open(folder / "data"), True)

    assert search(hr.open(folder / "data"), True)[1] == 0
    assert len(list((folder / "data" / "_headrace" / "signatures").iterdir())) == SHARDS
    with pytest.raises(hr.OptionError, match="name a folder"):
        hr.from_arrays({"x": [1]}).dedup(cache=True)


def test_samples_in_memory_are_known_by_contents(folder: Path) -> None:
    """Arrays have no files, and are kept all the same."""
    search(hr.from_arrays({"x": X}), folder / "kept")

    assert search(hr.from_arrays({"x": X.copy()}), folder / "kept")[1] == 0
    assert search(hr.from_arrays({"x": X + 1}), folder / "kept")[1] == 1


def damages(content: bytes) -> Iterator[bytes]:
    """An entry that is empty, cut off, longer, of something else, or with a byte changed in many a place."""
    yield from (b"", content[: len(content) // 2], content[:-1], b"ARROW1\0\0", b"\0" * len(content))
    draw = random.Random(0)
    for _ in range(40):
        place = draw.randrange(len(content))
        yield content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def test_damaged_entries_are_made_again(folder: Path) -> None:
    """Whatever happened to an entry, the report is right, and the next search reads nothing."""
    ds = hr.open(folder / "data")
    search(ds, folder / "kept")
    entry = entries(folder)[2]
    sound = entry.read_bytes()
    missed = 0
    for content in damages(sound):
        entry.write_bytes(content)
        if readable(ds, folder):
            continue
        missed += 1
        assert entry.read_bytes() == sound
    assert missed > 20


def readable(ds: hr.Dataset, folder: Path) -> bool:
    """Search, and tell whether the entry was believed; if not, it must be said and repaired."""
    reads = Reads()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = hr.find_duplicates(ds, "x", cache=folder / "kept", progress=reads)
    assert report.edges.equals(hr.find_duplicates(ds, "x").edges)
    assert reads.count == 3 * len(caught)
    assert all("the entry cannot be read, so the shard is read again" in str(it.message) for it in caught)
    return not caught


def test_an_entry_of_another_shard(folder: Path) -> None:
    """One that is copied over another is believed no more than a damaged one; it holds other row groups."""
    ds = hr.open(folder / "data")
    search(ds, folder / "kept")
    search(ds.slice(0, 3), folder / "kept")
    one, *_ = sorted(entries(folder), key=lambda path: path.stat().st_size)
    other = next(path for path in entries(folder) if path != one)
    shutil.copy(one, other)

    with pytest.warns(UserWarning, match="the shard is read again"):
        search(ds, folder / "kept")


def test_folders_that_take_nothing(folder: Path) -> None:
    """A folder that cannot be written costs the next search, and one warning."""
    ds = hr.open(folder / "data")
    (folder / "kept").write_text("in the way")
    for _ in range(2):
        with pytest.warns(UserWarning, match="signatures cannot be kept") as caught:
            assert search(ds, folder / "kept")[1] == 18
        assert len(caught) == 1


def test_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept until then is of use the next time."""
    from headrace import replacing

    ds, calls = hr.open(folder / "data"), iter(range(100))
    original = replacing.os.fsync

    def fsync(handle: int) -> None:
        if next(calls) >= 2:
            raise OSError(28, "No space left on device")
        original(handle)

    monkeypatch.setattr(replacing.os, "fsync", fsync)
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        assert search(ds, folder / "kept")[1] == 18
    assert len(caught) == 1
    monkeypatch.undo()
    assert len(entries(folder)) == 2
    assert search(ds, folder / "kept")[1] == 12
    assert len(list((folder / "kept" / "signatures").iterdir())) == SHARDS


def test_a_search_that_fails_keeps_what_it_has(folder: Path) -> None:
    """An error of a step comes through; shards before it are not read again."""

    def fail(frame: pl.DataFrame) -> pl.DataFrame:
        if (frame["y"] == 70).any() and broken:
            raise ValueError("broken")
        return frame

    broken = [True]
    ds = hr.open(folder / "data").map(fail, version="1")
    with pytest.raises(hr.PrepareError, match="broken"):
        hr.find_duplicates(ds, "x", cache=folder / "kept", executor=hr.Serial())
    broken.clear()
    assert search(ds, folder / "kept")[1] == 9


def test_killed_in_the_middle(folder: Path) -> None:
    """Run again, the report is the same, and shards that were finished are not read again."""
    program = subprocess.Popen([sys.executable, dedup_programs.__file__, str(folder)])
    deadline = time.monotonic() + 60
    while len(entries(folder)) < 2 and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(program.pid, signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    finished = len(entries(folder))
    ds = dedup_programs.opened(folder)

    assert 2 <= finished < SHARDS
    edges, read = search(ds, folder / "kept")
    assert read == 3 * (SHARDS - finished)
    assert edges.equals(hr.find_duplicates(hr.open(folder / "data"), "x").edges)
    assert search(ds, folder / "kept")[1] == 0
