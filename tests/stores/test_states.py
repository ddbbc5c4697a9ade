"""Streams are the same bytes without a cache and with one in any state: cold, warm, spoilt, full or gone."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cached_data import DATA, hash_of, packed, plain, write_shards
from state_programs import SOMEBODY

import headrace as hr
from headrace.stores.memory import MemoryStore
from headrace.testing import Fail, FaultySource

SHUFFLES = [False, True, "global"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


@dataclass
class Place:
    """Where stores of one kind can be, empty at the beginning of a test."""

    kind: str
    folder: Path
    url: str
    databases: dict[str, int] = field(default_factory=dict[str, int])

    def __call__(self, name: str = "cache") -> str:
        """Name a store; another name, another store."""
        if self.kind == "redis":
            return f"{self.url.removesuffix('0')}{self.databases.setdefault(name, len(self.databases))}"
        places = {
            "memory": "memory",
            "folder": str(self.folder / name),
            "lmdb": f"lmdb://{self.folder / name}",
        }
        return places[self.kind]

    def shared(self) -> Any:
        """What data sets that are made apart from each other can share."""
        return MemoryStore() if self.kind == "memory" else self()


KINDS = ["memory", "folder", "lmdb", "redis"]
# Stores of pages know no arrays, so a row group with every kind of column stands for all.
CASES = [(name, kind) for name in DATA for kind in (KINDS if name in ("plain", "packed") else KINDS[:2])]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place for each kind of store."""
    is_server = request.param == "redis"
    return Place(request.param, tmp_path, request.getfixturevalue("redis_server").url if is_server else "")


def stream(ds: hr.Dataset, epochs: int = 2, **options: Any) -> list[list[str]]:
    """Two epochs, batch by batch."""
    options = {"batch_size": 6, "seed": 5, "threads": 2, "output": "numpy", "with_ids": True} | options
    with ds.loader(**options) as loader:
        return [hash_of(loader) for _ in range(epochs)]


def counted(loader: hr.Loader, *names: str) -> tuple[int, ...]:
    stats = loader.stats()
    return tuple(stats[f"cache_{name}"] for name in names)


@pytest.mark.parametrize(("name", "place"), CASES, indirect=["place"])
def test_cold_and_warm(name: str, place: Place, data: Path) -> None:
    """In every order and at every tail, whatever is done to the samples, by whichever loader comes first."""
    bare = DATA[name](data)
    cached = bare.cache(place())
    for shuffle in SHUFFLES:
        for tail in ("keep", "pad") if shuffle == "global" else ("keep",):
            options = {"shuffle": shuffle, "tail": tail}
            assert stream(cached, **options) == stream(bare, **options)
    for output in ("torch", "arrow"):
        assert stream(cached, output=output) == stream(bare, output=output)
    with cached.loader(6, output="numpy") as loader:
        assert hash_of(loader) == hash_of(bare.loader(6, output="numpy"))
        assert counted(loader, "misses", "corrupt") == (0, 0)
    ids = cached.sample_ids[::-3]
    assert hash_of([cached.take(ids).columns]) == hash_of([bare.take(ids).columns])


def test_each_row_group_is_prepared_once(place: Place, data: Path) -> None:
    """Over epochs, orders and loaders; a loader that comes later, in another process, prepares nothing."""
    source = FaultySource(packed(data).recipe.source, {})
    cached = hr.Dataset.of(source).pack(x=["x", "y"]).cache(place())
    for shuffle in SHUFFLES:
        stream(cached, shuffle=shuffle)
    assert set(source.reads.values()) == {1}

    copied = pickle.loads(pickle.dumps(cached))
    assert stream(copied) == stream(cached)
    if place.kind != "memory":
        with copied.loader(6, output="numpy") as loader:
            list(loader)
            assert counted(loader, "misses") == (0,)


