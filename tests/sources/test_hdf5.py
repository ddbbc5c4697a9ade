"""The contract of a source for HDF5, and what it promises of its options, row groups and identity."""

from __future__ import annotations

import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hdf5_files import open_file, read_all, write

from headrace.batch import Sparse, to_sparse
from headrace.dataset import Dataset
from headrace.errors import (
    ChangedSourceError,
    MemoryLimitError,
    OptionError,
    SchemaError,
    UnknownColumnError,
)
from headrace.sources.base import Source
from headrace.sources.files import find_files
from headrace.sources.hdf5 import Hdf5Options, Hdf5Source
from headrace.testing.sources import SourceTests

ROWS = 700
RANDOM = np.random.default_rng(3)


def sample_columns() -> dict[str, np.ndarray]:
    return {
        "image": RANDOM.integers(0, 255, (ROWS, 3, 40, 40), np.uint8),
        "label": np.arange(ROWS),
        "weight": RANDOM.random(ROWS),
    }


class TestHdf5Source(SourceTests):
    """Everything that any source promises."""

    @pytest.fixture
    def expected(self) -> pa.Table:
        columns = sample_columns()
        text = [f"sample {row}" for row in range(ROWS)]
        image = pa.FixedShapeTensorArray.from_numpy_ndarray(columns["image"])
        return pa.table(
            {"image": image, "label": columns["label"], "name": text, "weight": columns["weight"]}
        )

    @pytest.fixture
    def source(self, tmp_path: Path, expected: pa.Table) -> Source:
        image = expected.column("image").combine_chunks().to_numpy_ndarray()
        path = write(
            tmp_path / "a.h5",
            image={"data": image, "chunks": (64, 3, 40, 40), "compression": "lzf", "shuffle": True},
            label={"data": expected.column("label").to_numpy(), "chunks": (100,), "fletcher32": True},
            name={"data": expected.column("name").to_pylist(), "dtype": h5py.string_dtype()},
            weight=expected.column("weight").to_numpy(),
        )
        return open_file(path)


@pytest.fixture
def path(tmp_path: Path) -> str:
    columns = sample_columns()
    return write(
        tmp_path / "a.h5",
        image={
            "data": columns["image"],
            "chunks": (64, 3, 40, 40),
            "compression": "gzip",
            "fletcher32": True,
        },
        label=columns["label"],
        weight={"data": columns["weight"], "chunks": (ROWS,), "fletcher32": True},
    )


def test_row_groups_are_runs_of_whole_chunks(path: str) -> None:
    """No chunk of the widest column is cut, and row groups hold some MB."""
    source = open_file(path)
    rows = [row_group.rows for row_group in source.manifest]

    assert sum(rows) == ROWS
    assert all(count % 64 == 0 for count in rows[:-1])
    assert max(row_group.nbytes for row_group in source.manifest) <= 1 << 22


def test_a_long_chunk_beside_short_ones_makes_no_huge_row_group(tmp_path: Path) -> None:
    """Labels in one chunk do not force all images into one row group."""
    images = np.zeros((2000, 3, 64, 64), np.uint8)
    path = write(
        tmp_path / "a.h5",
        image={"data": images, "chunks": (1, 3, 64, 64)},
        label={"data": np.arange(2000), "chunks": (2000,), "compression": "gzip"},
    )

    assert max(row_group.rows for row_group in open_file(path).manifest) < 400


def test_lengths_must_agree(tmp_path: Path) -> None:
    """Columns of several lengths are listed, or cut to the shortest where that is asked for."""
    path = write(tmp_path / "a.h5", x=np.arange(5), y=np.arange(7))
    with pytest.raises(SchemaError, match=r"`x` 5, `y` 7"):
        open_file(path)

    assert read_all(open_file(path, on_length_mismatch="shortest")).num_rows == 5
    assert read_all(open_file(path, columns=["y"])).num_rows == 7


