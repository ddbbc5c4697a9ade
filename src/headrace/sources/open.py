"""From what a user names to a source: its files, their format, and the reader of that format."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os.path import basename
from typing import Any

from headrace.errors import CorruptSourceError, OptionError, SourceError
from headrace.sources.base import Source
from headrace.sources.files import Paths, ShardFile, find_files
from headrace.sources.formats import FORMATS, Format, claimed_format, describe_unknown, tell_format
from headrace.sources.remote import Access
from headrace.sources.verify import check_hashes
from headrace.sources.written.opening import open_written, written_folder, written_remote

_SHOWN = 5
_HEAD_BYTES = 4096
_SHORT_HEAD_BYTES = 32  # enough for most formats, and little beside what else is fetched of a remote shard
_HEADERS = 16  # threads that read remote heads
_BY_NAME = {format.name: format for format in FORMATS}


def open_source(
    paths: Paths,
    format: str | None,
    options: Any,
    memory_limit: int,
    verify: bool = False,
    access: Access | None = None,
) -> Source:
    """Find the files, tell their format and open them.

    Raises:
        SourceError: Nothing lies there, or what lies there cannot be read, or differs from its
            content hashes.
        OptionError: The format is unknown, or the options belong to another one.
    """
    written = written_folder(paths)
    if written is not None:
        return open_written(written, format, options, memory_limit, verify)
    files = list_files(paths, format, access)
    written = written_remote(paths, files, access)
    if written is not None:
        return open_written(written, format, options, memory_limit, verify)
    verified = check_hashes(paths, files) if verify else {}
    kind = _sniff(files) if format is None else _BY_NAME[format]
    source = kind.open(files, options, memory_limit)
    for path, stamp in verified.items():  # the source has looked at it since
        stamp.check(path)
    return source


def list_files(paths: Paths, format: str | None, access: Access | None = None) -> list[ShardFile]:
    """Find the files of a data set, in order.

    Raises:
        SourceError: Nothing lies there.
        OptionError: The format is unknown.
    """
    if format is not None and format not in _BY_NAME:
        raise OptionError(f"`format` must be one of {', '.join(_BY_NAME)}, got {format!r}")
    files = [file for file in find_files(paths, access) if not _is_lock_file(file.path)]
    if len(files) > 1 and format is not None:
        files = [file for file in files if file.path.lower().endswith(_BY_NAME[format].suffixes)] or files
    return files


def _sniff(files: Sequence[ShardFile]) -> Format:
    """Tell the format by the files' first bytes; they must all agree."""
    if any(file.remote is not None for file in files):
        with ThreadPoolExecutor(_HEADERS, thread_name_prefix="headrace-open") as pool:
            heads = list(pool.map(_head, files))
    else:
        heads = [_head(file) for file in files]
    found = [tell_format(file.path, head) for file, head in zip(files, heads, strict=True)]
    known = next((kind for kind in found if kind is not None), None)
    foreign = [place for place, kind in enumerate(found) if kind is None or kind is not known]
    if known is not None and not foreign:
        return known
    path, head = files[foreign[0]].path, heads[foreign[0]]
    if known is None or (claimed_format(path) is not None and found[foreign[0]] is None):
        raise CorruptSourceError(describe_unknown(path, head))
    names = ", ".join(files[place].path for place in foreign[:_SHOWN])
    more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
    raise SourceError(
        f"all files must be of one format, but {len(foreign)} of {len(files)} are no {known.title} files: "
        f'{names}{more}; name the shards by a glob like "folder/*{known.suffixes[0]}"'
    )


def _is_lock_file(path: str) -> bool:
    """LMDB leaves a lock beside its data."""
    return basename(path) == "lock.mdb" or path.endswith("-lock")


def _head(file: ShardFile) -> bytes:
    if file.remote is not None:
        head = file.head(_SHORT_HEAD_BYTES)
        if any(kind.begins(head) for kind in FORMATS):
            return head
    return file.head(_HEAD_BYTES)
