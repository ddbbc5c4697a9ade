"""Every type and layout of HDF5, held against what h5py reads, or refused by name."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hdf5_files import assert_same, open_file, oracle_columns, read_all, write

from headrace.errors import CorruptSourceError, SchemaError

RANDOM = np.random.default_rng(5)
NUMBERS = [
    f"{order}{kind}" for order in "<>" for kind in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8")
]
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "shuffle": {"compression": "gzip", "shuffle": True},
    "checksum": {"fletcher32": True},
    "all": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf", "shuffle": True},
    "scaleoffset": {"scaleoffset": 0},
}
PLUGINS: dict[str, tuple[str, dict[str, Any]]] = {
    "blosc-lz4": ("Blosc", {"cname": "lz4", "shuffle": 1}),
    "blosc-zstd-bits": ("Blosc", {"cname": "zstd", "shuffle": 2}),
    "lz4": ("LZ4", {}),
    "lz4-blocks": ("LZ4", {"nbytes": 512}),
    "zstd": ("Zstd", {}),
    "bitshuffle": ("Bitshuffle", {"cname": "none"}),
    "bitshuffle-lz4": ("Bitshuffle", {"cname": "lz4"}),
    "bitshuffle-zstd": ("Bitshuffle", {"cname": "zstd"}),
    "bitshuffle-blocks": ("Bitshuffle", {"cname": "lz4", "nelems": 64}),
    "zfp": ("Zfp", {"reversible": True}),
}


def check(path: str, name: str = "x", **options: Any) -> pa.Table:
    """Compare one data set with h5py's values, and return what was read."""
    with h5py.File(path) as file:
        expected = oracle_columns(file[name], name)
    table = read_all(open_file(path, columns=[name], **options))
    assert_same(table, expected)
    return table


@pytest.mark.parametrize("dtype", ["i1", "u1", "?", *NUMBERS])
@pytest.mark.parametrize("shape", [(10,), (10, 3), (10, 2, 5)])
def test_numbers(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """Numbers of any width and byte order become native ones, N-d arrays tensors."""
    check(write(tmp_path / "a.h5", x=RANDOM.integers(0, 2, shape).astype(dtype)))


@pytest.mark.parametrize(
    "dtype",
    [
        "S5",
        h5py.string_dtype(),
        h5py.string_dtype("ascii"),
        h5py.string_dtype("utf-8", 9),
        h5py.string_dtype("ascii", 9),
    ],
)
def test_text(dtype: Any, tmp_path: Path) -> None:
    """Text is text, whatever its length, its padding and its declared characters."""
    values = (
        ["", "a", "b c ", "four", "  "]
        if h5py.check_string_dtype(np.dtype(dtype)).encoding == "ascii"
        else ["", "ä", "日本"]
    )
    data = np.array([value.encode() for value in values], dtype)
    table = check(write(tmp_path / "a.h5", x={"data": data, "dtype": dtype}))

    assert table.schema.field("x").type == pa.string()


def test_text_padding_is_that_of_the_file(tmp_path: Path) -> None:
    """Spaces end a text only where the file pads by spaces, and a zero where it ends text by zeros."""
    raw = np.array([b"a b  ", b"a\0b  ", b"     ", b"abcde"], "S5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, padding in (("space", h5py.h5t.STR_SPACEPAD), ("zero", h5py.h5t.STR_NULLTERM)):
            kind = h5py.h5t.C_S1.copy()
            kind.set_size(5)
            kind.set_strpad(padding)
            made = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple((4,)))
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, raw, mtype=kind)

    assert check(str(tmp_path / "a.h5"), "space")["space"].to_pylist() == ["a b", "a\0b", "", "abcde"]
    assert check(str(tmp_path / "a.h5"), "zero")["zero"].to_pylist()[1] == "a"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """Bytes that claim to be text and are not are an error that names column and row."""
    path = write(tmp_path / "a.h5", x=np.array([b"ok", b"\xff\xfe"], "S2"))
    varied = write(tmp_path / "b.h5", x={"data": [b"ok", b"\xff\xfe"], "dtype": h5py.string_dtype()})

    for wrong in (path, varied):
        with pytest.raises(
            CorruptSourceError, match=r"row group 0, data set `/x`: column `x`: row 1 .*UTF-8"
        ):
            read_all(open_file(wrong))


def test_lists(tmp_path: Path) -> None:
    """Variable-length lists of numbers stay lists."""
    values = np.array([np.arange(length, dtype="i4") for length in (0, 3, 1)], object)
    table = check(write(tmp_path / "a.h5", x={"data": values, "dtype": h5py.vlen_dtype("i4")}))

    assert table.schema.field("x").type == pa.list_(pa.int32())


