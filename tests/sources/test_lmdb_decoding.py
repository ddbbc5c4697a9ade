"""Values of LMDB records: every coding, right and wrong."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pytest
from lmdb_files import open_lmdb, rows, write
from PIL import Image
from safetensors.numpy import save

from headrace.errors import (
    CorruptSourceError,
    FingerprintError,
    HeadraceError,
    OptionError,
    SchemaError,
    UndecodableError,
)

ARRAYS = np.random.default_rng(0).normal(size=(20, 3, 5)).astype(np.float32)


def npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def image(array: Any, format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format)
    return stream.getvalue()


def arrow(batch: pa.RecordBatch, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def datum(data: np.ndarray, label: int, floats: bool = False) -> bytes:
    sizes = b"".join(bytes([field << 3, size]) for field, size in enumerate(data.shape, 1))
    content = data.tobytes()
    piece = (b"\x32" if floats else b"\x22") + _varint(len(content)) + content
    return sizes + piece + b"\x28" + _varint(label & ((1 << 64) - 1))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def read(path: Path, values: list[bytes], **options: Any) -> pa.Table:
    write(path, {b"%03d" % i: value for i, value in enumerate(values)})
    source = open_lmdb(path, **options)
    batches = [source.read(group, source.schema.names) for group in source.manifest]
    return pa.Table.from_batches(batches).drop_columns("key")


def tensors(table: pa.Table, name: str = "value") -> np.ndarray:
    return table.column(name).combine_chunks().to_numpy_ndarray()


@pytest.mark.parametrize("dtype", ["uint8", "<i2", ">i4", "<i8", "<f2", ">f4", "<f8"])
@pytest.mark.parametrize("shape", [(3, 5), (1,), (700, 3)])
def test_raw_numbers(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """Numbers of any width and byte order, small and large, arrive in native order."""
    arrays = np.arange(10 * int(np.prod(shape))).reshape(10, *shape).astype(dtype)
    table = read(tmp_path, [array.tobytes() for array in arrays], dtype=dtype, shape=shape)

    assert np.array_equal(tensors(table), arrays)
    assert tensors(table).dtype == arrays.dtype.newbyteorder("=")


def test_raw_scalars_and_lists(tmp_path: Path) -> None:
    """An empty shape is one number a sample; without a shape samples may differ in length."""
    values = [np.arange(i, dtype="<i4").tobytes() for i in range(5)]

    assert read(tmp_path / "lists", values, dtype="int32")["value"].to_pylist() == [
        list(range(i)) for i in range(5)
    ]
    single = read(tmp_path / "one", [struct.pack("<d", i) for i in range(4)], dtype="float64", shape=())
    assert single["value"].to_pylist() == [0.0, 1.0, 2.0, 3.0]


def test_npy_of_one_shape(tmp_path: Path) -> None:
    """Arrays of one header are decoded as a whole, and the same as one by one."""
    assert np.array_equal(
        tensors(read(tmp_path / "same", [npy(array) for array in ARRAYS], decode="npy")), ARRAYS
    )
    mixed = [npy(np.asfortranarray(array) if i % 2 else array) for i, array in enumerate(ARRAYS)]
    assert np.array_equal(tensors(read(tmp_path / "mixed", mixed, decode="npy")), ARRAYS)
    big = [npy(array.astype(">f4")) for array in ARRAYS]
    assert np.array_equal(tensors(read(tmp_path / "big", big, decode="npy")), ARRAYS)


def test_npy_scalars_lists_and_flags(tmp_path: Path) -> None:
    """Arrays without dimensions are numbers, those that differ in length lists, booleans uint8."""
    numbers = read(tmp_path / "numbers", [npy(np.int16(i)) for i in range(3)], decode="npy")
    lists = read(tmp_path / "lists", [npy(np.arange(i)) for i in range(1, 4)], decode="npy")
    flags = read(tmp_path / "flags", [npy(np.array([True, False]))] * 2, decode="npy")

    assert numbers["value"].type == pa.int16()
    assert numbers["value"].to_pylist() == [0, 1, 2]
    assert lists["value"].to_pylist() == [[0], [0, 1], [0, 1, 2]]
    assert tensors(flags).tolist() == [[1, 0], [1, 0]]


def test_text_json_and_msgpack(tmp_path: Path) -> None:
    """Text stays text; mappings become columns, with null where a part is missing."""
    people = [
        {"name": "Zoë", "age": 3, "tags": ["a"]},
        {"name": "Bo", "age": 2**40, "tags": []},
        {"name": "C"},
    ]
    expected = [{"name": "Zoë", "age": 3, "tags": ["a"]}, {"name": "Bo", "age": 2**40, "tags": []}]
    expected.append({"name": "C", "age": None, "tags": None})

    assert read(tmp_path / "t", ["ä".encode(), b""], decode="text").to_pylist() == [
        {"value": "ä"},
        {"value": ""},
    ]
    texts = [json.dumps(person).encode() for person in people]
    assert read(tmp_path / "j", texts, decode="json").to_pylist() == expected
    packed = [msgpack.packb(person) for person in people]
    assert read(tmp_path / "m", packed, decode="msgpack").to_pylist() == expected
    kind = pa.struct([("name", pa.large_string()), ("age", pa.int64())])
    given = read(tmp_path / "g", [b'{"name": "x"}'], decode="json", dtype=kind)
    assert given.to_pylist() == [{"name": "x", "age": None}]


def test_arrow_rows(tmp_path: Path) -> None:
    """One row in Arrow's stream or file format becomes columns of its types."""
    batches = [pa.record_batch({"a": pa.array([i], pa.int8()), "b": [f"t{i}"]}) for i in range(3)]
    table = read(tmp_path, [arrow(batch) for batch in batches], decode="arrow")

    assert table.equals(pa.Table.from_batches(batches))


