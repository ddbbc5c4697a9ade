"""Shards behind URLs: how they are listed, and one of them as a value."""

from __future__ import annotations

import fnmatch
import glob
import re
from bisect import bisect_right
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from headrace.errors import MissingSourceError, OptionError, check_whole
from headrace.sources.names import is_hidden, natural_sort, partitions_of
from headrace.sources.ranges import FetchedFile, Range, coalesce, without
from headrace.sources.shard_cache import CachedShards, ShardCache
from headrace.sources.storage import Storage, open_storage
from headrace.sources.transfers import Version
from headrace.sources.written.manifest import NAME as MANIFEST

_URL = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+)://")
_LOOKERS = 16  # threads that ask for versions; each waits for the network, not for a core
_WEB = ("http", "https")


@dataclass(frozen=True, slots=True)
class Access:
    """How shards behind URLs are reached; of no meaning for local ones.

    Attributes:
        storage_options: What fsspec's file system takes, credentials among it; never shown.
        retries: How often in a row a request may fail again, after its first failure.
        cache: Where whole shards are kept; a private folder by default.
        manifests: Where listings have shown manifests of written data sets, which are no data.
    """

    storage_options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    retries: int = 3
    cache: ShardCache | None = None
    _storages: dict[str, Storage] = field(default_factory=dict[str, Storage], init=False, repr=False)
    _shards: list[CachedShards] = field(default_factory=list[CachedShards], init=False, repr=False)
    manifests: set[str] = field(default_factory=set[str], init=False, repr=False)

    def __post_init__(self) -> None:
        options: Any = self.storage_options
        if not isinstance(options, Mapping):
            raise OptionError(
                '`storage_options` must map names to values, like {"anon": True}, got a '
                f"{type(options).__name__}"
            )
        check_whole("retries", self.retries, least=0)
        cache: Any = self.cache
        if not isinstance(cache, (ShardCache, type(None))):
            raise OptionError(f"`shard_cache` must be a `ShardCache`, got {cache!r}")
        self._shards.append(CachedShards.of(self.cache))

    def locate(self, url: str) -> tuple[Storage, str]:
        """Tell a URL's store, one for all URLs of a kind, and the path in it."""
        storage, path = open_storage(url, self.storage_options, self.retries)
        return self._storages.setdefault(storage.key, storage), path

    def manifest(self, url: str) -> RemoteFile | None:
        """Return the manifest of a written data set, if listing the folder behind a URL has shown one.

        Raises:
            SourceError: The store cannot be asked.
        """
        storage, folder = self.locate(url)
        path = f"{folder.rstrip('/')}/{MANIFEST}"
        if path not in self.manifests:
            return None
        name = f"{_shown(url).rstrip('/')}/{MANIFEST}"
        return RemoteFile(name, path, storage, storage.version(path, name), self.shards)

    @property
    def shards(self) -> CachedShards:
        """The cache, one for all URLs."""
        return self._shards[0]


