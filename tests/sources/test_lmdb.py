"""LMDB environments: which keys are samples, who may read them, and what is refused."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pyarrow as pa
import pytest
from lmdb_files import in_child, open_lmdb, read_everything, rows, write

from headrace.dataset import Dataset
from headrace.errors import (
    ChangedSourceError,
    CorruptSourceError,
    HeadraceError,
    MemoryLimitError,
    MissingSourceError,
    OptionError,
    SchemaError,
)
from headrace.sources.base import Source, SupportsTake
from headrace.sources.lmdb import LmdbOptions, LmdbSource
from headrace.sources.lmdb_index import KeyPattern
from headrace.testing import SourceTests

IMAGES = np.random.default_rng(0).integers(0, 256, (900, 4, 40, 40), np.uint8)
PATTERNS = {"image": "image-{index:09d}", "label": "label-{index:09d}"}


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and labels under numbered keys, from 1 on, with a counter."""
    records = {PATTERNS["image"].format(index=i + 1).encode(): IMAGES[i].tobytes() for i in range(900)}
    records |= {PATTERNS["label"].format(index=i + 1).encode(): str(i).encode() for i in range(900)}
    return write(tmp_path_factory.mktemp("lmdb") / "numbered", records | {b"num-samples": b"900"})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred thousand small records."""
    records = {f"{i:06d}".encode(): f"value {i}".encode() for i in range(100_000)}
    return write(tmp_path_factory.mktemp("lmdb") / "small", records)


class TestLargeValues(SourceTests):
    """Values on pages of their own."""

    @pytest.fixture
    def source(self, numbered: Path) -> Source:
        return open_lmdb(
            numbered,
            fields=PATTERNS,
            decode={"label": "text"},
            dtype={"image": "uint8"},
            shape={"image": (4, 40, 40)},
        )

    @pytest.fixture
    def expected(self) -> pa.Table:
        image = pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES)
        return pa.table({"image": image, "label": [str(i) for i in range(900)]})


class TestSmallValues(SourceTests):
    """Keys and values that share pages, in two environments."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        for shard in range(2):
            records = {f"{i:04d}".encode(): b"%d" % i for i in range(shard * 300, shard * 300 + 300)}
            write(tmp_path / f"shard-{shard}.lmdb", records)
        return open_lmdb(tmp_path)

    @pytest.fixture
    def expected(self) -> pa.Table:
        keys, values = [f"{i:04d}".encode() for i in range(600)], [b"%d" % i for i in range(600)]
        return pa.table({"key": pa.array(keys, pa.binary()), "value": pa.array(values, pa.binary())})


def test_records_equal_those_of_the_library(small: Path) -> None:
    """Keys and values come in the library's order, byte for byte."""
    with lmdb.open(str(small), readonly=True, lock=False) as environment, environment.begin() as transaction:
        expected = [{"key": key, "value": value} for key, value in transaction.cursor()]

    assert rows(open_lmdb(small)) == expected


@pytest.mark.parametrize("seed", range(6))
def test_random_histories_equal_the_library(tmp_path: Path, seed: int) -> None:
    """Whatever was put, overwritten and deleted over many transactions, the same records are found."""
    random = np.random.default_rng(seed)
    environment = lmdb.open(str(tmp_path), map_size=1 << 30, sync=False)
    for _ in range(20):
        with environment.begin(write=True) as transaction:
            for _ in range(60):
                key = random.bytes(int(random.integers(1, 60 if seed % 2 else 400)))
                size = int(random.choice([0, 1, 100, 2000, 2030, 4080, 4081, 9000, 70_000]))
                transaction.put(key, random.bytes(size))
            keys = [key for key, _ in transaction.cursor()]
            for place in random.integers(0, len(keys), 25):
                transaction.delete(keys[place])
    with environment.begin() as transaction:
        expected = [{"key": key, "value": value} for key, value in transaction.cursor()]
    environment.close()

    assert rows(open_lmdb(tmp_path)) == expected


def test_take_finds_samples_in_any_order(numbered: Path) -> None:
    """Random samples, repeats included, come in the order asked for."""
    source = open_lmdb(numbered, fields=PATTERNS, dtype={"image": "uint8"}, shape={"image": (4, 40, 40)})
    ids = np.random.default_rng(3).integers(0, 900, 300)
    taken = source.take(ids, ["label", "image"])

    assert isinstance(source, SupportsTake)
    assert np.array_equal(taken["image"], IMAGES[ids])
    assert taken["label"].tolist() == [str(i).encode() for i in ids]
    assert source.take([], ["image"])["image"].shape == (0, 4, 40, 40)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("pattern", ["{index}", "x{index:04d}", "{index:03d}-img", "a{{b}}{index:d}.png"])
