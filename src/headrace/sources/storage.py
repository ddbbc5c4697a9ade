"""Object stores and web servers, reached through fsspec, with retries."""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from headrace.errors import MissingDependencyError, OptionError
from headrace.sources.ranges import Range
from headrace.sources.storage_errors import explain, is_final
from headrace.sources.transfers import Transfer, Version, choose_transfer

Result = TypeVar("Result")
Write = Callable[[int, bytes], None]
"""Takes the place of some bytes in the file, and the bytes."""

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 20.0  # seconds; each wait is four times the one before
_WAIT_AFTER_PROGRESS = 0.01
_PIECE_BYTES = 1 << 23  # larger runs are fetched by several requests at once
_REQUESTS = 8
_CONNECT_SECONDS, _SILENT_SECONDS = 10, 30
_LIBRARIES = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "remote")),
    **dict.fromkeys(("http", "https"), ("aiohttp", "remote")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gs")),
    **dict.fromkeys(("az", "abfs", "abfss"), ("adlfs", "az")),
}
# The libraries of these repeat requests by themselves, for half a minute or more.
_PATIENT = ("gs", "gcs", "az", "abfs", "abfss")
_FLAT = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
# Options that say where a store lies; with the protocol they tell it from others.
_PLACES = ("endpoint_url", "account_name", "host", "port")


