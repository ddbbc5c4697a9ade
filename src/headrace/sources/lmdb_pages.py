"""The pages of an LMDB data file: found by offset, and checked before they are believed.

liblmdb follows whatever the pages of a mapped file say: one that was cut off ends the process with
SIGBUS, a flipped bit with SIGSEGV or an assertion, so every page would have to be checked first.
It also refuses to open a file twice in one process, forbids its use after a fork, and a loop over
its cursor holds the GIL, which makes two threads slower than one. The format is small (data
version 1, unchanged since 2011): pages of one size, two meta pages, and B+trees of branch and
leaf pages, with large values on overflow pages of their own. So pages that are checked are also
read here, many at a time and without Python for each record. LMDB keeps no checksums: a bit that
flips within a value goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError
from headrace.sources.decoding import Values
from headrace.sources.lmdb_header import DATABASE_BYTES, DEEPEST, NO_ROOT, PAGE_HEADER, Database, Header
from headrace.sources.mapped import Bytes, MappedFile, Places, windows

_NODE_HEADER = 8
_KINDS = 0x6F  # branch, leaf, overflow, meta, leaf of fixed keys, sub-page
_BRANCH, _LEAF, _OVERFLOW = 0x01, 0x02, 0x04
_ON_OVERFLOW, IS_DATABASE, _HAS_DUPLICATES = 0x01, 0x02, 0x04
_AT_ONCE = 1024  # leaf pages parsed together


@dataclass(frozen=True, slots=True)
class Nodes:
    """The records of some leaf pages, as places in the file.

    Attributes:
        buffer: The file's bytes.
        keys: Where each key begins.
        key_lengths: Bytes of each key.
        data: Where each value, or the number of its overflow page, begins.
        sizes: Bytes of each value.
        flags: What each value is.
        counts: Records of each page.
    """

    buffer: Bytes
    keys: Places
    key_lengths: Places
    data: Places
    sizes: Places
    flags: Places
    counts: Places

    def key(self, row: int) -> bytes:
        """Return one record's key."""
        begin = int(self.keys[row])
        return self.buffer[begin : begin + int(self.key_lengths[row])].tobytes()

    def database(self, row: int, header: Header, path: str) -> Database:
        """Return the named database that a record stands for.

        Raises:
            CorruptSourceError: The record does not describe one, so its mark came by damage.
        """
        begin = int(self.data[row])
        if int(self.sizes[row]) == DATABASE_BYTES and int(self.flags[row]) == IS_DATABASE:
            database = Database.parse(self.buffer[begin : begin + DATABASE_BYTES].tobytes())
            if database.is_sound(header.last_page):
                return database
        raise CorruptSourceError(
            f"{path}, {name_key(self.key(row))}: is marked as a named database, but describes none; the "
            "file is damaged, so copy or write it again"
        )

    def take(self, rows: Places | slice) -> Nodes:
        """Return the records at these places."""
        columns = (self.keys, self.key_lengths, self.data, self.sizes, self.flags)
        return Nodes(self.buffer, *(column[rows] for column in columns), counts=self.counts)


