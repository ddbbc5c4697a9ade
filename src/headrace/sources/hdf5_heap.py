"""Values of any length, which lie on an HDF5 file's heap, found by reference.

The heap is made of collections: `GCOL`, a version, a size, then objects one behind the other, each with
its number and its size. The HDF5 library follows a damaged one for ever and holds its lock meanwhile,
so collections are checked and taken apart here, many at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError
from headrace.sources.decoding import Values
from headrace.sources.hdf5_chunks import Bytes, Places, ShardBytes
from headrace.sources.mapped import windows

_COLLECTION = np.dtype([("magic", "S4"), ("version", "u1"), ("reserved", "V3"), ("size", "<u8")])
_OBJECT = np.dtype([("index", "<u2"), ("references", "<u2"), ("reserved", "V4"), ("size", "<u8")])
_HEADER = 16  # bytes of either
_INDICES = 1 << 16
_NO_KEY = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Heap:
    """What the values on the heap are.

    Attributes:
        item: NumPy dtype of one item as it lies there; bytes for text.
        base: Where addresses count from: behind the user block.
    """

    item: np.dtype[Any]
    base: int


@dataclass(frozen=True, slots=True, eq=False)
class Collections:
    """The collections that some samples refer to.

    Attributes:
        begins: Where each begins in the file, ascending; int64 of shape [c].
        sizes: Bytes of each, int64 of shape [c].
        numbers: Of each sample, which collection it refers to; -1 where it holds nothing.
    """

    begins: Places
    sizes: Places
    numbers: Places

    @staticmethod
    def find(file: ShardBytes, references: NDArray[Any], base: int) -> Collections:
        """Read the collections' own headers.

        Raises:
            CorruptSourceError: There is no collection where a sample refers to one.
        """
        is_empty = (references["count"] == 0) | (references["place"] == 0)
        places = np.where(is_empty, 0, references["place"] + np.uint64(base))
        if len(places) and int(places.max()) + _HEADER > file.size:
            raise CorruptSourceError(
                f"a sample refers to byte {places.max():,}, but the file has only {file.size:,}; it is cut "
                "off or damaged"
            )
        begins, numbers = np.unique(places[~is_empty].astype(np.int64), return_inverse=True)
        headers = np.empty(len(begins), _COLLECTION)
        raw = headers.view(np.uint8).reshape(-1, _HEADER)
        for number, begin in enumerate(begins.tolist()):
            file.fill(raw[number], begin)
        room = (file.size - begins).astype(np.uint64)
        is_wrong = (headers["magic"] != b"GCOL") | (headers["version"] != 1)
        is_wrong |= (headers["size"] < _HEADER) | (headers["size"] > room)
        if is_wrong.any():
            begin = int(begins[is_wrong.argmax()])
            raise CorruptSourceError(
                f"no sound heap collection begins at byte {begin:,}; the file is damaged"
            )
        all_numbers = np.full(len(references), -1, np.int64)
        all_numbers[~is_empty] = numbers
        return Collections(begins, headers["size"].astype(np.int64), all_numbers)

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return int(self.sizes.sum())

    def read(self, file: ShardBytes, references: NDArray[Any], width: int) -> tuple[Bytes, Places, Places]:
        """Read the collections and find the samples in them.

        Args:
            file: Where they lie.
            references: The samples' references, of shape [n].
            width: Bytes of one item.

        Returns:
            The collections' bytes, and each sample's place and length in them, int64 of shape [n].

        Raises:
            CorruptSourceError: A collection is damaged, or does not hold what a sample refers to.
        """
        starts = np.cumsum(self.sizes) - self.sizes
        content = np.empty(self.nbytes, np.uint8)
        for begin, start, size in zip(
            self.begins.tolist(), starts.tolist(), self.sizes.tolist(), strict=True
        ):
            file.fill(content[start : start + size], begin)
        keys, places, sizes = _walk(content, starts, starts + self.sizes)
        is_held = self.numbers >= 0
        lengths = np.where(is_held, references["count"].astype(np.int64) * width, 0)
        wanted = self.numbers * _INDICES + np.minimum(references["index"], _INDICES - 1)
        found = np.searchsorted(keys, wanted)
        is_wrong = is_held & ((keys[found] != wanted) | (sizes[found] < lengths))
        if is_wrong.any():
            row = int(is_wrong.argmax())
            raise CorruptSourceError(
                f"row {row} refers to {lengths[row]:,} bytes that the heap does not hold; the file is damaged"
            )
        return content, np.where(is_held, places[found], 0), lengths


def pack_text(content: Bytes, places: Places, lengths: Places) -> tuple[Bytes, Places]:
    """Copy texts one behind the other, each up to its first zero byte, and tell their lengths."""
    packed, starts = Values(content, places, lengths, str).packed()
    zeros = np.flatnonzero(packed.to_numpy() == 0)
    if len(zeros):
        reach = np.append(zeros, starts[-1])[np.searchsorted(zeros, starts[:-1])] - starts[:-1]
        lengths = np.minimum(lengths, reach)
        packed, _ = Values(content, places, lengths, str).packed()
    return packed.to_numpy(), lengths


def pack_items(content: Bytes, places: Places, lengths: Places) -> tuple[Bytes, Places]:
    """Copy lists one behind the other, and tell their bytes."""
    return Values(content, places, lengths, str).packed()[0].to_numpy(), lengths


def _walk(content: Bytes, starts: Places, ends: Places) -> tuple[Places, Places, Places]:
    """Step from object to object, in all collections at once.

    Returns:
        Of each object its collection's number and its own as one key, ascending, its place and its
        size; then a key that no object has.
    """
    headers = windows(content, _HEADER)
    collections, cursors = np.arange(len(starts)), starts + _HEADER
    steps: list[tuple[Places, Places, Places]] = []
    while True:
        goes_on = cursors + _HEADER <= ends[collections]
        collections, cursors = collections[goes_on], cursors[goes_on]
        found = headers[cursors].view(_OBJECT).reshape(-1)
        is_used = found["index"] > 0  # the space that is free comes last
        collections, cursors, found = collections[is_used], cursors[is_used], found[is_used]
        if not len(collections):
            break
        room = ends[collections] - cursors - _HEADER
        if (found["size"] > room.astype(np.uint64)).any():
            raise CorruptSourceError("an object reaches beyond its heap collection; the file is damaged")
        sizes = found["size"].astype(np.int64)
        steps.append((collections * _INDICES + found["index"], cursors + _HEADER, sizes))
        cursors = cursors + _HEADER + (sizes + 7) // 8 * 8
        if len(steps) >= _INDICES:
            raise CorruptSourceError("a heap collection holds an object twice; the file is damaged")
    none = np.zeros(1, np.int64)
    steps.append((none + _NO_KEY, none, none))
    keys, places, sizes = (np.concatenate(column) for column in zip(*steps, strict=True))
    order = np.argsort(keys, kind="stable")
    return keys[order], places[order], sizes[order]