@pytest.mark.parametrize("name", ["packed", "plain"])
def test_a_limit_below_the_whole(name: str, place: Place, tmp_path: Path) -> None:
    """What does not fit is prepared again in each epoch, and every batch is right."""
    bare = DATA[name](write_shards(tmp_path / "shards", ([100] * 8, [30] * 4)))
    nbytes = bare.cache("memory").materialize().nbytes
    for share in (0.5, 0.8):
        cached = bare.cache(place(str(share)), limit=int(nbytes * share))
        for shuffle in (True, "global"):
            options: dict[str, Any] = {"shuffle": shuffle, "batch_size": 100}
            assert stream(cached, **options) == stream(bare, **options)
        with cached.loader(100, output="numpy") as loader:
            list(loader)
            assert (0,) < counted(loader, "misses") < (12,)


def test_a_limit_below_one_row_group_is_refused(place: Place, data: Path) -> None:
    """When the cache is asked for, before anything is read."""
    with pytest.raises(hr.OptionError, match=r"`limit` must hold one prepared row group.*11|limit"):
        packed(data).cache(place(), limit=100)
    for on_error in ("raise", "skip"):  # text and lists tell their size with the first entry
        with pytest.raises(hr.OptionError, match="limit"):
            list(plain(data).cache(place(), limit=100).loader(6, output="numpy", on_error=on_error))