def test_images(tmp_path: Path) -> None:
    """PNG arrives exactly, JPEG as Pillow decodes it; the shape chooses grey, RGB or RGBA."""
    pixels = np.random.default_rng(1).integers(0, 256, (6, 9, 8, 3), np.uint8)
    jpegs = [image(array, "JPEG") for array in pixels]
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(value))) for value in jpegs])

    assert np.array_equal(
        tensors(read(tmp_path / "png", [image(array) for array in pixels], decode="image")), pixels
    )
    assert np.array_equal(tensors(read(tmp_path / "jpeg", jpegs, decode="image")), decoded)
    grey = [image(array[..., 0]) for array in pixels]
    assert np.array_equal(tensors(read(tmp_path / "l", grey, decode="image", shape=(9, 8))), pixels[..., 0])
    assert tensors(read(tmp_path / "rgba", grey, decode="image", shape=(9, 8, 4))).shape == (6, 9, 8, 4)


def test_datum_and_safetensors(tmp_path: Path) -> None:
    """Caffe's arrays and labels, and named tensors, become columns."""
    pixels = np.random.default_rng(1).integers(0, 256, (4, 3, 6, 5), np.uint8)
    table = read(
        tmp_path / "d", [datum(array, label - 1) for label, array in enumerate(pixels)], decode="datum"
    )
    assert np.array_equal(tensors(table, "data"), pixels)
    assert table["label"].to_pylist() == [-1, 0, 1, 2]
    floats = [datum(array[None], 0, floats=True) for array in ARRAYS]
    assert np.array_equal(tensors(read(tmp_path / "f", floats, decode="datum"), "data")[:, 0], ARRAYS)
    saved = [save({"x": array, "y": np.array([i])}) for i, array in enumerate(ARRAYS)]
    table = read(tmp_path / "s", saved, decode="safetensors")
    assert np.array_equal(tensors(table, "x"), ARRAYS)
    assert tensors(table, "y").ravel().tolist() == list(range(20))


def _as_vector(value: bytes) -> np.ndarray:
    return np.frombuffer(value, np.uint8).astype(np.float32) / 255


def _broken(value: bytes) -> int:
    return 1 // int(value)