def test_numbers_may_begin_at_zero_or_one(tmp_path: Path, first: int, pattern: str) -> None:
    """Samples come by number, not by key, padded or not, among other keys."""
    records = {pattern.format(index=i).encode(): b"%d" % i for i in range(first, 120)}
    noise = {b"other": b"?", pattern.format(index=7).encode() + b"!": b"?"}
    write(tmp_path, records | noise)
    source = open_lmdb(tmp_path, fields={"x": pattern}, decode="text")

    assert [row["x"] for row in rows(source)] == [str(i) for i in range(first, 120)]


def test_interleaved_keys_are_told_apart(tmp_path: Path) -> None:
    """Fields whose keys alternate are each read in their own order."""
    records = {f"{i:03d}-{name}".encode(): f"{name}{i}".encode() for i in range(50) for name in "ab"}
    source = open_lmdb(
        write(tmp_path, records), fields={"a": "{index:03d}-a", "b": "{index:03d}-b"}, decode="text"
    )

    assert rows(source) == [{"a": f"a{i}", "b": f"b{i}"} for i in range(50)]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({b"x-1": b"", b"x-3": b""}, "key `x-2` of the field `x` is missing"),
        ({b"x-2": b"", b"x-3": b""}, "from 0 or 1, but the first key is 2"),
        ({b"x-1": b"", b"num-samples": b"2"}, "promises 2 samples, but the keys are numbered from 1 to 1"),
        ({b"y-1": b""}, "no key fits x-{index}"),
    ],
)
def test_missing_keys_are_named(tmp_path: Path, records: dict[bytes, bytes], message: str) -> None:
    """A gap, a late beginning and a counter that disagrees are errors, never fewer samples in silence."""
    with pytest.raises(HeadraceError, match=message):
        open_lmdb(write(tmp_path, records), fields={"x": "x-{index}"})


def test_control_keys_are_no_samples(tmp_path: Path) -> None:
    """Counters and excluded keys are left out, by name and by prefix."""
    records = {
        b"a": b"1",
        b"meta-x": b"2",
        b"meta-y": b"3",
        b"z": b"4",
        b"__len__": b"4",
        b"num-samples": b"9",
    }
    source = open_lmdb(write(tmp_path, records), exclude=["meta-*", b"z"])

    assert rows(source) == [{"key": b"a", "value": b"1"}]


def test_named_databases_are_listed_and_chosen(tmp_path: Path) -> None:
    """An environment of named databases wants one of them; a wrong name lists what there is."""
    for name in ("train", "test"):
        write(tmp_path, {f"{name}-{i}".encode(): b"v" * i for i in range(5)}, database=name)

    with pytest.raises(OptionError, match=r"only named databases.*`test`, `train`"):
        open_lmdb(tmp_path)
    with pytest.raises(OptionError, match=r"has no database 'valid', but `test`, `train`"):
        open_lmdb(tmp_path, database="valid")
    assert [row["key"] for row in rows(open_lmdb(tmp_path, database="test"))] == [
        b"test-%d" % i for i in range(5)
    ]


def test_databases_beside_samples_are_passed_over(tmp_path: Path) -> None:
    """Named databases in an environment with samples of its own are no samples."""
    write(tmp_path, {b"inner": b"1"}, database="side")
    write(tmp_path, {b"a": b"1", b"b": b"2"})

    assert [row["key"] for row in rows(open_lmdb(tmp_path))] == [b"a", b"b"]
    assert [row["key"] for row in rows(open_lmdb(tmp_path, database="side"))] == [b"inner"]


def test_several_values_of_a_key_are_refused(tmp_path: Path) -> None:
    """A database made with `dupsort` is named as such."""
    environment = lmdb.open(str(tmp_path), max_dbs=2)
    database = environment.open_db(b"d", dupsort=True)
    with environment.begin(write=True, db=database) as transaction:
        transaction.put(b"k", b"1")
        transaction.put(b"k", b"2")
    environment.close()

    with pytest.raises(CorruptSourceError, match=r"key `k`: holds several values"):
        open_lmdb(tmp_path, database="d")


