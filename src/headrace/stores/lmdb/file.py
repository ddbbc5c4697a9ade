"""Reading the data file of an LMDB store by page, and looking whether the library may be let near it.

The library maps the file and follows whatever its pages say, so that a file that was cut off or damaged ends
the process. It also opens no file twice in one process and forbids its use after a fork. Here pages are read
with `pread` and checked before they are believed: nothing is mapped, kept open or shared.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.sources.lmdb_header import DATABASE_BYTES, DEEPEST, MAGIC, NO_ROOT, PAGE_HEADER, Database

Bytes = NDArray[np.uint8]

_META = struct.Struct("<4sIQQ")
_TAIL = struct.Struct("<QQ")  # last page, transaction
_DATABASES = PAGE_HEADER + _META.size
_META_BYTES = _DATABASES + 2 * DATABASE_BYTES + _TAIL.size
_PAGE = struct.Struct("<QHHHH")  # number, padding, kind, end of the pointers, begin of the nodes
_OVERFLOW_PAGE = struct.Struct("<QHHI")  # number, padding, kind, how many pages
_COUNTS = struct.Struct("<IHHQQQQQ")  # padding, flags, depth, branches, leaves, overflow pages, entries, root
_NODE = struct.Struct("<HHHH")
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 0x01, 0x02, 0x04, 0x08
_ON_OVERFLOW = 0x01
_INTEGER_KEYS = 0x08
_FIRST_PAGE = 2  # behind the meta pages


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies in the file, and its bytes."""

    begin: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class _Meta:
    """What one meta page says."""

    page_size: int
    free: Database
    main: Database
    last_page: int
    transaction: int


@dataclass(frozen=True, slots=True)
class _Page:
    """A branch or leaf page and where its nodes begin."""

    number: int
    content: bytes
    pointers: tuple[int, ...]

    def head(self, index: int) -> tuple[int, int, int, int]:
        """Return the four fields of a node, whose key is found to lie within the page."""
        begin = self.pointers[index]
        low, high, flags, length = _NODE.unpack_from(self.content, begin)
        if begin + _NODE.size + length > len(self.content):
            raise ValueError(f"page {self.number}: a key reaches beyond it")
        return low, high, flags, length

    def key(self, index: int) -> bytes:
        """Return a node's key."""
        begin = self.pointers[index] + _NODE.size
        return self.content[begin : begin + self.head(index)[3]]

    def child(self, index: int) -> int:
        """Return the page below a node of a branch."""
        low, high, flags, _ = self.head(index)
        return low | high << 16 | flags << 32


@dataclass(slots=True)
class _Tally:
    """What a walk over a tree has come across."""

    depth: int
    branches: int = 0
    leaves: int = 0
    overflows: int = 0
    entries: int = 0

    @property
    def numbers(self) -> tuple[int, ...]:
        return self.depth, self.branches, self.leaves, self.overflows, self.entries


