"""The Redis store, with a real server: shared, limited, gone and back, and never believed."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_data import DATA, hash_of, write_shards
from redis_server import RedisServer

import headrace as hr
from headrace.stores.base import Layout, Store
from headrace.stores.paged.pages import to_page
from headrace.stores.paged.table import NotKeptError, PagedTable
from headrace.stores.redis.store import RedisPages, RedisStore
from headrace.testing import StoreTests
from headrace.testing.stores import assert_same, columns_of, layout_of

PREFIX = "headrace:1:"
ENTRIES = 8
SECRET = b"only we know"


def pages_of(client: Any) -> list[bytes]:
    return [name for name in client.keys(f"{PREFIX}*") if len(name) == len(PREFIX) + 32]


class TestRedis(StoreTests):
    has_whole = False

    @pytest.fixture
    def make(self, redis_server: RedisServer) -> Callable[[int | None], Store]:
        return lambda limit: RedisStore(redis_server.url, limit)

    @pytest.fixture
    def damages(self, redis_server: RedisServer) -> Sequence[Callable[[], None]]:
        client = redis_server.client()

        def spoil(change: Callable[[Any, bytes], object]) -> Callable[[], None]:
            return lambda: [change(client, name) for name in pages_of(client)] and None

        return [
            spoil(lambda client, name: client.setrange(name, 70, b"\0\0\0\0")),
            spoil(lambda client, name: client.append(name, b"\0")),
            spoil(lambda client, name: client.set(name, b"")),
            spoil(lambda client, name: client.set(name, client.get(name)[:-1])),
            spoil(lambda client, name: client.delete(name)),
            spoil(lambda client, name: (client.delete(name), client.lpush(name, "a list"))),
            client.flushall,
        ]


def big(name: str, entries: int = ENTRIES) -> Layout:
    return layout_of("arrays", name, [1000] * entries)


def rows_of(number: int) -> dict[str, np.ndarray[Any, Any]]:
    return {"x": np.full((1000, 25), number, np.float32)}


SIZE = rows_of(0)["x"].nbytes


def fill(store: RedisStore, layout: Layout) -> PagedTable:
    table = store.open(layout)
    for number in range(len(layout.entries)):
        table.put(number, rows_of(number))
    return table


def there(table: PagedTable, entries: int = ENTRIES) -> list[int]:
    found: list[int] = []
    for number in range(entries):
        columns = table.get(number)
        if columns is not None:
            assert_same(columns, rows_of(number))
            found.append(number)
    return found


def bytes_kept(server: RedisServer) -> int:
    with server.client() as client:
        return sum(client.strlen(name) for name in pages_of(client))


def test_the_least_recently_used_go_first(redis_server: RedisServer) -> None:
    """Entry by entry, once nobody has them open."""
    store = RedisStore(redis_server.url, limit=int(10.5 * SIZE))
    fill(store, big("old")).close()
    table = store.open(big("old"))
    time.sleep(0.002)  # last uses are known to the millisecond
    assert all(table.get(number) is not None for number in (1, 3))
    table.close()
    table = fill(store, big("new"))
    assert there(table) == list(range(ENTRIES))
    assert table.counts.evicted == 6
    table.close()
    table = store.open(big("old"))
    assert there(table) == [1, 3]
    assert bytes_kept(redis_server) <= 10.5 * SIZE
    table.close()


def test_what_is_open_is_not_removed(redis_server: RedisServer) -> None:
    """Neither by another store, nor by a table's own puts."""
    store = RedisStore(redis_server.url, limit=int(4.5 * SIZE))
    mine = fill(store, big("mine"))
    assert there(mine) == [0, 1, 2, 3]
    other = fill(store, big("other"))
    assert there(other) == []
    assert there(mine) == [0, 1, 2, 3]
    mine.close()
    time.sleep(0.6)  # a store that was full is left alone for a moment
    other.put(0, rows_of(0))
    assert there(other) == [0]
    assert (other.counts.evicted, mine.counts.evicted) == (1, 0)
    other.close()


