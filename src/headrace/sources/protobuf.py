"""Protocol buffers on the wire: fields by number, without a schema compiler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}


def read_fields(
    data: bytes | memoryview, begin: int = 0, end: int | None = None
) -> Iterator[tuple[int, int, int, int]]:
    r"""Yield a message's fields: number, wire type, and either the value twice or where the bytes lie.

    Raises:
        ValueError: The message ends within a field, or has a wire type that does not exist.

    Example:
        >>> list(read_fields(b"\x08\x96\x01\x12\x02hi"))
        [(1, 0, 150, 150), (2, 2, 5, 7)]
    """
    stop = len(data) if end is None else end
    while begin < stop:
        tag = data[begin]
        if tag < 0x80:  # most tags and many lengths have one byte
            begin += 1
        else:
            tag, begin = read_varint(data, begin, stop)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, begin = read_varint(data, begin, stop)
            yield number, wire, value, value
            continue
        if wire == BYTES:
            length, begin = read_varint(data, begin, stop)
        elif wire in _WIDTHS:
            length = _WIDTHS[wire]
        else:
            raise ValueError(f"wire type {wire} of field {number} does not exist; the message is damaged")
        if begin + length > stop:
            raise ValueError(f"field {number} ends {begin + length - stop} bytes behind its message")
        yield number, wire, begin, begin + length
        begin += length


def read_varint(data: bytes | memoryview, begin: int, stop: int) -> tuple[int, int]:
    """Read one whole number of up to 64 bits; return it and where the next field begins."""
    value = shift = 0
    while begin < stop:
        byte = data[begin]
        begin += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), begin
        shift += 7
        if shift > 63:
            break
    raise ValueError("a whole number does not end within its message")


def unpack_varints(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    r"""Decode packed whole numbers, as a whole.

    Example:
        >>> unpack_varints(np.frombuffer(b"\x01\x96\x01", np.uint8)).tolist()
        [1, 150]
    """
    ends = np.flatnonzero(data < 0x80)
    if not len(data):
        return np.empty(0, np.int64)
    if not len(ends) or ends[-1] != len(data) - 1:
        raise ValueError("packed whole numbers end within one")
    begins = np.append(0, ends[:-1] + 1)
    if int((ends - begins).max()) > 9:
        raise ValueError("a whole number of more than 64 bits cannot be")
    shifts = np.arange(len(data), dtype=np.uint64) - np.repeat(begins, ends - begins + 1).astype(np.uint64)
    parts = (data & np.uint8(0x7F)).astype(np.uint64) << (shifts * np.uint64(7))
    return np.add.reduceat(parts, begins).view(np.int64)


def read_floats(
    data: bytes | memoryview, begin: int, end: int, kind: Literal["<f4", "<f8"]
) -> NDArray[np.floating]:
    """View packed floats."""
    return np.frombuffer(data[begin:end], kind)


def to_signed(value: int) -> int:
    """Read a varint as int64.

    Example:
        >>> to_signed((1 << 64) - 1)
        -1
    """
    return value - (1 << 64) if value >= 1 << 63 else value


def pack_varint(value: int) -> bytes:
    r"""Encode one whole number of up to 64 bits, none below 0.

    Example:
        >>> pack_varint(150)
        b'\x96\x01'
    """
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack_varints(values: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    r"""Encode whole numbers, as a whole.

    Returns:
        Their bytes, one number behind the other, and how many bytes each has.

    Example:
        >>> data, lengths = pack_varints(np.array([1, 150]))
        >>> data.tobytes(), lengths.tolist()
        (b'\x01\x96\x01', [1, 2])
    """
    left = np.ascontiguousarray(values, np.int64).view(np.uint64)
    lengths = np.ones(len(left), np.int64)
    for place in range(1, 10):
        lengths += left >= np.uint64(1 << 7 * place)
    widest = int(lengths.max(initial=1))
    parts = (left[:, None] >> (np.arange(widest, dtype=np.uint64) * np.uint64(7))).astype(np.uint8)
    columns = np.arange(widest)
    parts = (parts & np.uint8(0x7F)) | np.where(columns < lengths[:, None] - 1, np.uint8(0x80), np.uint8(0))
    return parts[columns < lengths[:, None]], lengths
