"""Where the rows of an HDF5 data set lie in its file, and how they are read from there.

A file's index of chunks is read once, when the file is opened. From then on a row group is some
offsets and lengths: its bytes are read and decoded here, by any number of threads at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import ChangedSourceError, CorruptSourceError, SourceError
from headrace.sources.files import ShardFile, Stamp
from headrace.sources.hdf5_filters import Decode, Filter, make_decoder
from headrace.sources.scratch import Scratch

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]

_GAP = 1 << 14  # reading over a gap of this size costs less than another call
_RUN_BYTES = 1 << 22  # read with one call


@dataclass(frozen=True, slots=True)
class Contiguous:
    """All values in one run of the file.

    Attributes:
        offset: Where it begins.
    """

    offset: int


@dataclass(frozen=True, slots=True, eq=False)
class Compact:
    """Values that lie in the file's header, and were read with it.

    Attributes:
        values: uint8 of shape [bytes].
    """

    values: Bytes


@dataclass(frozen=True, slots=True, eq=False)
class Chunked:
    """Values in chunks of one shape, each stored by itself.

    Attributes:
        shape: A chunk's shape, rows first.
        grid: How many chunks there are along each axis, those at the edge included.
        filters: What was done to each chunk.
        numbers: Which chunks were written: their places in the grid, row-major, ascending;
            int64 of shape [c].
        offsets: Where each of them begins, int64 of shape [c].
        lengths: How many bytes each has in the file, int64 of shape [c].
        masks: Bit i is set where filter i was not applied, uint32 of shape [c].
    """

    shape: tuple[int, ...]
    grid: tuple[int, ...]
    filters: tuple[Filter, ...]
    numbers: Places
    offsets: Places
    lengths: Places
    masks: NDArray[np.uint32]

    @property
    def missing(self) -> int:
        """How many chunks were never written."""
        return math.prod(self.grid) - len(self.numbers)


@dataclass(frozen=True, slots=True)
class Unwritten:
    """No values at all: every one is the fill value."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Values that only the HDF5 library can find or decode.

    Attributes:
        reason: Why; ends the sentence "read by h5py, one thread at a time, as ...".
        chunk_rows: How many rows are decoded together.
    """

    reason: str
    chunk_rows: int = 1


Layout = Contiguous | Compact | Chunked | Unwritten | Foreign


@dataclass(frozen=True, slots=True, eq=False)
class Extent:
    """The shape of a data set in bytes, and where they lie.

    Attributes:
        name: What errors call it: its path in the file.
        rows: How many rows.
        inner: Shape of one row.
        itemsize: Bytes of one value in the file.
        layout: Where the values lie.
        fill: One value's bytes that stand for what was never written.
    """

    name: str
    rows: int
    inner: tuple[int, ...]
    itemsize: int
    layout: Layout
    fill: bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in the file, once decoded."""
        return math.prod(self.inner) * self.itemsize

    @property
    def chunk_rows(self) -> int:
        """How many rows must be decoded together."""
        if isinstance(self.layout, Foreign):
            return self.layout.chunk_rows
        return self.layout.shape[0] if isinstance(self.layout, Chunked) and self._needs_whole_chunks else 1

    @property
    def scratch(self) -> int:
        """Bytes that decoding may need beside the rows themselves."""
        if not isinstance(self.layout, Chunked) or not self._needs_whole_chunks:
            return 0
        chunk = math.prod(self.layout.shape) * self.itemsize
        return 2 * chunk + int(self.layout.lengths.max(initial=0))

    @property
    def _needs_whole_chunks(self) -> bool:
        """Whether a part of a chunk cannot be read by itself."""
        return isinstance(self.layout, Chunked) and bool(
            self.layout.filters or self.layout.shape[1:] != self.inner
        )


class ShardBytes:
    """The bytes of a file that is open for the time of one read.

    Attributes:
        path: What errors call it.
        size: Its bytes when it was opened.
        scratch: Memory to read into.
    """

    def __init__(self, path: str, descriptor: int, scratch: Scratch) -> None:
        """Wrap a descriptor that `open_bytes` closes."""
        self.path = path
        self.scratch = scratch
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor

    def fill(self, target: Bytes, begin: int) -> None:
        """Read a run of bytes into memory that the caller owns."""
        if begin < 0 or begin + len(target) > self.size:
            raise CorruptSourceError(
                f"bytes up to {begin + len(target):,} are needed, but the file has only {self.size:,}; "
                "it is cut off or damaged"
            )
        done = 0
        while done < len(target):
            try:
                count = os.preadv(self._descriptor, [target.data[done:]], begin + done)
            except OSError as error:
                raise SourceError(f"{self.path}: cannot be read: {error.strerror}") from error
            if count == 0:
                raise ChangedSourceError(f"{self.path}: the file was cut off while it was read")
            done += count