@dataclass(frozen=True, eq=False)
class Storage:
    """One store, opened anew in every process that asks it. Thread-safe and picklable.

    Attributes:
        protocol: What its URLs begin with.
        options: What fsspec's file system takes; credentials are among it.
        retries: How often in a row a request may fail again, after its first failure.
    """

    protocol: str
    options: Mapping[str, Any] = field(repr=False)
    retries: int
    _opened: dict[int, Any] = field(default_factory=dict[int, Any], init=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the connections behind."""
        return Storage, (self.protocol, dict(self.options), self.retries)

    @property
    def key(self) -> str:
        """What tells it from stores with other settings, for the time of one opening."""
        return repr((self.protocol, sorted(self.options.items(), key=lambda item: item[0])))

    @property
    def place(self) -> tuple[str, ...]:
        """Where it lies, whoever asks."""
        client: Any = self.options.get("client_kwargs")
        inner: Mapping[str, Any] = client if isinstance(client, Mapping) else {}
        return (self.protocol, *(str(self.options.get(name) or inner.get(name)) for name in _PLACES))

    @property
    def is_flat(self) -> bool:
        """Whether all files below a folder are listed by few requests."""
        return self.protocol in _FLAT

    @property
    def filesystem(self) -> Any:
        """This process's file system: connections and event loops do not survive a fork."""
        here = os.getpid()
        found = self._opened.get(here)
        return found or self._opened.setdefault(here, _open_filesystem(self.protocol, self.options))

    @property
    def _patience(self) -> int:
        return 0 if self.protocol in _PATIENT else self.retries

    @property
    def transfer(self) -> Transfer:
        """What brings bytes from this store."""
        return choose_transfer(self.filesystem)

    def ask(self, url: str, question: Callable[[], Result]) -> Result:
        """Ask the store, and ask again where it may only have failed for a time.

        Raises:
            SourceError: It cannot answer; the message names the URL.
        """
        for failures in itertools.count(1):
            try:
                return question()
            except Exception as error:
                if is_final(error) or failures > self._patience:
                    raise explain(error, url, self.options, failures)  # noqa: B904 - it chains what may be shown
                _wait(failures)
        raise AssertionError("unreachable")

    def version(self, path: str, url: str) -> Version:
        """Ask for an object's size and version."""
        return self.ask(url, lambda: self.transfer.version(path, url))

    def fetch(self, path: str, url: str, version: Version, ranges: Iterable[Range], write: Write) -> None:
        """Fetch runs of bytes, several at once, and make sure that they are of that version.

        Raises:
            ChangedSourceError: The object was replaced.
            SourceError: The bytes cannot be had; the message names the URL.
        """
        pieces = [
            (begin, min(begin + _PIECE_BYTES, end))
            for first, end in ranges
            for begin in range(first, end, _PIECE_BYTES)
        ]
        fetch = functools.partial(self._fetch_piece, path, url, version, write)
        if len(pieces) == 1:
            fetch(pieces[0])
        elif pieces:
            with ThreadPoolExecutor(min(_REQUESTS, len(pieces)), thread_name_prefix="headrace-fetch") as pool:
                for _ in pool.map(fetch, pieces):
                    pass
        if pieces and not self.transfer.is_checked:
            version.check(self.version(path, url), url)

    def _fetch_piece(self, path: str, url: str, version: Version, write: Write, piece: Range) -> None:
        """Fetch one run of bytes, from where the last request ended."""
        place, end = piece
        failures = 0

        def take(content: bytes) -> None:
            nonlocal place
            content = content[: end - place]
            write(place, content)
            place += len(content)

        while place < end:
            reached = place
            try:
                self.transfer.stream(path, url, (place, end), version, take)
                error: Exception = EOFError(f"the connection ended at byte {place:,} of {end:,}")
            except Exception as caught:
                error = caught
            if place == end:
                return
            failures = 0 if place > reached else failures + 1
            if is_final(error) or failures > self._patience or not self._patience:
                raise explain(error, url, self.options, max(failures, 1))
            _wait(failures)


def _wait(failures: int) -> None:
    wait = _FIRST_WAIT * 4 ** (failures - 1) if failures else _WAIT_AFTER_PROGRESS
    time.sleep(min(wait, _LONGEST_WAIT))


def open_storage(url: str, options: Mapping[str, Any], retries: int) -> tuple[Storage, str]:
    """Tell a URL's store, and the path in it.

    Raises:
        OptionError: The URL is of no kind that fsspec knows.
        MissingDependencyError: The library that reads such URLs is not installed.
    """
    protocol = url.split("://", 1)[0]
    kind = _find_class(protocol)
    try:
        named = kind._get_kwargs_from_urls(url)
        path = kind._strip_protocol(url)
    except Exception as error:
        raise explain(error, protocol + "://...", options, 1)  # noqa: B904 - it chains what may be shown
    return Storage(protocol, {**named, **options}, retries), path


def _find_class(protocol: str) -> Any:
    try:
        from fsspec import available_protocols, get_filesystem_class
    except ImportError as error:
        raise MissingDependencyError.from_extra("fsspec", "remote", f"opening {protocol}:// URLs") from error
    try:
        return get_filesystem_class(protocol)
    except ImportError as error:
        library, extra = _LIBRARIES.get(protocol, (getattr(error, "name", None) or protocol, "remote"))
        raise MissingDependencyError.from_extra(library, extra, f"opening {protocol}:// URLs") from error
    except ValueError as error:
        known = ", ".join(f"{name}://" for name in _LIBRARIES)
        raise OptionError(
            f"`{protocol}://` is no kind of URL that can be opened; {known} and others of fsspec can "
            f"({len(available_protocols())} kinds)"
        ) from error


def _open_filesystem(protocol: str, options: Mapping[str, Any]) -> Any:
    """Make a file system of this data set alone, which leaves retries to its caller."""
    kind = _find_class(protocol)
    settings = dict(options)
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        limits = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS)
        settings["client_kwargs"] = {"timeout": limits, **settings.get("client_kwargs", {})}
    if hasattr(kind, "_call_s3"):
        limits = {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _SILENT_SECONDS}
        config = {**limits, "retries": {"total_max_attempts": 1}, **settings.get("config_kwargs", {})}
        settings["config_kwargs"] = config
    try:
        filesystem = kind(**{**settings, "skip_instance_cache": True})
    except TypeError as error:
        raise OptionError(f"`storage_options` do not fit {protocol}:// URLs: {error}") from error
    if hasattr(kind, "_call_s3"):
        filesystem.retries = 1
    return filesystem
