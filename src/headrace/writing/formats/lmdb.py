"""LMDB shards: one file without a lock file, rows by number."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.errors import MissingDependencyError
from headrace.sources.written.forms import stored_schema, to_stored
from headrace.sources.written.lmdb_forms import DIGITS
from headrace.sources.written.numbers import to_runs
from headrace.writing.formats.base import FormatOptions
from headrace.writing.formats.codecs import choose_codec

_CODECS = ("none",)
_FIRST_MAP = 1 << 24
_PROBE = 1 << 20
_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.ENOMEM)


def check_schema(schema: pa.Schema, options: FormatOptions) -> None:
    """Refuse what cannot be written.

    Raises:
        OptionError: The format has no such compression.
        SchemaError: A column's type cannot be written; the message names it.
    """
    choose_codec("LMDB", options, _CODECS)
    stored_schema(schema, "lmdb")


class LmdbWriter:
    """Writes one shard; see `ShardWriter`. Each row group is one transaction."""

    def __init__(self, path: Path, schema: pa.Schema, options: FormatOptions) -> None:
        """Begin a file.

        Args:
            path: Where it comes to lie; what lies there is replaced.
            schema: The columns of the rows that will come.
            options: `compression` must be None or `"none"`.

        Raises:
            OptionError: The format has no such compression.
            SchemaError: A column's type cannot be written.
        """
        choose_codec("LMDB", options, _CODECS)
        stored_schema(schema, "lmdb")
        lmdb = _library()
        self._full: Any = lmdb.MapFullError
        self._error: Any = lmdb.Error
        self._rows, self._map = 0, _FIRST_MAP
        self._path = path
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with self._named():
            # The caller flushes the finished file, and removes an unfinished one.
            self._environment = lmdb.open(
                os.fspath(path), map_size=self._map, subdir=False, lock=False, sync=False, metasync=False
            )

    def write(self, rows: pa.RecordBatch) -> None:
        """Append one row group."""
        data, offsets = to_runs(to_stored(rows, "lmdb").column(0))
        content, ends = data.tobytes(), offsets.tolist()
        items = [
            (b"%0*d" % (DIGITS, self._rows + row), content[begin:end])
            for row, (begin, end) in enumerate(pairwise(ends))
        ]
        with self._named():
            while not self._put(items):
                self._map *= 2
                self._environment.set_mapsize(self._map)
        self._rows += len(items)

    def _put(self, items: list[tuple[bytes, bytes]]) -> bool:
        """Write all or, where the map is too small, nothing; tell which."""
        # Numbers of more digits come before others of fewer, byte by byte.
        is_last = self._rows + len(items) <= 10**DIGITS
        try:
            with self._environment.begin(write=True) as transaction, transaction.cursor() as cursor:
                cursor.putmulti(items, append=is_last)
        except self._full:
            return False
        return True

    def close(self) -> None:
        """Finish the file."""
        with self._named():
            self._environment.close()

    def abandon(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(self._error):
            self._environment.close()

    @contextmanager
    def _named(self) -> Generator[None]:
        """Turn LMDB's own errors into those of the operating system that they tell of."""
        try:
            yield
        except self._error as error:
            number = next((code for code in _ERRORS if os.strerror(code) in str(error)), errno.EIO)
            if number == errno.EIO:  # as it says of a write that stopped short
                _append(self._path)
            raise OSError(number, f"LMDB cannot write: {error}") from error


def _append(path: Path) -> None:
    """Append to a file that is not needed any more.

    Raises:
        OSError: Why that fails.
    """
    with open(path, "ab", buffering=0) as file:
        for _ in range(2):  # the first may stop short too
            file.write(bytes(_PROBE))


def _library() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise MissingDependencyError.from_extra("lmdb", "lmdb", "writing LMDB") from error
    return lmdb
