"""TFRecord files for tests, written byte by byte, so that no reader of ours is its own oracle."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def piece(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(values: Any, packed: bool = True) -> bytes:
    """Encode a list of bytes, floats or whole numbers as a `tf.train.Feature`."""
    items = list(values)
    if not items:
        return b""
    if isinstance(items[0], bytes):
        return piece(1, b"".join(piece(1, item) for item in items))
    if isinstance(items[0], float):
        if packed:
            return piece(2, piece(1, np.array(items, "<f4").tobytes()))
        return piece(2, b"".join(b"\x0d" + struct.pack("<f", item) for item in items))
    if packed:
        return piece(3, piece(1, b"".join(varint(item) for item in items)))
    return piece(3, b"".join(b"\x08" + varint(item) for item in items))


def example(features: Mapping[str, Sequence[Any]], packed: bool = True) -> bytes:
    entries = (
        piece(1, piece(1, name.encode()) + piece(2, feature(values, packed)))
        for name, values in features.items()
    )
    return piece(1, b"".join(entries))


def checksum(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + checksum(length) + content + checksum(content)


def write(path: Path, records: Iterable[bytes]) -> Path:
    path.write_bytes(b"".join(record(content) for content in records))
    return path
