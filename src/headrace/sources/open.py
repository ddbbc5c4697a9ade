"""Which format a file has, and the source that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.errors import CorruptSourceError, OptionError, SourceError
from headrace.sources.base import Source
from headrace.sources.files import Paths, ShardFile, find_files

FORMATS = ("parquet",)
_SUFFIXES = {"parquet": (".parquet", ".parq", ".pq")}
_MAGICS = {"parquet": b"PAR1"}
_SHOWN = 5


def open_source(paths: Paths, format: str | None, options: Any, memory_limit: int) -> Source:
    """Find the files, tell their format and open them.

    Raises:
        SourceError: Nothing lies there, or what lies there cannot be read.
        OptionError: The format is unknown, or the options belong to another one.
    """
    if format is not None and format not in FORMATS:
        raise OptionError(f"`format` must be one of {', '.join(FORMATS)}, got {format!r}")
    files = find_files(paths)
    kind = format or _sniff(files)
    if len(files) > 1 and format is not None:
        files = [file for file in files if file.path.lower().endswith(_SUFFIXES[kind])] or files
    from headrace.sources.parquet import ParquetOptions, ParquetSource

    if options is not None and not isinstance(options, ParquetOptions):
        raise OptionError(f"Parquet files take `ParquetOptions`, got {type(options).__name__}")
    return ParquetSource.open(files, options or ParquetOptions(), memory_limit)


def _sniff(files: Sequence[ShardFile]) -> str:
    """Tell the format by the files' first bytes; they must all agree."""
    foreign = [
        (file.path, head) for file in files if not (head := _head(file.path)).startswith(_MAGICS["parquet"])
    ]
    if not foreign:
        return "parquet"
    path, head = foreign[0]
    if len(foreign) == len(files) or path.lower().endswith(_SUFFIXES["parquet"]):
        what = "is empty (0 bytes)" if not head else f"begins with {head!r}"
        if head.startswith(b"PARE"):
            raise CorruptSourceError(
                f"{path}: the file is encrypted, which cannot be read; decrypt it before"
            )
        raise CorruptSourceError(
            f"{path}: the file {what}, which is no Parquet file (those begin with b'PAR1')"
        )
    names = ", ".join(name for name, _ in foreign[:_SHOWN])
    more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
    raise SourceError(
        f"all files must be of one format, but {len(foreign)} of {len(files)} are no Parquet files: "
        f'{names}{more}; name the shards by a glob like "folder/*.parquet"'
    )


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(8)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
