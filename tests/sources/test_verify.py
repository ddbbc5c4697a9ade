"""Content hashes find what formats cannot: `headrace info --hash`, then `hr.open(..., verify=True)`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import headrace as hr
from headrace.cli import main

NAME = "_headrace-hashes.json"
RANDOM = np.random.default_rng(8)
VALUES = RANDOM.integers(0, 1 << 30, 500, np.int32)


def write_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"] = VALUES
    return folder / "a.h5"


def write_lmdb(folder: Path) -> Path:
    with lmdb.open(str(folder), map_size=1 << 20) as environment, environment.begin(write=True) as write:
        for place, value in enumerate(VALUES):
            write.put(b"%05d" % place, value.tobytes())
    return folder / "data.mdb"


def write_idx(folder: Path) -> Path:
    header = bytes([0, 0, 0x0C, 1]) + struct.pack(">I", len(VALUES))
    (folder / "x.idx").write_bytes(header + VALUES.astype(">i4").tobytes())
    return folder / "x.idx"


def write_parquet(folder: Path) -> Path:
    pq.write_table(pa.table({"x": VALUES}), folder / "a.parquet", compression="none", use_dictionary=False)
    return folder / "a.parquet"


WRITERS: dict[str, Callable[[Path], Path]] = {
    "hdf5": write_hdf5,
    "lmdb": write_lmdb,
    "idx": write_idx,
    "parquet": write_parquet,
}


def make_hashes(*arguments: object) -> None:
    assert main(["info", "--hash", *map(str, arguments)]) == 0


def parts(folder: Path, count: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(count):
        pq.write_table(pa.table({"x": VALUES[part * 10 : part * 10 + 10]}), folder / f"part-{part}.parquet")
    return folder


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("format", WRITERS)
def test_every_flipped_bit_is_found(tmp_path: Path, format: str) -> None:
    """Whatever bit flips, in values or in structure, opening names the file and both hashes."""
    path = WRITERS[format](tmp_path)
    make_hashes(tmp_path, "--format", format)
    sound = path.read_bytes()
    assert len(hr.open(tmp_path, format, verify=True)) == len(VALUES)

    for bit in RANDOM.integers(0, len(sound) * 8, 60).tolist():
        flip(path, bit)
        with pytest.raises(hr.CorruptSourceError, match=rf"{path.name}: its [\d,]+ bytes are others than"):
            hr.open(tmp_path, format, verify=True)
        path.write_bytes(sound)


@pytest.mark.parametrize("format", ["hdf5", "lmdb", "idx"])
def test_such_a_flip_passes_unseen_otherwise(tmp_path: Path, format: str) -> None:
    """A flipped bit within a value of these formats is read as another value, and `explain` warns of it."""
    path = WRITERS[format](tmp_path)
    make_hashes(tmp_path, "--format", format)
    stored = VALUES[250:251].astype(">i4" if format == "idx" else "<i4").tobytes()
    flip(path, path.read_bytes().index(stored) * 8)
    options = hr.LmdbOptions(dtype={"value": "int32"}, shape={"value": ()}) if format == "lmdb" else None
    damaged = hr.open(tmp_path, format, options=options)
    column = damaged.to_polars()[damaged.schema.names[-1]].to_numpy()

    assert np.flatnonzero(column != VALUES).tolist() == [250]
    advice = damaged.loader(10, output="numpy").explain().advice
    assert any("no checksum" in line and "headrace info --hash" in line for line in advice)
    with pytest.raises(hr.CorruptSourceError, match=path.name):
        hr.open(tmp_path, format, options=options, verify=True)


def test_the_manifest_holds_hashes_sizes_and_counts(tmp_path: Path) -> None:
    """The manifest lies in the folder, hidden from opening, and says of each shard what it is."""
    folder = parts(tmp_path / "data")
    make_hashes(folder)
    manifest = json.loads((folder / NAME).read_text())

    assert manifest["algorithm"] == "blake2b-256"
    assert sorted(manifest["files"]) == ["part-0.parquet", "part-1.parquet", "part-2.parquet"]
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert entry == {
            "bytes": len(content),
            "samples": 10,
            "hash": hashlib.blake2b(content, digest_size=32).hexdigest(),
        }
    assert sorted(os.listdir(folder)) == [NAME, *sorted(manifest["files"])]
    assert len(hr.open(folder)) == 30


def test_json_prints_what_was_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints the same entries by path, and where they were written."""
    folder = parts(tmp_path / "data")
    make_hashes(folder, "--json")
    printed = json.loads(capsys.readouterr().out)
    kept = json.loads((folder / NAME).read_text())

    assert printed["written"] == [str(folder / NAME)]
    assert printed["files"] == {str(folder / name): entry for name, entry in kept["files"].items()}
    make_hashes(folder)
    assert f"Written to {folder / NAME}" in capsys.readouterr().out.replace("\n", "")


def cut(folder: Path) -> None:
    os.truncate(folder / "part-1.parquet", os.path.getsize(folder / "part-1.parquet") - 1)


