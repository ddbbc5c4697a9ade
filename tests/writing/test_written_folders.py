"""A written folder opens as what was written, or says what is missing, added or changed."""

from __future__ import annotations

import datetime
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written_folders import batch, write_folder

import headrace as hr
from headrace.cli import main
from headrace.sources.arrow import ArrowSource
from headrace.sources.base import SupportsCopy
from headrace.sources.parquet import ParquetSource
from headrace.sources.written.manifest import NAME, UNFINISHED, WrittenManifest
from headrace.sources.written.partitions import check_partitions, partition_folder, partition_values
from headrace.sources.written.source import WrittenSource
from headrace.testing import SourceTests

ROWS = batch({"x": [1, 2, 3], "word": ["a", None, "c"]})
SECONDS = pa.array([3, None, 5], pa.timestamp("s", "UTC"))
NATURAL = ("parquet", "arrow")


@pytest.fixture(params=NATURAL)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Three shards, the last of which has two row groups."""
    return write_folder(tmp_path / "out", request.param, [[ROWS], [ROWS], [ROWS, ROWS]], ROWS.schema)


def part(folder: Path, number: int) -> Path:
    (found,) = folder.glob(f"part-{number:05}.*")
    return found


class TestWritten(SourceTests):
    """The source of a written data set keeps the contract of sources."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        rows = batch({"year": [7, 7, 7], "when": SECONDS, "x": [1, 2, 3]})
        stored = rows.select(["when", "x"])
        folders = ["year=7/", "year=__HIVE_DEFAULT_PARTITION__/"]
        shards = [[stored], [stored, stored]]
        write_folder(tmp_path, "parquet", shards, rows.schema, folders=folders, partition_by=["year"])
        return hr.open(tmp_path).recipe.source

    @pytest.fixture
    def expected(self) -> pa.Table:
        year = pa.array([7, 7, 7, *[None] * 6])
        when = pa.concat_arrays([SECONDS] * 3)
        return pa.table({"year": year, "when": when, "x": [1, 2, 3] * 3})


def test_the_files_reader_is_used_as_it_is(folder: Path) -> None:
    """Where the format holds all columns as they were, nothing stands between."""
    ds = hr.open(folder, verify=True)
    assert isinstance(ds.recipe.source, (ParquetSource, ArrowSource))
    assert ds.to_polars().equals(pl.concat([pl.DataFrame(ROWS.to_pylist())] * 4))
    assert hr.open(f"file://{folder}").fingerprint == hr.open(f"{folder}/").fingerprint == ds.fingerprint


def test_the_manifest_orders_the_files(folder: Path) -> None:
    """Shards come in the order of the manifest, not of their names; the fingerprint knows no path."""
    manifest = WrittenManifest.from_bytes((folder / NAME).read_bytes(), NAME)
    turned = WrittenManifest(manifest.format, manifest.schema, manifest.files[::-1])
    before = hr.open(folder).fingerprint
    moved = shutil.copytree(folder, folder.with_name("moved"))
    assert hr.open(moved).fingerprint == before
    (moved / NAME).write_bytes(turned.to_bytes())
    names = [Path(shard.name).name for shard in hr.open(moved).manifest.shards]
    assert names == [Path(file.name).name for file in turned.files]
    assert hr.open(moved).fingerprint != before


def test_manifests_are_equal_bytes(folder: Path) -> None:
    """A manifest comes back from its bytes, and they come back from it; people find the columns in it."""
    content = (folder / NAME).read_bytes()
    assert WrittenManifest.from_bytes(content, NAME).to_bytes() == content
    document = json.loads(content)
    assert document["columns"] == {"x": "int64", "word": "string"}
    assert document["samples"] == 12
    assert document["files"][2]["rows"] == [3, 3]
    assert document["files"][0]["null_counts"] == {"word": 1}


def test_what_is_missing_added_or_cut_is_named(folder: Path) -> None:
    """Opening compares names and sizes; what is no data may lie beside it."""
    (folder / "README.md").write_text("fine")
    (folder / ".hidden.parquet").write_text("fine")
    assert len(hr.open(folder)) == 12
    first, content = part(folder, 0), part(folder, 0).read_bytes()
    shutil.copy(first, folder / f"more{first.suffix}")
    with pytest.raises(hr.CorruptSourceError, match=rf"more{first.suffix}: does not belong"):
        hr.open(folder)
    (folder / f"more{first.suffix}").unlink()
    first.write_bytes(content[:-1])
    size = f"{len(content) - 1:,} bytes instead of the {len(content):,}"
    with pytest.raises(hr.CorruptSourceError, match=rf"part-00000.*{size}.*write the data set again"):
        hr.open(folder)
    first.unlink()
    with pytest.raises(hr.CorruptSourceError, match=r"part-00000\.\w+: is missing"):
        hr.open(folder)


