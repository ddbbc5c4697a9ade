"""TFRecord files: framing, checksums, and features as columns."""

from __future__ import annotations

import gzip
import io
import pickle
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tfrecord_files import example, record, write

from headrace.dataset import Dataset
from headrace.errors import (
    ChangedSourceError,
    CorruptSourceError,
    HeadraceError,
    MemoryLimitError,
    MissingDependencyError,
    OptionError,
    SchemaError,
    UndecodableError,
)
from headrace.sources.base import Source
from headrace.sources.files import find_files
from headrace.sources.tfrecord import TfRecordOptions, TfRecordSource
from headrace.testing import SourceTests

PIXELS = np.random.default_rng(0).integers(0, 256, (700, 5000 * 3), np.uint8)


def open_tfrecord(path: Any, limit: int = 1 << 30, **options: Any) -> TfRecordSource:
    return TfRecordSource.open(find_files(path), TfRecordOptions(**options), limit)


def table(source: TfRecordSource) -> pa.Table:
    return Dataset.of(source).to_arrow()


def read(path: Path, records: list[bytes], **options: Any) -> list[dict[str, Any]]:
    return table(open_tfrecord(write(path / "x.tfrecord", records), **options)).to_pylist()


@pytest.fixture(scope="module")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tfrecord")
    for shard in range(2):
        rows = range(shard * 600, min(shard * 600 + 600, 700))
        write(folder / f"part-{shard}.tfrecord", [_row(i) for i in rows])
    return folder


class TestExamples(SourceTests):
    """Images of one size, labels, floats of one length and of many, over two files and several row groups."""

    @pytest.fixture
    def source(self, example_folder: Path) -> Source:
        return open_tfrecord(example_folder, dtype={"image": "uint8"}, shape={"image": (5000, 3)})

    @pytest.fixture
    def expected(self) -> pa.Table:
        rows = range(700)
        return pa.table(
            {
                "image": pa.FixedShapeTensorArray.from_numpy_ndarray(PIXELS.reshape(-1, 5000, 3)),
                "label": pa.array([i * 1000 - 7 for i in rows], pa.int64()),
                "box": pa.FixedShapeTensorArray.from_numpy_ndarray(
                    np.array([[i, i + 0.5, -i, 0.25] for i in rows], np.float32)
                ),
                "ids": pa.array([list(range(i % 5)) for i in rows], pa.list_(pa.int64())),
                "name": pa.array([f"name {i}".encode() for i in rows], pa.binary()),
            }
        ).select(["image", "label", "box", "ids", "name"])


def _row(i: int) -> bytes:
    values: dict[str, list[Any]] = {
        "image": [PIXELS[i].tobytes()],
        "label": [i * 1000 - 7],
        "box": [float(i), i + 0.5, float(-i), 0.25],
        "ids": list(range(i % 5)),
        "name": [f"name {i}".encode()],
    }
    return example(values)


@pytest.mark.parametrize("packed", [True, False])
def test_encodings_of_lists_are_equal(tmp_path: Path, packed: bool) -> None:
    """Numbers arrive the same packed or one by one."""
    rows = [{"i": [i, -i, 2**40 + i], "f": [i / 2, -1.0], "s": [i]} for i in range(40)]
    expected = [{"i": row["i"], "f": row["f"], "s": row["s"][0]} for row in rows]

    assert read(tmp_path, [example(row, packed) for row in rows]) == expected


def test_features_may_come_in_any_order(tmp_path: Path) -> None:
    """Each record may order its features on its own, and leave some out."""
    random = np.random.default_rng(2)
    rows: list[dict[str, Any]] = []
    for i in range(300):
        row = {"a": [i % 100], "b": [b"x" * (i % 3 + 1)], "c": [i / 4], "d": [i, i]}
        names = random.permutation(list(row)).tolist()
        rows.append({name: row[name] for name in names if i < 16 or random.random() < 0.8})
    shape = {"d": (-1,)}
    found = read(tmp_path, [example(row) for row in rows], shape=shape)
    expected = [
        {name: (row[name][0] if name != "d" else row[name]) if name in row else None for name in "abcd"}
        for row in rows
    ]

    assert [dict(sorted(row.items())) for row in found] == expected