def exchange(folder: Path) -> None:
    first, second = (folder / name for name in ("part-1.parquet", "part-2.parquet"))
    content = first.read_bytes()
    shutil.copy(second, first)
    second.write_bytes(content)


def add_foreign(folder: Path) -> None:
    (folder / "part-1.parquet.bak").write_bytes(b"anything")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (cut, r"part-1\.parquet: has [\d,]+ bytes instead of the [\d,]+ that were hashed"),
    "emptied": (
        lambda folder: (folder / "part-1.parquet").write_bytes(b""),
        r"part-1\.parquet: has 0 bytes instead",
    ),
    "removed": (
        lambda folder: (folder / "part-1.parquet").unlink(),
        r"part-1\.parquet: is missing, but was hashed",
    ),
    "added": (
        lambda folder: shutil.copy(folder / "part-1.parquet", folder / "part-3.parquet"),
        r"part-3\.parquet: was added since",
    ),
    "added, of another format": (add_foreign, r"part-1\.parquet\.bak: was added since"),
    "renamed": (
        lambda folder: (folder / "part-1.parquet").rename(folder / "part-9.parquet"),
        r"part-1\.parquet: is missing.*part-9\.parquet: was added",
    ),
    "exchanged": (exchange, r"part-1\.parquet: .*part-2\.parquet: its"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_differs_is_named(tmp_path: Path, kind: str) -> None:
    """Shards that were cut, emptied, removed, added, renamed or exchanged are one error that names them."""
    folder = parts(tmp_path / "data")
    make_hashes(folder)
    damage, message = DAMAGE[kind]
    damage(folder)

    with pytest.raises(hr.CorruptSourceError, match=message) as caught:
        hr.open(folder, verify=True)
    assert f"headrace info --hash {folder}" in str(caught.value)


def test_without_hashes_the_error_says_how_to_make_them(tmp_path: Path) -> None:
    """`verify=True` without a manifest is an error with the command, also for names that need quotes."""
    folder = parts(tmp_path / "my data")

    with pytest.raises(hr.MissingSourceError, match=r"headrace info --hash '.*my data'"):
        hr.open(folder, verify=True)
    with pytest.raises(hr.OptionError, match="`verify` must be True or False"):
        hr.open(folder, verify="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("named", ["folder", "slash", "glob", "files", "one file", "deep glob", "stars"])
@pytest.mark.parametrize("hashed", ["folder", "glob", "files"])
def test_however_the_data_is_named(
    tmp_path: Path, named: str, hashed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, a glob and a list of files share a manifest; all see a flip and a missing shard."""
    folder = parts(tmp_path / "data")
    ways: dict[str, Any] = {
        "folder": str(folder),
        "slash": f"{folder}/",
        "glob": f"{folder}/part-*.parquet",
        "files": [str(folder / f"part-{part}.parquet") for part in range(3)],
        "one file": str(folder / "part-1.parquet"),
        "deep glob": f"{folder}/part-[1-9]*",
        "stars": f"{folder}/**/*.parquet",
    }
    monkeypatch.chdir(folder)  # where nothing depends on it
    make_hashes(*([ways[hashed]] if isinstance(ways[hashed], str) else ways[hashed]))
    assert len(hr.open(ways[named], verify=True)) in (10, 20, 30)

    flip(folder / "part-1.parquet", 99)
    with pytest.raises(hr.CorruptSourceError, match=r"part-1\.parquet: its"):
        hr.open(ways[named], verify=True)
    (folder / "part-1.parquet").unlink()
    with pytest.raises(hr.SourceError, match=r"part-1\.parquet: (is missing|no such file)"):
        hr.open(ways[named], verify=True)


def test_data_sets_of_one_folder_share_a_manifest(tmp_path: Path) -> None:
    """Hashing some files of a folder keeps the hashes of others, and forgets those that are gone."""
    folder = parts(tmp_path)
    for part in range(3):
        shutil.copy(folder / f"part-{part}.parquet", folder / f"test-{part}.parquet")
    make_hashes(f"{folder}/part-*")
    with pytest.raises(hr.CorruptSourceError, match=r"test-0\.parquet: was added since"):
        hr.open(folder, verify=True)
    make_hashes(f"{folder}/test-*")
    assert len(hr.open(folder, verify=True)) == 60

    (folder / "test-2.parquet").unlink()
    assert len(hr.open(f"{folder}/part-*", verify=True)) == 30
    make_hashes(f"{folder}/test-*")
    assert len(hr.open(folder, verify=True)) == 50


def test_folders_below_and_paths_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions lie below the manifest's folder; a folder may be named from where one stands, and move."""
    for key in (1, 2):
        parts(tmp_path / "data" / f"k={key}")
    monkeypatch.chdir(tmp_path)
    make_hashes("data")
    assert "k=2/part-0.parquet" in json.loads((tmp_path / "data" / NAME).read_text())["files"]
    (tmp_path / "data").rename(tmp_path / "moved")

    for path in ("moved", "./moved/", "moved/k=1/../", tmp_path / "moved", "moved/k=*"):
        assert len(hr.open(path, verify=True)) == 60
    monkeypatch.chdir(tmp_path / "moved")
    assert len(hr.open(".", verify=True)) == 60
    assert len(hr.open("*/part-1.parquet", verify=True)) == 20


def test_lmdb_in_a_folder_and_as_a_file(tmp_path: Path) -> None:
    """An environment's folder holds its manifest; the lock beside the data is not hashed."""
    (tmp_path / "a.lmdb").mkdir()
    write_lmdb(tmp_path / "a.lmdb")
    make_hashes(tmp_path / "a.lmdb")

    assert list(json.loads((tmp_path / "a.lmdb" / NAME).read_text())["files"]) == ["data.mdb"]
    assert (tmp_path / "a.lmdb" / "lock.mdb").exists()
    assert len(hr.open(tmp_path / "a.lmdb", verify=True)) == len(VALUES)
    assert len(hr.open(tmp_path / "a.lmdb" / "data.mdb", verify=True)) == len(VALUES)


def test_files_that_form_columns_are_all_hashed(tmp_path: Path) -> None:
    """IDX keeps images and labels apart; a flip in either is found."""
    for name in ("train-images-idx1-ubyte", "train-labels-idx1-ubyte"):
        write_idx(tmp_path).rename(tmp_path / name)
    make_hashes(tmp_path, "--format", "idx")
    assert len(hr.open(tmp_path, "idx", verify=True)) == len(VALUES)

    flip(tmp_path / "train-labels-idx1-ubyte", 999)
    with pytest.raises(hr.CorruptSourceError, match="train-labels-idx1-ubyte: its"):
        hr.open(tmp_path, "idx", verify=True)


def test_data_that_only_options_explain_is_hashed(tmp_path: Path) -> None:
    """A file whose samples lie in a group has a hash without a count."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/x"] = VALUES
    make_hashes(tmp_path / "a.h5")

    assert json.loads((tmp_path / NAME).read_text())["files"]["a.h5"]["samples"] is None
    options = hr.Hdf5Options(group="/deep")
    assert len(hr.open(tmp_path / "a.h5", options=options, verify=True)) == len(VALUES)


def test_damaged_data_gets_no_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be opened is not declared to be right."""
    folder = parts(tmp_path)
    cut(folder)

    assert main(["info", "--hash", str(folder)]) == 2
    assert "part-1.parquet" in capsys.readouterr().err
    assert not (folder / NAME).exists()


def manifest_text(files: object, version: int = 1, algorithm: str = "blake2b-256") -> str:
    return json.dumps({"version": version, "algorithm": algorithm, "files": files})


ENTRY = {"bytes": 1, "samples": 1, "hash": "0" * 64}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        manifest_text([]),
        manifest_text({"part-0.parquet": {}}),
        manifest_text({"part-0.parquet": ENTRY | {"hash": "0"}}),
        manifest_text({"../x": ENTRY}),
        manifest_text({"/x": ENTRY}),
        manifest_text({"a/../../x": ENTRY}),
        manifest_text({}, version=2),
        manifest_text({}, algorithm="md5"),
        "\udcff",
    ],
)
def test_a_manifest_that_cannot_be_right(tmp_path: Path, text: str) -> None:
    """A damaged manifest, one of another kind, and names that lead out of the folder are refused by name."""
    folder = parts(tmp_path)
    (folder / NAME).write_bytes(text.encode(errors="surrogateescape"))

    with pytest.raises(hr.SourceError, match=rf"{NAME}: .*remove it, and hash anew"):
        hr.open(folder, verify=True)


def test_a_manifest_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failure to write is one error, and leaves neither half a manifest nor the one aside."""
    folder = parts(tmp_path)
    (folder / NAME).mkdir()
    before = sorted(os.listdir(folder))

    assert main(["info", "--hash", str(folder)]) == 2
    assert NAME in capsys.readouterr().err
    assert sorted(os.listdir(folder)) == before


def test_file_urls_are_local(tmp_path: Path) -> None:
    """`file://` names the same folder and the same manifest."""
    parts(tmp_path)
    make_hashes(f"file://{tmp_path}")

    assert len(hr.open(f"file://{tmp_path}/part-*.parquet", verify=True)) == 30
    flip(tmp_path / "part-1.parquet", 77)
    with pytest.raises(hr.CorruptSourceError, match=r"part-1\.parquet"):
        hr.open(f"file://{tmp_path}", verify=True)


def test_urls_are_refused(
    memory: MemoryFileSystem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither makes hashes nor compares them, in silence or otherwise; a list with one URL is refused too."""
    path = parts(tmp_path, 1) / "part-0.parquet"
    memory.pipe_file("/data/part-9.parquet", path.read_bytes())
    make_hashes(path)
    for paths in ("memory://data", [str(path), "memory://data/part-9.parquet"]):
        with pytest.raises(hr.OptionError, match=r"memory://data/part-9\.parquet: content hashes .* local"):
            hr.open(paths, verify=True)
    capsys.readouterr()

    assert main(["info", "--hash", "memory://data"]) == 2
    assert "memory://data/part-9.parquet: content hashes" in capsys.readouterr().err
    assert list(memory.store) == ["/data/part-9.parquet"]