@dataclass(frozen=True, eq=False)
class RemoteFile:
    """One version of one object. Thread-safe and picklable.

    Attributes:
        url: What errors call it, without secrets.
        path: What the store calls it.
        storage: Where it lies.
        version: Its size and what tells it from other versions.
        cache: Where it is kept once it was fetched as a whole.
    """

    url: str
    path: str = field(repr=False)
    storage: Storage
    version: Version
    cache: CachedShards

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.version.size

    def read(self, begin: int, end: int) -> bytes:
        """Fetch the bytes between two places; less where the file ends before.

        Raises:
            ChangedSourceError: The object was replaced.
            SourceError: The bytes cannot be had.
        """
        return bytes(self._fetch([(max(begin, 0), min(end, self.size))])[0])

    def read_parts(self, ranges: Sequence[Range], tail: bytes = b"") -> FetchedFile:
        """Fetch runs of bytes together, and make a file of them.

        Args:
            ranges: Which; what of them lies beyond the file is left out.
            tail: The file's last bytes, if they are at hand.
        """
        begin = self.size - len(tail)
        wanted = coalesce(without([(max(first, 0), end) for first, end in ranges], begin))
        parts = list(zip([first for first, _ in wanted], self._fetch(wanted), strict=True))
        return FetchedFile(self.size, [*parts, (begin, tail)], self.read)

    def _fetch(self, ranges: Sequence[Range]) -> list[bytearray]:
        found = [bytearray(max(end - begin, 0)) for begin, end in ranges]
        places = {begin: content for (begin, _), content in zip(ranges, found, strict=True)}
        begins = sorted(places)

        def write(place: int, content: bytes) -> None:
            begin = begins[bisect_right(begins, place) - 1]
            places[begin][place - begin : place - begin + len(content)] = content

        self.storage.fetch(self.path, self.url, self.version, ranges, write)
        return found

    @contextmanager
    def local(self) -> Generator[str]:
        """Keep the whole file on the local disk for the time of a read, and name its place there."""
        identity = (self.storage.place, self.path, self.version)
        with self.cache.lease(self.url, identity, self.size, self._save) as place:
            yield place

    def _save(self, write: Any) -> None:
        self.storage.fetch(self.path, self.url, self.version, [(0, self.size)], write)


def is_url(path: str) -> bool:
    """Whether a path is a URL of a store, and not a local one."""
    return _URL.match(path) is not None


def is_chained(path: str) -> bool:
    """Whether a path is one of fsspec's chains, like `simplecache::s3://bucket/key`."""
    return re.search(r"::[A-Za-z][A-Za-z0-9+.-]*://", path) is not None