def test_missing_features_are_null_or_an_error(tmp_path: Path) -> None:
    """What a record lacks is null, also in arrays, or an error that names record and feature."""
    rows = [example({"x": [1.0, 2.0], "y": [i], "z": [b"ab"]}) for i in range(17)] + [example({"y": [7]})]
    options = {"dtype": {"z": "uint8"}, "shape": {"z": (2,)}}

    last = read(tmp_path, rows, **options)[-1]
    assert last == {"x": None, "y": 7, "z": None}
    with pytest.raises(UndecodableError, match=r"row group 0, record 17: .*lacks the feature `x`") as caught:
        read(tmp_path, rows, missing="error", **options)
    assert caught.value.rows == (17,)


def test_features_are_chosen(tmp_path: Path) -> None:
    """Named features alone are read; an unknown one is refused, and so is one that appears late."""
    rows = [example({"a": [i], "b": [b"x"]}) for i in range(20)]
    assert read(tmp_path, rows, features=["b"])[0] == {"b": b"x"}
    with pytest.raises(SchemaError, match="none of the first records has the feature `c`"):
        read(tmp_path, rows, features=["c"])

    late = [*rows, example({"a": [1], "b": [b"x"], "late": [2]})]
    with pytest.raises(UndecodableError, match=r"record 20.*has the feature `late`"):
        read(tmp_path, late)
    assert len(read(tmp_path, late, features=["a"])) == 21


def test_bytes_are_decoded(tmp_path: Path) -> None:
    """Images, text and JSON within features, and whole records, are decoded as in LMDB."""
    stream = io.BytesIO()
    Image.fromarray(PIXELS[0, :75].reshape(5, 5, 3)).save(stream, "PNG")
    rows = [example({"im": [stream.getvalue()], "t": [b"hi"], "m": [b'{"k": 1}'], "l": [b"a", b"b"]})] * 3
    found = read(tmp_path, rows, decode={"im": "image", "t": "text", "m": "json"})[2]

    assert found == {"im": PIXELS[0, :75].tolist(), "t": "hi", "m.k": 1, "l": [b"a", b"b"]}
    assert read(tmp_path, [b"one", b""], content="bytes") == [{"record": b"one"}, {"record": b""}]
    assert read(tmp_path, [b"1", b"2"], content="bytes", decode={"record": "json"})[1] == {"record": 2}


@pytest.mark.parametrize(
    "pack", [gzip.compress, zlib.compress, lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:])]
)
def test_compressed_files_are_one_row_group(tmp_path: Path, pack: Any) -> None:
    """Files compressed as a whole give the same values, within the memory limit."""
    rows = [example({"x": [i], "b": [bytes(5000)]}) for i in range(300)]
    plain = b"".join(record(row) for row in rows)
    (tmp_path / "x.tfrecord.gz").write_bytes(pack(plain))
    source = open_tfrecord(tmp_path)

    assert table(source)["x"].to_pylist() == list(range(300))
    assert len(source.manifest) == 1
    with pytest.raises(MemoryLimitError, match="unpacks to more than the limit of 100,000"):
        open_tfrecord(tmp_path, limit=100_000)
    (tmp_path / "x.tfrecord.gz").write_bytes(pack(plain)[:-20])
    with pytest.raises(CorruptSourceError, match=r"x.tfrecord.gz: "):
        open_tfrecord(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 11, 12, 0.5, -1])
