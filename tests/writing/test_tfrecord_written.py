"""TFRecord shards as other tools see them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from written_folders import batch, write_folder, write_shard

import headrace as hr


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def piece(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(name: str, kind: int, content: bytes) -> bytes:
    return piece(1, piece(1, name.encode()) + piece(2, piece(kind, content)))


def test_records_are_examples(tmp_path: Path) -> None:
    """A record holds a feature for each column that is not null, in the order of the columns."""
    rows = batch(
        {
            "id": pa.array([-1, 300, None]),
            "text": ["é", None, ""],
            "f": pa.array([1.5, None, -0.0], pa.float32()),
            "d": [None, 0.1, 2.0],
            "tokens": [[1, 200], [], None],
            "names": [["a", ""], ["b"], []],
        }
    )
    path = write_shard(tmp_path / "a.tfrecord", "tfrecord", [rows.slice(0, 2), rows.slice(2)], rows.schema)
    names = [[b"a", b""], [b"b"], []]
    expected = [
        [
            feature("id", 3, piece(1, varint(-1))),
            feature("text", 1, piece(1, "é".encode())),
            feature("f", 2, piece(1, np.float32(1.5).tobytes())),
            feature("tokens", 3, piece(1, varint(1) + varint(200))),
        ],
        [
            feature("id", 3, piece(1, varint(300))),
            feature("d", 1, piece(1, np.float64(0.1).tobytes())),
            feature("tokens", 3, b""),
        ],
        [
            feature("text", 1, piece(1, b"")),
            feature("f", 2, piece(1, np.float32(-0.0).tobytes())),
            feature("d", 1, piece(1, np.float64(2.0).tobytes())),
        ],
    ]
    messages = [
        piece(1, b"".join(one) + feature("names", 1, b"".join(piece(1, value) for value in values)))
        for one, values in zip(expected, names, strict=True)
    ]

    found: Any = hr.open(path, options=hr.TfRecordOptions(content="bytes")).to_arrow()
    assert found.column("record").to_pylist() == messages


def test_a_flipped_bit_is_named(tmp_path: Path) -> None:
    """A record's checksum finds any flip within it, that of its length when the file is opened."""
    rows = batch({"name": [f"row {place}" for place in range(4)]})
    folder = write_folder(tmp_path, "tfrecord", [[rows]], rows.schema)
    path = folder / "part-00000.tfrecord"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"row 2", b"row 3"))
    with pytest.raises(hr.UndecodableError, match=r"part-00000.*checksum") as caught:
        hr.open(folder).to_arrow()
    assert caught.value.rows == (2,)

    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(hr.CorruptSourceError, match="part-00000"):
        hr.open(folder)


def test_gzip_has_no_name_and_no_time(tmp_path: Path) -> None:
    """A packed shard holds the same records; its bytes follow from them alone."""
    rows = batch({"x": list(range(1000))})
    plain = write_shard(tmp_path / "a.tfrecord", "tfrecord", [rows], rows.schema)
    packed = write_shard(tmp_path / "b.tfrecord", "tfrecord", [rows], rows.schema, compression="gzip")

    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert packed.read_bytes()[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
    folder = write_folder(tmp_path / "out", "tfrecord", [[rows]], rows.schema, compression="gzip")
    assert hr.open(folder).to_arrow().equals(pa.Table.from_batches([rows]))
