"""The Redis store: pages by key in a server, shared by machines.

Nothing that the server says is believed: pages have checksums, and MACs if there is a key, so that it can
only make entries absent. What it must do in one go is in `redis_scripts`. Leases are keys that expire, and a
thread renews them: which layouts are open, so that nobody's entries are removed, and who computes what.
"""

from __future__ import annotations

import secrets
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from headrace.errors import CacheError, MissingDependencyError, OptionError
from headrace.stores.base import FORMAT_VERSION, Layout
from headrace.stores.digests import FileDigests
from headrace.stores.limits import check_limit
from headrace.stores.paged.pages import Bytes
from headrace.stores.paged.table import NotKeptError, OnUnavailable, PagedTable, Placed, Rules, check_settings
from headrace.stores.redis.scripts import ADMIT, HOLD, RELEASE, RENEW, TOUCH

_PREFIX = f"headrace:{FORMAT_VERSION}:"
_USAGE, _SIZES, _HOLDERS = (_PREFIX + name for name in ("usage", "sizes", "holders"))
_LARGEST = 512 << 20  # bytes of a value, by Redis
_OVERHEAD = 512  # bytes of keys and books for each entry, as counted towards the limit
_LEASE_MS = 12_000
_BEAT_SECONDS = 3.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1
_KEYS_AT_ONCE = 1000
_LONGEST_REASON = 160

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class RedisStore:
    """Keeps prepared rows in a Redis server. Picklable, with its password and key.

    All stores of one server and database share their entries. They are removed one by one, least recently
    used first, but none of a data set that a living process has open. Every page is held against its checksum
    whenever it is read. Values of Redis hold 512 MB; a larger row group is not kept.

    Attributes:
        url: `redis://host:port/database`, with `user:password@` if need be; `rediss://` for TLS.
        limit: Bytes of entries that may be kept, by all who use this server and database; None for no limit.
        key: A secret from which each entry gets a MAC; entries without a valid one are not believed. Whoever
            can write to the server could otherwise choose the rows that are delivered.
        on_unavailable: Whether to warn once and go on without the store where it fails, or to raise.
        timeout: Seconds after which an answer that does not come counts as an outage.
        digests: What this process knows of sources' files.

    Example:
        >>> RedisStore("redis://me:secret@example.org:6379/0", limit=1 << 30)
        RedisStore('redis://example.org:6379/0', limit=1073741824)
    """

    url: str = field(repr=False)
    limit: int | None = None
    key: bytes | None = field(default=None, repr=False)
    on_unavailable: OnUnavailable = "warn"
    timeout: float = 5.0
    digests: FileDigests = field(default_factory=FileDigests, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_settings(self.limit, "first", self.on_unavailable)
        if self.key is not None and not (isinstance(self.key, bytes) and self.key):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"`key` must be bytes, at least one, got {type(self.key).__name__}")
        if not self.timeout > 0:
            raise OptionError(f"`timeout` must be a number of seconds above 0, got {self.timeout!r}")
        if _split(self.url) is None:
            raise OptionError(f"`url` must be like redis://host:6379/0, got {_shown(self.url)!r}")

    def __repr__(self) -> str:
        return f"RedisStore({_shown(self.url)!r}, limit={self.limit})"

    def open(self, layout: Layout) -> PagedTable:
        """Return the entries of a layout.

        Raises:
            OptionError: The limit is below the largest entry.
            CacheError: The server cannot be reached, and `on_unavailable="raise"`.
            MissingDependencyError: The library is not installed.
        """
        check_limit(self.limit, layout.largest)
        rules = Rules(_shown(self.url), self.limit, "always", self.on_unavailable, self.key)
        return PagedTable(layout, RedisPages(self), rules)


