"""Which files a shard is read from, and that a change of any byte of theirs shows in what identifies it."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import lmdb_files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tfrecord_files
from fsspec.implementations.memory import MemoryFileSystem

import headrace as hr
from headrace.execution.contents import check_shards, identify_shards
from headrace.sources.base import Source
from headrace.stores.digests import FileDigests
from headrace.testing import SlowSource

WORDS = ["plain", "needle", "words!"]
TABLE = pa.table({"text": WORDS})


def parquet(folder: Path) -> Path:
    path = folder / "a.parquet"
    pq.write_table(TABLE, path, compression="none", use_dictionary=False, write_statistics=False)
    return path


def arrow(folder: Path) -> Path:
    path = folder / "a.arrow"
    with pa.ipc.new_file(path, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return path


def csv(folder: Path) -> Path:
    path = folder / "a.csv"
    path.write_text("text\n" + "\n".join(WORDS) + "\n")
    return path


def jsonl(folder: Path) -> Path:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps({"text": word}) + "\n" for word in WORDS))
    return path


def hdf5(folder: Path) -> Path:
    path = folder / "a.h5"
    with h5py.File(path, "w") as file:
        file["text"] = np.array(WORDS, "S6")
        file["far"] = np.zeros((3, 1 << 20))  # longer than what is read of a file to identify it
    return path


def lmdb(folder: Path) -> Path:
    lmdb_files.write(folder / "a", {b"%d" % row: word.encode() * 2000 for row, word in enumerate(WORDS)})
    return folder / "a" / "data.mdb"


def tfrecord(folder: Path) -> Path:
    path = folder / "a.tfrecord"
    tfrecord_files.write(path, [word.encode() for word in WORDS])
    return path


def idx(folder: Path) -> Path:
    path = folder / "a-idx1-ubyte"
    content = b"plainsneedlewords!"
    path.write_bytes(b"\0\0\x08\x01" + len(content).to_bytes(4, "big") + content)
    return path


FORMATS = [parquet, arrow, csv, jsonl, hdf5, lmdb, tfrecord, idx]


def source_of(path: Path) -> Source:
    is_records = path.suffix == ".tfrecord"
    options = hr.TfRecordOptions(content="bytes") if is_records else None
    return hr.open(path, options=options).recipe.source


def edit(path: Path) -> None:
    """Change one byte of a value, and leave path, size and time of the last write as they were."""
    content, before = path.read_bytes(), path.stat()
    place = content.index(b"needle")
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"N")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("write", FORMATS)
def test_an_edit_in_place_is_seen(write: Callable[[Path], Path], tmp_path: Path) -> None:
    """With one byte changed and all else as it was, a shard is another one, and the open one is refused."""
    path, known = write(tmp_path), FileDigests()
    source = source_of(path)
    before = identify_shards(source, known)
    check_shards(source, [0])
    edit(path)

    with pytest.raises(hr.ChangedSourceError, match=path.name):
        check_shards(source, [0])
    assert identify_shards(source, known) == {}
    after = identify_shards(source_of(path), known)
    assert before.keys() == after.keys() == {0}
    assert before != after


@pytest.mark.parametrize("write", FORMATS)
def test_a_copy_elsewhere_is_the_same(write: Callable[[Path], Path], tmp_path: Path) -> None:
    """Paths and times do not matter, and neither does a process: equal bytes, equal contents."""
    path = write(tmp_path)
    source = source_of(path)
    before = identify_shards(source, FileDigests())
    moved = path.rename(path.with_name(path.name.replace("a", "b", 1))) if path.name != "data.mdb" else path

    assert identify_shards(source_of(moved), FileDigests()) == before
    assert identify_shards(pickle.loads(pickle.dumps(source_of(moved))), FileDigests()) == before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that was deleted after it was opened is an error that names it."""
    path = parquet(tmp_path)
    source = source_of(path)
    path.unlink()

    with pytest.raises(hr.MissingSourceError, match=r"a\.parquet"):
        check_shards(source, [0])
    assert identify_shards(source, FileDigests()) == {}