@dataclass(frozen=True, eq=False)
class Tree:
    """One B+tree: its leaf pages in the order of their keys.

    Attributes:
        header: The file's meta page.
        leaves: Numbers of the leaf pages, int64 of shape [m].
        starts: Number of the first record of each leaf page, then the total; int64 of shape [m + 1].
    """

    header: Header
    leaves: Places
    starts: Places

    @staticmethod
    def scan(file: MappedFile, header: Header, database: Database) -> Iterator[tuple[Places, Nodes]]:
        """Walk down to the leaf pages and yield their numbers and records, some pages at a time.

        Raises:
            CorruptSourceError: A page is not what the pages above it promise.
        """
        for numbers in _split(find_leaves(file, header, database)):
            yield numbers, _parse_leaves(file, header, numbers)

    def locate(self, file: MappedFile, records: Places) -> Nodes:
        """Find records by number, in any order, on their leaf pages."""
        if len(records) and int(records[-1]) - int(records[0]) == len(records) - 1 and _is_run(records):
            first, last = np.searchsorted(self.starts, [records[0], records[-1]], side="right") - 1
            nodes = self._parse(file, slice(first, last + 1))
            begin = int(records[0] - self.starts[first])
            return nodes.take(slice(begin, begin + len(records)))
        leaves = np.searchsorted(self.starts, records, side="right") - 1
        pages, places = np.unique(leaves, return_inverse=True)
        nodes = self._parse(file, pages)
        firsts = np.cumsum(nodes.counts) - nodes.counts
        return nodes.take(records - self.starts[leaves] + firsts[places])

    def _parse(self, file: MappedFile, pages: Places | slice) -> Nodes:
        nodes = _parse_leaves(file, self.header, self.leaves[pages])
        if not np.array_equal(nodes.counts, (self.starts[1:] - self.starts[:-1])[pages]):
            raise CorruptSourceError(
                f"{file.path}: leaf pages hold other records than before; the file was rewritten"
            )
        return nodes

    def values(self, file: MappedFile, nodes: Nodes) -> Values:
        """Find the values of records, large ones on their overflow pages."""
        size = self.header.page_size
        is_large = (nodes.flags & _ON_OVERFLOW) != 0
        label = _Label(nodes)
        if not bool(is_large.any()):
            return Values(nodes.buffer, nodes.data, nodes.sizes, label)
        pages = _gather_ints(nodes.buffer, nodes.data[is_large], 8)
        lengths = nodes.sizes[is_large]
        outside = (pages < 2) | (pages > self.header.last_page)
        outside |= pages * size + PAGE_HEADER + lengths > file.size
        if bool(outside.any()):
            row = int(np.flatnonzero(is_large)[outside][0])
            raise _damaged(file, f"the value of {label(row)} lies outside the file")
        places = pages * size
        fields = windows(nodes.buffer, PAGE_HEADER)[places]
        owners, kinds = fields[:, :8].copy().view("<i8").ravel(), fields[:, 10:12].copy().view("<u2").ravel()
        counts = fields[:, 12:16].copy().view("<u4").ravel().astype(np.int64)
        wrong = (owners != pages) | (kinds & _KINDS != _OVERFLOW) | (counts * size - PAGE_HEADER < lengths)
        if bool(wrong.any()):
            row = int(np.flatnonzero(is_large)[wrong][0])
            raise _damaged(file, f"the overflow page of {label(row)} is another page")
        offsets = nodes.data.copy()
        offsets[is_large] = places + PAGE_HEADER
        return Values(nodes.buffer, offsets, nodes.sizes, label)


@dataclass(frozen=True, slots=True)
class _Label:
    """Names a record by its key."""

    nodes: Nodes

    def __call__(self, row: int) -> str:
        return name_key(self.nodes.key(row))


def _is_run(records: Places) -> bool:
    return bool((records[1:] - records[:-1] == 1).all())


def name_key(key: bytes) -> str:
    """Show a key in an error: as text where it is printable text."""
    text = key.decode("utf-8", "replace")
    return f"key `{text}`" if text.isprintable() and "\ufffd" not in text else f"key {key!r}"


def find_leaves(file: MappedFile, header: Header, database: Database) -> Places:
    """Walk down the branch pages, level by level, to the numbers of the leaf pages in key order."""
    if database.root == NO_ROOT:
        if database.entries:
            raise _damaged(file, f"{database.entries} records are promised, but there is no page")
        return np.empty(0, np.int64)
    if not 1 <= database.depth <= DEEPEST:
        raise _damaged(file, f"a tree of depth {database.depth} cannot be")
    level = np.array([min(database.root, 1 << 62)], np.int64)
    _check_numbers(file, header, level)
    seen = len(level)
    for _ in range(database.depth - 1):
        parts = [_parse_branches(file, header, numbers) for numbers in _split(level)]
        level = np.concatenate(parts)
        _check_numbers(file, header, level)
        seen += len(level)
        # Each page has one parent, or a few pages could stand for billions.
        if len(np.unique(level)) != len(level) or seen > header.last_page:
            raise _damaged(file, "a page has two parents")
    return level