class RedisPages:
    """Pages in one database of a server. Thread-safe; runs one thread from `begin` to `close`."""

    def __init__(self, store: RedisStore) -> None:
        """Make a client, which connects when it is first used."""
        self._store = store
        self._library = library = import_redis()
        self._client: Any = library.Redis.from_url(
            store.url,
            socket_timeout=store.timeout,
            socket_connect_timeout=store.timeout,
            socket_read_size=1 << 20,
            retry=library.connection.Retry(library.connection.NoBackoff(), 0),
        )
        self._token = secrets.token_hex(8)
        self._layout: Layout | None = None
        self._answers = True
        self._claims: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, layout: Layout) -> None:
        """Say which entries are in use from now on, and go on saying so."""
        self._layout = layout
        beat = weakref.WeakMethod(self._beat)
        self._thread = threading.Thread(
            target=_keep_beating, args=(self._stop, beat), name="headrace-redis", daemon=True
        )
        try:
            self._ask(self._hold)
        finally:
            self._thread.start()

    def get(self, key: str) -> Bytes | None:
        """Return a page; an empty one where something else has its name."""

        def read() -> Any:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.get(_PREFIX + key)
            pipeline.eval(TOUCH, 3, _PREFIX + key, _USAGE, _SIZES, key, _OVERHEAD)
            return pipeline.execute(raise_on_error=False)[0]  # without the second, others are removed first

        found = self._ask(read)
        if found is None:
            return None
        if isinstance(found, self._library.ResponseError) and str(found).startswith("WRONGTYPE"):
            found = b""
        if not isinstance(found, bytes):
            raise self._unavailable(found)
        return np.frombuffer(found, np.uint8)

    def put(self, key: str, page: Bytes) -> Placed:
        """Keep a page, and remove as many others as the limit asks."""
        if page.nbytes > _LARGEST:
            raise NotKeptError(f"Redis holds no value of {page.nbytes:,} bytes; write smaller row groups")
        cost, limit = page.nbytes + _OVERHEAD, self._store.limit
        if limit is not None and cost > limit:
            return Placed(False)

        def write() -> Any:
            pipeline = self._client.pipeline(transaction=True)
            pipeline.set(_PREFIX + key, page.data)
            names = (_PREFIX + key, _USAGE, _SIZES, _HOLDERS)
            pipeline.eval(ADMIT, len(names), *names, _PREFIX, key, cost, limit or 0)
            return pipeline.execute()[1]

        match self._ask(write):
            case [int() as kept, int() as evicted]:
                return Placed(bool(kept), evicted)
            case answer:
                raise self._unavailable(answer)

    def has(self, key: str) -> bool:
        """Tell whether a page is there."""
        return self._ask(lambda: self._client.exists(_PREFIX + key)) == 1

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Ask to be the one who computes an entry."""
        return self._claimed(key)

    def is_claimed(self, key: str) -> bool:
        """Tell whether somebody else computes an entry."""
        return self._ask(lambda: self._client.exists(_claim(key))) == 1

    def close(self) -> None:
        """Say that nothing is in use any longer, and end the thread."""
        self._stop.set()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            if self._answers:  # or else the lease expires
                with suppress(CacheError):
                    self._ask(lambda: self._client.zrem(_HOLDERS, self._holder))
            thread.join(self._store.timeout)
        self._client.close()

    @contextmanager
    def _claimed(self, key: str) -> Generator[bool]:
        token, pause = secrets.token_hex(8), _SHORTEST_PAUSE
        while not self._ask(lambda: self._client.set(_claim(key), token, nx=True, px=_LEASE_MS)):
            if self.has(key):
                yield False
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        with self._lock:
            self._claims[_claim(key)] = token
        try:
            yield not self.has(key)
        finally:
            with self._lock:
                self._claims.pop(_claim(key), None)
            self._ask(lambda: self._client.eval(RELEASE, 1, _claim(key), token))

    @property
    def _holder(self) -> str:
        assert self._layout is not None
        return f"{self._layout.key}:{self._token}"

    def _beat(self) -> None:
        """Renew all leases; what fails is tried again with the next beat."""
        with suppress(CacheError):
            self._ask(self._hold)
            with self._lock:
                claims = list(self._claims.items())
            for name, token in claims:
                self._ask(lambda name=name, token=token: self._client.eval(RENEW, 1, name, token, _LEASE_MS))

    def _hold(self) -> None:
        assert self._layout is not None
        held = f"{_PREFIX}held:{self._layout.key}"
        if not self._client.eval(HOLD, 2, _HOLDERS, held, self._holder, _LEASE_MS):
            keys = [entry.key for entry in self._layout.entries]
            pipeline = self._client.pipeline(transaction=True)
            for begin in range(0, len(keys), _KEYS_AT_ONCE):
                pipeline.sadd(held, *keys[begin : begin + _KEYS_AT_ONCE])
            pipeline.pexpire(held, _LEASE_MS)
            pipeline.execute()

    def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        """Ask the server; whatever goes wrong is a `CacheError`."""
        try:
            answer = question()
        except (self._library.RedisError, OSError, ValueError, IndexError, RecursionError) as error:
            self._answers = False
            with suppress(Exception):  # connections to a server that is gone, or that talks nonsense
                self._client.connection_pool.disconnect(inuse_connections=False)
            raise self._unavailable(error) from error
        self._answers = True
        return answer

    def _unavailable(self, found: object) -> CacheError:
        text = str(found)
        if len(text) > _LONGEST_REASON:  # a server repeats the script before it says what is wrong
            text = f"{text[:30]} ... {text[-_LONGEST_REASON:]}"
        reason = f"{type(found).__name__}: {text}"
        return CacheError(f"{_shown(self._store.url)}: the cache cannot be used: {reason}")


def _keep_beating(stop: threading.Event, beat: weakref.WeakMethod[Callable[[], None]]) -> None:
    while not stop.wait(_BEAT_SECONDS):
        renew = beat()
        if renew is None:
            return
        renew()
        del renew


def _claim(key: str) -> str:
    return f"{_PREFIX}claim:{key}"


def _split(url: object) -> tuple[str, str] | None:
    """Return a URL's scheme and place, None if it is no URL of a server."""
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or ''}{'' if parts.port is None else f':{parts.port}'}"
    except ValueError:
        return None
    is_database = parts.path in ("", "/") or parts.path[1:].isdecimal()
    is_server = parts.scheme in ("redis", "rediss") and bool(place) and is_database
    return (parts.scheme, place + parts.path) if is_server else None


def _shown(url: object) -> str:
    """Return a URL without user, password and settings."""
    found = _split(url)
    return "a URL that cannot be read" if found is None else f"{found[0]}://{found[1]}"


def import_redis() -> Any:
    """Return the library.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import redis
    except ImportError as error:
        raise MissingDependencyError.from_extra("redis", "redis", "a cache in a Redis server") from error
    return redis
