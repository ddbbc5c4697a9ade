"""Which bytes of a Parquet file are read: its end, and the column chunks that are wanted."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager

import pyarrow.parquet as pq

from headrace.errors import SourceError
from headrace.sources.files import ShardFile
from headrace.sources.parquet_probe import check_chunks
from headrace.sources.ranges import FetchedFile

DATA_BYTES = 1 << 12  # that are read before the footer, where the file has them

# Footers up to this size arrive with the first read of a local file's end, or of a first remote one's.
_TAIL_BYTES = 1 << 16
_FIRST_TAIL_BYTES = 1 << 14
_MAGIC = b"PAR1"
_PAGE_HEAD_BYTES = 32  # the first four numbers of a page's header take fewer


def read_tail(file: ShardFile, size: int, expected: int | None = None) -> tuple[bytes, bytes, int]:
    """Read a file's end: the footer, and the data just before it.

    Args:
        file: Which one.
        size: Its bytes.
        expected: About how many bytes the footer takes; nobody knows by default.

    Returns:
        The first four bytes, the last ones, and how many of these are the footer, its length and the
        magic bytes.

    Raises:
        SourceError: They cannot be read.
    """
    if file.remote is not None:
        guess = _FIRST_TAIL_BYTES if expected is None else expected * 17 // 16 + DATA_BYTES + 64
        tail = file.remote.read(size - guess, size)
        length = _footer_length(tail)
        if len(tail) < min(length + DATA_BYTES, size) and length <= size:
            tail = file.remote.read(size - length - DATA_BYTES, size)
        # A request for four bytes would cost as much as one for the footer, and the end tells the format too.
        return _MAGIC, tail, length
    try:
        with open(file.path, "rb") as opened:
            head = opened.read(4)
            opened.seek(max(size - _TAIL_BYTES, 0))
            tail = opened.read()
            length = _footer_length(tail)
            if len(tail) < min(length + DATA_BYTES, size) and length <= size:
                opened.seek(max(size - length - DATA_BYTES, 0))
                tail = opened.read()
    except OSError as error:
        raise SourceError(f"{file.path}: cannot be read: {error.strerror}") from error
    return head, tail, length


@contextmanager
def open_chunks(
    file: ShardFile, metadata: pq.FileMetaData, group: int, leaves: Iterable[int], tail: bytes
) -> Generator[str | FetchedFile]:
    """Name a local file, or fetch the wanted column chunks of a remote one.

    Args:
        file: Which one.
        metadata: Its footer.
        group: Number of the row group.
        leaves: Numbers of the stored columns.
        tail: The file's last bytes, if they are at hand.
    """
    if file.remote is None or file.remote.cache.is_named:
        with file.local() as place:
            yield place
    else:
        chunks = metadata.row_group(group)
        yield file.remote.read_parts([_range_of(chunks.column(leaf)) for leaf in leaves], tail)


def has_page_checksum(file: ShardFile, metadata: pq.FileMetaData, size: int) -> bool:
    """Whether the first page of a file has one, which its footer does not tell."""
    try:
        check_chunks(metadata, 0, [0], size)
        begin, _ = _range_of(metadata.row_group(0).column(0))
        if file.remote is not None:
            head = file.remote.read(begin, begin + _PAGE_HEAD_BYTES)
        else:
            with open(file.path, "rb") as opened:
                opened.seek(begin)
                head = opened.read(_PAGE_HEAD_BYTES)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{file.path}: its first page cannot be read: {error}") from error
    # Thrift's compact encoding: the type, two sizes, then the checksum or what comes after it.
    numbers = re.match(rb"(?:\x15[\x80-\xff]*[\x00-\x7f]){3}", head, re.DOTALL)
    return numbers is not None and head[numbers.end() : numbers.end() + 1] == b"\x15"


def _range_of(chunk: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """Where a column chunk lies; its dictionary page comes first, if it has one."""
    begin = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < begin:
        begin = chunk.dictionary_page_offset
    return begin, begin + max(chunk.total_compressed_size, 0)


def _footer_length(tail: bytes) -> int:
    """Bytes of the footer, with its length and the magic bytes behind it."""
    return int.from_bytes(tail[-8:-4], "little") + 8
