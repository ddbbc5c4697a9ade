"""The messages of Arrow's IPC format: where record batches and dictionaries lie in a file or a stream.

Only messages' heads are read, never the values.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, SourceError
from headrace.fingerprint import digest
from headrace.sources.files import ShardFile, Stamp
from headrace.sources.flatbuffers import FlatTable

MAGIC = b"ARROW1"
_CONTINUES = b"\xff\xff\xff\xff"
_TAIL_BYTES = 1 << 16
_MOST_GAP = 96  # bytes that align what follows, and the end marker; any message is larger
_MOST_HEAD = 1 << 28  # bytes of one message's head
_MOST_BYTES = 1 << 50
_MOST_ROWS = 1 << 40  # of one record batch; a head that says more is damaged
_VERSION_4 = 3
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_CODECS = {0: "lz4", 1: "zstd"}

PREFIX = 8  # bytes in front of a compressed buffer: what it unpacks to, or -1 if it was not compressed

_BLOCK = np.dtype([("begin", "<i8"), ("head", "<i4"), ("padding", "<i4"), ("body", "<i8")])
NODE = np.dtype([("length", "<i8"), ("nulls", "<i8")])
BUFFER = np.dtype([("begin", "<i8"), ("length", "<i8")])


@dataclass(frozen=True, slots=True)
class Block:
    """Where one message lies.

    Attributes:
        begin: Its first byte in the file.
        head: Bytes of its head, the length in front of it included.
        body: Bytes of its values.
        rows: Rows of a record batch, or values of a dictionary.
        dictionary: Id of the dictionary, None for a record batch.
        is_delta: Whether its values are added to those of that dictionary so far.
    """

    begin: int
    head: int
    body: int
    rows: int
    dictionary: int | None = None
    is_delta: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What the head of a record batch or a dictionary says of its values.

    Attributes:
        nodes: Length and nulls of each array, depth first.
        buffers: Where each buffer lies in the body.
        views: How many buffers of text each array of views has.
        codec: How buffers are compressed, if they are.
        rows: Rows.
    """

    nodes: NDArray[Any]
    buffers: NDArray[Any]
    views: NDArray[Any]
    codec: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class ArrowFile:
    """What the heads of one file's messages say.

    Attributes:
        stamp: What the file system said of it.
        schema: Its columns, as they are written.
        fields: The same as it lies in the file, which tells the dictionaries' ids.
        batches: The record batches, in order.
        dictionaries: The dictionaries, in order.
        is_stream: Whether a dictionary holds only for the record batches behind it.
        growth: How many times its size the first record batch takes once it is unpacked.
        identity: Digest of all heads and of the file's end.
    """

    stamp: Stamp
    schema: pa.Schema
    fields: FlatTable
    batches: tuple[Block, ...]
    dictionaries: tuple[Block, ...]
    is_stream: bool
    growth: float
    identity: str

    def dictionary(self, number: int, batch: Block) -> list[Block]:
        """Return the messages that make up a dictionary, as a record batch knows it."""
        parts: list[Block] = []
        for block in self.dictionaries:
            if block.dictionary != number or (self.is_stream and block.begin > batch.begin):
                continue
            if block.is_delta:
                parts.append(block)
            elif parts and not self.is_stream:
                raise CorruptSourceError(f"dictionary {number} is written twice, which only a stream may do")
            else:
                parts = [block]
        if not parts:
            raise CorruptSourceError(f"dictionary {number} is missing")
        return parts


def read_arrow_file(file: ShardFile) -> ArrowFile:
    """Read the heads of all messages of one file or stream.

    Raises:
        SourceError: The file cannot be read, is cut off, or is no Arrow file.
    """
    path, stamp = file.path, file.stamp()
    try:
        with file.local() as place, open(place, "rb", buffering=0) as opened:
            found = _read_heads(opened, stamp, path)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:
        raise CorruptSourceError(f"{path}: its messages cannot be read: {error}") from error
    file.check(stamp)
    return found


