"""What URLs name: files, lists, globs and folders, by the rules of local ones; web servers and memory."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import lmdb_files
import numpy as np
import pyarrow as pa
import pytest
import tfrecord_files
from fsspec.implementations.memory import MemoryFileSystem
from parquet_files import write
from remote_servers import Store, WebServer, run_web

import headrace as hr
from headrace.cli import main

TREE = (
    *("part-10.parquet", "part-2.parquet", "_SUCCESS", ".part-1.parquet.crc", "part-1.csv"),
    *("sub/part-3.parquet", "sub/_hidden/part-4.parquet", "sub/deep/part-5.parquet"),
    *("year=2013/k=a%20b/part-6.parquet", "year=2014/k=__HIVE_DEFAULT_PARTITION__/part-7.parquet"),
)


WEB_VALUES = np.random.default_rng(0).normal(size=(3, 20_000))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for number, name in enumerate(TREE):
        write(tmp_path / "tree" / name, {"x": [number], "name": [name]})
    return tmp_path / "tree"


@pytest.fixture(params=["memory", "s3"])
def to_url(request: pytest.FixtureRequest, tree: Path, memory: MemoryFileSystem) -> tuple[str, Any]:
    """Copy the tree to a store, and name it there."""
    if request.param == "s3":
        store = request.getfixturevalue("store")
        store.put(tree, "tree")
        return "s3://data/tree", store.direct
    put(memory, tree, "tree")
    return "memory://tree", None


def put(memory: MemoryFileSystem, folder: Path, name: str) -> str:
    """Copy a folder's files to memory."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            memory.pipe_file(f"/{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return f"memory://{name}"


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "/", "/sub", "/year=2013", "/part-2.parquet", "/*.parquet", "/part-?.parquet", "/part-[12]*"),
        *("/**/*.parquet", "/**", "/s*", "/*/part-3.parquet", "/year=*/*/*.parquet", "/year=*", "/*/deep"),
        *("/sub/_hidden", "/sub/*/part-4.parquet", "/part-1.csv"),
    ],
)
def test_names_mean_what_they_mean_locally(tree: Path, to_url: tuple[str, Any], pattern: str) -> None:
    """The same files in the same order with the same partition columns, or an error of the same class."""
    url, options = to_url

    def listed(base: str) -> Any:
        try:
            dataset = hr.open(base + pattern, storage_options=options)
        except hr.HeadraceError as error:
            return type(error)
        return dataset.to_arrow(), dataset.fingerprint

    assert listed(url) == listed(str(tree))


def test_lists_keep_their_order_and_may_be_mixed(tree: Path, to_url: tuple[str, Any]) -> None:
    """A list is read in the order given, also if some of it lies on a local disk."""
    url, options = to_url
    places = [f"{url}/part-10.parquet", str(tree / "sub/part-3.parquet"), f"{url}/part-2.parquet"]

    assert hr.open(places, storage_options=options).to_polars()["x"].to_list() == [0, 5, 1]
    with pytest.raises(hr.OptionError, match="named twice"):
        hr.open([*places, places[0]], storage_options=options)


def test_empty_folder_and_no_match(memory: MemoryFileSystem) -> None:
    """A folder of hidden files and a pattern without a match are errors, not empty data sets."""
    memory.pipe_file("/empty/_SUCCESS", b"")
    for name in ("memory://empty", "memory://empty/*.parquet", "memory://nothing"):
        with pytest.raises(hr.MissingSourceError, match=name.removesuffix("*.parquet")):
            hr.open(name)


def test_file_url_is_a_local_path(tree: Path) -> None:
    """`file://` names the local disk."""
    assert hr.open(f"file://{tree}/part-2.parquet").to_polars()["x"].to_list() == [1]


def test_what_is_no_known_format(memory: MemoryFileSystem) -> None:
    """The format is told by the first bytes, and the error names the URL."""
    memory.pipe_file("/x.parquet", b"this is text")
    with pytest.raises(hr.CorruptSourceError, match=r"memory://x\.parquet.*b'this is '"):
        hr.open("memory://x.parquet")


