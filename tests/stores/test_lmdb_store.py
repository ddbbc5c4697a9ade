"""The LMDB store: many users of one file, damage, limits, and what it leaves alone."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_data import DATA, hash_of, write_shards

import headrace as hr
from headrace.stores.base import Layout, Store
from headrace.stores.lmdb.store import LmdbStore
from headrace.stores.paged.table import PagedTable
from headrace.testing import StoreTests
from headrace.testing.stores import assert_same, columns_of, layout_of

SLACK = 1 << 20  # what the file may take beyond the limit
ENTRIES = 12


def flip(path: Path, every: int) -> None:
    content = bytearray(path.read_bytes())
    for place in range(len(content) % every, len(content), every):
        content[place] ^= 0xFF
    path.write_bytes(content)


class TestLmdb(StoreTests):
    has_whole = False

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[int | None], Store]:
        return lambda limit: LmdbStore(tmp_path / "cache", limit)

    @pytest.fixture
    def damages(self, tmp_path: Path) -> Sequence[Callable[[], None]]:
        data = tmp_path / "cache" / "data.mdb"
        return [
            *(lambda end=end: os.truncate(data, end) for end in (0, 100, 4096, 8192)),
            *(lambda every=every: flip(data, every) for every in (1, 7, 61)),
            data.unlink,
            lambda: os.truncate(tmp_path / "cache" / "headrace.lock", 0) or data.unlink(),
            lambda: data.write_bytes(os.urandom(1 << 16)),
        ]


def big(name: str, entries: int = ENTRIES) -> Layout:
    return layout_of("arrays", name, [4000] * entries)


def rows_of(number: int) -> dict[str, np.ndarray[Any, Any]]:
    return {"x": np.full((4000, 25), number, np.float32)}


SIZE = rows_of(0)["x"].nbytes


def fill(store: LmdbStore, layout: Layout) -> PagedTable:
    table = store.open(layout)
    for number in range(len(layout.entries)):
        table.put(number, rows_of(number))
    return table


def there(table: PagedTable) -> list[int]:
    found: list[int] = []
    for number in range(ENTRIES):
        columns = table.get(number)
        if columns is not None:
            assert_same(columns, rows_of(number))
            found.append(number)
    return found


def file_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    """Entry by entry, once nobody has them open; the file stays within the limit and its slack."""
    limit = int(16.5 * SIZE)
    store = LmdbStore(tmp_path, limit)
    fill(store, big("old")).close()
    table = store.open(big("old"))
    for number in (0, 5, 7):
        assert table.get(number) is not None
    table.close()
    table = fill(store, big("new"))

    assert there(table) == list(range(ENTRIES))
    assert table.counts.evicted >= 8
    table.close()
    left = there(store.open(big("old")))
    assert left
    assert set(left) <= {0, 5, 7} | set(range(8, ENTRIES))
    assert {0, 5, 7} <= set(left) or len(left) < 3
    assert file_size(tmp_path) <= limit + SLACK


def test_what_is_open_is_not_removed(tmp_path: Path) -> None:
    """Neither by another store, nor by a table's own puts: what came first stays, the rest is let go."""
    limit = int(6.5 * SIZE)
    mine = fill(LmdbStore(tmp_path, limit), big("mine"))
    assert there(mine) == list(range(6))
    other = fill(LmdbStore(tmp_path, limit), big("other"))
    assert there(other) == []
    assert there(mine) == list(range(6))
    mine.close()
    time.sleep(0.6)  # a store that was full is left alone for a moment
    for number in range(ENTRIES):
        other.put(number, rows_of(number))
    assert len(there(other)) == 6
    assert mine.counts.evicted + other.counts.evicted == 6
    other.close()


@pytest.mark.parametrize("seed", range(3))
def test_the_file_never_grows_beyond_the_limit(tmp_path: Path, seed: int) -> None:
    """Entries of all sizes come and go; those that are there are right."""
    sizes, limit = random.Random(seed), 2_000_000
    store = LmdbStore(tmp_path, limit)
    kept = 0
    for turn in range(40):
        table = store.open(layout_of("arrays", str(turn), [1] * 3))
        for number in range(3):
            columns = {"x": np.full((1, sizes.randrange(1, 600_000)), number, np.uint8)}
            table.put(number, columns)
            assert file_size(tmp_path) <= limit + SLACK
            found = table.get(number)
            if found is not None:
                assert_same(found, columns)
                kept += 1
        assert (table.counts.outages, table.counts.corrupt) == (0, 0)
        table.close()
    assert kept >= 115