def _read_heads(file: BinaryIO, stamp: Stamp, path: str) -> ArrowFile:
    start = file.read(8)
    if not start:
        raise CorruptSourceError(
            f"{path}: the file is empty (0 bytes); its writer was stopped, so write it again"
        )
    if start.startswith(b"FEA1"):
        raise CorruptSourceError(f"{path}: Feather files of version 1 cannot be read; write version 2")
    is_file = start.startswith(MAGIC)
    if not is_file and start[:4] != _CONTINUES and start[3:4] not in (b"", b"\0"):
        raise CorruptSourceError(
            f"{path}: an Arrow file must begin with {MAGIC!r}, a stream with {_CONTINUES!r}, got {start!r}"
        )
    hasher = hashlib.blake2b(digest_size=16)
    if is_file:
        footer = _read_footer(file, stamp, path)
        hasher.update(footer)
        fields, heads = FlatTable.root(footer).table(1), _listed_heads(file, footer, stamp, path)
        schema = pa.ipc.open_file(pa.BufferReader(MAGIC + b"\0\0" + footer + _end_of(footer))).schema
    else:
        heads = _stream_heads(file, stamp, path)
        _, head, _ = next(heads, (0, b"", 0))
        message = FlatTable.root(head)
        fields = message.table(2) if message.number(1, 1) == _SCHEMA else None
        hasher.update(head)
        schema = pa.ipc.read_schema(pa.py_buffer(_CONTINUES + len(head).to_bytes(4, "little") + head))
    if fields is None:
        raise CorruptSourceError(f"{path}: no schema stands where it must; the file is damaged")
    if fields.number(0, 2):
        raise CorruptSourceError(f"{path}: written on a big-endian machine, which cannot be read")
    batches: list[Block] = []
    dictionaries: list[Block] = []
    for begin, head, prefix in heads:
        hasher.update(head)
        message = FlatTable.root(head)
        if message.number(0, 2) < _VERSION_4:
            raise CorruptSourceError(f"{path}: written by Arrow before version 0.8, which cannot be read")
        kind = message.number(1, 1)
        if kind not in (_DICTIONARY, _BATCH):
            raise CorruptSourceError(f"{path}: a message of kind {kind} at byte {begin:,} has no place there")
        (batches if kind == _BATCH else dictionaries).append(_block(message, begin, len(head) + prefix))
    hasher.update(_pread(file, max(stamp.size - _TAIL_BYTES, 0), _TAIL_BYTES))
    identity = digest("arrow", stamp.size, hasher.hexdigest())
    growth = _measure_growth(file.fileno(), batches[0]) if batches else 1.0
    return ArrowFile(
        stamp, schema, fields, tuple(batches), tuple(dictionaries), not is_file, growth, identity
    )


def _measure_growth(descriptor: int, block: Block) -> float:
    """Compare what compressed buffers promise with what they take."""
    try:
        content = read_content(descriptor, block)
    except (ValueError, CorruptSourceError):  # reading the values says so
        return 1.0
    stored = int(content.buffers["length"].sum())
    if content.codec is None or not stored:
        return 1.0
    unpacked = 0
    for begin, length in content.buffers[content.buffers["length"] >= PREFIX].tolist():
        prefix = os.pread(descriptor, PREFIX, block.begin + block.head + begin)
        size = int.from_bytes(prefix, "little", signed=True)
        unpacked += length if size < 0 else min(size, _MOST_BYTES)
    return max(unpacked / stored, 1.0)


def _block(message: FlatTable, begin: int, head: int) -> Block:
    """Tell what a message holds; a dictionary's values are a record batch of one column."""
    body, table = message.number(3, 8), message.table(2)
    dictionary, is_delta = None, False
    if table is not None and message.number(1, 1) == _DICTIONARY:
        dictionary, is_delta = table.number(0, 8), bool(table.number(2, 1))
        table = table.table(1)
    if table is None:
        raise ValueError("a message without contents")
    rows = table.number(0, 8)
    if not 0 <= rows <= _MOST_ROWS:
        raise ValueError(f"a record batch cannot hold {rows} rows")
    return Block(begin, head, body, rows, dictionary, is_delta)


def _read_footer(file: BinaryIO, stamp: Stamp, path: str) -> bytes:
    end = _pread(file, max(stamp.size - 10, 0), 10)
    length = int.from_bytes(end[:4], "little", signed=True)
    if end[4:] != MAGIC or not 0 < length <= stamp.size - 18:
        raise CorruptSourceError(
            f"{path}: an Arrow file must end with {MAGIC!r}, got {end[4:]!r} in {stamp.size:,} bytes; the "
            "file is cut off"
        )
    return _pread(file, stamp.size - 10 - length, length)


def _end_of(footer: bytes) -> bytes:
    return len(footer).to_bytes(4, "little") + MAGIC