def test_leases_are_renewed(redis_server: RedisServer) -> None:
    """What is open and what is claimed stays so, also where the server forgot or the time was nearly over."""
    store = RedisStore(redis_server.url, limit=int(4.5 * SIZE))
    mine = fill(store, big("mine", 4))
    with redis_server.client() as client:
        held = client.keys(f"{PREFIX}held:*")
        assert len(held) == 1
        client.delete(*pages_of(client)[:1], *held, f"{PREFIX}holders")
        missing = next(number for number in range(4) if mine.get(number) is None)
        name = f"{PREFIX}claim:{big('mine', 4).entries[missing].key}"
        with mine.claim(missing) as is_mine:
            assert is_mine
            client.pexpire(name, 6_000)
            for _ in range(100):
                if client.exists(*held) and client.pttl(name) > 6_000:
                    break
                time.sleep(0.1)
            assert client.pttl(name) > 6_000
            mine.put(missing, rows_of(missing))
        assert client.exists(name) == 0
        other = fill(store, big("other", 4))
        assert there(other, 4) == []
        assert there(mine, 4) == [0, 1, 2, 3]
        mine.close()
        other.close()
        assert client.zcard(f"{PREFIX}holders") == 0
        assert all(client.pttl(each) > 0 for each in held)


def test_a_value_that_redis_does_not_hold(redis_server: RedisServer) -> None:
    """It is refused before anything is sent, and the server is not blamed."""
    pages = RedisPages(RedisStore(redis_server.url))
    with pytest.raises(NotKeptError, match="629,145,600"):
        pages.put("0" * 32, np.broadcast_to(np.uint8(0), 600 << 20))
    pages.close()


def test_books_are_put_right(redis_server: RedisServer) -> None:
    """What was removed or counted wrongly by others no longer counts once it is seen."""
    store = RedisStore(redis_server.url, limit=int(4.5 * SIZE))
    table = fill(store, big("a", 4))
    with redis_server.client() as client:
        client.delete(*pages_of(client))
        assert there(table, 4) == []
        assert client.hget(f"{PREFIX}sizes", "total") == b"0"
        for number in range(4):
            table.put(number, rows_of(number))
        client.delete(f"{PREFIX}sizes", f"{PREFIX}usage")
        assert there(table, 4) == [0, 1, 2, 3]
        assert int(client.hget(f"{PREFIX}sizes", "total")) >= 4 * SIZE
        table.close()
        client.hset(f"{PREFIX}sizes", "total", 1 << 60)
    table = fill(store, big("b", 4))
    assert there(table, 4) == [0, 1, 2, 3]
    assert bytes_kept(redis_server) <= 4.5 * SIZE
    table.close()


def compute(url: str, names: list[str], counts: Any) -> None:
    """Compute what is missing, as a loader does."""
    for name in names:
        table = RedisStore(url).open(big(name))
        for number in range(ENTRIES):
            if table.get(number) is None:
                with table.claim(number) as is_mine:
                    if is_mine:
                        time.sleep(0.01)
                        table.put(number, rows_of(number))
                        with counts.get_lock():
                            counts.value += 1
            assert_same(table.get(number), rows_of(number))
        table.close()


def test_processes_share_the_work(redis_server: RedisServer) -> None:
    """Each entry is computed once in all."""
    count = 3
    context = multiprocessing.get_context("fork")
    counts = context.Value("i", 0)
    arguments = (redis_server.url, ["a", "b"], counts)
    children = [context.Process(target=compute, args=arguments) for _ in range(count)]
    for child in children:
        child.start()
    compute(*arguments)
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * count
    assert counts.value == 2 * ENTRIES


def test_the_claim_of_a_dead_process_ends(redis_server: RedisServer) -> None:
    """It expires; a claim that became another's is neither renewed nor released."""
    table = RedisStore(redis_server.url).open(big("x"))
    name = f"{PREFIX}claim:{big('x').entries[0].key}"
    with redis_server.client() as client:
        client.set(name, "of a dead process", px=300)
        assert table.is_claimed(0)
        with table.claim(0) as is_mine:
            assert is_mine
            assert 0 < client.pttl(name) <= 12_000
            client.set(name, "of another")
        assert client.get(name) == b"of another"
    assert table.counts.outages == 0
    table.close()


