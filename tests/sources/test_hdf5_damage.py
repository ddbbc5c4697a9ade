"""Damaged and hostile HDF5 files: one headrace error or right values, never a signal, never other files."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_files import DATA, open_file, read_all, write
from limits import limit_memory

from headrace.errors import CorruptSourceError, HeadraceError, MemoryLimitError, SourceError
from headrace.testing.resources import Resources

RANDOM = np.random.default_rng(11)
ADDRESS_SPACE = 4 << 30  # that a child may take to read damaged files
FLIPS = 70


@pytest.fixture
def path(tmp_path: Path) -> Path:
    image = RANDOM.integers(0, 8, (60, 3, 16, 16), np.uint8)
    chunks = {"chunks": (16, 3, 16, 16), "fletcher32": True}
    write(
        tmp_path / "a.h5",
        gzip={"data": image, "compression": "gzip", "shuffle": True, **chunks},
        lzf={"data": image, "compression": "lzf", **chunks},
        plain={"data": image, **chunks},
    )
    return tmp_path / "a.h5"


def in_child(work: Callable[[], None]) -> int:
    """Run in a child with bounded memory; 0 is success, 1 an error of ours, all else a failure."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            limit_memory(ADDRESS_SPACE)
            work()
            code = 0
        except HeadraceError:
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def damage_all(original: Path, target: Path, damages: list[Callable[[bytearray], bytearray]]) -> list[str]:
    """Read damaged copies, each in full; return what is neither an error of ours nor a whole table."""
    complaints: list[str] = []

    def read() -> None:
        table = read_all(open_file(target, limit=1 << 28))
        assert table.num_rows > 0

    content = original.read_bytes()
    target.write_bytes(content)
    assert in_child(read) == 0
    for number, damage in enumerate(damages):
        target.write_bytes(damage(bytearray(content)))
        code = in_child(read)
        if code not in (0, 1):
            complaints.append(f"{original.name}, damage {number}: {code}")
    return complaints


@pytest.mark.parametrize("part", ["nothing", "one byte", "half", "all but one byte"])
def test_truncated_file(part: str, path: Path) -> None:
    """A file that was cut off is an error before any row is used, and names itself."""
    content = path.read_bytes()
    kept = {"nothing": 0, "one byte": 1, "half": len(content) // 2, "all but one byte": len(content) - 1}[
        part
    ]
    path.write_bytes(content[:kept])

    with pytest.raises(CorruptSourceError, match=str(path)):
        open_file(path)


