"""The format is told by first bytes; a file's ending decides only where there are none."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tfrecord_files
from google_crc32c import value as crc32c

import headrace as hr
from headrace.sources.formats import FORMATS, is_text, tell_format

TABLE = pa.table({"x": np.arange(5)})


def parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(TABLE, stream)
    return stream.getvalue()


def arrow(new: Callable[..., pa.ipc.RecordBatchStreamWriter] = pa.ipc.new_file) -> bytes:
    stream = io.BytesIO()
    with new(stream, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return stream.getvalue()


def hdf5() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["x"] = np.arange(5)
    return stream.getvalue()


def tfrecord() -> bytes:
    return b"".join(tfrecord_files.record(tfrecord_files.example({"x": [number]})) for number in range(5))


def idx() -> bytes:
    return bytes([0, 0, 8, 1, 0, 0, 0, 5]) + np.arange(5, dtype=np.uint8).tobytes()


WITH_BYTES = {"parquet": parquet, "arrow": arrow, "hdf5": hdf5, "tfrecord": tfrecord, "idx": idx}


@pytest.mark.parametrize("format", WITH_BYTES)
@pytest.mark.parametrize("name", ["x", "x.csv", "x.parquet", "x.jsonl", "x.tfrecord", "x.unknown"])
def test_first_bytes_decide(tmp_path: Path, format: str, name: str) -> None:
    """Whatever a file is called, its first bytes say what it is."""
    (tmp_path / name).write_bytes(WITH_BYTES[format]())

    assert hr.open(tmp_path / name).to_arrow()["x"].to_pylist() == list(range(5))


def test_lmdb_is_told_by_its_bytes(tmp_path: Path) -> None:
    """A data file of LMDB is one under any name."""
    with (
        lmdb.open(str(tmp_path / "x.csv"), subdir=False) as environment,
        environment.begin(write=True) as put,
    ):
        put.put(b"k", b"v")
    os.remove(tmp_path / "x.csv-lock")

    assert hr.open(tmp_path / "x.csv").to_arrow().to_pydict() == {"key": [b"k"], "value": [b"v"]}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", "a\n1\n", [1]),
        ("X.CSV", "a\n1\n", [1]),
        ("x.tsv", "a\tb\n1\t2\n", [1]),
        ("x.jsonl", '{"a":1}\n', [1]),
        ("x.ndjson", '{"a":1}\n', [1]),
    ],
)
def test_text_is_told_by_its_ending(tmp_path: Path, name: str, content: str, expected: list[int]) -> None:
    """Text has no first bytes of its own, so its ending breaks the tie."""
    (tmp_path / name).write_text(content)
    assert hr.open(tmp_path / name).to_arrow()["a"].to_pylist() == expected


@pytest.mark.parametrize("name", ["labels-idx1-ubyte.gz", "x.tfrecords.gz"])
def test_compressed_files_are_told_by_their_ending(tmp_path: Path, name: str) -> None:
    """What is compressed as a whole shows the compression's bytes, so the ending breaks the tie."""
    content = idx() if "idx" in name else tfrecord()
    (tmp_path / name).write_bytes(gzip.compress(content, mtime=0))

    assert len(hr.open(tmp_path / name)) == 5


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("x", b"a,b\n1,2\n", r'begins with b\'a,b.*it is text, so pass format="csv" or format="jsonlines"'),
        ("x.txt", "é".encode() * 5000, r'it is text, so pass format="csv"'),
        ("x.json", b'{"a":1}\n', r'format="jsonlines"'),
        ("x", b"", r"is empty \(0 bytes\)"),
        ("x.csv", b"", r"a file of CSV must begin with UTF-8 text, but this one is empty"),
        ("x.csv", b"\x89PNG\r\n\x1a\n\0", r"a file of CSV must begin with UTF-8 text.*b'\\x89PNG"),
        ("x.csv", "a,é\n".encode("latin-1"), r"a file of CSV must begin with UTF-8 text"),
        (
            "x.csv",
            gzip.compress(b"a\n1\n", mtime=0),
            r"a file of CSV must .* but this one is compressed by gzip",
        ),
        ("x.csv.gz", gzip.compress(b"a\n1\n", mtime=0), r"is compressed by gzip as a whole, .* unpack it"),
        ("x.zst", b"\x28\xb5\x2f\xfd....", r"is compressed by zstd as a whole"),
        ("x", arrow(pa.ipc.new_stream), r'as an Arrow stream does; if it is one, pass format="arrow"'),
        ("x", b"\x93NUMPY\x01\0", r"which none of the known formats does \(Parquet, HDF5, LMDB, Arrow IPC"),
        ("x.arrow", b"FEA1....", r"a file of Arrow IPC must begin with b'ARROW1', but"),
        ("x.tfrecord", b"\1" * 64, r"a file of TFRecord must begin with a length and its checksum"),
        ("x.idx", b"\0\0\1\1" * 8, r"a file of IDX must begin with two zero bytes, a type and a rank"),
    ],
)
def test_what_cannot_be_told_is_described(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    """The error says what was seen, what would have been needed, and what to pass."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(hr.CorruptSourceError, match=what) as caught:
        hr.open(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_every_format_opens_by_its_name(tmp_path: Path) -> None:
    """`format` takes each format's name, and an unknown one lists them all."""
    (tmp_path / "stream").write_bytes(arrow(pa.ipc.new_stream))
    assert len(hr.open(tmp_path / "stream", format="arrow")) == 5
    (tmp_path / "text").write_text("a\n1\n")
    assert len(hr.open(tmp_path / "text", format="csv")) == 1
    with pytest.raises(hr.OptionError) as caught:
        hr.open(tmp_path / "text", format="xls")
    assert all(format.name in str(caught.value) for format in FORMATS)


def test_formats_do_not_claim_each_others_files() -> None:
    """Whatever one format's files begin with, no other format takes for its own."""
    for name, write in WITH_BYTES.items():
        head = write()[:4096]
        assert [format.name for format in FORMATS if format.begins(head)] == [name]
    for head in (b"", b"\0" * 4096, b"\xff" * 4096, b"a,b\n" * 100, b"{}\n" * 100):
        assert tell_format("x", head) is None


def test_checksum_of_a_record_length_is_that_of_the_library() -> None:
    """A TFRecord is told by CRC-32C, whatever the length, and by nothing else."""
    random = np.random.default_rng(0)
    for _ in range(50):
        length = random.bytes(8)
        assert tell_format("x", length + tfrecord_files.checksum(length)) is not None
        wrong = (crc32c(length) & 0xFFFFFFFF).to_bytes(4, "little")
        assert tell_format("x", length + wrong) is None


def test_text_may_be_cut_within_a_character() -> None:
    """The first bytes of a text may end within a character, but hold no zero bytes and no other bytes."""
    text = "naïve ☃ 𝄞".encode() * 2
    assert all(is_text(text[:size]) for size in range(1, len(text)))
    assert not is_text(b"a\0")
    assert not is_text(b"a\xff" + text)