def test_what_changed_is_found(folder: Path) -> None:
    """`verify=True` finds any byte, and opening finds files that changed places."""
    path = part(folder, 1)
    content = bytearray(path.read_bytes())
    for place in (5, len(content) // 2, len(content) - 5):
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(hr.CorruptSourceError, match=r"part-00001.* bytes are others than were written"):
            hr.open(folder, verify=True)
        content[place] ^= 1
    path.write_bytes(content)
    hr.open(folder, verify=True)


def test_rows_are_compared_with_the_footers(tmp_path: Path) -> None:
    """A file of the same size with other row groups or columns is not the one that was written."""
    for format in NATURAL:
        out = write_folder(tmp_path / format, format, [[ROWS], [ROWS, ROWS]], ROWS.schema)
        manifest = WrittenManifest.from_bytes((out / NAME).read_bytes(), NAME)
        first, second = manifest.files
        lying = type(second)(second.name, (2, 4), second.nbytes, second.hash, second.key)
        (out / NAME).write_bytes(WrittenManifest(format, ROWS.schema, (first, lying)).to_bytes())
        with pytest.raises(hr.CorruptSourceError, match=r"part-00001.*holds 6 rows in 2 row groups"):
            hr.open(out)
        other = pa.schema([("x", pa.int32()), ("word", pa.string())])
        (out / NAME).write_bytes(WrittenManifest(format, other, manifest.files).to_bytes())
        with pytest.raises(hr.CorruptSourceError, match=r"`x` \(int64\).* instead of the `x` \(int32\)"):
            hr.open(out)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"rows": [3]', b'"rows": [4]'),
        (b'"samples": 12', b'"samples": 13'),
        (b'"source": "by hand"', b'"source": "another"'),
        (b"part-00001", b"part-00007"),
        (b"{", b"["),
    ],
)
def test_a_changed_manifest_is_refused(folder: Path, old: bytes, new: bytes) -> None:
    """The manifest has a digest of itself."""
    path = folder / NAME
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(hr.CorruptSourceError, match=r"_headrace\.json: .*damaged or changed.*restore it"):
        hr.open(folder)


def test_a_manifest_leads_nowhere_else(folder: Path) -> None:
    """Names outside of the folder are refused, and so are later versions."""
    manifest = WrittenManifest.from_bytes((folder / NAME).read_bytes(), NAME)
    for name in ("../secret.parquet", "/etc/passwd", "a/./b", "."):
        file = type(manifest.files[0])(name, (3,), 10, "00", "key")
        (folder / NAME).write_bytes(WrittenManifest("parquet", ROWS.schema, (file,)).to_bytes())
        with pytest.raises(hr.CorruptSourceError, match="leads elsewhere"):
            hr.open(folder)
    (folder / NAME).write_text(json.dumps({"version": 2}))
    with pytest.raises(hr.SourceError, match=r"version 2.*update headrace"):
        hr.open(folder)


def test_unfinished_output_is_refused(tmp_path: Path) -> None:
    """A folder with a journal and no manifest is no data set, however it is named."""
    out = tmp_path / "all" / "out"
    (out / UNFINISHED).mkdir(parents=True)
    for path in (out, str(out / "*.parquet"), [out], tmp_path / "all", str(tmp_path / "*" / "out")):
        with pytest.raises(
            hr.UnfinishedError, match="out: is the unfinished output of a job; run the job again"
        ):
            hr.open(path)
    write_folder(out, "parquet", [[ROWS]], ROWS.schema)
    assert len(hr.open(out)) == 3  # an update goes on, and what was complete stays
    part(out, 0).unlink()
    with pytest.raises(
        hr.UnfinishedError, match=r"not finished to update it; .*part-00000\.parquet: is missing"
    ):
        hr.open(out)


def test_a_folder_behind_a_url(tmp_path: Path) -> None:
    """A copy in a store is the same data set, types and folders' columns included."""
    schema = pa.schema([("k", pa.int8()), ("when", SECONDS.type)])
    rows = batch({"when": SECONDS})
    folders = ["k=1/", "k=__HIVE_DEFAULT_PARTITION__/"]
    out = write_folder(tmp_path, "arrow", [[rows]] * 2, schema, folders=folders, partition_by=["k"])
    store = fsspec.filesystem("memory")
    store.put(str(out), "/written-folder", recursive=True)
    try:
        for url in ("memory://written-folder", "memory://written-folder/"):
            assert hr.open(url).schema == schema
            assert hr.open(url).fingerprint == hr.open(out).fingerprint
        with pytest.raises(hr.OptionError, match="copy the files to a local disk"):
            hr.open("memory://written-folder", verify=True)
        store.pipe("/written-folder/k=1/part-00000.arrow", b"ARROW1")
        with pytest.raises(hr.CorruptSourceError, match=r"memory://.*part-00000\.arrow: has 6 bytes instead"):
            hr.open("memory://written-folder")
        store.rm("/written-folder/k=1/part-00000.arrow")
        with pytest.raises(hr.CorruptSourceError, match=r"memory://.*k=1/part-00000\.arrow: is missing"):
            hr.open("memory://written-folder")
    finally:
        store.rm("/written-folder", recursive=True)