def test_file_cut_off_after_opening(path: Path) -> None:
    """A file that loses its end while it is open is an error, not a signal."""
    source = open_file(path)
    os.truncate(path, os.path.getsize(path) // 2)

    with pytest.raises(SourceError, match="replaced or rewritten"):
        read_all(source)


@pytest.mark.parametrize("name", ["gzip", "lzf", "plain"])
def test_flipped_bits_are_caught_by_checksums(name: str, path: Path) -> None:
    """Every bit flipped within a chunk that has a checksum is an error that names the data set."""
    with h5py.File(path) as file:
        chunks = [file[name].id.get_chunk_info(number) for number in range(file[name].id.get_num_chunks())]
    content = path.read_bytes()
    for _ in range(60):
        chunk = chunks[RANDOM.integers(len(chunks))]
        flipped = bytearray(content)
        flipped[chunk.byte_offset + int(RANDOM.integers(chunk.size))] ^= 1 << int(RANDOM.integers(8))
        path.write_bytes(flipped)

        with pytest.raises(
            CorruptSourceError, match=rf"row group 0, data set `/{name}`: the chunk that begins at"
        ):
            read_all(open_file(path, columns=[name]))


@pytest.mark.parametrize("compression", ["blosc", "lz4", "zstd", "bitshuffle", "gzip", "lzf"])
def test_damaged_chunks_end_no_process(compression: str, tmp_path: Path) -> None:
    """Without a checksum, damage in a compressed chunk gives an error or as many rows, never a signal."""
    settings = {"compression": compression}
    if compression not in ("gzip", "lzf"):
        plugin = pytest.importorskip("hdf5plugin")
        names = {"blosc": "Blosc", "lz4": "LZ4", "zstd": "Zstd", "bitshuffle": "Bitshuffle"}
        settings = dict(getattr(plugin, names[compression])())
    original, target = tmp_path / "a.h5", tmp_path / "b.h5"
    data = np.repeat(RANDOM.integers(0, 99, 2000, np.int32), 4)
    write(original, x={"data": data, "chunks": (4000,), **settings})
    with h5py.File(original) as file:
        chunks = [file["x"].id.get_chunk_info(number) for number in range(2)]

    def overwrite(content: bytearray) -> bytearray:
        chunk = chunks[RANDOM.integers(2)]
        start = int(RANDOM.integers(min(chunk.size, 40) if RANDOM.random() < 0.5 else chunk.size))
        noise = RANDOM.bytes(min(int(RANDOM.integers(1, 9)), chunk.size - start))
        content[chunk.byte_offset + start : chunk.byte_offset + start + len(noise)] = noise
        return content

    def work() -> None:
        for _ in range(FLIPS):
            target.write_bytes(overwrite(bytearray(original.read_bytes())))
            source = open_file(target)
            with suppress(HeadraceError):
                assert read_all(source).num_rows == len(data)

    shutil.copy(original, target)
    assert in_child(lambda: assert_whole(target, len(data))) == 0
    assert in_child(work) == 0


def assert_whole(path: Path, rows: int) -> None:
    assert read_all(open_file(path)).num_rows == rows


def flip(content: bytearray) -> bytearray:
    for _ in range(int(RANDOM.integers(1, 4))):
        content[int(RANDOM.integers(len(content)))] ^= 1 << int(RANDOM.integers(8))
    return content


def cut(content: bytearray) -> bytearray:
    return content[: int(RANDOM.integers(len(content)))]


@pytest.mark.parametrize(
    "name",
    ["superblock-extension", "lz4_datasets", "test_vlen_datasets_latest", "test_fill_value_earliest", "own"],
)
def test_damaged_files_end_no_process(name: str, path: Path, tmp_path: Path) -> None:
    """Flipped bits anywhere and cuts give right-sized values or one error, never a signal or a hang."""
    original = path if name == "own" else DATA / "hdf5-zoo" / f"{name}.hdf5"

    assert damage_all(original, tmp_path / "b.h5", [flip] * 30 + [cut] * 10) == []


def test_external_storage_is_refused(tmp_path: Path) -> None:
    """A data set whose values lie in another file is not followed, unless that is allowed."""
    (tmp_path / "secret.bin").write_bytes(np.arange(5, dtype="i4").tobytes())
    secret = [(str(tmp_path / "secret.bin"), 0, 20)]
    path = write(tmp_path / "a.h5", x={"shape": (5,), "dtype": "i4", "external": secret})

    with pytest.raises(
        SourceError, match=r"`/x` keeps its values in other files.*secret.bin.*allow_external"
    ):
        open_file(path)
    assert read_all(open_file(path, allow_external=True))["x"].to_pylist() == [0, 1, 2, 3, 4]


def test_external_links_are_refused(tmp_path: Path) -> None:
    """A link out of the file is not followed, however it is reached, unless that is allowed."""
    write(tmp_path / "b.h5", x={"data": np.arange(9), "chunks": (2,)})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = h5py.ExternalLink("b.h5", "/x")
        file["group"] = h5py.ExternalLink("b.h5", "/")
        file["in/soft"] = h5py.SoftLink("/group/x")
    for options in ({}, {"group": "/group"}, {"group": "/in"}, {"columns": ["x"]}):
        with pytest.raises(SourceError, match=r"link out of the file.*b\.h5.*allow_external"):
            open_file(tmp_path / "a.h5", **options)

        source = open_file(tmp_path / "a.h5", allow_external=True, **options)
        assert read_all(source).column(0).to_pylist() == list(range(9))


@pytest.mark.parametrize("name", ["../b.h5", "{folder}/b.h5", "sub/../../b.h5"])
@pytest.mark.parametrize("kind", ["storage", "link", "virtual"])
def test_names_that_lead_elsewhere_are_refused(kind: str, name: str, tmp_path: Path) -> None:
    """However another file is named, with dots or as an absolute path, nothing of it is read unasked."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    write(tmp_path / "b.h5", x=np.arange(4))
    target = name.format(folder=tmp_path)
    with h5py.File(tmp_path / "in" / "a.h5", "w") as file:
        if kind == "storage":
            file.create_dataset("x", (4,), "i8", external=[(target, 0, 32)])
        elif kind == "link":
            file["x"] = h5py.ExternalLink(target, "/x")
        else:
            layout = h5py.VirtualLayout((4,), "i8")
            layout[:] = h5py.VirtualSource(target, "/x", (4,))
            file.create_virtual_dataset("x", layout)

    with pytest.raises(SourceError, match=r"b\.h5.*Hdf5Options\(allow_external=True\)"):
        open_file(tmp_path / "in" / "a.h5")


def test_bombs_are_refused_before_allocating(tmp_path: Path) -> None:
    """Chunks that unpack to more than the limit, or to more than their shape, take no memory."""
    path = tmp_path / "a.h5"
    write(path, x={"data": np.zeros(1 << 25, "u1"), "chunks": (1 << 25,), "compression": "gzip"})
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("x", (1024,), "u1", chunks=(1024,), compression="gzip")
        file["x"].id.write_direct_chunk((0,), zlib.compress(bytes(1 << 28)))
    write(tmp_path / "c.h5", x={"shape": (1 << 50,), "dtype": "f8"})
    before = Resources.now().resident

    assert os.path.getsize(path) < 1 << 16
    with pytest.raises(MemoryLimitError, match=r"more than the limit of 16,777,216"):
        read_all(open_file(path, limit=1 << 24))
    with pytest.raises(CorruptSourceError, match="the chunk that begins at"):
        read_all(open_file(tmp_path / "b.h5"))
    with pytest.raises(CorruptSourceError, match="never written"):
        open_file(tmp_path / "c.h5")
    with pytest.raises(CorruptSourceError, match="the file is damaged"):
        open_file(tmp_path / "c.h5", missing="fill")
    assert Resources.now().resident - before < 48 << 20


def test_virtual_data_sets(tmp_path: Path) -> None:
    """A virtual data set within its file is read; sources elsewhere need leave, and must be there."""
    write(tmp_path / "b.h5", x=np.arange(4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["parts/x"], file["parts/y"] = np.arange(4), np.arange(4, 8)
        for group, sources in (("in", [".", "."]), ("out", [".", "b.h5"]), ("gone", [".", "c.h5"])):
            layout = h5py.VirtualLayout((8,), "i8")
            names = ("/parts/x", "/parts/y" if group == "in" else "/x")
            for place, (name, source) in enumerate(zip(names, sources, strict=True)):
                layout[4 * place : 4 * place + 4] = h5py.VirtualSource(source, name, (4,))
            file.create_group(group).create_virtual_dataset("v", layout)
        half = h5py.VirtualLayout((8,), "i8")
        half[:4] = h5py.VirtualSource(".", "/parts/x", (4,))
        file.create_group("half").create_virtual_dataset("v", half, fillvalue=5)

    def values(group: str, **options: object) -> list[int]:
        return read_all(open_file(tmp_path / "a.h5", group=group, **options))["v"].to_pylist()

    assert values("/in") == list(range(8))
    with pytest.raises(SourceError, match=r"other files.*b\.h5"):
        values("/out")
    assert values("/out", allow_external=True) == [0, 1, 2, 3, 0, 1, 2, 3]
    with pytest.raises(SourceError, match=r"source c\.h5 is missing"):
        values("/gone", allow_external=True)
    with pytest.raises(CorruptSourceError, match="cover 4 of 8"):
        values("/half")
    assert values("/half", missing="fill") == [0, 1, 2, 3, 5, 5, 5, 5]


def test_a_file_of_another_format_is_named(tmp_path: Path) -> None:
    """Something that is no HDF5 at all is an error that says so."""
    shutil.copy(__file__, tmp_path / "a.h5")

    with pytest.raises(CorruptSourceError, match="no HDF5 file"):
        open_file(tmp_path / "a.h5")
