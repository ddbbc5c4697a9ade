"""The bytes of shards, which follow from their rows alone, and disks that cannot take them."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from written_folders import batch, write_shard

from headrace.sources.written.forms import FORMATS
from headrace.writing.formats.base import FormatOptions, ShardWriter
from headrace.writing.formats.opening import open_writer, suffix_of

CASES = [("hdf5", None), ("hdf5", "lzf"), ("lmdb", None), ("tfrecord", None), ("tfrecord", "gzip")]


def some_rows(first: int, count: int) -> pa.RecordBatch:
    numbers = range(first, first + count)
    return batch(
        {
            "x": [None if number % 7 == 0 else number * 0.1 for number in numbers],
            "text": [None if number % 5 == 0 else f"text {number}" for number in numbers],
            "lists": [[number] * (number % 4) for number in numbers],
            "nested": [{"a": [f"{number}"]} for number in numbers],
        }
    )


def write_all(folder: Path) -> dict[str, bytes]:
    """Write the same rows in each format."""
    groups = [some_rows(0, 700), some_rows(700, 200)]
    found: dict[str, bytes] = {}
    for place, (format, codec) in enumerate(CASES):
        path = folder / f"{place}{suffix_of(format)}"
        found[path.name] = write_shard(path, format, groups, groups[0].schema, compression=codec).read_bytes()
    return found


def test_the_same_rows_give_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    """No time, no address, no uninitialised memory and no order of hashes is in a file."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    here = write_all(tmp_path / "here")
    paths, there = [str(Path(path).absolute()) for path in sys.path], str(tmp_path / "there")
    program = f"import sys; sys.path[:0] = {paths!r}; import test_written_bytes as t, pathlib\n"
    program += f"t.write_all(pathlib.Path({there!r}))"
    subprocess.run([sys.executable, "-c", program], check=True)

    assert {name: (tmp_path / "there" / name).read_bytes() == content for name, content in here.items()} == (
        dict.fromkeys(here, True)
    )


@contextmanager
def small_files(nbytes: int) -> Generator[None]:
    """Let no file grow beyond some bytes, as a disk that is full does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_groups(writer: ShardWriter, groups: Sequence[pa.RecordBatch]) -> None:
    for rows in groups:
        writer.write(rows)
    writer.close()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("ends", ["abandon", "close"])
def test_a_full_disk_is_an_os_error(format: str, ends: str, tmp_path: Path) -> None:
    """It comes out of `write` or `close`; what is open can be let go of, and other files can be written."""
    rng = np.random.default_rng(0)
    rows = batch({"x": rng.normal(size=(1 << 13)), "text": [rng.bytes(20).hex() for _ in range(1 << 13)]})
    path = tmp_path / f"a{suffix_of(format)}"
    writer = open_writer(format, path, rows.schema, FormatOptions())
    groups = [rows] * (3 if ends == "abandon" else 1)
    with small_files(60_000), pytest.raises(OSError, match="large"):
        write_groups(writer, groups)
    writer.abandon()
    writer.abandon()

    again = write_shard(tmp_path / f"b{suffix_of(format)}", format, [rows.slice(0, 5)], rows.schema)
    assert again.stat().st_size > 0


@pytest.mark.parametrize("format", FORMATS)
def test_a_writer_may_be_abandoned_at_any_time(format: str, tmp_path: Path) -> None:
    """Before the first row group, after it, and after the file was finished."""
    rows = some_rows(0, 10)
    for count in range(3):
        writer = open_writer(format, tmp_path / f"{count}", rows.schema, FormatOptions())
        if count:
            writer.write(rows)
        if count > 1:
            writer.close()
        writer.abandon()