def test_cut_off_file_is_an_error(tmp_path: Path, kept: float) -> None:
    """A file cut anywhere within a record is refused when it is opened."""
    path = write(tmp_path / "x.tfrecord", [example({"x": [i]}) for i in range(101)])
    content = path.read_bytes()
    path.write_bytes(content[: int(kept) if isinstance(kept, int) else int(len(content) * kept)])

    with pytest.raises(CorruptSourceError, match=r"x.tfrecord: "):
        open_tfrecord(tmp_path)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """Checksums cover lengths and bytes, so no flipped bit passes in silence."""
    path = write(tmp_path / "x.tfrecord", [example({"x": [i], "y": [b"abc"]}) for i in range(5)])
    content = path.read_bytes()
    for bit in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(HeadraceError, match=r"x\.tfrecord"):
            table(open_tfrecord(tmp_path))


def test_damaged_record_leaves_the_others(tmp_path: Path) -> None:
    """A record whose bytes are damaged is named, with its row."""
    path = write(tmp_path / "x.tfrecord", [example({"x": [i]}) for i in range(40)])
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    source = open_tfrecord(tmp_path)

    with pytest.raises(UndecodableError, match=r"record 39: .*checksum") as caught:
        source.read(source.manifest[0], ["x"])
    assert pickle.loads(pickle.dumps(caught.value)).rows == (39,)
    unchecked = open_tfrecord(tmp_path, verify_checksums=False)
    assert len(unchecked.manifest.shards[0].rows) == 1


def test_damage_without_checksums_is_values_or_one_error(tmp_path: Path) -> None:
    """Messages that are damaged end in an error of ours, whatever the bit."""
    message = example({"x": [1, 2, 3], "y": [b"abc"], "z": [1.5]})
    for bit in range(len(message) * 8):
        flipped = bytearray(message)
        flipped[bit // 8] ^= 1 << bit % 8
        assert "x.tfrecord" in _values_or_error(tmp_path, [message] * 3 + [bytes(flipped)])


def _values_or_error(folder: Path, records: list[bytes]) -> str:
    try:
        return f"{len(read(folder, records))} rows of x.tfrecord"
    except HeadraceError as error:
        return str(error)


def test_missing_checksum_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the error says what to install; without verification none is needed."""
    path = write(tmp_path / "x.tfrecord", [example({"x": [1]})])
    monkeypatch.setitem(sys.modules, "google_crc32c", None)

    with pytest.raises(MissingDependencyError, match=r"headrace\[tfrecord\]"):
        open_tfrecord(path)
    assert table(open_tfrecord(path, verify_checksums=False)).to_pylist() == [{"x": 1}]


def test_rewritten_file_is_noticed(tmp_path: Path) -> None:
    """A file that changes after opening is an error at the next read."""
    path = write(tmp_path / "x.tfrecord", [example({"x": [1]})])
    source = open_tfrecord(path)
    write(path, [example({"x": [2]})])

    with pytest.raises(ChangedSourceError):
        source.read(source.manifest[0], ["x"])
    assert open_tfrecord(path).manifest.fingerprint != source.manifest.fingerprint


def test_memory_limit_shows_the_sum(tmp_path: Path) -> None:
    """What a row group takes is judged before it is read."""
    path = write(tmp_path / "x.tfrecord", [example({"x": [bytes(10_000)]})] * 30)
    source = open_tfrecord(path)
    limited = TfRecordSource(source.files, source.scans, source.options, 250_000)
    with pytest.raises(MemoryLimitError, match=r"decoding takes 3\d\d,\d\d\d \(`the records`\)"):
        limited.read(source.manifest[0], ["x"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content": "text"}, "`content` must be"),
        ({"missing": "skip"}, "`missing` must be"),
        ({"decode": "image"}, "map features to values"),
        ({"decode": {"x": "pickle"}}, "allow_pickle"),
    ],
)
def test_options_check_themselves(options: dict[str, Any], message: str) -> None:
    """Options that cannot be right are refused when they are made."""
    with pytest.raises(OptionError, match=message):
        TfRecordOptions(**options)