@contextmanager
def open_bytes(file: ShardFile, place: str, stamp: Stamp, scratch: Scratch) -> Generator[ShardBytes, Any]:
    """Open a file for one read, and make sure that it is the stamped one before and after.

    Args:
        file: Which one.
        place: Where it lies on the local disk.
        stamp: What it must still be.
        scratch: Memory that reads use again and again.
    """
    file.check(stamp)
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"{file.path}: cannot be read: {error.strerror}") from error
    try:
        yield ShardBytes(file.path, descriptor, scratch)
    except CorruptSourceError:
        file.check(stamp)  # what looks damaged may have been rewritten meanwhile
        raise
    finally:
        os.close(descriptor)
    file.check(stamp)


def read_extent(file: ShardBytes, extent: Extent, begin: int, end: int) -> Bytes:
    """Read rows into fresh memory.

    Args:
        file: Where they lie.
        extent: The data set; its layout is not `Foreign`.
        begin: The first row.
        end: The row after the last.

    Returns:
        uint8 of shape [rows x bytes of a row].

    Raises:
        CorruptSourceError: A chunk is damaged or lies outside of the file.
    """
    width = extent.row_bytes
    out = np.empty((end - begin) * width, np.uint8)
    if not len(out):
        return out
    match extent.layout:
        case Contiguous(offset):
            file.fill(out, offset + begin * width)
        case Compact(values):
            out[:] = values[begin * width : end * width]
        case Chunked() as layout:
            _read_chunks(file, extent, layout, range(begin, end), out)
        case _:
            _fill_all(out, extent.fill)
    return out


def _read_chunks(file: ShardBytes, extent: Extent, layout: Chunked, rows: range, out: Bytes) -> None:
    per_row = math.prod(layout.grid[1:])
    first, last = rows.start // layout.shape[0], -(-rows.stop // layout.shape[0])
    low, high = np.searchsorted(layout.numbers, (first * per_row, last * per_row)).tolist()
    if high - low < (last - first) * per_row:
        _fill_all(out, extent.fill)
    if per_row == 1 and layout.shape[1:] == extent.inner:
        if layout.filters:
            _decode_rows(file, extent, layout, slice(low, high), rows, out)
        else:
            _copy_rows(file, extent, layout, slice(low, high), rows, out)
    else:
        _copy_blocks(file, extent, layout, slice(low, high), rows, out)


def _copy_rows(
    file: ShardBytes, extent: Extent, layout: Chunked, here: slice, rows: range, out: Bytes
) -> None:
    """Read plain chunks of whole rows right into place; neighbours in the file with one call."""
    width = extent.row_bytes
    top = layout.numbers[here] * layout.shape[0]
    begins, ends = np.maximum(top, rows.start), np.minimum(top + layout.shape[0], rows.stop)
    origins = layout.offsets[here] + (begins - top) * width
    targets = (begins - rows.start) * width
    reach = (ends - begins) * width
    is_first = np.ones(len(top), np.bool_)
    is_first[1:] = (origins[1:] != origins[:-1] + reach[:-1]) | (targets[1:] != targets[:-1] + reach[:-1])
    firsts = np.flatnonzero(is_first)
    lengths = np.add.reduceat(reach, firsts) if len(firsts) else reach
    for target, origin, length in zip(
        targets[firsts].tolist(), origins[firsts].tolist(), lengths.tolist(), strict=True
    ):
        file.fill(out[target : target + length], origin)


def _decode_rows(
    file: ShardBytes, extent: Extent, layout: Chunked, here: slice, rows: range, out: Bytes
) -> None:
    """Decode chunks of whole rows, right into place where all of a chunk is wanted."""
    width, height = extent.row_bytes, layout.shape[0]
    decoders = Decoders(layout, height * width)
    tops = (layout.numbers[here] * height).tolist()
    for top, (place, stored) in zip(tops, stored_chunks(file, layout, here), strict=True):
        start, stop = (top - rows.start) * width, (top + height - rows.start) * width
        if start >= 0 and stop <= len(out):
            decoders.decode(place, stored, out[start:stop])
            continue
        whole = np.empty(height * width, np.uint8)
        decoders.decode(place, stored, whole)
        begin, end = max(start, 0), min(stop, len(out))
        out[begin:end] = whole[begin - start : end - start]


