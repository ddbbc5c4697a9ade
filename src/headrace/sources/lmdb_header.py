"""The two meta pages of an LMDB data file, which transactions write in turn."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from headrace.errors import CorruptSourceError
from headrace.sources.mapped import MappedFile

MAGIC = b"\xde\xc0\xef\xbe"
MAGIC_OFFSET = 16  # behind the header that every page has
PAGE_HEADER = 16
NO_ROOT = (1 << 64) - 1
DEEPEST = 32  # liblmdb's own limit

_META = struct.Struct("<IIQQ")
_DATABASE = struct.Struct("<IHHQQQQQ")
DATABASE_BYTES = _DATABASE.size
_TAIL = struct.Struct("<QQ")
_META_BYTES = PAGE_HEADER + _META.size + 2 * DATABASE_BYTES + _TAIL.size
_META_PAGE = 0x08


@dataclass(frozen=True, slots=True)
class Database:
    """What a file says of one of its B+trees."""

    depth: int
    entries: int
    root: int

    @staticmethod
    def parse(record: bytes) -> Database:
        """Read the 48 bytes by which a tree is known."""
        _, _, depth, _, _, _, entries, root = _DATABASE.unpack(record)
        return Database(depth, entries, root)

    def is_sound(self, last_page: int) -> bool:
        """Whether its root can be a page of the file."""
        is_empty = self.root == NO_ROOT
        return self.entries == 0 if is_empty else 2 <= self.root <= last_page and 1 <= self.depth <= DEEPEST


@dataclass(frozen=True, slots=True)
class Header:
    """The newest of the two meta pages.

    Attributes:
        page_size: Bytes of a page.
        last_page: Number of the last page in use.
        transaction: Which transaction wrote it; a later one means that the file has changed.
        main: The main database.
    """

    page_size: int
    last_page: int
    transaction: int
    main: Database


def read_header(file: MappedFile) -> Header:
    """Read the newest meta page and hold the file's size against it.

    Raises:
        CorruptSourceError: The file is no LMDB data file, or is shorter than its pages.
    """
    page_size = _page_size(file.content()[:_META_BYTES].tobytes(), file)
    metas = _read_metas(file, page_size)
    if not _alternate(metas):
        metas = _read_metas(file, page_size)  # transactions may have been committed in between
    header = max(metas, key=lambda meta: meta.transaction)
    needed = max((header.last_page + 1) * page_size, 2 * page_size)
    if file.size < needed:
        raise CorruptSourceError(
            f"{file.path}: its last used page ends at byte {needed:,}, but the file has only {file.size:,}; "
            "it is cut off, so copy or write it again"
        )
    if not _alternate(metas):
        raise CorruptSourceError(
            f"{file.path}: its meta pages name transactions {[meta.transaction for meta in metas]}, which do "
            "not follow each other; the file is damaged, so copy or write it again"
        )
    return header


def _read_metas(file: MappedFile, page_size: int) -> list[Header]:
    content = file.content()
    return [
        _parse_meta(content[begin : begin + _META_BYTES].tobytes(), number, page_size, file)
        for number, begin in enumerate((0, page_size))
        if file.size >= begin + _META_BYTES
    ]


def _alternate(metas: list[Header]) -> bool:
    """Whether transactions wrote the two meta pages in turn, the even ones page 0.

    If damage hid the newest, an older state of the file would be read without a word. A page that
    no transaction wrote is empty, and a file never shrinks.
    """
    in_turn = all(
        meta.transaction % 2 == number if meta.transaction else meta.main.root == NO_ROOT
        for number, meta in enumerate(metas)
    )
    older, newer = sorted((meta.transaction, meta.last_page) for meta in (metas[0], metas[-1]))
    return in_turn and newer[0] - older[0] <= 1 and older[1] <= newer[1]


def _page_size(first: bytes, file: MappedFile) -> int:
    found = first[MAGIC_OFFSET : MAGIC_OFFSET + 4]
    if found != MAGIC:
        hint = "it was written on a big-endian machine" if found == MAGIC[::-1] else "it is of another format"
        raise CorruptSourceError(
            f"{file.path}: an LMDB data file must hold {MAGIC!r} at byte {MAGIC_OFFSET}, got {found!r} in "
            f"{file.size:,} bytes; the file is cut off, or {hint}"
        )
    if len(first) < _META_BYTES:
        raise CorruptSourceError(
            f"{file.path}: the file ends within its first page ({file.size:,} bytes); it is cut off"
        )
    version = int.from_bytes(first[20:24], "little")
    if version != 1:
        raise CorruptSourceError(f"{file.path}: LMDB data version 1 can be read, got {version}")
    page_size = int.from_bytes(first[40:44], "little")  # kept where the free pages' tree has its padding
    if page_size & (page_size - 1) or not 256 <= page_size <= 1 << 15:
        raise CorruptSourceError(
            f"{file.path}: the page size must be a power of two of at most 32,768, got {page_size}; the "
            "file is damaged, or was written by a 32-bit program"
        )
    return page_size


def _parse_meta(page: bytes, number: int, page_size: int, file: MappedFile) -> Header:
    magic, version, _, _ = _META.unpack_from(page, PAGE_HEADER)
    flags = int.from_bytes(page[10:12], "little")
    if magic.to_bytes(4, "little") != MAGIC or version != 1 or not flags & _META_PAGE:
        raise CorruptSourceError(f"{file.path}: page {number} must be a meta page; the file is damaged")
    begin = PAGE_HEADER + _META.size + DATABASE_BYTES
    main = Database.parse(page[begin : begin + DATABASE_BYTES])
    last_page, transaction = _TAIL.unpack_from(page, begin + DATABASE_BYTES)
    return Header(page_size, last_page, transaction, main)