def test_enum(tmp_path: Path) -> None:
    """An enum becomes its integers; the names are in the field's metadata."""
    kind = h5py.enum_dtype({"cat": 1, "dog": 7}, "u2")
    path = write(tmp_path / "a.h5", x={"data": np.array([1, 7, 1], "u2"), "dtype": kind})
    check(path)

    assert json.loads(open_file(path).schema.field("x").metadata[b"enum"]) == {"cat": 1, "dog": 7}


def test_opaque_and_dates(tmp_path: Path) -> None:
    """Opaque values are bytes of fixed width, and NumPy's dates are time stamps again."""
    path = write(tmp_path / "a.h5", x=np.array([b"ab", b"\0c"], "V2"))
    times = np.array(["2020-01-01T00:00:01", "NaT"], "M8[s]").astype(h5py.opaque_dtype("M8[s]"))
    other = write(tmp_path / "b.h5", x=times)

    assert check(path)["x"].to_pylist() == [b"ab", b"\0c"]
    assert read_all(open_file(other))["x"].type == pa.timestamp("s")
    assert read_all(open_file(other))["x"].null_count == 1


def test_compound(tmp_path: Path) -> None:
    """Members become columns, nested and padded ones and arrays too, and complex numbers two."""
    inner = np.dtype({"names": ["u", "v"], "formats": [">i2", "f8"], "offsets": [1, 8], "itemsize": 20})
    data = np.zeros(6, [("a", "?"), ("b", inner), ("c", "f4", (2, 3)), ("d", "S3")])
    data["a"], data["b"]["u"], data["c"][:, 1], data["d"] = True, np.arange(6), 2.5, b"xy"
    path = write(tmp_path / "a.h5", x=data, z=np.arange(6) * 1j)
    table = read_all(open_file(path))

    assert table.column("x.a").to_pylist() == [True] * 6
    assert table.column("x.b.u").to_pylist() == list(range(6))
    assert table.column("x.c").combine_chunks().to_numpy_ndarray().shape == (6, 2, 3)
    assert table.column("x.d").to_pylist() == ["xy"] * 6
    assert table.column("z.i").to_pylist() == list(range(6))
    assert table.column("z.r").to_pylist() == [0] * 6


def test_compound_with_text_of_any_length(tmp_path: Path) -> None:
    """h5py reads what only it can lay out."""
    data = np.array([(1, "one"), (2, "two")], [("n", "i4"), ("s", h5py.string_dtype())])

    assert check(write(tmp_path / "a.h5", x=data))["x.s"].to_pylist() == ["one", "two"]


def test_uncommon_numbers(tmp_path: Path) -> None:
    """Numbers that do not fill their bytes are converted by h5py, and said to be."""
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_precision(20)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((3,)))
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([1, -2, 3], "i4"))
    source = open_file(tmp_path / "a.h5")

    assert read_all(source)["x"].to_pylist() == [1, -2, 3]
    assert "do not fill their bytes" in source.notes[0]