def edit(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes in place; path, size and the time of the last write stay."""
    content, before = path.read_bytes(), path.stat()
    assert len(old) == len(new)
    assert old in content
    with path.open("r+b") as file:
        file.write(content.replace(old, new, 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_an_edited_source_never_yields_old_rows(place: Place, tmp_path: Path) -> None:
    """The loader that was open is told, a new one has the new rows; old bytes bring the old rows back."""
    path, store = tmp_path / "a.parquet", place.shared()
    options: Any = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    values = np.arange(1000, 1400)
    pq.write_table(pa.table({"x": values}), path, row_group_size=100, **options)

    def open_cached() -> hr.Loader:
        return hr.open(path).cache(store).loader(32, output="numpy")

    def rows(loader: hr.Loader) -> list[int]:
        return np.concatenate([batch["x"] for batch in loader]).tolist()

    with open_cached() as before:
        assert rows(before) == rows(before) == values.tolist()
        taken = hr.open(path).cache(store)
        assert taken.take([7])["x"].tolist() == [1007]
        edit(path, (1007).to_bytes(8, "little"), (5555).to_bytes(8, "little"))
        for use in (lambda: next(iter(before)), lambda: before.batch(0), lambda: taken.take([7])):
            with pytest.raises(hr.ChangedSourceError, match=r"a\.parquet"):
                use()
    with open_cached() as after:
        assert rows(after) == [5555 if value == 1007 else value for value in values.tolist()]
        assert rows(after)[7] == 5555
    edit(path, (5555).to_bytes(8, "little"), (1007).to_bytes(8, "little"))
    with open_cached() as again:
        assert rows(again) == values.tolist()
        assert counted(again, "misses") == (0,)


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_a_shard_that_changes_is_what_it_is_without_a_cache(
    shuffle: Any, place: Place, tmp_path: Path
) -> None:
    """As without a cache: an error at the first batch that needs it, or with `on_error="skip"` left out."""
    write_shards(tmp_path / "shards")
    bare = packed(tmp_path / "shards")
    options: Any = {"shuffle": shuffle, "seed": 2, "output": "numpy", "with_ids": True, "threads": 0}
    kinds = [(ds, on_error) for ds in (bare, bare.cache(place())) for on_error in ("raise", "skip")]
    loaders = [ds.loader(6, on_error=on_error, **options) for ds, on_error in kinds]
    for loader in loaders:
        list(loader)
    os.utime(tmp_path / "shards" / "part-0.parquet")
    got: list[Any] = []
    for loader in loaders:
        batches: list[Any] = []
        try:
            batches.extend(hash_of([batch])[0] for batch in loader)
        except hr.ChangedSourceError as error:
            batches.append(str(error))
        got.append((batches, loader.stats()["skipped_ids"]))
        loader.close()

    assert got[2:] == got[:2]
    assert "opened" in got[0][0][-1]
    assert len(got[1][1]) == 12


def test_positions_do_not_know_of_caches(place: Place, data: Path) -> None:
    """A state that was saved with a cache is loaded without one, and the other way round."""
    bare = packed(data)
    cached = bare.cache(place())
    assert cached.fingerprint == bare.fingerprint
    options: Any = {"shuffle": True, "output": "numpy", "with_ids": True}
    expected = stream(bare, shuffle=True, seed=0)
    for first, second in ((bare, cached), (cached, bare), (cached, cached)):
        with first.loader(6, **options) as saver, second.loader(6, **options) as resumed:
            got = hash_of(batch for _, batch in zip(range(3), saver, strict=False))
            resumed.load_state_dict(saver.state_dict())
            assert got + hash_of(resumed) == expected[0]
            assert hash_of(resumed) == expected[1]


def test_every_way_to_samples_agrees(place: Place, data: Path) -> None:
    """`batch`, `take`, torch's map and the workers of a DataLoader deliver what they do without a cache."""
    from torch.utils.data import DataLoader

    bare = plain(data).pack(x=["x", "y"], label="label")  # without Polars, which does not survive a fork
    cached = bare.cache(place())
    results: list[list[list[str]]] = []
    for ds in (bare, cached, cached):
        loader = ds.loader(6, shuffle=True, with_ids=True)
        workers = DataLoader(
            loader.to_torch(), batch_size=None, num_workers=2, multiprocessing_context="fork"
        )
        found = [hash_of(workers), hash_of(loader.batch(step) for step in range(len(loader)))]
        table = ds.to_torch_map()
        found += [hash_of(DataLoader(table, batch_size=5)), hash_of([table[3], table[-1]])]
        found.append(hash_of([ds.take([30, 2, 2]).columns, ds.head(3).to_dict(as_series=False)]))
        results.append(found)
        loader.close()

    assert results[1:] == results[:1] * 2


def test_samples_that_cannot_be_read(place: Place, data: Path) -> None:
    """They are left out and counted as without a cache, in every epoch, and nothing of them is kept."""
    source = plain(data).recipe.source
    faulty = hr.Dataset.of(FaultySource(source, {5: [Fail("no disk")]})).select(["x", "y"])
    cached, options = faulty.cache(place()), {"output": "numpy", "on_error": "skip"}
    with cached.loader(6, **options) as loader, faulty.loader(6, **options) as bare:
        for _ in range(2):
            assert hash_of(loader) == hash_of(bare)
        names = ("skipped", "skipped_ids", "skipped_errors")
        assert [loader.stats()[name] for name in names] == [bare.stats()[name] for name in names]
        assert loader.stats()["skipped"] == 2 * source.manifest[5].rows
    with cached.loader(6, output="numpy") as loader, pytest.raises(hr.SourceError, match="no disk"):
        list(loader)

    assert hash_of(hr.Dataset.of(source).select(["x", "y"]).cache(place()).loader(6)) == hash_of(
        hr.Dataset.of(source).select(["x", "y"]).loader(6)
    )


def test_nulls_in_samples_of_another_rank(place: Place) -> None:
    """A row group that no array can hold as a whole is what it is without a cache, rank by rank."""
    values = pa.array([None if row == 7 else row for row in range(40)])
    ds = hr.from_arrow(pa.table({"x": values, "y": np.arange(40)}))
    cached = ds.cache(place())
    for rank in (0, 1):
        options = {"shuffle": "global", "world": hr.World(rank, 2), "output": "numpy", "on_error": "skip"}
        with cached.loader(5, **options) as loader, ds.loader(5, **options) as bare:
            assert hash_of(loader) == hash_of(bare)
            assert loader.stats()["skipped_ids"] == bare.stats()["skipped_ids"]
    with cached.loader(5, output="numpy") as loader, ds.loader(5, output="numpy") as bare:
        assert hash_of([loader.batch(0), loader.batch(3)]) == hash_of([bare.batch(0), bare.batch(3)])
        with pytest.raises(hr.SchemaError, match="are null"):
            loader.batch(1)


def scaled(data: Path, factor: object, **options: Any) -> hr.Dataset:
    def scale(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(x=pl.col("x") * float(str(factor)))

    return plain(data).select(["x", "y"]).map(scale, **options)


def test_functions_enter_by_what_they_close_over(place: Place, data: Path) -> None:
    """Another value, another entry; the same value, the same; `version` stands for what has no value."""
    store = place.shared()

    def misses(ds: hr.Dataset, factor: float) -> int:
        with ds.cache(store).loader(38, output="numpy") as loader:
            (batch,) = loader
            assert batch["x"].tolist() == [row * 0.5 * factor for row in range(38)]
            return counted(loader, "misses")[0]

    class Unnamed:
        def __str__(self) -> str:
            return "3"

    assert [misses(scaled(data, factor), factor) for factor in (2, 2, 4, 2)] == [7, 0, 7, 0]
    with pytest.raises(hr.FingerprintError, match="version"):
        scaled(data, threading.Lock()).cache(store)
    assert [misses(scaled(data, Unnamed(), version=name), 3) for name in ("a", "a", "b")] == [7, 0, 7]


def test_a_function_enters_as_it_is_when_a_loader_is_made(place: Place, data: Path) -> None:
    """What it closes over may have changed since `map`; then nothing is found or kept under the old value."""
    factor, store = np.array([2.0]), place.shared()

    def scale(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(x=pl.col("x") * factor[0])

    ds = plain(data).select(["x"]).map(scale).cache(store)
    for value, misses in ((2.0, 7), (3.0, 7), (2.0, 0)):
        factor[0] = value
        with ds.loader(38, output="numpy") as loader:
            (batch,) = loader
            assert batch["x"].tolist() == [row * 0.5 * value for row in range(38)]
            assert counted(loader, "misses") == (misses,)


def test_a_state_fits_although_the_function_has_filled_a_memo(data: Path) -> None:
    """States go by what the function was when it was given to `map`, with a cache and without."""
    memo: dict[str, int] = {}

    def scale(frame: pl.DataFrame) -> pl.DataFrame:
        memo[str(len(memo))] = len(frame)
        return frame.with_columns(x=pl.col("x") * 2)

    ds = plain(data).select(["x"]).map(scale)
    want = hash_of(ds.loader(6, output="numpy"))
    memo.clear()
    with ds.map(scale).loader(6, output="numpy") as loader:
        next(iter(loader))
        state = loader.state_dict()
    memo.clear()
    with plain(data).select(["x"]).map(scale).map(scale).cache("memory").loader(6, output="numpy") as loader:
        loader.load_state_dict(state)
        assert len(hash_of(loader)) == len(want) - 1


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("name", ["packed", "plain"])
@pytest.mark.parametrize("spoil", [flip, cut, Path.unlink])
def test_each_file_of_a_folder_spoilt(
    name: str, spoil: Callable[[Path], None], data: Path, tmp_path: Path
) -> None:
    """One byte flipped, cut off, or gone: batches are right at once, and the folder is whole again after."""
    bare, warm = DATA[name](data), tmp_path / "warm"
    bare.materialize(warm)
    files = [path.relative_to(warm) for path in warm.rglob("*") if path.is_file() and path.stat().st_size]
    expected = {shuffle: stream(bare, epochs=1, shuffle=shuffle) for shuffle in (True, "global")}
    assert len(files) > 4
    for number, file in enumerate(files if name == "packed" else files[::4]):
        cold = tmp_path / f"{number}"
        shutil.copytree(warm, cold)
        spoil(cold / file)
        cached = bare.cache(cold)
        for shuffle, hashes in expected.items():
            assert stream(cached, epochs=1, shuffle=shuffle) == hashes, file
        done = cached.materialize()
        assert (done.built, done.found) == (0, done.entries), file


@pytest.mark.parametrize("built", [0, 3, 100])
@pytest.mark.filterwarnings("ignore:.*cache")  # it may be told of, once
def test_a_folder_that_is_deleted_in_mid_epoch(built: int, data: Path, tmp_path: Path) -> None:
    """Cold, half built or warm: what was begun goes on."""
    bare = packed(data)
    for shuffle in SHUFFLES:
        folder = tmp_path / f"{shuffle}"
        if built == 100:
            bare.materialize(folder)
        loader = bare.cache(folder).loader(6, shuffle=shuffle, seed=5, output="numpy", with_ids=True)
        batches = iter(loader)
        got = hash_of(islice(batches, min(built, 3)))
        shutil.rmtree(folder, ignore_errors=True)
        got += hash_of(batches)
        assert [got, hash_of(loader)] == stream(bare, shuffle=shuffle)
        loader.close()


def run_state(*arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("state_programs.py")), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(hr.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_disk_that_is_full(data: Path, tmp_path: Path) -> None:
    """A file that cannot grow is told of, and no batch is missing."""
    found = run_state("full", data, tmp_path / "cache", 700)
    assert found["right"] == [True] * 4
    assert max(found["misses"]) > 0
    assert found["told"]


def test_a_folder_that_is_read_only(data: Path) -> None:
    """What is there is used, what is missing is prepared, and nothing is changed."""
    with tempfile.TemporaryDirectory() as name:
        top, cache = Path(name), Path(name) / "cache"
        shards = shutil.copytree(data, top / "shards")
        packed(shards).materialize(cache)
        with plain(shards).cache(cache).loader(6, output="numpy") as loader:
            next(iter(loader))
        paths = [top, *top.rglob("*")]
        for path in sorted(paths, reverse=True):
            if os.geteuid() == 0:
                os.chown(path, SOMEBODY, SOMEBODY)
            path.chmod(0o500 if path.is_dir() else 0o400)
        before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
        try:
            found = run_state("readonly", shards, cache)
            assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before
        finally:
            for path in paths:
                if path.is_dir():
                    path.chmod(0o700)
    assert found["right"] == [True] * 4
    assert found["misses"][:2] == [0, 0]
    assert found["misses"][2] > 0


def test_what_files_hold_is_remembered_in_the_folder(data: Path, tmp_path: Path) -> None:
    """Later runs look at each file and read none; what is remembered is no part of what must be right."""
    folder = tmp_path / "cache"
    time.sleep(max(0.0, 2.1 - (time.time() - max(path.stat().st_ctime for path in data.iterdir()))))
    packed(data).materialize(folder)
    kept = json.loads((folder / "headrace-contents.json").read_text())
    assert len(kept["digests"]) == 3  # the fourth shard has no samples, and need not be read
    with packed(data).cache(folder).loader(6, output="numpy") as loader:
        list(loader)
        assert counted(loader, "misses") == (0,)


@pytest.mark.parametrize("kind", ["pipe", "folder", "text"])
def test_what_lies_where_that_is_remembered(kind: str, data: Path, tmp_path: Path) -> None:
    """It is neither waited for nor believed."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    there = folder / "headrace-contents.json"
    make = {"pipe": os.mkfifo, "folder": Path.mkdir, "text": lambda path: path.write_text("mine")}
    make[kind](there)
    want = hash_of(plain(data).loader(6, output="numpy"))
    assert hash_of(plain(data).cache(folder).loader(6, output="numpy")) == want


def test_like_named_columns_of_one_file_lie_apart(tmp_path: Path) -> None:
    """What a column is called does not tell which of a file's values, or which file, it stands for."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for group, begin in (("g", 0), ("h", 100)):
            file[f"{group}/plain"] = np.arange(begin, begin + 4)
            layout = h5py.VirtualLayout((4,), "i8")
            layout[:] = h5py.VirtualSource(".", f"/{group}/plain", (4,))
            file.create_group(f"{group}2").create_virtual_dataset("plain", layout)
    for name, content in (("f", b"abcd"), ("g", b"wxyz")):
        (tmp_path / f"{name}-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x04" + content)
    store = hr.MemoryStore()

    def first(path: str, options: Any, column: str) -> int:
        ds = hr.open(tmp_path / path, options=options).pack(x=column).cache(store)
        return int(ds.take([0])["x"][0])

    groups = [first("a.h5", hr.Hdf5Options(group=f"/{group}"), "plain") for group in ("g", "h", "g2", "h2")]
    assert groups == [0, 100, 0, 100]
    names = ("f-idx1-ubyte", "g-idx1-ubyte")
    for column, other in (("a", "b"), ("b", "a")):
        options = hr.IdxOptions({column: names[0], other: names[1]})
        assert first("*idx1*", options, "a") == (ord("a") if column == "a" else ord("w"))