def test_empty_environment_has_no_samples(tmp_path: Path) -> None:
    """An environment without records opens, alone and beside others."""
    write(tmp_path / "a.lmdb", {})
    assert len(Dataset.of(open_lmdb(tmp_path, fields=PATTERNS))) == 0
    assert rows(open_lmdb(tmp_path)) == []

    write(tmp_path / "b.lmdb", {b"k": b"7"})
    assert rows(open_lmdb(tmp_path, decode="json")) == [{"key": b"k", "value": 7}]


def test_paths_of_all_kinds_are_found(tmp_path: Path) -> None:
    """Folders, folders of folders, globs, lists and single files name environments; lock files do not."""
    for name in ("part-10", "part-2"):
        write(tmp_path / f"{name}.lmdb", {name.encode(): b""})
    write(tmp_path / "single.mdb", {b"single": b""}, subdir=False)
    (tmp_path / "README.md").write_text("hello")

    def keys(path: Any) -> list[bytes]:
        return [row["key"] for row in rows(open_lmdb(path))]

    assert keys(tmp_path) == [b"part-2", b"part-10", b"single"]
    assert keys(tmp_path / "part-2.lmdb") == [b"part-2"]
    assert keys(str(tmp_path / "part-*.lmdb")) == [b"part-2", b"part-10"]
    assert keys([tmp_path / "single.mdb", tmp_path / "part-2.lmdb" / "data.mdb"]) == [b"single", b"part-2"]
    with pytest.raises(CorruptSourceError, match=r"README.md: an LMDB data file must"):
        keys(tmp_path / "README.md")
    with pytest.raises(MissingSourceError):
        keys(tmp_path / "nothing")
    (tmp_path / "text").mkdir()
    for name in "ab":
        (tmp_path / "text" / name).write_text("x")
    with pytest.raises(CorruptSourceError, match=r"a: an LMDB data file must"):
        keys(tmp_path / "text")


def test_folders_name_columns(tmp_path: Path) -> None:
    """Folders like `year=2013` become a column."""
    (tmp_path / "year=2013").mkdir()
    write(tmp_path / "year=2013" / "a.lmdb", {b"k": b"1"})

    assert rows(open_lmdb(tmp_path)) == [{"key": b"k", "value": b"1", "year": 2013}]


def test_two_sources_and_the_library_share_a_path(numbered: Path) -> None:
    """A path may be open several times in one process, in the library too."""
    with lmdb.open(str(numbered), readonly=True, lock=False) as environment:
        first, second = (open_lmdb(numbered, fields=PATTERNS) for _ in range(2))
        with environment.begin() as transaction:
            value = transaction.get(b"image-000000005")

        assert rows(first)[4]["image"] == rows(second)[4]["image"] == value


def _check_images(source: LmdbSource) -> bool:
    parts = [source.read(row_group, ["image"]).column(0).to_numpy_ndarray() for row_group in source.manifest]
    return bool(np.array_equal(np.concatenate(parts), IMAGES))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_source_is_read_in_other_processes(numbered: Path, method: str) -> None:
    """After reading in the parent, a forked and a spawned child read the same."""
    source = open_lmdb(numbered, fields=PATTERNS, dtype={"image": "uint8"}, shape={"image": (4, 40, 40)})
    assert _check_images(source)

    assert in_child(_check_images, source, method=method) == "True"


def test_pickled_source_is_small(small: Path) -> None:
    """A pickle holds neither data nor a number for each record."""
    assert len(pickle.dumps(open_lmdb(small))) < 100_000


def test_threads_share_a_source(small: Path) -> None:
    """Eight threads that read at once get what one gets."""
    source = open_lmdb(small)
    expected = Dataset.of(source).to_arrow()
    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(lambda _: Dataset.of(source).to_arrow(), range(16)))

    assert all(table.equals(expected) for table in tables)


def test_rewritten_environment_is_noticed(tmp_path: Path) -> None:
    """A commit after opening is an error at the next read, and another fingerprint."""
    write(tmp_path, {b"a": b"1"})
    source = open_lmdb(tmp_path)
    write(tmp_path, {b"a": b"2"})

    with pytest.raises(ChangedSourceError, match="open the data set again"):
        source.read(source.manifest[0], ["value"])
    assert open_lmdb(tmp_path).manifest.fingerprint != source.manifest.fingerprint