def test_all_files_of_a_shard_count(tmp_path: Path) -> None:
    """Arrays in files of their own, and parts of an HDF5 file that lie elsewhere, are a shard together."""
    for name in ("image", "label"):
        (tmp_path / f"{name}s-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x06needle")
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["x"] = np.frombuffer(b"needle", "u1")
        virtual = h5py.VirtualLayout((6,), "u1")
        virtual[:] = h5py.VirtualSource("deep.h5", "/x", (6,))
        file.create_virtual_dataset("deep", virtual)
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file["x"] = np.frombuffer(b"needle", "u1")
    (tmp_path / "raw.bin").write_bytes(b"needle")
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["link"] = h5py.ExternalLink("part.h5", "/x")
        file.create_dataset("raw", (6,), "u1", external=[(str(tmp_path / "raw.bin"), 0, 6)])
        layout = h5py.VirtualLayout((6,), "u1")
        layout[:] = h5py.VirtualSource("part.h5", "/deep", (6,))
        file.create_virtual_dataset("virtual", layout)
    outside = hr.Hdf5Options(allow_external=True)

    for opened, names in (
        (lambda: hr.open(tmp_path / "*idx1*"), ["images-idx1-ubyte", "labels-idx1-ubyte"]),
        (lambda: hr.open(tmp_path / "all.h5", options=outside), ["part.h5", "deep.h5", "raw.bin"]),
    ):
        for name in names:
            source = opened().recipe.source
            before = identify_shards(source, FileDigests())
            edit(tmp_path / name)
            with pytest.raises(hr.ChangedSourceError, match=name):
                check_shards(source, [0])
            assert identify_shards(opened().recipe.source, FileDigests()) != before


def test_only_the_shards_asked_for_are_read(tmp_path: Path) -> None:
    """The files of others may be anything."""
    for name in ("a", "b"):
        pq.write_table(TABLE, tmp_path / f"{name}.parquet")
    source = hr.open(tmp_path).recipe.source
    both = identify_shards(source, FileDigests())
    (tmp_path / "b.parquet").unlink()

    assert identify_shards(source, FileDigests(), [0]) == {0: both[0]}
    check_shards(source, [0])


def test_sources_around_sources_tell_their_files(tmp_path: Path) -> None:
    """Mixes and the sources of tests know the files of those within them; memory has none."""
    path = parquet(tmp_path)
    opened, memory = hr.open(path), hr.from_arrow(TABLE)
    mixed = hr.mix({"memory": memory, "opened": opened}).recipe.source

    assert list(mixed.shard_files(0)) == []
    assert list(mixed.shard_files(1)) == [str(path)]
    assert list(SlowSource(opened.recipe.source).shard_files(0)) == [str(path)]
    before = identify_shards(mixed, FileDigests())
    edit(path)
    mixed = hr.mix({"memory": memory, "opened": hr.open(path)}).recipe.source
    after = identify_shards(mixed, FileDigests())
    assert [before[shard] == after[shard] for shard in (0, 1)] == [True, False]


def test_the_version_of_a_remote_object_stands_for_its_bytes(
    memory: MemoryFileSystem, tmp_path: Path
) -> None:
    """Nothing is fetched to identify a remote shard; one that was replaced is another."""
    found: list[dict[int, str]] = []
    for word in ("needle", "Needle"):
        pq.write_table(pa.table({"text": [word]}), tmp_path / "a.parquet", use_dictionary=False)
        memory.pipe("/a.parquet", (tmp_path / "a.parquet").read_bytes())
        source = hr.open("memory://a.parquet").recipe.source
        assert list(source.shard_files(0)) == []
        found.append(identify_shards(source, FileDigests()))

    assert found[0] != found[1]