def test_unreadable_types_are_refused_by_name(tmp_path: Path) -> None:
    """References, text in several axes and empty samples are errors that name the data set."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(3)
        file.create_dataset("link", data=[file["x"].ref] * 3, dtype=h5py.ref_dtype)
        file["words"] = np.array([[b"a", b"b"]] * 3)
        file["nothing"] = np.zeros((3, 0))
        file["long"] = np.zeros(3, np.longdouble)
    for name, reason in (
        ("link", "references"),
        ("words", "text"),
        ("nothing", "nothing"),
        ("long", "float128"),
    ):
        with pytest.raises(SchemaError, match=rf"`/{name}`.*{reason}"):
            open_file(tmp_path / "a.h5", columns=[name])

    assert read_all(open_file(tmp_path / "a.h5", columns=["x"])).num_rows == 3


@pytest.mark.parametrize("filters", [*FILTERS, *PLUGINS])
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">f8"])
@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((100, 7), (10, 7)),
        ((103, 7), (10, 7)),
        ((25, 11), (8, 4)),
        ((1, 3), (1, 3)),
        ((70,), (33,)),
        ((3, 4), (100, 9)),
    ],
)
def test_filters_and_chunks(
    filters: str, dtype: str, shape: tuple[int, ...], chunks: tuple[int, ...], tmp_path: Path
) -> None:
    """Each filter is undone, with whole chunks, chunks at the edge and chunks that cut rows."""
    if filters in PLUGINS:
        plugin = pytest.importorskip("hdf5plugin")
        name, arguments = PLUGINS[filters]
        settings = dict(getattr(plugin, name)(**arguments))
    else:
        settings = FILTERS[filters]
    if filters in ("zfp", "scaleoffset"):  # which do not take all types
        dtype = "<i4"
    data = RANDOM.integers(0, 100, shape).astype(dtype)
    maximum = tuple(max(pair) for pair in zip(shape, chunks, strict=True))
    path = write(tmp_path / "a.h5", x={"data": data, "chunks": chunks, "maxshape": maximum, **settings})
    check(path)

    # Bits that were shuffled and not compressed are as long as those that were left alone.
    has_edge = any(length % step for length, step in zip(shape, chunks, strict=True))
    is_foreign = filters in ("zfp", "scaleoffset") or (filters == "bitshuffle" and has_edge)
    assert any("h5py" in note for note in open_file(path).notes) == is_foreign


@pytest.mark.parametrize("library", ["earliest", "latest"])
@pytest.mark.parametrize("block", [0, 512])
def test_layouts(library: str, block: int, tmp_path: Path) -> None:
    """Compact, contiguous and chunked values are found in old and new files, behind a user block too."""
    with h5py.File(tmp_path / "a.h5", "w", libver=library, userblock_size=block) as file:
        small, space = h5py.h5p.create(h5py.h5p.DATASET_CREATE), h5py.h5s.create_simple((9, 2))
        small.set_layout(h5py.h5d.COMPACT)
        made = h5py.h5d.create(file.id, b"compact", h5py.h5t.STD_I32BE, space, small)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(18, dtype="i4").reshape(9, 2))
        file["contiguous"] = np.arange(9)
        file.create_dataset("chunked", data=np.arange(9), chunks=(2,), maxshape=(None,))
        file.create_dataset("single", data=np.arange(9), chunks=(9,), compression="gzip")
        file.create_dataset("many", data=np.arange(9), chunks=(2,), compression="gzip")
        file.create_dataset("axes", data=np.arange(27).reshape(9, 3), chunks=(2, 2), maxshape=(None, None))
    for name in ("compact", "contiguous", "chunked", "single", "many", "axes"):
        check(str(tmp_path / "a.h5"), name)

    assert not any("h5py" in note for note in open_file(tmp_path / "a.h5").notes)


def test_filters_that_were_left_out(tmp_path: Path) -> None:
    """A chunk whose filters did not pay off is stored as it is, which its mask tells."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("x", (128,), "u1", chunks=(32,), compression="lzf", shuffle=True)
        made[:96] = np.repeat(RANDOM.integers(0, 255, 3, np.uint8), 32)
        made.id.write_direct_chunk((96,), RANDOM.integers(0, 255, 32, np.uint8).tobytes(), filter_mask=0b11)

    check(str(tmp_path / "a.h5"))


def test_edges_that_were_not_filtered(tmp_path: Path) -> None:
    """A writer may leave chunks at the edge unfiltered without a word; h5py then reads the data set."""
    (library,) = Path(h5py.__file__).parents[1].glob("h5py.libs/libhdf5-*.so*")
    set_options = ctypes.CDLL(str(library)).H5Pset_chunk_opts
    set_options.argtypes = [ctypes.c_int64, ctypes.c_uint]
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((8, 5))
        settings.set_deflate(4)
        assert set_options(settings.id, 2) == 0  # H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS
        space = h5py.h5s.create_simple((26, 5))
        made = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I32LE, space, settings)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(130, dtype="i4").reshape(26, 5))

    check(str(tmp_path / "a.h5"))
    assert "at the edge" in open_file(tmp_path / "a.h5").notes[0]


def test_unwritten_values(tmp_path: Path) -> None:
    """Values that were never written are an error that counts them, or the fill value on request."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, dtype in (("x", ">i4"), ("t", "S3"), ("c", [("a", "f8"), ("b", "i2")])):
            made = file.create_dataset(
                name, (10,), dtype, chunks=(3,), fillvalue=np.array([7], "i4").astype(dtype)[0]
            )
            made[:2] = np.ones(2, "i4").astype(dtype)
        file.create_dataset("late", (10,), "f4", fillvalue=2.5)
        file.create_dataset("axes", (10, 5), "i2", chunks=(3, 2), compression="gzip")[4, 4] = 1
    for name, count in (("x", "3 of its 4"), ("late", "1 of its 1"), ("axes", "11 of its 12")):
        with pytest.raises(CorruptSourceError, match=f"`/{name}`.*{count} chunks were never written"):
            open_file(tmp_path / "a.h5", columns=[name])
    for name in ("x", "t", "c", "late", "axes"):
        check(str(tmp_path / "a.h5"), name, missing="fill")


def test_no_rows(tmp_path: Path) -> None:
    """A data set without rows is one of zero samples."""
    path = write(
        tmp_path / "a.h5", x=np.zeros((0, 4), "f4"), y={"shape": (0,), "maxshape": (None,), "dtype": "i4"}
    )

    assert open_file(path).manifest.total == 0
    assert read_all(open_file(path)).num_rows == 0
