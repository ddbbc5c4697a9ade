"""Files that are compressed as a whole, by gzip or zlib."""

from __future__ import annotations

import zlib

from headrace.errors import CorruptSourceError, HeadraceError, MemoryLimitError, SourceError
from headrace.sources.files import ShardFile

_PIECE = 1 << 20
_ANY_HEADER = 32 + zlib.MAX_WBITS  # gzip or zlib, told by the first bytes


def is_gzip(head: bytes) -> bool:
    """Whether a file begins as a gzip file does."""
    return head[:2] == b"\x1f\x8b"


def inflate(file: ShardFile, limit: int, most: int | None = None) -> bytes:
    """Unpack a whole file, and never more than the limit.

    Args:
        file: A file in gzip's or zlib's format; gzip's may have several members.
        limit: The most bytes that it may unpack to.
        most: How many bytes are wanted from its beginning; all by default.

    Raises:
        MemoryLimitError: It unpacks to more than the limit.
        CorruptSourceError: It is damaged or cut off; gzip's and zlib's checksums are verified.
    """
    path = file.path
    pieces: list[bytes] = []
    total = 0
    unpacker = zlib.decompressobj(_ANY_HEADER)
    try:
        with file.local() as place, open(place, "rb") as opened:
            packed = b""
            while packed or (packed := opened.read(_PIECE)):
                if unpacker.eof:  # another member follows, or zeros that fill up a block
                    packed = packed.lstrip(b"\0")
                    if not packed:
                        continue
                    unpacker = zlib.decompressobj(_ANY_HEADER)
                piece = unpacker.decompress(packed, _PIECE)
                packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
                pieces.append(piece)
                total += len(piece)
                if most is not None and total >= most:
                    return b"".join(pieces)[:most]
                if total > limit:
                    raise MemoryLimitError(
                        f"{path}: unpacks to more than the limit of {limit:,} bytes; unpack the file, so "
                        "that it can be "
                        "read in parts, or raise `memory_limit` in `hr.open`"
                    )
    except HeadraceError:
        raise
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except zlib.error as error:
        raise CorruptSourceError(f"{path}: cannot be unpacked: {error}") from error
    if not unpacker.eof:
        raise CorruptSourceError(
            f"{path}: the compressed file ends too early; it is cut off, so copy or write it again"
        )
    return b"".join(pieces)