def test_a_server_that_is_gone_and_comes_back(redis_server: RedisServer) -> None:
    """Asked for nothing for a while, told once, counted; later it is used again."""
    table = fill(RedisStore(redis_server.url), big("x"))
    assert there(table) == list(range(ENTRIES))
    redis_server.kill()
    with pytest.warns(UserWarning, match=r"127\.0\.0\.1.*cannot be used") as told:
        assert there(table) == []
    assert [each.filename for each in told] == [__file__]
    assert table.counts.outages == 1  # and not once for each entry
    redis_server.start()
    time.sleep(0.6)
    assert there(table) == []
    for number in range(ENTRIES):
        table.put(number, rows_of(number))
    assert there(table) == list(range(ENTRIES))
    assert table.counts.outages <= 2
    table.close()


def test_a_server_that_does_not_answer(redis_server: RedisServer) -> None:
    """It costs the timeout once in a while, not at each entry."""
    table = fill(RedisStore(redis_server.url, timeout=0.2), big("x"))
    with redis_server.paused():
        with pytest.warns(UserWarning, match="Timeout"):
            assert there(table) == []
        begin = time.monotonic()
        assert there(table) == []
        for number in range(ENTRIES):
            with table.claim(number) as is_mine:
                assert is_mine
            table.put(number, rows_of(number))
        table.close()
        assert time.monotonic() - begin < 5
    assert 1 <= table.counts.outages <= 2


def no_memory(client: Any) -> None:
    client.config_set("maxmemory", 1)


def only_reads(client: Any) -> None:
    client.replicaof("127.0.0.1", 1)


@pytest.mark.parametrize("fault", [no_memory, only_reads])
def test_a_server_that_takes_nothing(redis_server: RedisServer, fault: Callable[[Any], None]) -> None:
    """What it has is still used; what it does not take is an outage, told once."""
    table = RedisStore(redis_server.url).open(big("x"))
    table.put(0, rows_of(0))
    with redis_server.client() as client:
        fault(client)
        try:
            with pytest.warns(UserWarning, match=r"OutOfMemory|OOM|READONLY|ReadOnly|read only") as told:
                table.put(1, rows_of(1))
            assert there(table) == [0]
            assert len(told) == 1
        finally:
            client.replicaof("NO", "ONE")
            client.config_set("maxmemory", 0)
    assert table.counts.outages == 1
    time.sleep(0.6)
    table.put(1, rows_of(1))
    assert there(table) == [0, 1]
    table.close()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$-7\r\n", b"*9999999\r\n", b"\xff" * 64, b""]
)
def test_a_server_that_is_none(answer: bytes) -> None:
    """Whatever speaks another protocol is an outage."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        with pytest.warns(UserWarning, match="cannot be used"):
            table = RedisStore(url, timeout=0.3).open(big("x"))
        assert table.get(0) is None
        table.close()
        with pytest.raises(hr.CacheError, match="cannot be used"):
            RedisStore(url, timeout=0.3, on_unavailable="raise").open(big("x"))
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    assert not thread.is_alive()


def test_only_our_own_macs_are_believed(redis_server: RedisServer) -> None:
    """Entries that others wrote, without our secret or from another place, are misses and are put anew."""
    layout = big("x")
    fill(RedisStore(redis_server.url), layout).close()
    mine = RedisStore(redis_server.url, key=SECRET)
    table = mine.open(layout)
    assert there(table) == []
    assert table.counts.corrupt == ENTRIES
    for number in range(ENTRIES):
        table.put(number, rows_of(number))
    assert there(table) == list(range(ENTRIES))
    assert table.counts.rebuilt == ENTRIES
    names = [f"{PREFIX}{entry.key}" for entry in layout.entries]
    with redis_server.client() as client:
        client.set(names[0], client.get(names[1]))
        client.set(names[2], to_page(rows_of(7), layout.entries[2].key, b"guessed").tobytes())
        client.set(names[3], to_page(columns_of(0, "arrays"), layout.entries[3].key, SECRET).tobytes())
    assert there(table) == [1, 4, 5, 6, 7]  # and that of 3 has another number of rows
    table.close()
    table = RedisStore(redis_server.url).open(layout)
    trusted = table.get(2)  # without a secret, whatever is sound
    assert trusted is not None
    assert_same(trusted, rows_of(7))
    table.close()


def test_nothing_shows_the_password(redis_server: RedisServer) -> None:
    """Neither a store's text nor a warning; a pickled copy still has it."""
    with redis_server.client() as client:
        client.config_set("requirepass", "correct horse")
        good = redis_server.url.replace("//", "//:correct%20horse@")
        store = RedisStore(good, key=SECRET)
        copied = pickle.loads(pickle.dumps(store))
        assert copied == store
        table = fill(copied, big("x"))
        assert there(table) == list(range(ENTRIES))
        table.close()
        with pytest.warns(UserWarning, match="cannot be used") as told:
            RedisStore(redis_server.url.replace("//", "//me:battery%20staple@")).open(big("x")).close()
        client.execute_command("AUTH", "correct horse")
        client.config_set("requirepass", "")
    texts = [repr(store), str(store), *(str(each.message) for each in told)]
    assert not any(word in text for text in texts for word in ("horse", "staple", "only we know", "me:"))
    for wrong in ("redis://:staple@", "http://:staple@host", "redis://:staple@host:port/0", "redis://h/x", 7):
        with pytest.raises(hr.OptionError, match="url") as caught:
            RedisStore(wrong)  # pyright: ignore[reportArgumentType]
        assert "staple" not in str(caught.value)


