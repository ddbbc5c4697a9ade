"""HDF5 shards as h5py sees them, and what becomes of damage to them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from written_folders import batch, write_folder, write_shard

import headrace as hr
from headrace.sources.open import open_source

IMAGES = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)


def image_rows() -> pa.RecordBatch:
    kind = pa.fixed_shape_tensor(pa.uint8(), [2, 3])
    images = pa.ExtensionArray.from_storage(kind, pa.array(IMAGES.reshape(5, 6).tolist(), kind.storage_type))
    return batch(
        {
            "image": images,
            "label": pa.array([1, None, 3, 4, 5], pa.int16()),
            "ok": [True, False, None, True, True],
            "when": pa.array([0, 1, 2, 3, None], pa.int64()).view(pa.timestamp("ms", "UTC")),
            "text": ["naïve", None, "", "a", "b"],
            "tokens": [[1, 2], [], None, [3], [4, 5, 6]],
            "raw": [b"\xff", b"", None, b"a", b"b"],
            "box": [{"w": 1}, None, {"w": None}, {"w": 2}, {"w": 3}],
        }
    )


@pytest.mark.parametrize("compression", [None, "lzf", "none"])
def test_columns_are_data_sets_that_h5py_reads(compression: str | None, tmp_path: Path) -> None:
    """Numbers are numbers, text is UTF-8, tensors have their shape; every chunk has a checksum."""
    rows = image_rows()
    path = write_shard(
        tmp_path / "a.h5", "hdf5", [rows.slice(0, 3), rows.slice(3)], rows.schema, compression=compression
    )

    with h5py.File(path) as file:
        at: Any = file
        assert (at["image"][()] == IMAGES).all()
        assert at["image"].dtype == np.uint8
        assert at["label"][()].tolist() == [1, 0, 3, 4, 5]
        assert at["label"].dtype == np.int16
        assert at["ok"][()].tolist() == [True, False, False, True, True]
        assert at["when"][()].tolist() == [0, 1, 2, 3, 0]
        assert at["text"].asstr()[()].tolist() == ["naïve", "", "", "a", "b"]
        assert at["tokens"]["offsets"][()].tolist() == [0, 2, 2, 2, 3, 6]
        assert at["tokens"]["values"][()].tolist() == [1, 2, 3, 4, 5, 6]
        assert at["raw"]["values"][()].tobytes() == b"\xffab"
        assert at["_nulls"][()].argmax(axis=0).tolist() == [0, 1, 2, 4, 1, 2, 2, 1]
        plain = [at[name] for name in ("image", "label", "ok", "when", "_nulls", "_checksums")]
        plain += [at[name][part] for name in ("tokens", "raw", "box") for part in ("values", "offsets")]
        assert all(one.fletcher32 and one.compression == (compression or "gzip") for one in plain) or (
            compression == "none"
        )
        assert all(one.fletcher32 for one in plain)


@pytest.mark.parametrize("compression", [None, "lzf", "none"])
def test_many_chunks_come_back(compression: str | None, tmp_path: Path) -> None:
    """Row groups of any size become whole chunks, in any codec, those that do not shrink among them."""
    noise, steps = np.random.default_rng(0).normal(size=70_000), np.arange(70_000) // 7
    lists = pa.array([[1, 2], [], [3]]).take(pa.array(steps % 3))
    rows = batch({"noise": noise, "steps": steps, "lists": lists})
    cuts = [0, 1, 40_000, 40_003, 70_000]
    groups = [rows.slice(begin, end - begin) for begin, end in pairwise(cuts)]
    folder = write_folder(tmp_path, "hdf5", [groups], rows.schema, compression=compression)

    found = hr.open(folder)
    assert found.to_arrow().equals(pa.Table.from_batches([rows]))
    taken: Any = found.take([69_999, 0])
    assert np.array_equal(taken["noise"], noise[[69_999, 0]])


def test_nulls_are_read_only_where_there_are_some(tmp_path: Path) -> None:
    """Tensors without nulls go from the file right into a batch."""
    kind = pa.fixed_shape_tensor(pa.float32(), [256])
    values = np.arange(20 * 256, dtype=np.float32)
    wide = pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(pa.array(values), 256))
    rows = batch({"wide": wide, "x": [None, *range(19)]})
    folder = write_folder(tmp_path, "hdf5", [[rows]], rows.schema)
    source: Any = open_source(folder, None, None, 1 << 30)

    assert dict(source.layouts) == {"wide": (np.dtype(np.float32), (256,))}
    assert source.inner.options.columns == ("wide", "x", "_nulls")


def test_no_flipped_bit_passes(tmp_path: Path) -> None:
    """A file with one bit changed anywhere gives the same values, or an error by name."""
    rows = image_rows()
    folder = write_folder(tmp_path, "hdf5", [[rows]], rows.schema, compression="none")
    path, expected = folder / "part-00000.h5", rows.to_pylist()
    content = path.read_bytes()
    with h5py.File(path) as file:
        at: Any = file
        places = [at[name].id.get_chunk_info(0).byte_offset for name in ("image", "label", "text", "_nulls")]
        places += [at[name]["values"].id.get_chunk_info(0).byte_offset for name in ("tokens", "raw", "box")]
    heap = content.index("naïve".encode())
    random = np.random.default_rng(0).integers(0, len(content), 25).tolist()
    outcomes: list[str] = []
    for place in [*places, heap, heap + 3, *random]:
        damaged = bytearray(content)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        try:
            assert hr.open(folder).to_arrow().to_pylist() == expected
            outcomes.append("same")
        except hr.HeadraceError as error:
            outcomes.append("error")
            assert str(path) in str(error)
    assert outcomes[: len(places) + 2] == ["error"] * (len(places) + 2)


def test_text_with_a_flipped_bit_is_named(tmp_path: Path) -> None:
    """HDF5 keeps no checksum of text, so the file has its own; the error names column and row."""
    rows = batch({"x": [1, 2], "text": ["first", "second"]})
    folder = write_folder(tmp_path, "hdf5", [[rows]], rows.schema)
    path = folder / "part-00000.h5"
    path.write_bytes(path.read_bytes().replace(b"second", b"sekond"))

    with pytest.raises(hr.UndecodableError, match=r"part-00000.*column `text`, row 1.*checksum") as caught:
        hr.open(folder).to_arrow()
    assert caught.value.rows == (1,)