def test_user_function(tmp_path: Path) -> None:
    """A function of the bytes gives arrays, numbers or texts; it is part of the fingerprint."""
    table = read(tmp_path / "f", [bytes([i, 255]) for i in range(3)], decode=_as_vector)
    assert tensors(table)[:, 1].tolist() == [1.0, 1.0, 1.0]
    assert read(tmp_path / "i", [b"1", b"22"], decode=len)["value"].to_pylist() == [1, 2]

    first, second = (open_lmdb(tmp_path / "f", decode=function) for function in (_as_vector, _broken_or_zero))
    assert first.manifest.fingerprint != second.manifest.fingerprint
    with pytest.raises(FingerprintError):
        _ = open_lmdb(tmp_path / "f", decode=_Opaque()).manifest.fingerprint


def _broken_or_zero(value: bytes) -> int:
    return 0


class _Opaque:
    """A function that cannot be identified by value."""

    def __call__(self, value: bytes) -> int:
        return len(value)


@pytest.mark.parametrize(
    ("good", "bad", "options"),
    [
        (npy(ARRAYS[0]), b"\x93NUMPY\x01\x00", {"decode": "npy"}),
        (npy(ARRAYS[0]), npy(ARRAYS[0])[:-1], {"decode": "npy"}),
        (npy(ARRAYS[0]), npy(ARRAYS[0].astype(np.float64)), {"decode": "npy"}),
        (npy(ARRAYS[0]), npy(np.array([{}], object), allow_pickle=True), {"decode": "npy"}),
        (b"1", b"{", {"decode": "json"}),
        (b"1", b'"text"', {"decode": "json"}),
        (b'{"a": 1}', b'{"a": 1, "b": 2}', {"decode": "json", "dtype": pa.struct([("a", pa.int64())])}),
        (msgpack.packb(1), b"\xc1", {"decode": "msgpack"}),
        (msgpack.packb(1), msgpack.packb(msgpack.ExtType(5, b"x")), {"decode": "msgpack"}),
        (b"ok", b"\xff", {"decode": "text"}),
        (bytes(12), bytes(11), {"dtype": "float32", "shape": (3,)}),
        (bytes(12), bytes(11), {"dtype": "float32"}),
        (
            image(np.zeros((4, 4, 3), np.uint8)),
            image(np.zeros((4, 4, 3), np.uint8))[:45],
            {"decode": "image"},
        ),
        (datum(np.zeros((1, 2, 2), np.uint8), 1), b"\x08\x02\x10", {"decode": "datum"}),
        (save({"x": ARRAYS[0]}), save({"x": ARRAYS[0]})[:-3], {"decode": "safetensors"}),
        (b"1", b"0", {"decode": _broken}),
    ],
)
def test_undecodable_samples_are_named_and_leave_the_others(
    tmp_path: Path, good: bytes, bad: bytes, options: dict[str, Any]
) -> None:
    """The error names file, row group and key, and carries the rows; the other rows can be read."""
    values = [good] * 20 + [bad, good, bad]
    write(tmp_path, {b"%03d" % i: value for i, value in enumerate(values)})
    source = open_lmdb(tmp_path, **options)
    group, names = source.manifest[0], source.schema.names

    with pytest.raises(
        UndecodableError, match=r"data.mdb, row group 0, key `020`: cannot be decoded.*1 more"
    ) as caught:
        source.read(group, names)
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.rows == (20, 22)
    assert str(error) == str(caught.value)
    kept = np.setdiff1d(np.arange(group.rows), error.rows)
    assert source.read_rows(group, kept, names).num_rows == 21
    assert source.read(group, ["key"]).num_rows == 23