def find_remote(url: str, access: Access) -> list[tuple[RemoteFile, dict[str, str | None]]]:
    """List the files that a URL of a file, a folder or a glob names, with their `key=value` folders.

    The rules are those of local files.

    Raises:
        MissingSourceError: Nothing lies there.
        SourceError: The store cannot be asked.
    """
    if is_chained(url):
        raise OptionError(f"{_shown(url)}: chained URLs cannot be opened; name the store's own URL")
    storage, path = access.locate(url)
    lister = _Lister(storage, _shown(url), access.manifests)
    infos = lister.find(path, url.endswith("/"))
    with ThreadPoolExecutor(_LOOKERS, thread_name_prefix="headrace-open") as pool:
        versions = list(pool.map(lister.version, infos))
    return [
        (
            RemoteFile(lister.name(info["name"]), info["name"], storage, version, access.shards),
            lister.partitions(info["name"]),
        )
        for info, version in zip(infos, versions, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Lister:
    """Lists what lies in one store. Every listing that fails is an error, never a shorter list."""

    storage: Storage
    url: str
    manifests: set[str]

    def find(self, path: str, is_folder: bool) -> list[dict[str, Any]]:
        """List the files of a file's, a folder's or a glob's path."""
        if self._has_magic(path):
            try:
                files = self._glob(path)
            except MissingSourceError:  # the folder that it begins with
                files = []
            if not files:
                raise MissingSourceError(f"{self.url}: the pattern matches no file")
            return files
        if self.storage.protocol in _WEB:  # a file is asked for its version later on
            info: dict[str, Any] = {"type": "directory" if is_folder else "file", "name": path}
        else:
            info = self._ask("info", path)
        if info["type"] != "directory":
            return [info]
        files = self._below(info["name"])
        if not files:
            raise MissingSourceError(f"{self.url}: the folder holds no data files")
        return files

    def version(self, info: Mapping[str, Any]) -> Version:
        """Take a file's version from its listing where it is sure, or ask for it."""
        name = self.name(info["name"])
        if info.get("ETag") or info.get("etag"):
            return Version.of(info, name)
        return self.storage.version(info["name"], name)

    def name(self, path: str) -> str:
        """Name a path in errors."""
        return _shown(path if is_url(path) else f"{self.storage.protocol}://{path.lstrip('/')}")

    def partitions(self, path: str) -> dict[str, str | None]:
        """Read a file's `key=value` folders."""
        return partitions_of(_below_host(path).split("/")[:-1])

    def _has_magic(self, path: str) -> bool:
        # What follows the `?` of a web address is no pattern, nor are the brackets of a host's number.
        if self.storage.protocol in _WEB:
            return "?" not in path and re.search(r"[*\[]", _below_host(path)) is not None
        return glob.has_magic(path)

    def _glob(self, path: str) -> list[dict[str, Any]]:
        """Match a pattern folder by folder, as for local files."""
        start = len(path) - len(_below_host(path))
        parts = path[start:].split("/")
        fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
        root = path[:start] + "/".join(parts[:fixed])
        matches = {
            info["name"]: info for info in self._match({"name": root, "type": "directory"}, parts[fixed:])
        }
        files: dict[str, dict[str, Any]] = {}
        for name in natural_sort(matches):
            info = matches[name]
            found = self._below(name) if info["type"] == "directory" else [info]
            files |= {file["name"]: file for file in found}
        return list(files.values())

    def _match(self, folder: dict[str, Any], parts: Sequence[str]) -> Iterator[dict[str, Any]]:
        if not parts:
            yield folder
            return
        if folder["type"] != "directory":
            return
        part, rest = parts[0], parts[1:]
        if part == "**":
            yield from self._match(folder, rest)
        for info in self._entries(folder["name"]):
            if part == "**" and info["type"] == "directory":
                yield from self._match(info, parts)
            elif part == "**" and not rest:
                yield info
            elif fnmatch.fnmatchcase(_last(info["name"]), part):
                yield from self._match(info, rest)

    def _below(self, folder: str) -> list[dict[str, Any]]:
        """List the data files in a folder and those below it."""
        files: dict[str, dict[str, Any]] = {}
        if self.storage.is_flat:  # all keys below a prefix, some thousand at a time
            for info in self._ask("find", folder, detail=True).values():
                inner = info["name"][len(folder.rstrip("/")) + 1 :]
                self._notice(info["name"])
                if (
                    inner
                    and not any(is_hidden(part) for part in inner.split("/"))
                    and not inner.endswith("/")
                ):
                    files[info["name"]] = info
        else:
            for info in self._entries(folder):
                found = [info] if info["type"] != "directory" else self._below(info["name"])
                files |= {file["name"]: file for file in found}
        return [files[name] for name in natural_sort(files)]

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        """List what lies in a folder and is not hidden."""
        found: list[dict[str, Any]] = []
        for info in self._ask("ls", folder, detail=True):
            name = info["name"].rstrip("/")
            self._notice(name)
            is_link = self.storage.protocol in _WEB and re.search(r"[?#]", info["name"]) is not None
            if name != folder.rstrip("/") and not is_link and not is_hidden(_last(name)):
                found.append({**info, "name": name})
        return found

    def _notice(self, name: str) -> None:
        """Remember manifests of written data sets, which are hidden."""
        if _last(name) == MANIFEST:
            self.manifests.add(name)

    def _ask(self, question: str, path: str, **arguments: Any) -> Any:
        def ask() -> Any:
            self.storage.filesystem.invalidate_cache()
            return getattr(self.storage.filesystem, question)(path, **arguments)

        return self.storage.ask(self.url, ask)


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def _below_host(path: str) -> str:
    """Return the part of a path that names folders and the file."""
    return urlsplit(path).path if is_url(path) else path


def _shown(url: str) -> str:
    """Name a URL without the secrets that it may hold."""
    url = re.sub(r"(://)[^/@]*@", r"\1", url) if url.startswith(tuple(f"{kind}://" for kind in _WEB)) else url
    return url.split("?", 1)[0] if url.startswith(("http://", "https://")) else url
