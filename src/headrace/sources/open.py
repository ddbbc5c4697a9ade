"""Which format a file has, and the source that reads it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from headrace.errors import CorruptSourceError, OptionError, SourceError
from headrace.sources.base import Source
from headrace.sources.files import Paths, ShardFile, find_files

_SHOWN = 5
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Format:
    """One format that can be opened.

    Attributes:
        name: What the user calls it.
        title: What errors call it.
        module: The file below `sources` that reads it; it loads when it is needed.
        source: The class of its source; `<source>.open(files, options, memory_limit)` opens it.
        options: The class of its options.
        suffixes: How its files usually end; they only break ties.
        begins: Whether a file's first bytes are those of the format.
        signature: Those bytes, as errors show them.
    """

    name: str
    title: str
    module: str
    source: str
    options: str
    suffixes: tuple[str, ...]
    begins: Callable[[bytes], bool]
    signature: str = ""

    def open(self, files: Iterable[ShardFile], options: Any, memory_limit: int) -> Source:
        """Open files of this format.

        Raises:
            OptionError: The options belong to another format.
        """
        module = import_module(f"headrace.sources.{self.module}")
        kind = getattr(module, self.options)
        if options is not None and not isinstance(options, kind):
            raise OptionError(f"{self.title} files take `{self.options}`, got {type(options).__name__}")
        return getattr(module, self.source).open(files, options or kind(), memory_limit)


def _begins_hdf5(head: bytes) -> bool:
    # A user block of 512, 1024, 2048, ... bytes may lie before the signature.
    places = (0, 512, 1024, 2048)
    return any(head[place : place + 8] == b"\x89HDF\r\n\x1a\n" for place in places)


_FORMATS = (
    Format(
        "parquet",
        "Parquet",
        "parquet",
        "ParquetSource",
        "ParquetOptions",
        (".parquet", ".parq", ".pq"),
        lambda head: head.startswith(b"PAR1"),
        "b'PAR1'",
    ),
    Format(
        "hdf5",
        "HDF5",
        "hdf5",
        "Hdf5Source",
        "Hdf5Options",
        (".h5", ".hdf5", ".hdf", ".h5ad"),
        _begins_hdf5,
        r"b'\x89HDF\r\n'",
    ),
    Format(
        "lmdb",
        "LMDB",
        "lmdb",
        "LmdbSource",
        "LmdbOptions",
        (".mdb", ".lmdb"),
        lambda head: head[16:20] in (b"\xde\xc0\xef\xbe", b"\xbe\xef\xc0\xde"),
        "0xBEEFC0DE at byte 16",
    ),
)
# These have no bytes of their own to begin with, so the user names them.
_NAMED_FORMATS = (
    Format(
        "tfrecord",
        "TFRecord",
        "tfrecord",
        "TfRecordSource",
        "TfRecordOptions",
        (".tfrecord",),
        lambda _: False,
    ),
    Format("idx", "IDX", "idx", "IdxSource", "IdxOptions", ("ubyte", "ubyte.gz", ".idx"), lambda _: False),
)
_BY_NAME = {format.name: format for format in (*_FORMATS, *_NAMED_FORMATS)}


def open_source(paths: Paths, format: str | None, options: Any, memory_limit: int) -> Source:
    """Find the files, tell their format and open them.

    Raises:
        SourceError: Nothing lies there, or what lies there cannot be read.
        OptionError: The format is unknown, or the options belong to another one.
    """
    if format is not None and format not in _BY_NAME:
        raise OptionError(f"`format` must be one of {', '.join(_BY_NAME)}, got {format!r}")
    files = [file for file in find_files(paths) if not _is_lock_file(file.path)]
    kind = _sniff(files) if format is None else _BY_NAME[format]
    if len(files) > 1 and format is not None:
        files = [file for file in files if file.path.lower().endswith(kind.suffixes)] or files
    return kind.open(files, options, memory_limit)


def _sniff(files: Sequence[ShardFile]) -> Format:
    """Tell the format by the files' first bytes; they must all agree."""
    heads = [_head(file.path) for file in files]
    found = [next((kind for kind in _FORMATS if kind.begins(head)), None) for head in heads]
    known = next((kind for kind in found if kind is not None), None)
    foreign = [place for place, kind in enumerate(found) if kind is None or kind is not known]
    if known is not None and not foreign:
        return known
    path, head = files[foreign[0]].path, heads[foreign[0]]
    claimed = next((kind for kind in _FORMATS if path.lower().endswith(kind.suffixes)), None)
    if known is None or (claimed is not None and found[foreign[0]] is None):
        raise CorruptSourceError(_what_begins(path, head, claimed))
    names = ", ".join(files[place].path for place in foreign[:_SHOWN])
    more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
    raise SourceError(
        f"all files must be of one format, but {len(foreign)} of {len(files)} are no {known.title} files: "
        f'{names}{more}; name the shards by a glob like "folder/*{known.suffixes[0]}"'
    )


def _what_begins(path: str, head: bytes, claimed: Format | None) -> str:
    """Say what was seen where no known format was."""
    if head.startswith(b"PARE"):
        return f"{path}: the file is encrypted, which cannot be read; decrypt it before"
    what = "is empty (0 bytes)" if not head else f"begins with {head[:8]!r}"
    if claimed is not None and claimed.signature:
        return (
            f"{path}: a file of {claimed.title} must begin with {claimed.signature}, but this one "
            f"{what}; it is cut off or of another format"
        )
    titles = ", ".join(kind.title for kind in _FORMATS)
    named = " or ".join(f'format="{kind.name}"' for kind in _NAMED_FORMATS)
    return (
        f"{path}: the file {what}, which none of the known formats does ({titles}); for others pass {named}"
    )


def _is_lock_file(path: str) -> bool:
    """LMDB leaves a lock beside its data."""
    return os.path.basename(path) == "lock.mdb" or path.endswith("-lock")


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