def test_format_and_options_of_the_user(tmp_path: Path) -> None:
    """What the user says must fit the manifest, and is heeded."""
    out = write_folder(tmp_path, "parquet", [[ROWS]], ROWS.schema)
    fast = hr.open(out, format="parquet", options=hr.ParquetOptions(verify_checksums=False))
    assert fast.recipe.source.options.verify_checksums is False  # type: ignore[attr-defined]
    with pytest.raises(hr.OptionError, match=r'`format` must be "parquet".*got \'arrow\''):
        hr.open(out, format="arrow")
    with pytest.raises(hr.OptionError, match="ParquetOptions"):
        hr.open(out, options=hr.ArrowOptions())


@pytest.mark.parametrize("format", ["parquet", "arrow", "hdf5", "lmdb", "tfrecord"])
def test_shards_without_rows_among_others(tmp_path: Path, format: str) -> None:
    """They add nothing and take nothing away."""
    rows = batch({"x": [1, 2, 3], "when": SECONDS})
    folder = write_folder(tmp_path, format, [[], [rows], [], [rows, rows], []], rows.schema)
    found = hr.open(folder, verify=True).to_arrow()
    assert found.schema == rows.schema
    assert found.to_pylist() == rows.to_pylist() * 3


def test_info_says_how_it_came_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`headrace info` tells what was written, as what, and what was done to it."""
    ds = hr.from_arrow(pa.table({"x": [1, 2, 3], "k": [1, 1, 2]})).filter(pl.col("x") > 1)
    ds.write(tmp_path / "out", "arrow", partition_by="k", progress=False)
    assert main(["info", str(tmp_path / "out"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["samples"], facts["shards"], facts["format"]) == (2, 2, "arrow")
    assert facts["partition_by"] == ["k"]
    assert facts["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").glob("k=*/*"))
    assert main(["info", str(tmp_path / "out")]) == 0
    assert "written as" in capsys.readouterr().out


@pytest.mark.parametrize("format", NATURAL)
def test_no_rows_at_all(tmp_path: Path, format: str) -> None:
    """One shard of zero rows is a data set of zero rows, with its columns."""
    schema = pa.schema([("when", pa.timestamp("s")), ("t", pa.fixed_shape_tensor(pa.int8(), (2, 2)))])
    ds = hr.open(write_folder(tmp_path, format, [[]], schema), verify=True)
    assert len(ds) == 0
    assert ds.schema == schema


def test_partitions_come_back(tmp_path: Path) -> None:
    """Columns of folders have their types, places and nulls again; row groups are pruned by them."""
    days = pa.array([datetime.date(2013, 1, 2), None])
    levels = pa.array(["low", "höch/"]).dictionary_encode()
    schema = pa.schema(
        [
            ("day", days.type),
            ("x", pa.int64()),
            ("level", levels.type),
            ("when", SECONDS.type),
            ("n", pa.int8()),
        ]
    )
    values = [{"day": days[k], "level": levels[k], "n": pa.scalar(k, pa.int8())} for k in (0, 1)]
    stored = batch({"x": [1, 2, 3], "when": SECONDS})
    out = write_folder(
        tmp_path,
        "parquet",
        [[stored], [stored, stored]],
        schema,
        folders=[partition_folder(value) for value in values],
        partition_by=["day", "level", "n"],
    )
    ds = hr.open(out)
    source = ds.recipe.source
    assert isinstance(source, WrittenSource)
    assert isinstance(source, SupportsCopy)
    assert not source.layouts
    assert ds.schema == schema
    table = ds.to_arrow()
    assert table.column("day").to_pylist() == [days[0].as_py()] * 3 + [None] * 6
    assert table.column("level").to_pylist() == ["low"] * 3 + ["höch/"] * 6
    assert table.column("when").to_pylist() == SECONDS.to_pylist() * 3
    assert ds.select(["n"]).to_polars()["n"].to_list() == [0] * 3 + [1] * 6
    assert len(ds.filter(pl.col("n") == 1)) == 6
    assert source.statistics("n").low.to_pylist() == [0, 1, 1]
    assert source.statistics("day").nulls.tolist() == [0, 3, 3]
    assert source.statistics("when").low[0].as_py() == SECONDS[0].as_py()
    assert source.statistics("x").high.to_pylist() == [3, 3, 3]
    assert not source.lacks(source.manifest[0], "n", pa.array([5], pa.int8()))
    assert pickle.loads(pickle.dumps(ds)).fingerprint == ds.fingerprint
    rows = source.read_rows(source.manifest[2], np.array([2, 0]), ["x", "n"])
    assert rows.to_pydict() == {"x": [3, 1], "n": [1, 1]}

    with pytest.raises(hr.CorruptSourceError, match=r"\['day', 'level', 'n'\].*\['x'\]"):
        partition_values("x=1/part.parquet", schema, ["day", "level", "n"])


def test_shards_of_equal_bytes_differ_by_their_folders(tmp_path: Path) -> None:
    """Swapping the values of two folders makes another data set."""
    rows, schema = batch({"x": [1]}), pa.schema([("k", pa.int64()), ("x", pa.int64())])
    prints = {
        hr.open(
            write_folder(
                tmp_path / str(turn), "arrow", [[rows], [rows]], schema, folders=folders, partition_by=["k"]
            )
        ).fingerprint
        for turn, folders in enumerate((["k=1/", "k=2/"], ["k=2/", "k=1/"], ["k=1/", "k=2/"]))
    }
    assert len(prints) == 2


KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=12)),
    (
        pa.large_string(),
        st.sampled_from(["", ".", "..", "a/b", "x=1", "%41", "__HIVE_DEFAULT_PARTITION__", " "]),
    ),
    (pa.date32(), st.dates()),
    (pa.timestamp("s"), st.datetimes(datetime.datetime(1700, 1, 1)).map(lambda t: t.replace(microsecond=0))),
    (pa.timestamp("ns", "Europe/Berlin"), st.integers(0, 2**62)),
    (pa.dictionary(pa.int16(), pa.string()), st.text(max_size=12)),
]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_folders_tell_values_exactly(data: st.DataObject) -> None:
    """Any value of any type that may name a folder comes back from the name, and makes a name that may be."""
    chosen = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    columns = {
        data.draw(st.sampled_from(["k", ".dot", "a=b", "_u", "é"])) + str(place): (
            kind,
            pa.array([data.draw(st.none() | values)], kind),
        )
        for place, (kind, values) in enumerate(chosen)
    }
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()] + [("x", pa.int8())])
    check_partitions(schema, list(columns))
    folder = partition_folder({name: array[0] for name, (_, array) in columns.items()})
    assert folder.count("/") == len(columns)
    assert not any(name.startswith(".") for name in folder.split("/"))
    found = partition_values(f"{folder}part.parquet", schema, list(columns))
    for name, (kind, array) in columns.items():
        assert found[name].type == kind
        assert found[name].to_pylist() == array.to_pylist()


def test_other_readers_see_the_same_partitions(tmp_path: Path) -> None:
    """Polars and pyarrow read hive folders as we do: text, numbers and nulls."""
    texts = ["a/b", "x=1&y?", "50%", "é ü", "#tag", "a:b", None]
    rows = batch({"x": [1]})
    schema = pa.schema([("word", pa.string()), ("n", pa.int64()), ("x", pa.int64())])
    folders = [partition_folder({"word": text, "n": place - 3}) for place, text in enumerate(texts)]
    write_folder(tmp_path, "parquet", [[rows]] * 7, schema, folders=folders, partition_by=["word", "n"])
    expected = {(text, place - 3) for place, text in enumerate(texts)}
    ours = hr.open(tmp_path).to_polars()
    theirs = pl.read_parquet(tmp_path / "**/*.parquet", hive_partitioning=True)
    assert set(ours.select("word", "n").rows()) == set(theirs.select("word", "n").rows()) == expected
    arrow = pads.dataset(tmp_path, format="parquet", partitioning="hive").to_table()
    assert set(zip(arrow["word"].to_pylist(), arrow["n"].to_pylist(), strict=True)) == expected


def test_partitions_that_cannot_be() -> None:
    """Types that names do not tell exactly, and names that are too long, are refused."""
    schema = pa.schema([("f", pa.float64()), ("l", pa.list_(pa.int8())), ("x", pa.int8())])
    for name in ("f", "l"):
        with pytest.raises(hr.SchemaError, match=f"column `{name}` has the type"):
            check_partitions(schema, [name])
    with pytest.raises(hr.UnknownColumnError, match="`z`"):
        check_partitions(schema, ["z"])
    with pytest.raises(hr.SchemaError, match="at least one column"):
        check_partitions(pa.schema([("x", pa.int8())]), ["x"])
    with pytest.raises(hr.SchemaError, match="each column once"):
        check_partitions(schema, ["x", "x"])
    with pytest.raises(hr.SchemaError, match="255 are the most"):
        partition_folder({"x": "é" * 50})