def test_damage_is_explained_by_url(tree: Path, memory: MemoryFileSystem) -> None:
    """A shard that is cut off or empty is an error that names its URL."""
    content = (tree / "part-2.parquet").read_bytes()
    for damaged in (content[:-10], content[:2], b""):
        memory.pipe_file("/x.parquet", damaged)
        with pytest.raises(hr.CorruptSourceError, match=r"memory://x\.parquet"):
            hr.open("memory://x.parquet", format="parquet")


def test_replaced_object_in_memory(tmp_path: Path, memory: MemoryFileSystem) -> None:
    """Where reading does not tell the version, it is asked for afterwards."""
    path = write(tmp_path / "x.parquet", {"x": WEB_VALUES[0]})
    memory.pipe_file("/x.parquet", Path(path).read_bytes())
    dataset = hr.open("memory://x.parquet")
    memory.store["/x.parquet"].created = memory.store["/x.parquet"].created.replace(year=2001)

    with pytest.raises(hr.ChangedSourceError, match=r"memory://x\.parquet"):
        dataset.to_arrow()


def hdf5(folder: Path) -> None:
    for shard in range(2):
        with h5py.File(folder / f"{shard}.h5", "w") as file:
            file["x"], file["y"] = (
                np.arange(500) + 500 * shard,
                np.random.default_rng(shard).normal(size=(500, 3)),
            )


def lmdb(folder: Path) -> None:
    for shard in range(2):
        records = {b"%05d" % number: b"%d" % (number * shard) for number in range(300)}
        lmdb_files.write(folder / f"{shard}", records)


def tfrecord(folder: Path) -> None:
    for shard in range(2):
        rows = ({"n": [number, shard], "text": [b"row"]} for number in range(200))
        tfrecord_files.write(folder / f"{shard}.tfrecord", map(tfrecord_files.example, rows))


def idx(folder: Path) -> None:
    for name, shape in (("images", (40, 8, 8)), ("labels", (40,))):
        values = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        (folder / f"train-{name}-idx{len(shape)}-ubyte").write_bytes(head + values.tobytes())