def test_settings_are_checked(redis_server: RedisServer) -> None:
    """What cannot be right is refused at once."""
    for wrong in ({"limit": 0}, {"on_unavailable": "hide"}, {"timeout": 0}, {"key": b""}, {"key": "text"}):
        with pytest.raises(hr.OptionError, match=next(iter(wrong))):
            RedisStore(redis_server.url, **wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["packed", "plain"])
def test_streams_are_the_same(redis_server: RedisServer, tmp_path: Path, name: str) -> None:
    """By URL: cold, warm, full, and with the server restarted in mid-epoch, which is counted."""
    bare = DATA[name](write_shards(tmp_path / "data"))
    options: Any = {"shuffle": True, "seed": 1, "output": "numpy", "threads": 2, "ahead": 1}
    with bare.loader(6, **options) as loader:
        expected = [hash_of(loader) for _ in range(3)]
    for limit in (None, 2_500):
        cached = bare.cache(redis_server.url, limit=limit)
        with cached.loader(6, **options) as first, cached.loader(6, **options) as second:
            assert [hash_of(first), hash_of(second)] == [expected[0]] * 2
            assert [hash_of(first), hash_of(second)] == [expected[1]] * 2
            assert limit or second.stats()["cache_misses"] == 0
            assert first.stats()["cache_outages"] == 0


def test_a_restart_in_the_middle_of_an_epoch(redis_server: RedisServer, tmp_path: Path) -> None:
    """Batches are unchanged; outages are counted and told once; the next epoch is kept again."""
    bare = DATA["packed"](write_shards(tmp_path / "data"))
    options: Any = {"shuffle": True, "seed": 1, "output": "numpy", "threads": 0, "ahead": 1}
    with bare.loader(2, **options) as loader:
        expected = [hash_of(loader) for _ in range(3)]
    cached = bare.cache(redis_server.url)
    with cached.loader(2, **options) as loader:
        assert hash_of(loader) == expected[0]
        batches = iter(loader)
        found = hash_of([next(batches)])
        redis_server.kill()
        with pytest.warns(UserWarning, match="cannot be used"):
            found += hash_of(batch for _, batch in zip(range(4), batches, strict=False))
        redis_server.start()
        assert found + hash_of(batches) == expected[1]
        assert loader.stats()["cache_outages"] >= 1
        time.sleep(0.6)
        assert hash_of(loader) == expected[2]
    with cached.loader(2, **options) as loader:
        assert hash_of(loader) == expected[0]
        assert (loader.stats()["cache_misses"], loader.stats()["cache_outages"]) == (0, 0)