def _listed_heads(file: BinaryIO, footer: bytes, stamp: Stamp, path: str) -> Iterator[tuple[int, bytes, int]]:
    """Yield the heads that a file's footer lists: where each message begins, the head, bytes before it."""
    limit = stamp.size - 10 - len(footer)
    spans: list[tuple[int, int]] = []
    if _pread(file, PREFIX, 4) == _CONTINUES:  # Polars writes a schema there that is no message
        begin, schema, prefix = next(_messages(file, PREFIX, limit))
        spans.append((begin, len(schema) + prefix))
    for slot in (2, 3):
        for block in FlatTable.root(footer).structs(slot, _BLOCK):
            begin, size, body = int(block["begin"]), int(block["head"]), int(block["body"])
            found, head, prefix = next(_messages(file, begin, limit)) if 8 <= begin < limit else (0, b"", 0)
            if not head or len(head) + prefix != size or FlatTable.root(head).number(3, 8) != body:
                raise CorruptSourceError(f"{path}: the footer and the message at byte {begin:,} differ")
            spans.append((begin, size + body))
            yield found, head, prefix
    if not spans:
        return
    begins, sizes = np.array(sorted(spans), np.int64).T
    gaps = np.append(begins[1:], limit) - begins - sizes
    if gaps.min() < 0:
        raise CorruptSourceError(f"{path}: the footer lists messages that overlap")
    if gaps.max() > _MOST_GAP:
        raise CorruptSourceError(
            f"{path}: the footer lists no message in {gaps.max():,} bytes, so that one is missing; the file "
            "is damaged"
        )


def _stream_heads(file: BinaryIO, stamp: Stamp, path: str) -> Iterator[tuple[int, bytes, int]]:
    """Yield the heads of a stream's messages, up to its end marker."""
    for begin, head, prefix in _messages(file, 0, stamp.size):
        if not head:
            if begin + prefix != stamp.size:
                raise CorruptSourceError(
                    f"{path}: {stamp.size - begin - prefix:,} bytes follow the stream's end"
                )
            return
        yield begin, head, prefix
    raise CorruptSourceError(
        f"{path}: the stream has no end marker; its writer was stopped or it is cut off, so write it again"
    )


def _messages(file: BinaryIO, begin: int, limit: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield messages that follow each other; the last has an empty head if it is the end marker."""
    while begin < limit:
        start = _pread(file, begin, min(8, limit - begin))
        prefix = 8 if start[:4] == _CONTINUES else 4
        length = int.from_bytes(start[prefix - 4 : prefix], "little", signed=True)
        if len(start) < prefix or not 0 <= length <= min(limit - begin - prefix, _MOST_HEAD):
            raise ValueError(
                f"the message at byte {begin:,} promises a head of {length:,} bytes, but the messages end at "
                f"{limit:,}; the file is cut off or damaged"
            )
        head = _pread(file, begin + prefix, length)
        yield begin, head, prefix
        if not head:
            return
        body = FlatTable.root(head).number(3, 8)
        if not 0 <= body <= limit - begin - prefix - length:
            raise ValueError(
                f"the message at byte {begin:,} promises {body:,} bytes of values, but the messages end at "
                f"{limit:,}; the file is cut off or damaged"
            )
        begin += prefix + length + body


def read_content(descriptor: int, block: Block) -> Content:
    """Read a message's head again, and say where its values lie.

    Raises:
        CorruptSourceError: It is no longer what it was, or a buffer lies outside of the body.
    """
    raw = os.pread(descriptor, block.head, block.begin)
    head = raw[8:] if raw[:4] == _CONTINUES else raw[4:]
    message = FlatTable.root(head)
    table = message.table(2)
    if table is not None and block.dictionary is not None:
        table = table.table(1)
    if table is None or len(raw) != block.head or table.number(0, 8) != block.rows:
        raise CorruptSourceError(f"the message at byte {block.begin:,} changed after the file was opened")
    buffers = table.structs(2, BUFFER)
    ends = buffers["begin"] + buffers["length"]
    if len(buffers) and (
        int(buffers["begin"].min()) < 0
        or int(buffers["length"].min()) < 0
        or int(buffers["length"].max()) > block.body
        or int(ends.max()) > block.body
        or int(ends.min()) < 0
    ):
        raise CorruptSourceError(f"a buffer lies outside of the message at byte {block.begin:,}")
    compression = table.table(3)
    codec = None if compression is None else _CODECS.get(compression.number(0, 1), "unknown")
    if codec == "unknown":
        raise CorruptSourceError(f"the message at byte {block.begin:,} is compressed in an unknown way")
    return Content(table.structs(1, NODE), buffers, table.structs(4, "<i8"), codec, block.rows)


def _pread(file: BinaryIO, begin: int, length: int) -> bytes:
    return os.pread(file.fileno(), length, begin)