def _check_numbers(file: MappedFile, header: Header, numbers: Places) -> None:
    outside = (numbers < 2) | (numbers > header.last_page)
    if bool(outside.any()):
        raise _damaged(file, f"page {int(numbers[outside][0])} of 2..{header.last_page} is needed")


def _parse_branches(file: MappedFile, header: Header, numbers: Places) -> Places:
    """Return the numbers of the pages below some branch pages."""
    _, nodes, _, _ = _parse_pages(file, header, numbers, _BRANCH)
    return nodes[:, 0] | nodes[:, 1] << 16 | nodes[:, 2] << 32


def _parse_leaves(file: MappedFile, header: Header, numbers: Places) -> Nodes:
    """Return the records of some leaf pages, each of them within its page."""
    buffer, nodes, places, counts = _parse_pages(file, header, numbers, _LEAF)
    sizes, flags, key_lengths = nodes[:, 0] | nodes[:, 1] << 16, nodes[:, 2], nodes[:, 3]
    keys = places + _NODE_HEADER
    data = keys + key_lengths
    stored = np.where(flags & _ON_OVERFLOW, 8, sizes)
    if bool((data + stored > (places // header.page_size + 1) * header.page_size).any()):
        raise _damaged(file, "a record reaches beyond its page")
    if bool((flags > _ON_OVERFLOW | IS_DATABASE | _HAS_DUPLICATES).any()):
        raise _damaged(file, "a record is of no known kind")
    result = Nodes(buffer, keys, key_lengths, data, sizes, flags, counts)
    repeated = np.flatnonzero(flags & _HAS_DUPLICATES)
    if len(repeated):
        raise CorruptSourceError(
            f"{file.path}, {name_key(result.key(int(repeated[0])))}: holds several values (the database "
            "was made "
            "with `dupsort`), which cannot be read; write each value under a key of its own"
        )
    return result


def _parse_pages(
    file: MappedFile, header: Header, numbers: Places, kind: int
) -> tuple[Bytes, NDArray[np.int64], Places, Places]:
    """Read pages of one kind.

    Returns:
        The file's bytes; the four fields of every node's header, of shape [n, 4]; where each node
        begins; how many there are on each page.
    """
    size = header.page_size
    buffer, begins = file.content(), numbers * size
    fields = windows(buffer, PAGE_HEADER)[begins]
    owners, shorts = (
        fields[:, :8].copy().view("<i8").ravel(),
        fields[:, 8:].copy().view("<u2").astype(np.int64),
    )
    lower, upper = shorts[:, 2], shorts[:, 3]
    wrong = (owners != numbers) | (shorts[:, 1] & _KINDS != kind) | (lower & 1 != 0)
    wrong |= (lower <= PAGE_HEADER) | (lower > upper) | (upper > size)
    if bool(wrong.any()):
        what = "branch" if kind == _BRANCH else "leaf"
        raise _damaged(file, f"page {int(numbers[wrong][0])} is no sound {what} page")
    counts = (lower - PAGE_HEADER) // 2
    page_of = np.repeat(np.arange(len(numbers)), counts)
    slots = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    pointers = _gather_ints(buffer, begins[page_of] + PAGE_HEADER + 2 * slots, 2)
    if bool(((pointers < upper[page_of]) | (pointers + _NODE_HEADER > size)).any()):
        raise _damaged(file, "a record begins outside its page")
    places = begins[page_of] + pointers
    heads = windows(buffer, _NODE_HEADER)[places]
    return buffer, heads.view("<u2").astype(np.int64), places, counts


def _gather_ints(buffer: Bytes, places: Places, width: int) -> NDArray[np.int64]:
    """Read little-endian whole numbers that begin anywhere."""
    kind = "<i8" if width == 8 else "<u2"
    return windows(buffer, width)[places].view(kind).ravel().astype(np.int64)


def _split(numbers: Places) -> Iterator[Places]:
    return (numbers[begin : begin + _AT_ONCE] for begin in range(0, len(numbers), _AT_ONCE))


def _damaged(file: Any, what: str) -> CorruptSourceError:
    return CorruptSourceError(f"{file.path}: {what}; the file is damaged, so copy or write it again")
