"""The formats that data sets are written in, and their writers by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.errors import OptionError, SchemaError
from headrace.sources.written import stored
from headrace.writing.formats.base import FormatOptions, ShardWriter


@dataclass(frozen=True, slots=True)
class WrittenFormat:
    """One format that can be written.

    Attributes:
        title: What errors call it.
        suffix: How its files end.
        writer: The class of its writer, in the module of the format's name beside this one, which loads
            when it is needed.
        compressions: The codecs that it takes beside `"none"`.
    """

    title: str
    suffix: str
    writer: str
    compressions: tuple[str, ...]


FORMATS = {
    "parquet": WrittenFormat(
        "Parquet", ".parquet", "ParquetShardWriter", ("zstd", "snappy", "gzip", "brotli", "lz4")
    ),
    "arrow": WrittenFormat("Arrow IPC", ".arrow", "ArrowShardWriter", ("lz4", "zstd")),
    "hdf5": WrittenFormat("HDF5", ".h5", "Hdf5Writer", ("gzip", "lzf")),
    "lmdb": WrittenFormat("LMDB", ".lmdb", "LmdbWriter", ()),
    "tfrecord": WrittenFormat("TFRecord", ".tfrecord", "TfRecordWriter", ("gzip",)),
}


def open_writer(format: str, path: Path, schema: pa.Schema, options: FormatOptions) -> ShardWriter:
    """Create one shard.

    Args:
        format: One of `FORMATS`.
        path: Where it is written to.
        schema: The columns of its rows.
        options: How it is laid out.

    Raises:
        OptionError: The format is unknown.
        SchemaError: The format cannot hold a column.
        OSError: The file cannot be made.
    """
    entry = _entry(format)
    return getattr(_module(format), entry.writer)(path, schema, options)


def suffix_of(format: str) -> str:
    """Tell how files of a format end.

    Raises:
        OptionError: The format is unknown.

    Example:
        >>> suffix_of("hdf5")
        '.h5'
    """
    return _entry(format).suffix


def check_format(format: str, schema: pa.Schema, options: FormatOptions) -> None:
    """Refuse what cannot be written before anything is.

    Raises:
        OptionError: The format or the codec is unknown, or a column can have no Bloom filter.
        SchemaError: The format cannot hold a column; the message names it and its type, and says what to do.

    Example:
        >>> check_format("parquet", pa.schema({"x": pa.int64()}), FormatOptions(compression="snappy"))
    """
    entry = _entry(format)
    if options.compression is not None and options.compression not in ("none", *entry.compressions):
        known = ", ".join(repr(name) for name in (*entry.compressions, "none"))
        raise OptionError(
            f"`compression` must be one of {known} for {entry.title} files, got {options.compression!r}"
        )
    names = schema.names
    if not names:
        raise SchemaError("a shard must hold at least one column, got none")
    if len(set(names)) != len(names):
        raise SchemaError(f"column names must be unique, got {names}")
    if options.bloom_filters and format != "parquet":
        raise OptionError(f'{entry.title} files have no Bloom filters; pass format="parquet"')
    if options.bloom_filters:
        _module(format).check_bloom_filters(schema, options.bloom_filters)
    forms = import_module("headrace.sources.written.forms")
    (forms if format in forms.FORMATS else stored).stored_schema(schema, format)


def _entry(format: str) -> WrittenFormat:
    if format not in FORMATS:
        raise OptionError(f"`format` must be one of {', '.join(FORMATS)}, got {format!r}")
    return FORMATS[format]


def _module(format: str) -> Any:
    return import_module(f"headrace.writing.formats.{format}")
