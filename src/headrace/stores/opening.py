"""From what a user names to a store: `"memory"`, a folder, `"lmdb://..."` or `"redis://..."`."""

from __future__ import annotations

import os
from typing import Literal

from headrace.errors import OptionError
from headrace.sources.budget import parse_bytes
from headrace.stores.base import Residency, Store, Verify
from headrace.stores.memory import MemoryStore

OnUnavailable = Literal["warn", "raise"]


def open_store(
    store: Store | str | os.PathLike[str],
    limit: int | str | None = None,
    verify: Verify = "first",
    residency: Residency = "map",
    on_unavailable: OnUnavailable = "warn",
) -> Store:
    """Return the store that a user means.

    Args:
        store: A store, which has its own settings; `"memory"`, `"lmdb:///path"`, `"redis://host:port/db"`, or
            the path of a folder.
        limit: Bytes that may be kept, a number or like "20GB"; None for no limit (of `"memory"`: a quarter of
            the machine's).
        verify: When an entry is held against its checksum: at its `"first"` use, `"always"` or `"never"`.
        residency: Whether the arrays of a folder are mapped, or copied to anonymous memory.
        on_unavailable: `"warn"` once and go on without a cache, or `"raise"` a `CacheError`.

    Raises:
        OptionError: An argument cannot be right.
    """
    _check("verify", verify, ("first", "always", "never"))
    _check("residency", residency, ("map", "memory"))
    _check("on_unavailable", on_unavailable, ("warn", "raise"))
    if not isinstance(store, (str, os.PathLike)):
        if not hasattr(store, "open") or not hasattr(store, "limit"):
            raise OptionError(
                'a cache is "memory", a folder, "lmdb://...", "redis://..." or a store, got ' + repr(store)
            )
        if limit is not None or (verify, residency, on_unavailable) != ("first", "map", "warn"):
            raise OptionError("a store has its own settings; give `limit` and others when you make it")
        return store
    size = None if limit is None else parse_bytes(limit)
    text = os.fspath(store)
    if text == "memory":
        return MemoryStore(parse_bytes(limit))
    if text.startswith("redis://") or text.startswith("rediss://"):
        from headrace.stores.redis.store import RedisStore

        return RedisStore(text, size, on_unavailable=on_unavailable)
    if text.startswith("lmdb://"):
        from headrace.stores.lmdb.store import LmdbStore

        return LmdbStore(text.removeprefix("lmdb://"), size, verify, on_unavailable)
    if "://" in text or not text:
        raise OptionError(
            f'a cache is "memory", a folder, "lmdb:///path" or "redis://host:port/db", got {text!r}'
        )
    from headrace.stores.folder.store import FolderStore

    return FolderStore(text, size, verify, residency, on_unavailable)


def _check(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(f"`{name}` must be one of {', '.join(map(repr, known))}, got {value!r}")
