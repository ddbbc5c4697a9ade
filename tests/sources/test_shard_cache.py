"""Whole shards on the local disk: below the limit, never torn, stale or foreign, shared by processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from remote_servers import Request, Store, in_the_middle
from torch.utils.data import DataLoader

import headrace as hr
from headrace.sources import shard_cache
from headrace.sources.shard_cache import CachedShards
from headrace.sources.transfers import Version

SHARDS, ROWS = 5, 20_000
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("shards")
    for shard in range(SHARDS):
        with h5py.File(place / f"{shard}.h5", "w") as file:
            file.create_dataset("x", data=np.arange(ROWS) + shard * ROWS, chunks=(5000,))
    return place


@pytest.fixture(scope="module")
def url(running_store: Store, folder: Path) -> str:
    running_store.put(folder, "hdf5")
    return "s3://data/hdf5"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def size_of(folder: Path) -> int:
    return (folder / "0.h5").stat().st_size


def kept(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.suffix in (".shard", ".part"))


def taken(cache: Path) -> int:
    return sum(path.stat().st_size for path in kept(cache))


def downloads(store: Store) -> list[Request]:
    """Requests for the bytes of shards, those for the first bytes alone aside."""
    return [request for request in store.proxy.requests if request.status == 206 and request.length > 100]


def test_each_shard_is_fetched_once(store: Store, url: str, folder: Path, cache: Path) -> None:
    """Opening, two epochs and a second opening fetch every shard once, with a fault in each answer too."""
    store.proxy.reset(in_the_middle)
    named = hr.ShardCache(cache, limit="1GB")
    expected = hr.open(folder)
    for _ in range(2):
        dataset = hr.open(url, storage_options=store.options, shard_cache=named)
        assert dataset.fingerprint == expected.fingerprint
        assert dataset.to_arrow().equals(expected.to_arrow())
        assert dataset.to_arrow().equals(expected.to_arrow())
    heads = 2 * SHARDS * 4096

    assert store.proxy.broken > SHARDS
    assert SHARDS * size_of(folder) <= store.proxy.sent <= 1.02 * SHARDS * size_of(folder) + heads
    assert len(kept(cache)) == SHARDS


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_limit_holds(store: Store, url: str, folder: Path, cache: Path, shards: int) -> None:
    """However few shards fit, every sample comes, and the folder never takes more than the limit."""
    limit = shards * size_of(folder) + 100
    most = 0
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.002):
            if cache.exists():
                most = max(most, sum(_size(path) for path in cache.iterdir()))

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        dataset = hr.open(url, storage_options=store.direct, shard_cache=hr.ShardCache(cache, limit=limit))
        loader = dataset.loader(1000, shuffle=True, seed=1, output="numpy", threads=3)
        found = [batch["x"].tolist() for batch in loader]
        over.set()
        watching.result()
    local = hr.open(folder).loader(1000, shuffle=True, seed=1, output="numpy")

    assert found == [batch["x"].tolist() for batch in local]
    assert 0 < most <= limit
    assert not list(cache.glob("*.part"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_shard_used_longest_ago_goes_first(cache: Path) -> None:
    """The one that was used last stays."""
    shards = CachedShards.of(hr.ShardCache(cache, limit=250))
    for name in ("a", "b", "a", "c"):
        time.sleep(0.01)
        with lease(shards, name):
            pass

    assert fetched_by(shards, ["a", "c", "b"]) == ["b"]


def lease(shards: CachedShards, name: str, size: int = 100, log: list[str] | None = None) -> Any:
    def save(write: Any) -> None:
        if log is not None:
            log.append(name)
        write(0, name.encode() * size)

    return shards.lease(f"memory://{name}", (name, Version(size, "1")), size, save)


def fetched_by(shards: CachedShards, names: list[str]) -> list[str]:
    log: list[str] = []
    for name in names:
        with lease(shards, name, log=log) as place:
            assert Path(place).read_bytes() == name.encode() * 100
    return log


def test_shard_in_use_is_never_removed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While all room is taken by shards in use, others wait; after a long time that is an error."""
    monkeypatch.setattr(shard_cache, "_MOST_WAIT_SECONDS", 0.2)
    shards = CachedShards.of(hr.ShardCache(cache, limit=250))
    with lease(shards, "a") as first, lease(shards, "b"):
        with (
            pytest.raises(hr.SourceError, match=r"memory://c: finds no place.*raise its limit"),
            lease(shards, "c"),
        ):
            pass
        assert Path(first).read_bytes() == b"a" * 100
    with lease(shards, "c") as place:
        assert Path(place).read_bytes() == b"c" * 100
    assert taken(cache) <= 250


