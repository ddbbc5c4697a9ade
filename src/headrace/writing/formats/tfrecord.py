"""TFRecord shards: records of `tf.train.Example`, each with the checksums of its length and of its bytes."""

from __future__ import annotations

import contextlib
import gzip
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.errors import MissingDependencyError
from headrace.sources.tfrecord import masked
from headrace.sources.written.forms import stored_schema, to_stored
from headrace.sources.written.numbers import to_runs
from headrace.writing.formats.base import FormatOptions
from headrace.writing.formats.codecs import choose_codec

_CODECS = ("none", "gzip")
_LEVEL = 4  # of gzip
_BUFFER = 1 << 20


def check_schema(schema: pa.Schema, options: FormatOptions) -> None:
    """Refuse what cannot be written.

    Raises:
        OptionError: The format has no such compression.
        SchemaError: A column's type cannot be written; the message names it.
    """
    choose_codec("TFRecord", options, _CODECS)
    stored_schema(schema, "tfrecord")


class TfRecordWriter:
    """Writes one shard; see `ShardWriter`."""

    def __init__(self, path: Path, schema: pa.Schema, options: FormatOptions) -> None:
        """Begin a file.

        Args:
            path: Where it comes to lie; what lies there is replaced.
            schema: The columns of the rows that will come.
            options: `compression` is `"none"`, the default, or `"gzip"`.

        Raises:
            OptionError: The format has no such compression.
            SchemaError: A column's type cannot be written.
        """
        is_packed = choose_codec("TFRecord", options, _CODECS) == "gzip"
        stored_schema(schema, "tfrecord")
        self._crc = _crc32c()
        self._raw = io.BufferedWriter(io.FileIO(path, "wb"), _BUFFER)
        self._stream: io.BufferedIOBase = self._raw
        if is_packed:  # its header names no file and no time
            self._stream = gzip.GzipFile("", "wb", _LEVEL, self._raw, mtime=0)

    def write(self, rows: pa.RecordBatch) -> None:
        """Append one row group."""
        data, offsets = to_runs(to_stored(rows, "tfrecord").column(0))
        content, ends, crc = data.tobytes(), offsets.tolist(), self._crc
        pieces: list[bytes] = []
        heads: dict[int, bytes] = {}
        for begin, end in pairwise(ends):
            size, record = end - begin, content[begin:end]
            if size not in heads:
                length = size.to_bytes(8, "little")
                heads[size] = length + masked(crc(length))
            pieces += (heads[size], record, masked(crc(record)))
        self._stream.write(b"".join(pieces))

    def close(self) -> None:
        """Finish the file."""
        if self._stream is not self._raw:
            self._stream.close()
        self._raw.close()

    def abandon(self) -> None:
        """Let go of the file."""
        for stream in (self._stream, self._raw):
            with contextlib.suppress(OSError, ValueError):  # what is buffered may not fit
                stream.close()


def _crc32c() -> Any:
    try:
        from google_crc32c import value
    except ImportError as error:
        raise MissingDependencyError.from_extra("google-crc32c", "tfrecord", "writing TFRecord") from error
    return value
