"""LMDB shards as other tools see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb
import msgpack
import numpy as np
import pyarrow as pa
import pytest
from written_folders import batch, write_folder, write_shard

import headrace as hr
from headrace.sources.base import SupportsReadRows
from headrace.sources.open import open_source


def test_rows_are_msgpack_by_number(tmp_path: Path) -> None:
    """Keys are numbers in eight digits, in order; values are maps; nothing lies beside the file."""
    tensors = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int16(), [2]), pa.array([[1, 2], None], pa.list_(pa.int16(), 2))
    )
    rows = batch({"id": [2**53 + 1, None], "text": ["é", ""], "tensor": tensors, "when": [None, [1.5]]})
    path = write_shard(tmp_path / "a.lmdb", "lmdb", [rows, rows.slice(1)], rows.schema)

    assert [entry.name for entry in tmp_path.iterdir()] == ["a.lmdb"]
    environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False)
    with environment, environment.begin() as transaction:
        found = list(transaction.cursor())
    assert [bytes(key) for key, _ in found] == [b"00000000", b"00000001", b"00000002"]
    assert [msgpack.unpackb(value) for _, value in found] == [
        {"id": 2**53 + 1, "text": "é", "tensor": b"\1\0\2\0", "when": None},
        {"id": None, "text": "", "tensor": None, "when": [1.5]},
        {"id": None, "text": "", "tensor": None, "when": [1.5]},
    ]


def test_the_map_grows_with_the_rows(tmp_path: Path) -> None:
    """A shard may be larger than any size that was chosen beforehand, also within one row group."""
    rng = np.random.default_rng(0)
    values = [rng.bytes(3_000_000) for _ in range(6)]
    rows = batch({"x": values})
    folder = write_folder(tmp_path, "lmdb", [[rows.slice(0, 1), rows.slice(1)]], rows.schema)

    found: Any = hr.open(folder).to_arrow()
    assert found.column("x").to_pylist() == values
    assert (folder / "part-00000.lmdb").stat().st_size < 18_100_000


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    """What is no map of the columns any more is an error that names the row; the others can be read."""
    rows = batch({"name": [f"row {place}" for place in range(4)]})
    folder = write_folder(tmp_path, "lmdb", [[rows]], rows.schema)
    path = folder / "part-00000.lmdb"
    place = path.read_bytes().index(b"\x81\xa4name\xa5row 2")
    content = bytearray(path.read_bytes())
    content[place] = 0xC1
    path.write_bytes(content)

    source = open_source(folder, None, None, 1 << 30)
    with pytest.raises(hr.UndecodableError, match=r"part-00000.*row 2") as caught:
        source.read(source.manifest[0], ["name"])
    assert caught.value.rows == (2,)
    assert isinstance(source, SupportsReadRows)
    found = source.read_rows(source.manifest[0], np.array([3, 0]), ["name"])
    assert found.to_pylist() == [{"name": "row 3"}, {"name": "row 0"}]
