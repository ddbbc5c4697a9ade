"""IDX files: MNIST's format, plain and compressed."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.dataset import Dataset
from headrace.errors import (
    ChangedSourceError,
    CorruptSourceError,
    HeadraceError,
    MemoryLimitError,
    SchemaError,
)
from headrace.sources.base import Source
from headrace.sources.files import ShardFile, find_files
from headrace.sources.idx import IdxOptions, IdxSource
from headrace.testing import SourceTests

CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}
FASHION = Path(__file__).parents[1] / "data" / "fashion-mnist"
IMAGES = np.random.default_rng(0).integers(0, 256, (30_000, 28, 28), np.uint8)


def encode(array: np.ndarray, kind: str = "u1") -> bytes:
    return (
        bytes([0, 0, CODES[kind], array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(kind).tobytes()
    )


def open_idx(path: Any, limit: int = 1 << 30, **options: Any) -> IdxSource:
    return IdxSource.open(find_files(path), IdxOptions(**options), limit)


@pytest.fixture(scope="module")
def mnist_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("idx")
    (folder / "train-images-idx3-ubyte").write_bytes(encode(IMAGES))
    (folder / "train-labels-idx1-ubyte").write_bytes(encode(np.arange(30_000) % 10))
    return folder


class TestIdx(SourceTests):
    """Images and labels side by side, in several row groups."""

    @pytest.fixture
    def source(self, mnist_folder: Path) -> Source:
        return open_idx(mnist_folder)

    @pytest.fixture
    def expected(self) -> pa.Table:
        image = pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES)
        return pa.table({"image": image, "label": (np.arange(30_000) % 10).astype(np.uint8)})


def test_fashion_mnist_has_its_values() -> None:
    """The real files give what their bytes say, in images and in labels."""
    source = IdxSource.open(find_files(str(FASHION / "t10k-*")), IdxOptions(), 1 << 30)
    table = Dataset.of(source).to_arrow()
    images = gzip.decompress((FASHION / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((FASHION / "t10k-labels-idx1-ubyte.gz").read_bytes())

    assert struct.unpack(">4I", images[:16]) == (2051, 10_000, 28, 28)
    assert table["image"].combine_chunks().to_numpy_ndarray().tobytes() == images[16:]
    assert table["label"].to_numpy().tobytes() == labels[8:]
    assert np.bincount(table["label"].to_numpy()).tolist() == [1000] * 10


@pytest.mark.parametrize("kind", list(CODES))
def test_every_dtype(tmp_path: Path, kind: str) -> None:
    """Numbers of all of the format's dtypes come in native byte order."""
    array = np.arange(24).reshape(4, 3, 2)
    (tmp_path / "x.idx").write_bytes(encode(array, kind))
    (tmp_path / "y.idx").write_bytes(encode(array[:, 0, 0], kind))
    table = Dataset.of(open_idx(tmp_path)).to_arrow()

    assert np.array_equal(table["x"].combine_chunks().to_numpy_ndarray(), array)
    assert table["y"].to_pylist() == [0, 6, 12, 18]
    assert table.schema.field("y").type == pa.from_numpy_dtype(np.dtype(kind).newbyteorder("="))


def test_files_of_a_column_are_shards(tmp_path: Path) -> None:
    """Train and test files follow each other; columns may be named by the user."""
    for part, begin in (("t10k", 0), ("train", 3)):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(encode(IMAGES[begin : begin + 3]))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(encode(np.arange(begin, begin + 3)))

    assert Dataset.of(open_idx(tmp_path)).to_arrow()["label"].to_pylist() == [0, 1, 2, 3, 4, 5]
    chosen = open_idx(tmp_path, columns={"y": "train-labels-idx1-ubyte"})
    assert Dataset.of(chosen).to_arrow().to_pydict() == {"y": [3, 4, 5]}


def test_columns_must_have_one_length(tmp_path: Path) -> None:
    """Images without as many labels are refused, with both counts."""
    (tmp_path / "train-images-idx3-ubyte").write_bytes(encode(IMAGES[:4]))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encode(np.arange(3)))
    with pytest.raises(SchemaError, match=r"\{'image': \[4\], 'label': \[3\]\}"):
        open_idx(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kept", [0, 1, 10, 0.5, -1])
def test_cut_off_file_is_an_error(tmp_path: Path, packed: bool, kept: float) -> None:
    """A file cut at 0, 1, half and all but one byte is an error before any value is used."""
    content = gzip.compress(encode(IMAGES[:50])) if packed else encode(IMAGES[:50])
    kept_bytes = int(kept) if isinstance(kept, int) else int(len(content) * kept)
    (tmp_path / "x.idx").write_bytes(content[:kept_bytes])

    with pytest.raises(CorruptSourceError, match=r"x.idx"):
        Dataset.of(open_idx(tmp_path)).to_arrow()


def test_bombs_are_refused_before_allocating(tmp_path: Path) -> None:
    """A header that promises more than there is, and a file that unpacks to more than allowed, are errors."""
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 1 << 31, 1 << 15, 1 << 15)
    (tmp_path / "x.idx").write_bytes(header)
    with pytest.raises(CorruptSourceError, match="takes"):
        open_idx(tmp_path)
    (tmp_path / "x.idx").write_bytes(gzip.compress(header + bytes(1 << 20)))
    with pytest.raises(CorruptSourceError, match="unpacks to 1,048,592 bytes instead of"):
        open_idx(tmp_path)
    header = bytes([0, 0, 8, 1]) + struct.pack(">I", 1 << 24)
    (tmp_path / "x.idx").write_bytes(gzip.compress(header + bytes(1 << 24)))
    with pytest.raises(MemoryLimitError, match="takes 16,777,216"):
        Dataset.of(open_idx(tmp_path, limit=1 << 20)).to_arrow()
    (tmp_path / "x.idx").write_bytes(gzip.compress(header + bytes(1 << 25)))
    with pytest.raises(MemoryLimitError, match="unpacks to more than the limit of 1,048,576"):
        open_idx(tmp_path, limit=1 << 20)


def test_flipped_bits_are_values_or_one_error(tmp_path: Path) -> None:
    """Whatever bit of the header flips, the answer is values or one error that names the file."""
    content = encode(np.arange(24).reshape(4, 3, 2))
    for bit in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "x.idx").write_bytes(flipped)
        answer = _rows_or_error(tmp_path)
        assert answer == "4" or "x.idx" in answer


def _rows_or_error(folder: Path) -> str:
    try:
        return str(Dataset.of(open_idx(folder)).to_arrow().num_rows)
    except HeadraceError as error:
        return str(error)


def test_rewritten_file_is_noticed(tmp_path: Path) -> None:
    """A file that changes after opening is an error at the next read."""
    path = tmp_path / "x.idx"
    path.write_bytes(encode(np.arange(3)))
    source = IdxSource.open([ShardFile(str(path))], IdxOptions(), 1 << 30)
    path.write_bytes(encode(np.arange(3) + 1))

    with pytest.raises(ChangedSourceError):
        source.read(source.manifest[0], ["x"])
