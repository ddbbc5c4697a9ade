"""What a source's shards hold, to the last byte: the part of a cache's keys that stands for the data."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

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
        Number of the shard to 32 hexadecimal characters, whatever the files' paths.

    Raises:
        ChangedSourceError: A file is no longer the one that was opened.
        SourceError: A file cannot be read.

    Example:
        >>> import headrace as hr
        >>> source = hr.from_arrays({"x": [1, 2]}).recipe.source
        >>> len(identify_shards(source, FileDigests())[0])
        32
    """
    wanted = range(len(source.manifest.shards)) if shards is None else tuple(shards)
    files = {shard: _files(source, shard) for shard in wanted}
    stamps = {path: stamp for found in files.values() for path, stamp in found.items()}
    unknown = {path: stamp for path, stamp in stamps.items() if not known.knows(path)}
    with ThreadPoolExecutor(min(_HASHERS, len(unknown)) or 1, thread_name_prefix="headrace-hash") as pool:
        digests = dict(zip(unknown, pool.map(known.find, unknown, unknown.values()), strict=True))
    digests |= {path: known.find(path, stamp) for path, stamp in stamps.items() if path not in digests}
    return {
        shard: digest(source.manifest.shards[shard].content_identity, [digests[path] for path in found])
        for shard, found in files.items()
    }


def check_shards(source: Source, shards: Iterable[int]) -> None:
    """Look whether the files of shards are still those that were opened, one look for each file.

    Raises:
        ChangedSourceError: One was replaced or rewritten.
        SourceError: One is gone.
    """
    for shard in shards:
        for path, stamp in _files(source, shard).items():
            stamp.check(path)


def _files(source: Source, shard: int) -> dict[str, Stamp]:
    return dict(source.shard_files(shard)) if isinstance(source, SupportsFiles) else {}