def test_fingerprint_survives_a_move_and_tells_settings_apart(numbered: Path, tmp_path: Path) -> None:
    """The same bytes elsewhere are the same data set; another decoding is another one."""
    shutil.copytree(numbered, tmp_path / "copy")
    there = open_lmdb(numbered, fields=PATTERNS).manifest.fingerprint

    assert open_lmdb(tmp_path / "copy", fields=PATTERNS).manifest.fingerprint == there
    assert open_lmdb(numbered, fields=PATTERNS, decode={"label": "text"}).manifest.fingerprint != there


def test_spellings_of_a_dtype_are_one_setting(numbered: Path) -> None:
    """A dtype by name, by class or as an object gives the same fingerprint."""
    found = {
        open_lmdb(numbered, dtype=dtype, exclude=["label-*"]).manifest.fingerprint
        for dtype in ("uint8", np.uint8, np.dtype("uint8"))
    }

    assert len(found) == 1


def test_memory_limit_is_judged_before_allocating(tmp_path: Path) -> None:
    """What a row group takes is summed up first, and the sum is shown."""
    write(tmp_path, {b"k": bytes(1 << 20)})

    with pytest.raises(MemoryLimitError, match=r"row group 0: decoding takes 1,048,576 \(`value`\)"):
        rows(open_lmdb(tmp_path, limit=1000))


@pytest.mark.parametrize("part", [0.0, 1, 0.1, 0.5, 0.99, -1])
def test_cut_off_file_is_an_error(numbered: Path, tmp_path: Path, part: float) -> None:
    """A file cut at 0, 1, a tenth, half, 99 % and all but one byte is refused, not mapped and read."""
    content = (numbered / "data.mdb").read_bytes()
    kept = int(part) if part in (0, 1) else (len(content) - 1 if part < 0 else int(len(content) * part))
    (tmp_path / "data.mdb").write_bytes(content[:kept])

    answer = in_child(read_everything, str(tmp_path), {"fields": PATTERNS})
    assert answer.startswith("CorruptSourceError"), answer
    assert "data.mdb" in answer


def test_file_cut_after_opening_is_an_error(numbered: Path, tmp_path: Path) -> None:
    """A file that shrinks between two reads is noticed before its pages are touched."""
    shutil.copy(numbered / "data.mdb", tmp_path / "data.mdb")

    assert in_child(_read_cut_read, str(tmp_path)).startswith("ChangedSourceError")


def _read_cut_read(path: str) -> str:
    source = open_lmdb(path, fields=PATTERNS)
    source.read(source.manifest[0], ["image"])
    os.truncate(f"{path}/data.mdb", 8192)
    return str(source.read(source.manifest[len(source.manifest) - 1], ["image"]).num_rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": {}}, "`fields` must map"),
        ({"fields": {"x": "no-number"}}, "one placeholder"),
        ({"fields": {"x": "{index}-{index}"}}, "one placeholder"),
        ({"fields": {"x": "{index:x}"}}, "one placeholder"),
        ({"fields": {"x": "{number}"}}, "one placeholder"),
        ({"decode": "yaml"}, "`decode` must be"),
        ({"decode": {"image": "raw"}}, "may name"),
        ({"decode": "pickle"}, "allow_pickle"),
        ({"shape": (3,)}, "need a `dtype`"),
        ({"dtype": "object"}, "NumPy dtype of numbers"),
        ({"dtype": "uint8", "shape": (0,)}, "positive whole numbers"),
        ({"exclude": "key"}, "list of keys"),
        ({"decode": "image", "shape": (4, 4, 2)}, "image's `shape`"),
    ],
)
def test_options_check_themselves(options: dict[str, Any], message: str) -> None:
    """Options that cannot be right are refused when they are made."""
    with pytest.raises(OptionError, match=message):
        LmdbOptions(**options)


def test_pattern_knows_only_its_own_keys() -> None:
    """A padded number has one spelling, and larger numbers grow."""
    pattern = KeyPattern.parse("x", "a{index:03d}b")

    assert [pattern.key(index) for index in (7, 1234)] == [b"a007b", b"a1234b"]


def test_environments_must_agree(tmp_path: Path) -> None:
    """Shards whose values have another shape are refused when they are opened."""
    for shard in range(2):
        stream = io.BytesIO()
        np.save(stream, np.zeros(3 + shard))
        write(tmp_path / f"{shard}.lmdb", {b"k": stream.getvalue()})

    with pytest.raises(SchemaError, match=r"1.lmdb"):
        open_lmdb(tmp_path, decode="npy")