def arrow(folder: Path) -> None:
    for shard in range(2):
        table = pa.table({"x": range(500 * shard, 500 * shard + 500), "y": ["a", None] * 250})
        with (
            pa.OSFile(str(folder / f"{shard}.arrow"), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            writer.write_table(table, max_chunksize=100)


def csv(folder: Path) -> None:
    for shard in range(2):
        lines = ["x,y", *(f"{number * shard},row {number}" for number in range(500))]
        (folder / f"{shard}.csv").write_text("\n".join(lines) + "\n")


def jsonlines(folder: Path) -> None:
    for shard in range(2):
        lines = (f'{{"x": {number * shard}, "y": [1, {number}]}}\n' for number in range(500))
        (folder / f"{shard}.jsonl").write_text("".join(lines))


def parquet(folder: Path) -> None:
    for shard in range(2):
        write(folder / f"{shard}.parquet", {"x": list(range(5000)), "y": ["a", None] * 2500})


@pytest.mark.parametrize(
    ("make", "format"),
    [
        (parquet, None),
        (hdf5, None),
        (lmdb, None),
        (tfrecord, None),
        (idx, None),
        (arrow, None),
        (arrow, "arrow"),
        (csv, None),
        (jsonlines, None),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_formats_are_the_same_remotely(
    make: Callable[[Path], None], format: str | None, tmp_path: Path, memory: MemoryFileSystem
) -> None:
    """Every format has the fingerprint and the values that it has on a local disk, lock files or not."""
    make(tmp_path)
    local, remote = hr.open(tmp_path, format), hr.open(put(memory, tmp_path, "format"), format)

    assert remote.fingerprint == local.fingerprint
    assert remote.to_arrow().equals(local.to_arrow())
    assert (
        remote.take([3, 1])[remote.schema.names[0]].tolist()
        == local.take([3, 1])[local.schema.names[0]].tolist()
    )
    assert remote.recipe.source.manifest[0].name.startswith("memory://format")
    advice = [dataset.loader(2, output="numpy").explain().advice for dataset in (local, remote)]
    assert [line.replace(str(tmp_path), "memory://format") for line in advice[0]] == list(advice[1])


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[WebServer, str, Path]]:
    folder = tmp_path / "web"
    for number in range(3):
        write(folder / "data" / f"part-{number}.parquet", {"x": WEB_VALUES[number]})
    with run_web(folder) as (server, address):
        yield server, address, folder


def test_web_addresses(web: tuple[WebServer, str, Path]) -> None:
    """An address, a list, a glob and a folder's page work, HEAD or not."""
    _, address, folder = web
    expected = hr.open(folder / "data")
    addresses = [f"{address}/data/part-{number}.parquet" for number in range(3)]
    for name in (addresses, f"{address}/data/", f"{address}/data/*.parquet"):
        dataset = hr.open(name)

        assert dataset.fingerprint == expected.fingerprint
        assert dataset.to_arrow().equals(expected.to_arrow())


def test_web_address_with_a_signature(web: tuple[WebServer, str, Path]) -> None:
    """What follows the question mark is sent, and never shown."""
    server, address, _ = web
    dataset = hr.open(f"{address}/data/part-1.parquet?signature=hidden")
    assert dataset.to_polars()["x"][0] == WEB_VALUES[1, 0]
    assert all("?signature=hidden" in path for path in server.paths)

    with pytest.raises(hr.MissingSourceError) as caught:
        hr.open(f"{address}/data/nothing.parquet?signature=hidden")
    assert "hidden" not in f"{caught.value}{caught.value.__cause__}{dataset.recipe.source.manifest[0]}"


def test_web_file_that_changes(web: tuple[WebServer, str, Path]) -> None:
    """Another ETag is another version."""
    _, address, folder = web
    dataset = hr.open(f"{address}/data/part-0.parquet")
    place = folder / "data" / "part-0.parquet"
    os.utime(place, ns=(time.time_ns(), place.stat().st_mtime_ns + 10**9))

    with pytest.raises(hr.ChangedSourceError, match=r"part-0\.parquet"):
        dataset.to_arrow()


def test_web_server_without_ranges(web: tuple[WebServer, str, Path], tmp_path: Path) -> None:
    """A server that sends whole files alone is named as the reason, where ranges are needed."""
    server, address, folder = web
    server.with_ranges = False
    with pytest.raises(hr.SourceError, match="range of bytes"):
        hr.open(f"{address}/data/part-0.parquet")

    with h5py.File(folder / "whole.h5", "w") as file:
        file["x"] = np.arange(1000)
    assert hr.open(f"{address}/whole.h5").to_arrow()["x"].to_pylist() == list(range(1000))


def test_web_server_that_is_down(web: tuple[WebServer, str, Path]) -> None:
    """No server is not taken for a missing file."""
    with pytest.raises(hr.SourceError, match="cannot be read") as caught:
        hr.open("http://127.0.0.1:9/x.parquet", retries=0)
    assert not isinstance(caught.value, hr.MissingSourceError)


def test_same_names_in_s3_and_locally(store: Store, tree: Path) -> None:
    """A copy in S3 that is copied back is the same data set."""
    store.put(tree, "round")
    shutil.rmtree(tree / "sub")
    write(tree / "sub" / "part-3.parquet", {"x": [5], "name": ["sub/part-3.parquet"]})
    remote = hr.open("s3://data/round/sub/part-3.parquet", storage_options=store.direct)

    assert remote.fingerprint == hr.open(tree / "sub" / "part-3.parquet").fingerprint
    assert remote.schema == pa.schema([("x", pa.int64()), ("name", pa.string())])


def test_info_knows_the_size(
    tree: Path, memory: MemoryFileSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    """`headrace info` shows the bytes of shards behind URLs too."""
    assert main(["info", "--json", put(memory, tree / "sub" / "deep", "deep")]) == 0

    assert json.loads(capsys.readouterr().out)["bytes"] == (tree / "sub/deep/part-5.parquet").stat().st_size