def test_a_lower_limit_shrinks_the_file(tmp_path: Path) -> None:
    """An LMDB file never shrinks by itself; it is written anew with the entries used last."""
    fill(LmdbStore(tmp_path), big("old")).close()
    assert file_size(tmp_path) > ENTRIES * SIZE
    store = LmdbStore(tmp_path, limit=3 * SIZE + 50_000)
    table = store.open(big("new"))
    table.put(0, rows_of(0))
    assert there(table) == [0]
    assert file_size(tmp_path) <= 3 * SIZE + 50_000 + SLACK
    assert there(store.open(big("old"))) == [10, 11]
    table.close()


def test_one_folder_many_times_in_one_process(tmp_path: Path) -> None:
    """Tables of several stores and threads use it at once, beside the library itself."""
    import lmdb

    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            table = fill(LmdbStore(tmp_path), big(name))
            assert there(table) == list(range(ENTRIES))
            assert table.counts.outages == 0
            table.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(str(number % 3),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with lmdb.open(str(tmp_path), readonly=True, lock=False) as environment:
        assert environment.stat()["entries"] >= 3 * ENTRIES * 2
        assert there(LmdbStore(tmp_path).open(big("0"))) == list(range(ENTRIES))


def use(path: Path, seed: int, turns: int) -> None:
    """Put and get in a process of its own; every answer must be right."""
    chance, store = random.Random(seed), LmdbStore(path, limit=int(8.5 * SIZE))
    for _ in range(turns):
        table = store.open(big(str(chance.randrange(3))))
        for _ in range(10):
            number = chance.randrange(ENTRIES)
            columns = table.get(number)
            if columns is None:
                with table.claim(number):
                    table.put(number, rows_of(number))
            else:
                assert_same(columns, rows_of(number))
        assert (table.counts.corrupt, table.counts.outages) == (0, 0)
        if chance.random() < 0.5:
            table.close()


@pytest.mark.parametrize(("method", "count"), [("fork", 4), ("spawn", 1)])
def test_several_processes_at_once(tmp_path: Path, method: str, count: int) -> None:
    """They see each other's entries, whole, under a limit that makes them remove each other's too."""
    held = LmdbStore(tmp_path / "cache").open(big("0"))  # inherited by forks, of no use to them
    held.put(0, rows_of(0))
    context = multiprocessing.get_context(method)
    children = [context.Process(target=use, args=(tmp_path / "cache", seed, 6)) for seed in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * count
    assert file_size(tmp_path) <= 8.5 * SIZE + SLACK
    held.close()


def test_kill_at_any_moment(tmp_path: Path) -> None:
    """Whoever is killed while writing leaves whole entries, no lock, and nothing that is taken for open."""
    context = multiprocessing.get_context("fork")
    chance = random.Random(0)
    for seed in range(12):
        child = context.Process(target=use, args=(tmp_path / "cache", seed, 1000))
        child.start()
        time.sleep(0.02 + 0.05 * chance.random())
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        table = LmdbStore(tmp_path / "cache", limit=int(8.5 * SIZE)).open(big("0"))
        there(table)
        assert (table.counts.corrupt, table.counts.outages) == (0, 0)
        table.close()
    table = fill(LmdbStore(tmp_path / "cache", limit=int(8.5 * SIZE)), big("last"))
    assert there(table) == list(range(8))
    table.close()
    assert list((tmp_path / "cache" / "open").iterdir()) == []


def test_any_damaged_byte_does_no_harm(tmp_path: Path) -> None:
    """The library would crash on some; here every entry that comes back is right, and puts work again."""
    store = LmdbStore(tmp_path)
    table = store.open(layout_of("all"))
    for number in range(4):
        table.put(number, columns_of(number))
    table.close()
    data = tmp_path / "data.mdb"
    sound, rebuilt = data.read_bytes(), 0
    for place in [*range(0, 400, 11), *range(4096, 4400, 11), *range(8192, len(sound), 311)]:
        data.write_bytes(sound[:place] + bytes([sound[place] ^ (1 << place % 8)]) + sound[place + 1 :])
        table = store.open(layout_of("all"))
        for number in range(4):
            columns = table.get(number)
            if columns is not None:
                assert_same(columns, columns_of(number))
            else:
                table.put(number, columns_of(number))
            assert_same(table.get(number), columns_of(number))
        assert table.counts.outages == 0
        rebuilt += table.counts.rebuilt
        table.close()
    assert rebuilt > 5


@pytest.mark.parametrize("verify", ["first", "always", "never"])
def test_when_checksums_are_looked_at(tmp_path: Path, verify: Any) -> None:
    """At the first use in a process, at every use, or not at all."""
    store = LmdbStore(tmp_path, verify=verify)
    table = store.open(big("x", 1))
    table.put(0, rows_of(1))
    answers: list[bool] = []
    for _ in range(2):
        answers.append(table.get(0) is not None)
        content = bytearray((tmp_path / "data.mdb").read_bytes())
        place = content.index(rows_of(1)["x"].tobytes()[:400])
        content[place + 10_000] ^= 1
        (tmp_path / "data.mdb").write_bytes(content)
    answers.append(table.get(0) is not None)
    assert answers == {"first": [True] * 3, "always": [True, False, True], "never": [True] * 3}[verify]
    assert (store.open(big("x", 1)).get(0) is None) == (verify == "nothing")
    table.close()


def test_what_others_could_have_written_is_refused(tmp_path: Path) -> None:
    """A folder that anybody may write to, that holds something else, or that is a file."""
    (tmp_path / "open to all").mkdir()
    (tmp_path / "open to all").chmod(0o777)
    (tmp_path / "in use").mkdir()
    (tmp_path / "in use" / "data.mdb").write_bytes(b"precious")
    (tmp_path / "file").write_bytes(b"precious")
    for name, words in {
        "open to all": "everyone may write",
        "in use": "a folder of its own",
        "file": "must be a folder",
    }.items():
        with pytest.raises(hr.CacheError, match=words):
            LmdbStore(tmp_path / name).open(big("x"))
    assert (tmp_path / "in use" / "data.mdb").read_bytes() == b"precious"


def test_files_of_the_user_survive(tmp_path: Path) -> None:
    """Whatever else lies in the folder stays, through damage and removal."""
    store = LmdbStore(tmp_path, limit=3 * SIZE + 50_000)
    fill(store, big("a")).close()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "data.mdb").write_bytes(b"damaged")
    fill(store, big("b")).close()
    fill(store, big("c")).close()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def use_in_vain(store: LmdbStore) -> PagedTable:
    table = store.open(big("x"))
    table.put(0, rows_of(0))
    assert table.get(0) is None
    with table.claim(0) as is_mine:
        assert is_mine
    table.close()
    return table


def test_a_store_that_cannot_be_written_to(tmp_path: Path) -> None:
    """One warning, outages that are counted, and no entry; or an error for those who want one."""
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "cache"
    with pytest.warns(UserWarning, match=r"file.*cannot be used") as told:
        table = use_in_vain(LmdbStore(path))
    assert [each.filename for each in told] == [__file__]
    assert table.counts.outages >= 1
    with pytest.raises(hr.CacheError, match="cannot be used"):
        LmdbStore(path, on_unavailable="raise").open(big("x"))


def on_a_full_disk(path: Path) -> None:
    """Write in a process whose files may not grow as far as the entries go, and then may."""
    table = LmdbStore(path).open(big("x"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(3.5 * SIZE), limits[1]))
    for number in range(3):
        table.put(number, rows_of(number))
    with pytest.warns(UserWarning, match="cannot be used"):
        table.put(3, rows_of(3))
    for number in range(3, ENTRIES):
        table.put(number, rows_of(number))
    assert table.counts.outages == 1
    assert there(table) == [0, 1, 2]
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    time.sleep(0.6)  # a store that failed is left alone for a moment
    for number in range(3, ENTRIES):
        table.put(number, rows_of(number))
    assert there(table) == list(range(ENTRIES))
    table.close()


def test_a_full_disk(tmp_path: Path) -> None:
    """What was kept before stays whole, and the store goes on once there is room."""
    child = multiprocessing.get_context("fork").Process(target=on_a_full_disk, args=(tmp_path / "cache",))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert there(LmdbStore(tmp_path / "cache").open(big("x"))) == list(range(ENTRIES))


def read_only(path: Path, user: int) -> None:
    """Read and write in a process that may only read."""
    if os.geteuid() != user:
        os.setgroups([])
        os.setuid(user)
    with pytest.raises(PermissionError):
        (path / "x").touch()
    table = LmdbStore(path).open(big("x"))
    assert there(table) == list(range(6))
    assert table.counts.outages == 0
    with table.claim(6) as is_mine:
        assert is_mine
    with pytest.warns(UserWarning, match="Permission denied"):
        table.put(6, rows_of(6))
    assert there(table) == list(range(6))
    assert table.counts.outages == 1
    table.close()


def test_a_store_that_can_only_be_read() -> None:
    """What it has is used at once; what it lacks is not kept, which is told once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache"
        table = LmdbStore(path).open(big("x"))
        for number in range(6):
            table.put(number, rows_of(number))
        table.close()
        user = os.geteuid() or 65534  # root may write anywhere, so somebody else has to try
        for each in (path, *path.rglob("*")):
            os.chown(each, user, -1)
            each.chmod(0o500 if each.is_dir() else 0o400)
        Path(folder).chmod(0o711)
        child = multiprocessing.get_context("fork").Process(target=read_only, args=(path, user))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        for each in path.rglob("*/"):
            each.chmod(0o700)
        path.chmod(0o700)


def test_rows_that_no_page_may_hold(tmp_path: Path) -> None:
    """They are told of once and not kept; what can be kept is."""
    table = LmdbStore(tmp_path).open(big("x"))
    with pytest.warns(UserWarning, match="`word`.*cannot lie in a page"):
        table.put(0, {"word": np.array(["a"] * 4000)})
    table.put(1, {"word": np.array(["a"] * 4000)})
    table.put(2, rows_of(2))
    assert there(table) == [2]
    table.close()


def test_settings_are_checked(tmp_path: Path) -> None:
    """What cannot be right is refused at once; a store is a value."""
    for wrong in ({"limit": 0}, {"verify": "sometimes"}, {"on_unavailable": "hide"}):
        with pytest.raises(hr.OptionError, match=next(iter(wrong))):
            LmdbStore(tmp_path, **wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(hr.OptionError, match="path"):
        LmdbStore("")
    store = LmdbStore(tmp_path, 1 << 20)
    assert pickle.loads(pickle.dumps(store)) == store


@pytest.mark.parametrize("name", ["packed", "plain"])
def test_streams_are_the_same(tmp_path: Path, name: str) -> None:
    """By URL, with two loaders over one folder at once: cold, warm, full, and damaged in mid-epoch."""
    bare = DATA[name](write_shards(tmp_path / "data"))
    options: Any = {"shuffle": True, "seed": 1, "output": "numpy", "threads": 2}
    with bare.loader(6, **options) as loader:
        expected = [hash_of(loader) for _ in range(3)]
    for limit in (None, 9_000, "1MB"):
        cached = bare.cache(f"lmdb://{tmp_path / 'cache'}", limit=limit)
        with cached.loader(6, **options) as first, cached.loader(6, **options) as second:
            for epoch, hashes in enumerate(expected):
                batches = iter(first)
                found = hash_of([next(batches)])
                assert hash_of(second) == hashes
                if epoch == 1:
                    os.truncate(tmp_path / "cache" / "data.mdb", 9000)
                assert found + hash_of(batches) == hashes
            counts = first.stats()
            assert counts["cache_outages"] == 0
            assert limit == 9_000 or counts["cache_rebuilt"] + second.stats()["cache_rebuilt"] > 0