def test_shard_larger_than_the_limit(store: Store, url: str, cache: Path) -> None:
    """A shard that cannot fit is an error, not a wait without end."""
    with pytest.raises(hr.SourceError, match=r"s3://data/hdf5/0\.h5.*more than the cache's limit of 1,000"):
        hr.open(url, storage_options=store.direct, shard_cache=hr.ShardCache(cache, limit=1000))


@pytest.mark.parametrize("damage", ["cut", "longer", "written", "deleted", "linked"])
def test_damaged_entry_is_fetched_again(cache: Path, damage: str) -> None:
    """An entry that is no longer what was fetched is never served."""
    shards = CachedShards.of(hr.ShardCache(cache))
    assert fetched_by(shards, ["a", "a"]) == ["a"]
    [place] = kept(cache)
    if damage == "cut":
        os.truncate(place, 50)
    elif damage == "longer":
        os.truncate(place, 200)
    elif damage == "written":
        with place.open("r+b") as file:
            file.write(b"x")
    else:
        place.unlink()
    if damage == "linked":
        place.write_bytes(b"a" * 100)

    assert fetched_by(shards, ["a", "a"]) == ["a"]


def test_foreign_files_are_left_alone(cache: Path) -> None:
    """Files that the cache did not make are neither counted nor removed."""
    cache.mkdir()
    for name in ("precious.shard", "0" * 32, "notes.part", f"{'0' * 31}.shard"):
        (cache / name).write_bytes(b"x" * 1000)
    assert fetched_by(CachedShards.of(hr.ShardCache(cache, limit=150)), ["a", "b", "c", "a"]) == [
        "a",
        "b",
        "c",
        "a",
    ]

    assert sum(path.stat().st_size == 1000 for path in cache.iterdir()) == 4


def test_fault_leaves_no_half_file(cache: Path) -> None:
    """A download that fails is raised, removed, and begun anew."""
    shards = CachedShards.of(hr.ShardCache(cache))

    def fail(write: Any) -> None:
        write(0, b"a" * 50)
        raise hr.SourceError("memory://a: cannot be read")

    for _ in range(2):
        with (
            pytest.raises(hr.SourceError, match="cannot be read"),
            shards.lease("memory://a", ("a", Version(100, "1")), 100, fail),
        ):
            pass
        assert not kept(cache)
    assert fetched_by(shards, ["a"]) == ["a"]


def _fetch_slowly(cache: str, started: Any) -> None:
    def save(write: Any) -> None:
        write(0, b"a" * 50)
        started.set()
        time.sleep(60)

    with CachedShards.of(hr.ShardCache(cache)).lease("memory://a", ("a", Version(100, "1")), 100, save):
        pass


def test_kill_in_mid_download_leaves_no_half_file(cache: Path) -> None:
    """What a killed process had begun is neither served nor counted for long."""
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    child = context.Process(target=_fetch_slowly, args=(str(cache), started))
    child.start()
    assert started.wait(60)
    assert [path.suffix for path in kept(cache)] == [".part"]
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()

    shards = CachedShards.of(hr.ShardCache(cache, limit=150))
    assert fetched_by(shards, ["b"]) == ["b"]
    assert [path.suffix for path in kept(cache)] == [".shard"]
    assert fetched_by(shards, ["a"]) == ["a"]


def test_forked_process_does_not_keep_shards_in_use(cache: Path) -> None:
    """A worker that is forked while a shard is in use does not hold it for the rest of its life."""
    shards = CachedShards.of(hr.ShardCache(cache, limit=150))
    reader, writer = os.pipe()
    with lease(shards, "a"):
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    try:
        assert fetched_by(shards, ["b"]) == ["b"]
    finally:
        os.close(writer)
        os.waitpid(child, 0)
        os.close(reader)


def _read_all(url: str, options: dict[str, Any], cache: str, answers: Any) -> None:
    dataset = hr.open(url, storage_options=options, shard_cache=hr.ShardCache(cache))
    answers.put(int(dataset.to_arrow()["x"].to_numpy().sum()))