class _Marker:
    """A pickle that makes a folder when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "coding", ["raw", "npy", "json", "msgpack", "arrow", "text", "image", "datum", "safetensors"]
)
def test_pickles_run_nothing_without_permission(tmp_path: Path, coding: str) -> None:
    """A pickle under any coding, in an array of objects too, is refused or stays bytes."""
    payload = pickle.dumps(_Marker(tmp_path / "ran"))
    objects = npy(np.array([_Marker(tmp_path / "ran")], object), allow_pickle=True)
    for number, value in enumerate((payload, objects, b"\x93NUMPY\x01\x00" + payload)):
        with contextlib.suppress(HeadraceError):
            read(tmp_path / str(number), [value], decode=coding)
        assert not (tmp_path / "ran").exists()


def test_pickle_needs_permission(tmp_path: Path) -> None:
    """With permission a pickle is what it is."""
    with pytest.raises(OptionError, match="allow_pickle=True"):
        read(tmp_path / "a", [pickle.dumps(3)], decode="pickle")

    assert read(tmp_path / "b", [pickle.dumps([1, 2])], decode="pickle", allow_pickle=True)[
        "value"
    ].to_pylist() == [[1, 2]]


class _Extension(pa.ExtensionType):
    """A type whose reading would run code."""

    def __init__(self) -> None:
        super().__init__(pa.int64(), "headrace.test.marker")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> Any:
        return cls()


@pytest.mark.parametrize("registered", [False, True])
def test_arrow_extension_types_are_refused(tmp_path: Path, registered: bool) -> None:
    """A column of an extension type is refused, whether or not somebody knows the type."""
    storage = pa.ExtensionArray.from_storage(_Extension(), pa.array([1]))
    value = arrow(pa.record_batch({"x": storage}))
    if registered:
        pa.register_extension_type(_Extension())
    try:
        with pytest.raises(UndecodableError, match="extension types are refused"):
            read(tmp_path, [value], decode="arrow")
    finally:
        if registered:
            pa.unregister_extension_type("headrace.test.marker")


def test_arrow_values_that_unpack_or_hold_more_are_refused(tmp_path: Path) -> None:
    """A compressed value could unpack to any size, and one of several rows is no sample."""
    batch = pa.record_batch({"x": [bytes(10_000)]})
    with pytest.raises(UndecodableError, match="uncompressed"):
        read(tmp_path / "a", [arrow(batch, compression="zstd")], decode="arrow")
    with pytest.raises(UndecodableError, match="one row"):
        read(tmp_path / "b", [arrow(pa.record_batch({"x": [1, 2]}))], decode="arrow")


def test_images_of_other_sizes_are_named_when_opened(tmp_path: Path) -> None:
    """Two sizes cannot form a column; the error says which and what to do."""
    values = [image(np.zeros((4, size, 3), np.uint8)) for size in (4, 5)]
    with pytest.raises(SchemaError, match=r"key `001`: every image must be 4 x 4, as others are, got 4 x 5"):
        read(tmp_path, values, decode="image")


def test_image_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    """A small file that declares an enormous image costs no memory."""
    header = bytearray(image(np.zeros((1, 1), np.uint8)))
    header[16:24] = struct.pack(">II", 12_000, 12_000)
    header[29:33] = struct.pack(">I", zlib.crc32(bytes(header[12:29])))
    write(tmp_path, {b"k": bytes(header)})
    with pytest.raises(HeadraceError):
        rows(open_lmdb(tmp_path, limit=1 << 20, decode="image"))


def test_a_part_named_key_is_refused(tmp_path: Path) -> None:
    """Columns that would share a name need another one."""
    with pytest.raises(OptionError, match="`key`, which is the name of another column"):
        read(tmp_path, [b'{"key": 1}'], decode="json")


def test_parts_carry_the_name_of_their_field(tmp_path: Path) -> None:
    """With patterns, parts of a mapping are named by field and part."""
    write(tmp_path, {b"m-%d" % i: b'{"a": %d}' % i for i in range(3)})

    assert rows(open_lmdb(tmp_path, fields={"m": "m-{index}"}, decode="json"))[2] == {"m.a": 2}


def test_nothing_decodable_is_an_error_at_opening(tmp_path: Path) -> None:
    """Where no sample tells the columns, opening fails and names a key."""
    with pytest.raises(CorruptSourceError, match=r"key `000`: cannot be decoded: JSONDecodeError"):
        read(tmp_path, [b"{", b"}"], decode="json")