def _copy_blocks(
    file: ShardBytes, extent: Extent, layout: Chunked, here: slice, rows: range, out: Bytes
) -> None:
    """Decode chunks that hold parts of rows, and copy each to its place."""
    box = out.reshape(len(rows), *extent.inner, extent.itemsize)
    block = np.empty((*layout.shape, extent.itemsize), np.uint8)
    decoders = Decoders(layout, block.size)
    limits = ((rows.start, rows.stop), *((0, length) for length in extent.inner))
    corners = np.transpose(np.unravel_index(layout.numbers[here], layout.grid)) * np.array(layout.shape)
    for (place, stored), corner in zip(stored_chunks(file, layout, here), corners.tolist(), strict=True):
        decoders.decode(place, stored, block.reshape(-1))
        source: list[slice] = []
        target: list[slice] = []
        for origin, length, (low, high) in zip(corner, layout.shape, limits, strict=True):
            begin, end = max(origin, low), min(origin + length, high)
            source.append(slice(begin - origin, end - origin))
            target.append(slice(begin - low, end - low))
        box[tuple(target)] = block[tuple(source)]


class Decoders:
    """The decoders of a data set's chunks, by which filters were left out.

    Attributes:
        layout: The data set's chunks.
        nbytes: A chunk's plain bytes.
    """

    def __init__(self, layout: Chunked, nbytes: int) -> None:
        self.layout, self.nbytes = layout, nbytes
        self._by_mask: dict[int, Decode] = {}

    def decode(self, place: int, stored: Bytes, out: Bytes) -> None:
        """Decode one chunk, and say which one it is if that fails."""
        mask = int(self.layout.masks[place])
        if mask not in self._by_mask:
            self._by_mask[mask] = make_decoder(self.layout.filters, mask, self.nbytes)
        try:
            self._by_mask[mask](stored, out)
        except CorruptSourceError as error:
            corner = np.unravel_index(int(self.layout.numbers[place]), self.layout.grid)
            first = [int(at) * step for at, step in zip(corner, self.layout.shape, strict=True)]
            raise CorruptSourceError(f"the chunk that begins at {first}: {error}") from error.__cause__


def stored_chunks(file: ShardBytes, layout: Chunked, here: slice) -> Generator[tuple[int, Bytes]]:
    """Yield chunks as they lie in the file, each valid until the next one is asked for.

    Neighbours arrive with one call, far ones one by one.
    """
    begins, ends = layout.offsets[here], layout.offsets[here] + layout.lengths[here]
    for first, last, origin, run in read_runs(file, begins, ends):
        for place in range(first, last):
            yield here.start + place, run[int(begins[place]) - origin : int(ends[place]) - origin]


def read_runs(file: ShardBytes, begins: Places, ends: Places) -> Generator[tuple[int, int, int, Bytes]]:
    """Read pieces of a file, neighbours with one call, into memory that is used again.

    Args:
        file: Where they lie.
        begins: Where each piece begins, int64 of shape [n].
        ends: Where it ends, int64 of shape [n].

    Yields:
        The first piece of a run and the one after its last, where the run begins in the file, and
        its bytes, which are valid until the next one is asked for.
    """
    runs = list(_find_runs(begins, ends))
    with file.scratch.lease(
        max((int(ends[last - 1] - begins[first]) for first, last in runs), default=0)
    ) as buffer:
        for first, last in runs:
            origin = int(begins[first])
            run = buffer[: int(ends[last - 1]) - origin]
            file.fill(run, origin)
            yield first, last, origin, run


def _find_runs(begins: Places, ends: Places) -> Generator[tuple[int, int]]:
    """Cut pieces into runs that lie close to each other and stay small."""
    gaps = begins[1:] - ends[:-1]
    edges = [0, *(np.flatnonzero((gaps < 0) | (gaps > _GAP)) + 1).tolist(), len(begins)]
    for first, last in pairwise(edges):
        place = first
        while place < last:
            fitting = int(np.searchsorted(ends[place:last], begins[place] + _RUN_BYTES, side="right"))
            yield place, place + max(fitting, 1)
            place += max(fitting, 1)


def _fill_all(out: Bytes, fill: bytes) -> None:
    out.reshape(-1, len(fill))[:] = np.frombuffer(fill, np.uint8)
