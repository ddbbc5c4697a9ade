"""Rows of an HDF5 data set that go right into their batches, through a chunk's memory at most."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError
from headrace.sources.base import Layout
from headrace.sources.hdf5_chunks import (
    Chunked,
    Contiguous,
    Decoders,
    Extent,
    Places,
    ShardBytes,
    read_runs,
    stored_chunks,
)
from headrace.sources.hdf5_header import Member, Table

Addresses = NDArray[np.uint64]

_LEAST_BYTES = 512  # of a row; narrower ones are read faster as columns


def layout_of(member: Member, group_rows: int, limit: int) -> Layout | None:
    """Tell dtype and shape of one sample of a column whose rows lie in the file as batches hold them.

    Args:
        member: The column.
        group_rows: How many rows are read together.
        limit: The most bytes that they may take.

    Returns:
        None for a column of another kind, or with larger row groups.
    """
    if not isinstance(member, Table) or len(member.leaves) != 1 or member.dtype is None:
        return None
    (leaf,) = member.leaves.values()
    extent = member.extent
    is_plain = leaf.kind == "number" and not leaf.path and member.dtype.base.isnative
    fits = extent.row_bytes >= _LEAST_BYTES and extent.row_bytes * group_rows + extent.scratch <= limit
    if not is_plain or not fits or not _has_whole_rows(extent):
        return None
    return member.dtype.base, tuple(leaf.shape)


def _has_whole_rows(extent: Extent) -> bool:
    match extent.layout:
        case Contiguous():
            return True
        case Chunked() as layout:
            return not layout.missing and layout.shape[1:] == extent.inner and math.prod(layout.grid[1:]) == 1
        case _:
            return False


def copy_extent(file: ShardBytes, extent: Extent, rows: Places, targets: Addresses) -> None:
    """Copy rows to memory.

    Args:
        file: Where they lie.
        extent: The data set, one of those that have a `layout_of`.
        rows: Which rows, int64 of shape [n] in rising order.
        targets: Where in memory each goes, uint64 of shape [n].

    Raises:
        CorruptSourceError: A chunk is damaged or lies outside of the file.
    """
    width = extent.row_bytes
    match extent.layout:
        case Contiguous(offset):
            _copy(file, offset + rows * width, width, targets)
        case Chunked(filters=()) as layout:
            chunks, places = np.divmod(rows, layout.shape[0])
            _copy(file, layout.offsets[chunks] + places * width, width, targets)
        case Chunked() as layout:
            _decode(file, layout, width, rows, targets)
        case layout:
            raise CorruptSourceError(f"rows cannot be copied from {layout}")


def _copy(file: ShardBytes, origins: Places, width: int, targets: Addresses) -> None:
    """Copy plain rows, through memory that stays in the processor's cache."""
    from headrace.copying import copy_rows

    for first, last, origin, run in read_runs(file, origins, origins + width):
        copy_rows(run, origins[first:last] - origin, width, targets[first:last])


def _decode(file: ShardBytes, layout: Chunked, width: int, rows: Places, targets: Addresses) -> None:
    """Decode the chunks one by one into memory that stays in the processor's cache, and copy from there."""
    from headrace.copying import copy_rows

    chunks, places = np.divmod(rows, layout.shape[0])
    origins = places * width
    decoders = Decoders(layout, layout.shape[0] * width)
    edges = np.flatnonzero(np.diff(chunks, prepend=-1, append=-1))
    wanted = chunks[edges[:-1]]
    runs = np.flatnonzero(np.diff(wanted, prepend=-2, append=-2) != 1)
    with file.scratch.lease(decoders.nbytes) as block:
        for first, last in pairwise(runs.tolist()):
            here = slice(int(wanted[first]), int(wanted[last - 1]) + 1)
            for place, stored in stored_chunks(file, layout, here):
                decoders.decode(place, stored, block)
                turn = first + place - here.start
                begin, end = edges[turn : turn + 2].tolist()
                copy_rows(block, origins[begin:end], width, targets[begin:end])
