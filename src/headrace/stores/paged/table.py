"""A table over a store that holds one run of bytes for each key: what such stores have in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from headrace.errors import CacheError, HeadraceError, OptionError, check_whole, warn_caller
from headrace.stores.base import Arrays, Columns, Layout, Verify
from headrace.stores.counts import Counts
from headrace.stores.limits import check_limit
from headrace.stores.paged.pages import Bytes, from_page, to_page

OnUnavailable = Literal["warn", "raise"]

_REST_SECONDS = 0.5  # for which a store is left alone after it failed, or after it turned out to be full
_REST_SHARE = 4  # or so many times what the failure took, so that most of the time goes into work
_MOST_REST_SECONDS = 30.0

_Answer = TypeVar("_Answer")


class NotKeptError(HeadraceError, OSError):
    """A store works, but this page has no place in it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a page.

    Attributes:
        kept: Whether it is there now. If not, nothing could be removed to make room.
        evicted: How many others were removed to make room.
    """

    kept: bool
    evicted: int = 0


class Pages(Protocol):
    """Bytes by key. Thread-safe; whatever is wrong with the store is a `CacheError`."""

    def begin(self, layout: Layout) -> None:
        """Say which entries are in use from now on, so that nobody removes them."""
        ...

    def get(self, key: str) -> Bytes | None:
        """Return a page, None if there is none. It is not looked at here."""
        ...

    def put(self, key: str, page: Bytes) -> Placed:
        """Keep a page in place of what was there, and remove others for it as the limit asks.

        Raises:
            NotKeptError: The store holds no page of that size.
        """
        ...

    def has(self, key: str) -> bool:
        """Tell whether a page is there."""
        ...

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """As `Table.claim`."""
        ...

    def is_claimed(self, key: str) -> bool:
        """As `Table.is_claimed`."""
        ...

    def close(self) -> None:
        """Let go of files, connections and threads; may be called again."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """How a table deals with its store.

    Attributes:
        name: Where the pages are, for messages.
        limit: Bytes that may be kept; None for no limit.
        verify: When checksums are looked at.
        on_unavailable: Whether to go on without the store where it fails.
        secret: What the pages' MACs are made with, if they have any.
    """

    name: str
    limit: int | None = None
    verify: Verify = "first"
    on_unavailable: OnUnavailable = "warn"
    secret: bytes | None = field(default=None, repr=False)


class _Rest:
    """A time for which a store is left alone. Reading and writing have one each, as either may fail alone."""

    def __init__(self) -> None:
        self._ends = 0.0

    @property
    def is_on(self) -> bool:
        return time.monotonic() < self._ends

    def begin(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds


class PagedTable:
    """The entries of one layout, each a page in a store."""

    def __init__(self, layout: Layout, pages: Pages, rules: Rules) -> None:
        """Tell the store what is in use from now on.

        Raises:
            CacheError: The store cannot be asked, and that is to be raised.
        """
        self.counts = Counts()
        self._entries = layout.entries
        self._pages = pages
        self._rules = rules
        self._lock = threading.Lock()
        self._checked: set[int] = set()
        self._damaged: set[int] = set()
        self._has_warned = False
        self._asks, self._puts = _Rest(), _Rest()
        try:
            self._ask(self._asks, lambda: pages.begin(layout), None)
        except CacheError:
            pages.close()
            raise

    def get(self, number: int) -> Columns | None:
        """Return an entry's rows; None if it is not there or not sound."""
        entry = self._entries[number]
        page = self._ask(self._asks, lambda: self._pages.get(entry.key), None)
        if page is None:
            return None
        check = self._rules.verify == "always" or (
            self._rules.verify == "first" and number not in self._checked
        )
        try:
            columns = from_page(page, entry.key, self._rules.secret, check)
            if any(len(column) != entry.rows for column in columns.values()):
                raise ValueError(f"its columns must have {entry.rows} rows")
        except ValueError:
            with self._lock:
                self._damaged.add(number)
            self.counts.add(corrupt=1)
            return None
        with self._lock:
            self._checked.add(number)
        return columns

    def put(self, number: int, columns: Columns) -> None:
        """Keep an entry, if the limit allows.

        Raises:
            OptionError: The limit is below this entry.
        """
        if self._asks.is_on or self._puts.is_on:
            return
        check_limit(self._rules.limit, sum(column.nbytes for column in columns.values()))
        key = self._entries[number].key
        try:
            page = to_page(columns, key, self._rules.secret)
            placed = self._ask(self._puts, lambda: self._pages.put(key, page), None)
        except (ValueError, NotKeptError) as error:
            self._warn(f"{self._rules.name}: an entry is not kept: {error}")
            return
        if placed is None:
            return
        self.counts.add(evicted=placed.evicted)
        if not placed.kept:
            self._puts.begin(_REST_SECONDS)
            return
        with self._lock:
            is_rebuilt = number in self._damaged
            self._damaged.discard(number)
        self.counts.add(nbytes=page.nbytes, rebuilt=int(is_rebuilt))

    @contextmanager
    def claim(self, number: int) -> Generator[bool]:
        """Ask to be the one who computes an entry; without the store, everyone is."""
        key = self._entries[number].key
        claim = self._ask(self._asks, lambda: _entered(self._pages.claim(key)), None)
        if claim is None:
            yield True
            return
        is_mine, leave = claim
        try:
            yield is_mine or number in self._damaged
        finally:
            self._ask(self._asks, leave, None)

    def is_claimed(self, number: int) -> bool:
        """Tell whether somebody else computes an entry at the moment."""
        key = self._entries[number].key
        return self._ask(self._asks, lambda: self._pages.is_claimed(key), False)

    def whole(self) -> Arrays | None:
        """Return None: entries lie apart."""
        return None

    def check(self, number: int) -> bool:
        """Return True: `get` has looked already."""
        return True

    def close(self) -> None:
        """Let go of the store; may be called again."""
        self._pages.close()

    def _ask(self, rest: _Rest, question: Callable[[], _Answer], without: _Answer) -> _Answer:
        """Ask the store, unless it failed a moment ago; what fails counts, and is told once."""
        if rest.is_on:
            return without
        begin = time.monotonic()
        try:
            return question()
        except CacheError as error:
            self.counts.add(outages=1)
            if self._rules.on_unavailable == "raise":
                raise
            took = time.monotonic() - begin
            rest.begin(min(max(_REST_SECONDS, _REST_SHARE * took), _MOST_REST_SECONDS))
            self._warn(f"{error}; what it lacks is prepared anew, and it is asked again from time to time")
            return without

    def _warn(self, text: str) -> None:
        with self._lock:
            has_warned, self._has_warned = self._has_warned, True
        if not has_warned:
            warn_caller(text)


def _entered(claim: AbstractContextManager[bool]) -> tuple[bool, Callable[[], Any]]:
    return claim.__enter__(), lambda: claim.__exit__(None, None, None)


def check_settings(limit: object, verify: object, on_unavailable: object) -> None:
    """Refuse settings that cannot be right.

    Raises:
        OptionError: The message names the argument and shows the value.
    """
    if limit is not None:
        check_whole("limit", limit, least=1)
    if verify not in ("first", "always", "never"):
        raise OptionError(f'`verify` must be "first", "always" or "never", got {verify!r}')
    if on_unavailable not in ("warn", "raise"):
        raise OptionError(f'`on_unavailable` must be "warn" or "raise", got {on_unavailable!r}')