def test_columns_are_chosen_by_name(path: str, tmp_path: Path) -> None:
    """Data sets and members of compound ones are chosen; what is not there is named."""
    people = np.zeros(3, [("age", "i4"), ("size", [("width", "f4"), ("height", "f4")])])
    other = write(tmp_path / "b.h5", people=people, z=np.arange(3))

    assert open_file(path, columns=["weight", "label"]).schema.names == ["weight", "label"]
    assert open_file(other).schema.names == ["people.age", "people.size.width", "people.size.height", "z"]
    assert open_file(other, columns=["people.size"]).schema.names == [
        "people.size.width",
        "people.size.height",
    ]
    for wrong in ("people.weight", "nobody"):
        with pytest.raises(UnknownColumnError, match=wrong):
            open_file(other, columns=[wrong])


def test_options_check_themselves() -> None:
    """A wrong option is refused when it is made."""
    for wrong in (
        {"group": ""},
        {"columns": "image"},
        {"columns": []},
        {"on_length_mismatch": "longest"},
        {"missing": "zero"},
        {"allow_external": "yes"},
    ):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            Hdf5Options(**wrong)


def test_groups_are_chosen_by_path(tmp_path: Path) -> None:
    """A nested group is found; one that is not there, or is no group, is an error that lists what is."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/fold/x"] = np.arange(4)
        file["soft"] = h5py.SoftLink("/train/fold")

    assert read_all(open_file(tmp_path / "a.h5", group="/train/fold")).column("x").to_pylist() == [0, 1, 2, 3]
    assert open_file(tmp_path / "a.h5", group="soft").manifest.total == 4
    for group, found in (("/test", "train"), ("/train", "fold"), ("/train/fold/x", "no group")):
        with pytest.raises(SchemaError, match=found):
            open_file(tmp_path / "a.h5", group=group)


def test_shards_must_have_equal_columns(tmp_path: Path) -> None:
    """Two shards are one data set; a column that differs is named with both types."""
    one = write(tmp_path / "1.h5", x=np.arange(3))
    two = write(tmp_path / "2.h5", x=np.arange(3, 5))
    bad = write(tmp_path / "3.h5", x=np.arange(3.0))
    both = Hdf5Source.open(find_files([one, two]), Hdf5Options(), 1 << 20)

    assert read_all(both).column("x").to_pylist() == [0, 1, 2, 3, 4]
    with pytest.raises(SchemaError, match=r"`x` .*int64 in .*double"):
        Hdf5Source.open(find_files([one, bad]), Hdf5Options(), 1 << 20)


def test_folders_give_columns(tmp_path: Path) -> None:
    """The names of `key=value` folders are columns, as for other formats."""
    for year in (2001, 2002):
        (tmp_path / f"year={year}").mkdir()
        write(tmp_path / f"year={year}" / "a.h5", x=np.arange(2))

    assert read_all(open_file(tmp_path)).to_pydict() == {"x": [0, 1, 0, 1], "year": [2001, 2001, 2002, 2002]}


def test_identity_is_that_of_the_contents(path: str, tmp_path: Path) -> None:
    """A copy elsewhere has the same fingerprint, and other values in the same layout have another."""
    copy = str(shutil.copy(path, tmp_path / "copy.h5"))
    values = np.zeros(1 << 20)
    plain, other = write(tmp_path / "p.h5", x=values), write(tmp_path / "o.h5", x=values + 1)

    assert open_file(copy).manifest.fingerprint == open_file(path).manifest.fingerprint
    assert os.path.getsize(plain) == os.path.getsize(other)
    assert open_file(plain).manifest.fingerprint != open_file(other).manifest.fingerprint


def test_replaced_file_is_noticed(path: str, tmp_path: Path) -> None:
    """A file that was replaced after it was opened is an error, even one of the same size."""
    source = open_file(path)
    write(tmp_path / "new.h5", x=np.arange(3))
    os.replace(tmp_path / "new.h5", path)

    with pytest.raises(ChangedSourceError, match="open the data set again"):
        read_all(source)


def test_memory_limit_is_judged_before_reading(tmp_path: Path) -> None:
    """What does not fit is refused with the sum shown, and a claim in the header allocates nothing."""
    path = write(tmp_path / "a.h5", x=np.zeros((4, 1000)), y=np.zeros(4))
    with pytest.raises(
        MemoryLimitError, match=r"32,000 \(`x`\) \+ 32 \(`y`\) = 32,032 bytes.*limit of 1,000"
    ):
        read_all(open_file(path, limit=1000))

    bomb = {"shape": (1 << 20, 1 << 18), "dtype": "u1", "chunks": (1 << 10, 1 << 18), "compression": "gzip"}
    path = write(tmp_path / "b.h5", x=bomb)
    source = open_file(path, limit=1 << 25, missing="fill")
    with pytest.raises(MemoryLimitError, match="memory_limit"):
        source.read(next(iter(source.manifest)), ["x"])


def test_shared_text_does_not_multiply(tmp_path: Path) -> None:
    """Samples that all refer to one long text on the heap are summed up before they are read."""
    path = tmp_path / "a.h5"
    write(path, x={"data": ["y" * 1_000_000] + ["z"] * 999, "dtype": h5py.string_dtype()})
    with h5py.File(path) as file:
        offset = file["x"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[offset : offset + 16_000] = content[offset : offset + 16] * 1000
    path.write_bytes(content)

    source = open_file(path, limit=100_000_000)
    with pytest.raises(MemoryLimitError, match=r"limit of 100,000,000"):
        read_all(source)


def test_fork_after_reading(path: str) -> None:
    """A forked child reads as its parent does, while other threads of the parent go on reading."""
    source, expected = open_file(path), read_all(open_file(path))
    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(read_all, source) for _ in range(20)]
        children: list[int] = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                os._exit(0 if read_all(source).equals(expected) else 1)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

    assert codes == [0] * 4
    assert all(read.result().equals(expected) for read in busy)


def test_batches_through_the_loader(path: str, tmp_path: Path) -> None:
    """The whole way: a shuffled epoch gives every sample once, with its own values."""
    source = open_file(path)
    dataset = Dataset.of(pickle.loads(pickle.dumps(source)))
    image = dataset.to_arrow().column("image").combine_chunks().to_numpy_ndarray()
    labels: list[int] = []
    with dataset.loader(batch_size=50, shuffle=True, seed=1, output="numpy") as loader:
        for batch in loader:
            labels += batch["label"].tolist()
            np.testing.assert_array_equal(batch["image"], image[batch["label"]])

    assert sorted(labels) == list(range(ROWS))


def test_sparse_rows_travel(tmp_path: Path) -> None:
    """Sparse rows survive taking samples in any order, across row groups of one file."""
    dense = RANDOM.random((300, 50)) * (RANDOM.random((300, 50)) < 0.1)
    rows, indices = np.nonzero(dense)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=300))])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", (300, 50)
        group["data"], group["indices"] = dense[rows, indices], indices.astype(np.int32)
        group.create_dataset("indptr", data=offsets, chunks=(37,), compression="gzip")
        file["y"] = np.arange(300)
    source = open_file(tmp_path / "a.h5")
    ids = RANDOM.permutation(300)[:120]
    taken = to_sparse(Dataset.of(source).rows(ids).to_arrow().column("X").combine_chunks())

    assert isinstance(taken, Sparse)
    np.testing.assert_array_equal(taken.to_dense(), dense[ids])
    assert to_sparse(Dataset.of(source).take(ids)["X"]).shape == (120, 50)


def test_notes_say_what_is_slow_or_unprotected(path: str, tmp_path: Path) -> None:
    """Columns that h5py must read, and those without checksums of values or of headers, are named."""
    rows = np.array([("a", 1), ("b", 2)], [("text", h5py.string_dtype()), ("number", "i4")])
    other = write(tmp_path / "b.h5", rows=rows, x=np.arange(2))
    with h5py.File(tmp_path / "c.h5", "w", libver="latest") as file:
        file.create_dataset("x", data=np.arange(9), chunks=(4,), fletcher32=True)
    values, headers = open_file(path).notes

    assert values.startswith("no checksum (Fletcher-32) protects `label`; damage can pass unseen")
    assert headers.startswith("no checksum (as the latest format has) protects the header")
    assert "`image`" in headers
    assert "`label`" not in headers
    assert open_file(other).notes[0].startswith("`rows` is read by h5py, one thread at a time, as ")
    assert open_file(tmp_path / "c.h5").notes == ()