def test_processes_share_one_download(store: Store, url: str, folder: Path, cache: Path) -> None:
    """Two processes that read at once fetch every shard once between them."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    arguments = (url, store.options, str(cache), answers)
    children = [context.Process(target=_read_all, args=arguments) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    total = SHARDS * ROWS

    assert [answers.get(), answers.get()] == [total * (total - 1) // 2] * 2
    assert sum(request.length for request in downloads(store)) <= SHARDS * size_of(folder) + 2 * SHARDS * 4096


def test_threads_share_one_download(cache: Path) -> None:
    """Threads that want one shard at once wait for the one that fetches it."""
    shards, log = CachedShards.of(hr.ShardCache(cache)), []

    def use(_: int) -> bytes:
        with lease(shards, "a", log=log) as place:
            return Path(place).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(use, range(40))) == {b"a" * 100}
    assert log == ["a"]


def test_parquet_is_cached_where_a_folder_is_named(store: Store, cache: Path, tmp_path: Path) -> None:
    """With a named cache the second epoch fetches nothing; without one nothing is kept."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": np.random.default_rng(0).normal(size=50_000)}), tmp_path / "x.parquet")
    store.put(tmp_path / "x.parquet", "x.parquet")
    dataset = hr.open("s3://data/x.parquet", storage_options=store.options, shard_cache=hr.ShardCache(cache))
    first = dataset.to_arrow()
    store.proxy.reset()

    assert dataset.to_arrow().equals(first)
    assert store.proxy.requests == []
    assert len(kept(cache)) == 1


def test_new_version_is_another_entry(store: Store, folder: Path, cache: Path) -> None:
    """A shard that was replaced between two runs is fetched, not served from the cache."""
    named = hr.ShardCache(cache)
    for shard in range(2):
        store.put(folder / f"{shard}.h5", "changing.h5")
        dataset = hr.open("s3://data/changing.h5", storage_options=store.direct, shard_cache=named)
        assert dataset.to_arrow()["x"][0].as_py() == shard * ROWS


def test_replaced_shard_that_left_the_cache(store: Store, folder: Path, cache: Path) -> None:
    """Where a shard must be fetched again and is another one by now, that is an error."""
    store.put(folder / "0.h5", "leaving.h5")
    dataset = hr.open("s3://data/leaving.h5", storage_options=store.direct, shard_cache=hr.ShardCache(cache))
    store.put(folder / "1.h5", "leaving.h5")
    assert dataset.to_arrow()["x"][0].as_py() == 0  # the cache still holds what was opened
    for path in kept(cache):
        path.unlink()

    with pytest.raises(hr.ChangedSourceError, match=r"s3://data/leaving\.h5"):
        dataset.to_arrow()


def test_workers_share_the_private_folder(store: Store, url: str) -> None:
    """Workers read what the parent fetched, and fetch nothing again."""
    loader = hr.open(url, storage_options=store.options).loader(5000)
    store.proxy.reset()
    workers = DataLoader(loader.to_torch(), batch_size=None, num_workers=2, multiprocessing_context="fork")
    total = SHARDS * ROWS

    assert sum(int(batch["x"].sum()) for batch in workers) == total * (total - 1) // 2
    assert downloads(store) == []


def test_private_folder_goes_with_the_process(store: Store, url: str, tmp_path: Path) -> None:
    """Nothing is left of the default folder when the process ends."""
    program = (
        "import sys, headrace as hr\n"
        f"dataset = hr.open({url!r}, storage_options={store.direct!r})\n"
        "import os, tempfile\n"
        "assert any(name.startswith('headrace-') for name in os.listdir(tempfile.gettempdir()))\n"
        "print(len(dataset))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert int(done.stdout) == SHARDS * ROWS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"limit": 0}, {"limit": "much"}, {"folder": 3}, {"folder": ""}])
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    """Wrong settings are refused when they are made."""
    with pytest.raises(hr.OptionError):
        hr.ShardCache(**settings)


def test_folder_that_cannot_be(store: Store, url: str, tmp_path: Path) -> None:
    """A folder that cannot be made is an error which names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(hr.SourceError, match=r"file/cache.*shard_cache"):
        hr.open(url, storage_options=store.direct, shard_cache=hr.ShardCache(tmp_path / "file" / "cache"))