class DataFile:
    """A data file, open for reading while nobody writes. Whatever is wrong with it is a `ValueError`."""

    def __init__(self, descriptor: int) -> None:
        """Read the meta pages."""
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._meta = self._newest()

    @property
    def needed(self) -> int:
        """Bytes up to the end of the last page that is or was in use."""
        return max(self._meta.last_page + 1, _FIRST_PAGE) * self._meta.page_size

    def find(self, key: bytes) -> Place | None:
        """Find a value, None if there is none."""
        tree = self._meta.main
        if tree.root == NO_ROOT:
            return None
        number = tree.root
        for _ in range(tree.depth - 1):
            page = self._read(number, _BRANCH)
            # The first key of a branch is left out; all that is smaller than the second lies below it.
            number = page.child(bisect_right(range(1, len(page.pointers)), key, key=page.key))
        page = self._read(number, _LEAF)
        index = bisect_left(range(len(page.pointers)), key, key=page.key)
        if index == len(page.pointers) or page.key(index) != key:
            return None
        return self._place(page, index)

    def read(self, place: Place, out: Bytes) -> None:
        """Copy a value; releases the GIL."""
        done = 0
        while done < place.nbytes:
            read = os.preadv(self._descriptor, [out[done : place.nbytes].data], place.begin + done)
            if not read:
                raise ValueError(f"the file ends at byte {self.size:,}, within a value")
            done += read

    def check(self) -> None:
        """Walk over all pages that are in use or noted as free: each must be sound and have one use.

        Raises:
            ValueError: The library might crash on this file.
        """
        used = np.zeros(max(self._meta.last_page + 1, _FIRST_PAGE), np.bool_)
        used[:_FIRST_PAGE] = True
        main, free = _Tally(self._meta.main.depth), _Tally(self._meta.free.depth)
        for page, index in self._walk(self._meta.main, used, main):
            self._check_value(page, index, used, main)
        for page, index in self._walk(self._meta.free, used, free):
            pages = self._free_pages(page, index, used, free)
            if len(pages) and (pages.min() < _FIRST_PAGE or pages.max() >= len(used) or used[pages].any()):
                raise ValueError("a page is noted as free that is in use, or not there")
            used[pages] = True
        begin = (self._meta.transaction % 2) * self._meta.page_size + _DATABASES
        told = self._pread(begin, 2 * DATABASE_BYTES)
        if [*_COUNTS.iter_unpack(told)] != [
            (self._meta.page_size, _INTEGER_KEYS, *free.numbers, self._meta.free.root),
            (0, 0, *main.numbers, self._meta.main.root),
        ]:
            raise ValueError("its trees are not what the meta page says of them")

    def _newest(self) -> _Meta:
        first = self._pread(0, _META_BYTES)
        size = int.from_bytes(first[_DATABASES : _DATABASES + 4], "little")
        if size & (size - 1) or not 256 <= size <= 1 << 16:
            raise ValueError(f"pages of {size} bytes cannot be")
        metas = [_parse_meta(page, size) for page in (first, self._pread(size, _META_BYTES))]
        newest = max(metas, key=lambda meta: meta.transaction)
        # Transactions write the pages in turn; if not, damage hides the newest.
        older = metas[0] if newest is metas[1] else metas[1]
        if newest.transaction and (
            metas[newest.transaction % 2] is not newest or newest.transaction != older.transaction + 1
        ):
            raise ValueError("its meta pages do not follow each other")
        for tree in (newest.free, newest.main):
            if not tree.is_sound(max(newest.last_page, _FIRST_PAGE)) or tree.depth > DEEPEST:
                raise ValueError("the root of a tree cannot be")
        if newest.last_page > (1 << 48) // size:
            raise ValueError("more pages are promised than there can be")
        return newest

    def _walk(self, tree: Database, used: NDArray[np.bool_], tally: _Tally) -> Iterator[tuple[_Page, int]]:
        """Yield the nodes of all leaf pages, whose keys must rise."""
        level = [] if tree.root == NO_ROOT else [tree.root]
        last: bytes | None = None
        for depth in range(tree.depth, 0, -1):
            below: list[int] = []
            for number in level:
                self._take(number, 1, used)
                page = self._read(number, _BRANCH if depth > 1 else _LEAF)
                tally.branches += depth > 1
                tally.leaves += depth == 1
                for index in range(len(page.pointers)):
                    if depth > 1:
                        below.append(page.child(index))
                        continue
                    key = page.key(index) if tree is self._meta.main else page.key(index)[::-1]
                    if last is not None and key <= last:
                        raise ValueError(f"page {number}: its keys are not in order")
                    last = key
                    tally.entries += 1
                    yield page, index
            level = below

    def _check_value(self, page: _Page, index: int, used: NDArray[np.bool_], tally: _Tally) -> Place:
        place = self._place(page, index)
        if page.head(index)[2] & _ON_OVERFLOW:
            size = self._meta.page_size
            pages = _overflow_pages(place.nbytes, size)
            self._take(place.begin // size, pages, used)
            tally.overflows += pages
        return place

    def _free_pages(
        self, page: _Page, index: int, used: NDArray[np.bool_], tally: _Tally
    ) -> NDArray[np.int64]:
        place = self._check_value(page, index, used, tally)
        if page.head(index)[3] != 8 or place.nbytes % 8 or not place.nbytes:
            raise ValueError("a list of free pages is of another kind")
        numbers = np.frombuffer(self._pread(place.begin, place.nbytes), "<i8")
        pages = numbers[1 : 1 + int(numbers[0])]
        if not 0 <= numbers[0] < len(numbers) or (np.diff(pages) >= 0).any():
            raise ValueError("a list of free pages is not in order")
        return pages

    def _take(self, number: int, count: int, used: NDArray[np.bool_]) -> None:
        if not _FIRST_PAGE <= number <= number + count <= len(used) or used[number : number + count].any():
            raise ValueError(f"page {number} is used twice, or lies outside the file")
        if (number + count) * self._meta.page_size > self.size:
            raise ValueError(f"page {number} lies behind the end of the file")
        used[number : number + count] = True

    def _read(self, number: int, kind: int) -> _Page:
        size = self._meta.page_size
        content = self._pread(number * size, size)
        owner, _, flags, lower, upper = _PAGE.unpack_from(content)
        count = (lower - PAGE_HEADER) // 2
        if owner != number or flags != kind or count < 1 or not lower <= upper <= size or lower & 1:
            raise ValueError(f"page {number} is not what the pages above it promise")
        pointers = struct.unpack_from(f"<{count}H", content, PAGE_HEADER)
        if min(pointers) < upper or max(pointers) + _NODE.size > size:
            raise ValueError(f"page {number}: a node lies outside of it")
        return _Page(number, content, pointers)

    def _place(self, page: _Page, index: int) -> Place:
        low, high, flags, length = page.head(index)
        size, nbytes = self._meta.page_size, low | high << 16
        inside = page.pointers[index] + _NODE.size + length
        if inside + (8 if flags & _ON_OVERFLOW else nbytes) > size or flags not in (0, _ON_OVERFLOW):
            raise ValueError(f"page {page.number}: a value reaches beyond it, or is of another kind")
        if not flags:
            return Place(page.number * size + inside, nbytes)
        number = int.from_bytes(page.content[inside : inside + 8], "little")
        if not _FIRST_PAGE <= number <= self._meta.last_page:
            raise ValueError(f"page {page.number}: a value lies outside the file")
        owner, _, kind, count = _OVERFLOW_PAGE.unpack(self._pread(number * size, _OVERFLOW_PAGE.size))
        if owner != number or kind != _OVERFLOW or count != _overflow_pages(nbytes, size):
            raise ValueError(f"page {number} does not begin a value of {nbytes:,} bytes")
        return Place(number * size + PAGE_HEADER, nbytes)

    def _pread(self, begin: int, nbytes: int) -> bytes:
        content = os.pread(self._descriptor, nbytes, begin) if begin + nbytes <= self.size else b""
        if len(content) != nbytes:
            raise ValueError(f"the file ends at byte {self.size:,}, but {begin + nbytes:,} are needed")
        return content


def _overflow_pages(nbytes: int, page_size: int) -> int:
    return -(-(PAGE_HEADER + nbytes) // page_size)


def _parse_meta(page: bytes, page_size: int) -> _Meta:
    magic, version, _, _ = _META.unpack_from(page, PAGE_HEADER)
    if magic != MAGIC or version != 1 or int.from_bytes(page[10:12], "little") != _META_PAGE:
        raise ValueError(f"a meta page begins with {magic!r} and version {version}, as none does")
    free, main = (
        Database.parse(page[begin : begin + DATABASE_BYTES])
        for begin in (_DATABASES, _DATABASES + DATABASE_BYTES)
    )
    return _Meta(page_size, free, main, *_TAIL.unpack_from(page, _DATABASES + 2 * DATABASE_BYTES))
