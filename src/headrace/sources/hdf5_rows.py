"""Where an HDF5 file is cut into row groups, and what identifies its contents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from headrace.errors import CorruptSourceError
from headrace.fingerprint import digest
from headrace.sources.hdf5_chunks import Chunked, Compact, Foreign, ShardBytes
from headrace.sources.hdf5_header import Member, SparseTable, Table

# A row group should be worth a thread's wake-up and still fit into a core's cache share.
_GROUP_BYTES, _GROUP_ROWS = 1 << 22, 1 << 17
_MOST_GROUPS = 10_000_000
_LEAST_VARIED = 16  # bytes of a sample that has no fixed width
_WHOLE_BYTES = 1 << 20
_PROBES, _PROBE_BYTES = 64, 1 << 12


def cut_rows(members: Sequence[Member], rows: int, size: int) -> tuple[int, float]:
    """Choose how many samples a row group holds.

    Chunks of the widest column are never cut, nor are others where a multiple of both heights
    stays small; a chunk that is cut after all is decoded twice.

    Args:
        members: The columns.
        rows: How many samples there are.
        size: Bytes of the file, which bound what samples of any length can hold.

    Returns:
        Samples of a row group, and bytes of a sample once decoded.
    """
    spare = _varied_bytes(members, size)
    widths = [_row_bytes(member, spare) for member in members]
    total = max(sum(widths), 1.0)
    unit = 1
    for turn, place in enumerate(sorted(range(len(members)), key=lambda place: -widths[place])):
        height = 1 if isinstance(member := members[place], SparseTable) else member.extent.chunk_rows
        wider = math.lcm(unit, min(height, max(rows, 1)))
        if turn == 0 or wider * total <= _GROUP_BYTES:
            unit = wider
    most = min(_GROUP_BYTES / total, _GROUP_ROWS)
    group_rows = min(unit * max(1, int(most / unit)), max(rows, 1))
    if rows / group_rows > _MOST_GROUPS:
        raise CorruptSourceError(
            f"its columns claim {rows:,} rows of {total:,.0f} bytes; the file is damaged"
        )
    return group_rows, total


def identify(file: ShardBytes, members: Sequence[Member]) -> str:
    """Digest what the headers tell, and probes into the values; a small file as a whole.

    Headers alone would not tell two files of one layout apart. Probes do, unless the files differ
    in few places only.
    """
    tables = [
        part
        for member in members
        for part in (member.tables if isinstance(member, SparseTable) else [member])
    ]
    columns = [
        (name, str(leaf.type), None if leaf.categories is None else leaf.categories.to_pylist())
        for table in tables
        for name, leaf in table.leaves.items()
    ]
    layouts = [
        (table.rows, table.extent.inner, str(table.dtype), table.extent.fill, *_places(table))
        for table in tables
    ]
    spread = np.linspace(0, max(file.size - _PROBE_BYTES, 0), _PROBES).astype(np.int64).tolist()
    probes = [(0, file.size)] if file.size <= _WHOLE_BYTES else [(start, _PROBE_BYTES) for start in spread]
    content: list[bytes] = []
    for start, length in probes:
        buffer = np.empty(length, np.uint8)
        file.fill(buffer, start)
        content.append(buffer.tobytes())
    return digest("hdf5", file.size, columns, layouts, content)


def _places(table: Table) -> tuple[object, ...]:
    match table.extent.layout:
        case Chunked() as layout:
            return layout.shape, layout.numbers, layout.offsets, layout.lengths, layout.masks
        case Compact(values):
            return (values,)
        case Foreign() as layout:  # nothing else tells two of them in one file apart
            return str(layout), table.extent.name
        case layout:
            return (str(layout),)


def _row_bytes(member: Member, spare: float) -> float:
    """Bytes of one sample; an average where samples differ in length."""
    if isinstance(member, SparseTable):
        stored = member.data.rows * sum(part.extent.row_bytes for part in member.parts)
        return stored / max(member.rows, 1) + member.indptr.extent.row_bytes
    varied = sum(leaf.is_varied for leaf in member.leaves.values())
    return max(member.extent.row_bytes, 1) + varied * max(spare, _LEAST_VARIED)


def _varied_bytes(members: Sequence[Member], size: int) -> float:
    """Bytes of one sample of one column whose samples differ in length: what is left of the file."""
    tables = [member for member in members if isinstance(member, Table)]
    samples = sum(table.rows * sum(leaf.is_varied for leaf in table.leaves.values()) for table in tables)
    stored = sum(table.rows * table.extent.row_bytes for table in tables if not table.is_varied)
    return max(size - stored, 0) / max(samples, 1)
