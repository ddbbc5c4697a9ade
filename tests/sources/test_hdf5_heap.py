"""Text and lists of any length in HDF5: what h5py reads, also from heaps with gaps; damage is an error."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_files import open_file, read_all, write
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import CorruptSourceError, MemoryLimitError

TEXTS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=60)


@given(texts=TEXTS, block=st.sampled_from([0, 512]), repeats=st.sampled_from([1, 40]))
@settings(max_examples=40, deadline=None)
def test_any_texts(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], block: int, repeats: int
) -> None:
    """Texts of all lengths and scripts come back, empty ones too, and behind a user block."""
    path = tmp_path_factory.mktemp("texts") / "a.h5"
    column = texts * repeats + [""]
    with h5py.File(path, "w", userblock_size=block) as file:
        file.create_dataset("x", data=column, dtype=h5py.string_dtype())

    assert read_all(open_file(path))["x"].to_pylist() == column


@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i4", "<f8", ">f2"])
def test_lists_of_all_lengths(tmp_path: Path, dtype: str) -> None:
    """Lists of any dtype come in native byte order; some are empty, some larger than a collection."""
    random = np.random.default_rng(0)
    lists = [random.integers(0, 99, size).astype(dtype) for size in (0, 1, 7, 3000, 0, 40_000, 2)]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        column = file.create_dataset("x", (len(lists),), h5py.vlen_dtype(np.dtype(dtype)), chunks=(3,))
        for place, values in enumerate(lists):
            column[place] = values
    table = read_all(open_file(tmp_path / "a.h5"))

    assert table["x"].to_pylist() == [values.tolist() for values in lists]


def test_heaps_with_gaps(tmp_path: Path) -> None:
    """Values that were written over leave gaps on the heap, and what is there now is read."""
    random = np.random.default_rng(1)
    expected = [""] * 300
    with h5py.File(tmp_path / "a.h5", "w") as file:
        column = file.create_dataset("x", (300,), h5py.string_dtype(), chunks=(50,))
        for place in random.integers(0, 300, 3000).tolist():
            expected[place] = "x" * int(random.integers(0, 200))
            column[place] = expected[place]
    source = open_file(tmp_path / "a.h5", missing="fill")

    assert read_all(source)["x"].to_pylist() == expected
    assert not any("h5py" in note for note in source.notes)


def test_shared_values_and_nothing(tmp_path: Path) -> None:
    """Rows that were never written hold nothing, if that is allowed."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        column = file.create_dataset("x", (9,), h5py.string_dtype(), chunks=(3,))
        column[4] = "a"

    assert (
        read_all(open_file(tmp_path / "a.h5", missing="fill"))["x"].to_pylist() == [""] * 4 + ["a"] + [""] * 4
    )


def heap_of(path: Path) -> int:
    """Tell where the file's first heap collection begins."""
    return path.read_bytes().index(b"GCOL")


@pytest.mark.parametrize(
    ("offset", "content", "message"),
    [
        (0, b"GCOX", "no sound heap collection begins at byte"),
        (4, b"\x02", "no sound heap collection begins at byte"),
        (8, (1 << 40).to_bytes(8, "little"), "no sound heap collection begins at byte"),
        (8, bytes(8), "no sound heap collection begins at byte"),
        (16, bytes(2), r"row \d refers to 4 bytes that the heap does not hold"),
        (16, (999).to_bytes(2, "little"), r"row \d refers to 4 bytes"),
        (24, (3).to_bytes(8, "little"), r"row \d refers to 4 bytes"),
        (24, (1 << 62).to_bytes(8, "little"), "reaches beyond its heap collection"),
        (16, bytes(4080), r"row \d refers to 4 bytes"),  # the library would search it for ever
    ],
)
def test_damaged_heaps(tmp_path: Path, offset: int, content: bytes, message: str) -> None:
    """Damage to a collection or to an object is an error that names file, row group and data set."""
    path = Path(write(tmp_path / "a.h5", x={"data": ["abcd"] * 9, "dtype": h5py.string_dtype()}))
    damaged = bytearray(path.read_bytes())
    begin = heap_of(path) + offset
    damaged[begin : begin + len(content)] = content
    path.write_bytes(damaged)

    with pytest.raises(CorruptSourceError, match=rf"a\.h5, row group 0, data set `/x`: .*{message}"):
        read_all(open_file(path))


def test_huge_claims_are_refused_before_allocating(tmp_path: Path) -> None:
    """What the references claim is summed up before anything of it is read."""
    path = Path(write(tmp_path / "a.h5", x={"data": ["abcd"] * 9, "dtype": h5py.string_dtype()}))
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        begin = file["x"].id.get_offset()
    content[begin : begin + 4] = (1 << 31).to_bytes(4, "little")
    path.write_bytes(content)

    with pytest.raises(MemoryLimitError, match=r"limit of 1,000,000"):
        read_all(open_file(path, limit=1_000_000))
