"""What a source's shards hold, to the last byte: the part of a cache's keys that stands for the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from headrace.errors import SourceError
from headrace.fingerprint import digest
from headrace.sources.base import Source, SupportsFiles
from headrace.sources.files import Stamp
from headrace.stores.digests import FileDigests

_HASHERS = 8


def identify_shards(
    source: Source, known: FileDigests, shards: Iterable[int] | None = None
) -> dict[int, str]:
    """Digest the contents of shards: all bytes of their files, and what the source says of them.

    A shard's own identity is made of sizes, footers and samples of the values, so that opening takes no time;
    bytes that were changed in place show here. Files whose digest is known cost one look each.

    Args:
        source: Where the samples lie. One that tells no files is taken at its word.
        known: The digests known so far; those that are new are added.
        shards: Which shards; all by default.

    Returns:
        Number of the shard to 32 hexadecimal characters, whatever the files' paths. A shard of which a file
        has changed since it was opened, or cannot be read, is left out: reading it will tell what is wrong.

    Example:
        >>> import headrace as hr
        >>> source = hr.from_arrays({"x": [1, 2]}).recipe.source
        >>> len(identify_shards(source, FileDigests())[0])
        32
    """
    wanted = range(len(source.manifest.shards)) if shards is None else shards
    telling = source if isinstance(source, SupportsFiles) else None  # asked once, as it takes its time
    files = {shard: found for shard in wanted if (found := _files(telling, shard)) is not None}
    stamps = {path: stamp for found in files.values() for path, stamp in found.items()}
    unknown = [path for path in stamps if not known.knows(path)]
    find = partial(_find, known, stamps)
    with ThreadPoolExecutor(min(_HASHERS, len(unknown)) or 1, thread_name_prefix="headrace-hash") as pool:
        digests = dict(zip(unknown, pool.map(find, unknown), strict=True))
    digests |= {path: find(path) for path in stamps if path not in digests}
    return {
        shard: digest(source.manifest.shards[shard].content_identity, [digests[path] for path in found])
        for shard, found in files.items()
        if all(digests[path] is not None for path in found)
    }


def check_shards(source: Source, shards: Iterable[int]) -> None:
    """Look whether the files of shards are still those that were opened, one look for each file.

    Raises:
        ChangedSourceError: One was replaced or rewritten.
        SourceError: One is gone.
    """
    if isinstance(source, SupportsFiles):
        for shard in shards:
            for path, stamp in source.shard_files(shard).items():
                stamp.check(path)


def are_unchanged(source: Source, shards: Iterable[int]) -> bool:
    """Tell whether `check_shards` has no complaints."""
    try:
        check_shards(source, shards)
    except SourceError:
        return False
    return True


def _files(source: SupportsFiles | None, shard: int) -> Mapping[str, Stamp] | None:
    """The files of a shard, None if they are known to have changed."""
    try:
        return {} if source is None else source.shard_files(shard)
    except SourceError:
        return None


def _find(known: FileDigests, stamps: Mapping[str, Stamp], path: str) -> str | None:
    try:
        return known.find(path, stamps[path])
    except SourceError:
        return None
