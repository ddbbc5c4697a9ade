"""Readers under random damage: each answer is all rows or one error that names the file.

A file of each format is flipped, overwritten and cut in many ways, and read in a child with bounded
memory. `make soak` tries thirty times as many ways. A new format is one line in `FORMATS`.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tfrecord_files
from limits import limit_memory

import headrace as hr
from headrace.sources.statistics import SupportsStatistics

ROWS = 200
X = np.random.default_rng(0).integers(0, 1 << 20, ROWS, np.int32)
IMAGES = np.random.default_rng(1).integers(0, 9, (ROWS, 4, 4), np.uint8)
TEXTS = [f"sample {number % 7}" for number in range(ROWS)]

ADDRESS_SPACE = 4 << 30  # that a child may take
MEMORY_LIMIT = 1 << 27
SHORT, LONG = 400, 12_000
PATIENCE_SECONDS = 60  # for one damaged file

Damage = Callable[[bytes, int], bytes]


def write_parquet(path: Path, **settings: Any) -> None:
    table = pa.table({"x": X, "image": pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES), "text": TEXTS})
    pq.write_table(table, path, row_group_size=70, **settings)


def write_lists(path: Path) -> None:
    pq.write_table(pa.table({"x": [[int(x) % 9] * (row % 3) for row, x in enumerate(X)]}), path)


def write_numbers(path: Path) -> None:
    pq.write_table(pa.table({"x": X}), path, row_group_size=70)


def write_hdf5(path: Path, library: str, **settings: Any) -> None:
    with h5py.File(path, "w", libver=library) as file:
        chunks = {"chunks": (64,)} if settings else {}
        file.create_dataset("x", data=X, **chunks, **settings)
        chunks = {"chunks": (64, 4, 4)} if settings else {}
        file.create_dataset("image", data=IMAGES, **chunks, **settings)
        file.create_dataset("text", data=np.array(TEXTS, "S16"))


def write_varied_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("text", data=TEXTS, dtype=h5py.string_dtype(), chunks=(64,))


def write_lmdb(path: Path, size: int) -> None:
    with (
        lmdb.open(str(path), subdir=False, map_size=1 << 22, lock=False) as environment,
        environment.begin(write=True) as write,
    ):
        for number in range(ROWS):
            write.put(b"%05d" % number, X[number].tobytes() * size)


def write_tfrecord(path: Path) -> None:
    columns = zip(X.tolist(), TEXTS, strict=True)
    tfrecord_files.write(path, [tfrecord_files.example({"x": [x], "t": [t.encode()]}) for x, t in columns])


def write_idx(path: Path, pack: Callable[[bytes], bytes] = bytes) -> None:
    path.write_bytes(pack(bytes([0, 0, 8, 3]) + struct.pack(">3I", *IMAGES.shape) + IMAGES.tobytes()))


def write_arrow(path: Path) -> None:
    image = pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES)
    table = pa.table({"x": X, "image": image, "text": pa.array(TEXTS).dictionary_encode()})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=70)


def write_arrow_stream(path: Path) -> None:
    table = pa.table({"x": X, "text": TEXTS})
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table, max_chunksize=70)


def write_csv(path: Path) -> None:
    rows = (f'{x},"a, {text}"' for x, text in zip(X.tolist(), TEXTS, strict=True))
    path.write_text("\n".join(["x,text", *rows]) + "\n")


def write_json_lines(path: Path) -> None:
    columns = zip(X.tolist(), TEXTS, strict=True)
    path.write_text("".join(json.dumps({"x": x, "text": text}) + "\n" for x, text in columns))


@dataclass(frozen=True)
class Format:
    """How to write a file of one format, and how to open it.

    Attributes:
        name: The file's.
        write: Writes it, always in the same way.
        format: What `hr.open` is told.
        is_protected: Whether checksums cover all of it, so that no damage changes any value.
        has_count: Whether it says how many rows there are; else a file that was cut between two of
            them is a shorter one, and `explain` says so.
    """

    name: str
    write: Callable[[Path], None]
    format: str | None = None
    is_protected: bool = False
    has_count: bool = True

    def read(self, path: Path) -> pa.Table:
        return hr.open(path, self.format, memory_limit=MEMORY_LIMIT).to_arrow()

    def may_be_short(self, table: pa.Table, sound: pa.Table) -> bool:
        return not self.has_count and table.equals(sound.slice(0, table.num_rows))


class WithStatistics(Format):
    """A format whose bounds are asked for too, as a filter does before it reads."""

    def read(self, path: Path) -> pa.Table:
        dataset = hr.open(path, memory_limit=MEMORY_LIMIT)
        source = dataset.recipe.source
        assert isinstance(source, SupportsStatistics)
        for name in source.schema.names:
            assert len(source.statistics(name).nulls) == len(source.manifest)
        return dataset.to_arrow()


FORMATS: dict[str, Format] = {
    "parquet with statistics": WithStatistics("a.parquet", write_parquet),
    "parquet": Format("a.parquet", write_parquet),
    "parquet with checksums": Format(
        "a.parquet", lambda path: write_parquet(path, write_page_checksum=True, compression="zstd")
    ),
    "hdf5": Format("a.h5", lambda path: write_hdf5(path, "earliest")),
    "hdf5 with checksums": Format(
        "a.h5", lambda path: write_hdf5(path, "latest", compression="gzip", fletcher32=True)
    ),
    "hdf5 with texts": Format("a.h5", write_varied_hdf5),
    "lmdb": Format("a.mdb", lambda path: write_lmdb(path, 4)),
    "lmdb with large values": Format("a.mdb", lambda path: write_lmdb(path, 700)),
    "tfrecord": Format("a.tfrecord", write_tfrecord, "tfrecord", True, has_count=False),
    "idx": Format("a-idx3-ubyte", write_idx, "idx"),
    "arrow": Format("a.arrow", write_arrow),
    "arrow stream": Format("a.arrows", write_arrow_stream, "arrow"),
    "csv": Format("a.csv", write_csv, has_count=False),
    "json lines": Format("a.jsonl", write_json_lines, has_count=False),
    "idx, packed": Format("a-idx3-ubyte.gz", lambda path: write_idx(path, gzip.compress), "idx", True),
}


def flip(content: bytearray, random: np.random.Generator) -> bytearray:
    for _ in range(int(random.integers(1, 4))):
        content[_place(content, random)] ^= 1 << int(random.integers(8))
    return content


def overwrite(content: bytearray, random: np.random.Generator) -> bytearray:
    """Replace a run of bytes by noise, or by the zeros of a block that was never written."""
    size = min(int(random.choice([1, 2, 4, 8, 512])), len(content))
    begin = min(_place(content, random), len(content) - size)
    content[begin : begin + size] = random.bytes(size) if random.random() < 0.5 else bytes(size)
    return content


def cut(content: bytearray, random: np.random.Generator) -> bytearray:
    return content[: int(random.integers(len(content)))]


def _place(content: bytearray, random: np.random.Generator) -> int:
    """Choose a byte: any, or one of the structure that lies at the beginning or the end."""
    near = min(int(random.integers(1 << int(random.integers(5, 12)))), len(content) - 1)
    return [int(random.integers(len(content))), near, len(content) - 1 - near][int(random.integers(3))]


def damaged(content: bytes, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    damage = [flip, flip, flip, overwrite, cut][int(random.integers(5))]
    return bytes(damage(bytearray(content), random))


def flip_bit(content: bytes, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def judge(format: Format, path: Path, sound: pa.Table) -> str:
    """Read a damaged file; return what is wrong with the answer, or the empty text."""
    try:
        table = format.read(path)
    except hr.HeadraceError as error:
        return "" if path.name in str(error) else f"an error without the file: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if table.num_rows != sound.num_rows and not format.may_be_short(table, sound):
        return f"{table.num_rows} rows instead of {sound.num_rows}"
    is_other = format.is_protected and not table.equals(sound.slice(0, table.num_rows))
    return "other values" if is_other else ""


def fuzz(format: Format, folder: Path, seeds: Sequence[int], damage: Damage = damaged) -> Iterator[str]:
    """Read a damaged file for every seed, in a child, and in another one after each that dies."""
    path, journal = folder / format.name, folder / "journal"
    format.write(path)
    content, sound = path.read_bytes(), format.read(path)
    assert sound.num_rows == ROWS
    while seeds:
        journal.write_text("")
        child = os.fork()
        if child == 0:
            _read_all(format, path, sound, ((seed, damage(content, seed)) for seed in seeds), journal)
        code = _wait(child, journal)
        lines = [line.split(" ", 1) for line in journal.read_text().splitlines()]
        yield from (f"seed {seed}: {complaint}" for seed, complaint in lines if complaint)
        if code == 0:
            return
        yield f"seed {seeds[len(lines)]}: the process ended with {code}"
        seeds = seeds[len(lines) + 1 :]


def _read_all(
    format: Format, path: Path, sound: pa.Table, contents: Iterable[tuple[int, bytes]], journal: Path
) -> None:
    code = 99
    try:
        limit_memory(ADDRESS_SPACE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with journal.open("a", buffering=1) as written:
            for seed, content in contents:
                path.write_bytes(content)
                complaint = " ".join(judge(format, path, sound).split())
                written.write(f"{seed} {complaint}\n")
        code = 0
    finally:
        os._exit(code)


def _wait(child: int, journal: Path) -> int:
    """Wait for a child as long as its journal grows; end one that hangs."""
    size, since = -1, time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if journal.stat().st_size != size:
            size, since = journal.stat().st_size, time.monotonic()
        elif time.monotonic() - since > PATIENCE_SECONDS:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


@pytest.mark.parametrize("name", FORMATS)
def test_damage_gives_all_rows_or_one_error(name: str, tmp_path: Path) -> None:
    """No damage ends the process, hangs it, raises anything else, or loses a row in silence."""
    assert list(fuzz(FORMATS[name], tmp_path, range(SHORT))) == []


@pytest.mark.parametrize(
    ("format", "places"),
    [
        # pyarrow ends the process over footers whose sizes do not fit their schema.
        (Format("a.parquet", write_lists), range(-500, 0)),
        (WithStatistics("a.parquet", write_numbers), range(-800, 0)),
        # A flip in the number of a transaction makes the older of two meta pages look like the newest.
        (FORMATS["lmdb"], [*range(136, 152), *range(4096 + 136, 4096 + 152)]),
    ],
    ids=["footer of Parquet", "statistics of Parquet", "meta pages of LMDB"],
)
def test_every_bit_of_the_structure(format: Format, places: Sequence[int], tmp_path: Path) -> None:
    """Where one flipped bit did harm once, none does any more."""
    format.write(tmp_path / "size")
    size = (tmp_path / "size").stat().st_size
    bits = [(place % size) * 8 + bit for place in places for bit in (range(8) if place > 0 else (0, 1))]

    assert list(fuzz(format, tmp_path, bits, flip_bit)) == []


@pytest.mark.parametrize("name", [name for name, format in FORMATS.items() if not format.has_count])
def test_formats_without_a_count_warn(name: str, tmp_path: Path) -> None:
    """Where a cut between two rows cannot be told, `explain` says so and what to do."""
    format = FORMATS[name]
    format.write(tmp_path / format.name)
    loader = hr.open(tmp_path / format.name, format.format).loader(8, output="numpy")

    assert any("shorter" in line and "headrace info --hash" in line for line in loader.explain().advice)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FORMATS)
def test_much_damage_gives_all_rows_or_one_error(name: str, tmp_path: Path) -> None:
    """The same, for thirty times as many kinds of damage."""
    assert list(fuzz(FORMATS[name], tmp_path, range(SHORT, LONG))) == []


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kept", ["nothing", "one byte", "half", "all but one byte"])
def test_cut_off_file_is_an_error_before_any_row(name: str, kept: str, tmp_path: Path) -> None:
    """A file cut at 0, 1, half and all but one byte is refused when it is opened, by its name."""
    format = FORMATS[name]
    path = tmp_path / format.name
    format.write(path)
    content = path.read_bytes()
    sizes = {"nothing": 0, "one byte": 1, "half": len(content) // 2, "all but one byte": len(content) - 1}
    path.write_bytes(content[: sizes[kept]])

    with pytest.raises(hr.CorruptSourceError, match=format.name):
        hr.open(path, format.format)
