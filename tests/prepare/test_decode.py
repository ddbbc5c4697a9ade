"""Steps that decode: images held against Pillow, token ids against NumPy, and what is refused."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import headrace as hr

RANDOM = np.random.default_rng(5)
PHOTOS = [RANDOM.integers(0, 256, (12, 9, 3), np.uint8) for _ in range(7)]


def encoded(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def shards(folder: Path, column: pa.Array, rows: int = 3) -> hr.Dataset:
    """A Parquet file with row groups of a few rows."""
    numbers = pa.array(np.arange(len(column)))
    pq.write_table(pa.table({"x": column, "number": numbers}), folder / "x.parquet", row_group_size=rows)
    return hr.open(folder / "x.parquet")


def decode(values: list[bytes | None], **options: Any) -> np.ndarray:
    ds = hr.from_arrays({"x": pa.array(values, pa.binary())})
    return ds.prepare(hr.DecodeImage("x", **options)).take(range(len(values)))["x"]


# Images


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("threads", [0, 2])
def test_images_are_what_pillow_decodes(tmp_path: Path, kind: str, threads: int) -> None:
    """Pixels of every image, in shuffled batches over several row groups."""
    files = [encoded(photo, kind) for photo in PHOTOS]
    ds = shards(tmp_path, pa.array(files)).prepare(hr.DecodeImage("x"))
    loader = ds.loader(batch_size=2, shuffle=True, threads=threads, output="numpy")
    seen: list[int] = []
    for step, batch in enumerate(loader):
        assert (batch["x"].dtype, batch["x"].shape[1:]) == (np.uint8, (12, 9, 3))
        for number, pixels in zip(batch["number"].tolist(), batch["x"], strict=True):
            assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(files[number]))))
        assert np.array_equal(loader.batch(step)["x"], batch["x"])
        seen += batch["number"].tolist()
    loader.close()

    assert sorted(seen) == list(range(7))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("source", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_modes_become_the_one_asked_for(source: str, mode: Any) -> None:
    """Every mode of 8 bits converts as Pillow does, transparency of a palette included, without a warning."""
    image = (
        Image.fromarray(RANDOM.integers(0, 256, (6, 5, 4), np.uint8), "RGBA").convert("RGB").convert(source)
    )
    options = {"transparency": bytes([0, 100, 255])} if source == "P" else {}
    value = encoded(image, "JPEG" if source == "CMYK" else "PNG", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(Image.open(io.BytesIO(value)).convert(mode))
    found = decode([value], mode=mode)[0]

    assert found.shape == (6, 5, {"L": 1, "RGB": 3, "RGBA": 4}[mode])
    assert np.array_equal(found.reshape(expected.shape), expected)


def test_size_resizes_by_the_bilinear_filter() -> None:
    """Images of any size come out in the one asked for, deterministically."""
    photos = [RANDOM.integers(0, 256, shape, np.uint8) for shape in ((30, 20, 3), (7, 9, 3), (4, 6, 3))]
    found = decode([encoded(photo) for photo in photos], size=(4, 6))
    bilinear = Image.Resampling.BILINEAR

    for pixels, photo in zip(found, photos, strict=True):
        assert np.array_equal(pixels, np.asarray(Image.fromarray(photo).resize((6, 4), bilinear)))
    assert decode([encoded(photo) for photo in photos], size=5).shape == (3, 5, 5, 3)


def test_images_of_other_sizes_are_refused_by_name() -> None:
    """Without a size, the error names the row and says what to do."""
    files = [encoded(PHOTOS[0]), encoded(PHOTOS[1]), encoded(PHOTOS[0][:5])]

    with pytest.raises(
        hr.SchemaError, match=r"row group 0: column `x`, row 2: .*got 5 x 9 after 12 x 9.*`size="
    ):
        decode(files)


def test_into_another_column(tmp_path: Path) -> None:
    """`into` keeps the files, and nothing is decoded where nobody wants pixels."""
    ds = shards(tmp_path, pa.array([encoded(PHOTOS[0]), b"no image"]), rows=1)
    both = ds.prepare(hr.DecodeImage("x", into="pixels", size=3))

    assert both.schema.names == ["x", "number", "pixels"]
    assert both.schema.field("pixels").type == pa.fixed_shape_tensor(pa.uint8(), (3, 3, 3))
    assert both.take([0])["pixels"].shape == (1, 3, 3, 3)
    assert both.take([0])["x"].to_pylist() == [encoded(PHOTOS[0])]
    assert both.pack(n="number").take([0, 1])["n"].tolist() == [0, 1]
    assert both.pack(p="pixels").recipe.columns == ("x",)
    with pytest.raises(hr.SchemaError, match=r"row group 1: column `x`, row 0: is no JPEG or PNG"):
        both.take([1])


def test_further_steps_and_tensors() -> None:
    """Pixels pass through other steps, and arrive as a tensor."""
    torch = pytest.importorskip("torch")
    ds = hr.from_arrays({"x": [encoded(photo) for photo in PHOTOS], "y": range(7)})
    ds = ds.prepare(hr.DecodeImage("x", mode="L")).with_columns(pl.col("y") + 1).pack(image="x", y="y")
    batch = ds.loader(batch_size=7, threads=0).batch(0)

    assert (batch["image"].dtype, tuple(batch["image"].shape)) == (torch.uint8, (7, 12, 9, 1))
    assert batch["y"].tolist() == list(range(1, 8))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int = 8, pixels: bytes = b"") -> bytes:
    """A PNG whose header promises anything."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


PHOTO_PNG, PHOTO_JPEG = encoded(PHOTOS[0]), encoded(PHOTOS[0], "JPEG")


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (None, hr.SchemaError, "the image is null"),
        (b"", hr.SchemaError, "is no JPEG or PNG image, begins with b''"),
        (b"not an image", hr.SchemaError, "is no JPEG or PNG image"),
        (encoded(PHOTOS[0], "GIF"), hr.SchemaError, "begins with b'GIF8"),
        (encoded(PHOTOS[0], "BMP"), hr.SchemaError, "is no JPEG or PNG image"),
        (b"\xff\xd8\xff", hr.CorruptSourceError, "header is damaged or cut off"),
        (PHOTO_JPEG[:30], hr.CorruptSourceError, "header is damaged or cut off"),
        (PHOTO_JPEG[:-40], hr.CorruptSourceError, "damaged or cut off"),
        (PHOTO_PNG[:20], hr.CorruptSourceError, "header is damaged or cut off"),
        (PHOTO_PNG[:-60], hr.CorruptSourceError, "cut off"),
        (PHOTO_PNG[:-12], hr.CorruptSourceError, "lacks the end of a PNG"),
        (png(9, 12, pixels=b"\0" * 50), hr.CorruptSourceError, "damaged or cut off"),
        (png(0, 5), hr.CorruptSourceError, "header is damaged"),
        (png(100_000, 100_000), hr.MemoryLimitError, "10,000,000,000 pixels, more than the 67,108,864"),
        (png(2**31 - 1, 2**31 - 1), hr.MemoryLimitError, "pixels, more than"),
        (png(2, 2, depth=16, pixels=b"\0" * 26), hr.SchemaError, "8 bits a channel.*16 bits"),
        (encoded(np.zeros((2, 2), np.uint16)), hr.SchemaError, "8 bits a channel"),
        (
            encoded(Image.new("RGB", (2, 2)), save_all=True, append_images=[Image.new("RGB", (2, 2), "red")]),
            hr.SchemaError,
            "an animation of 2 images",
        ),
    ],
    ids=lambda value: value[:9].hex() if isinstance(value, bytes) else None,
)
def test_hostile_images_are_refused_by_name(value: Any, kind: type[Exception], message: str) -> None:
    """What is no image, is cut off or too large is an error that names row group, column and row."""
    with pytest.raises(kind, match=rf"memory, row group 0: column `x`, row 1: .*{message}"):
        decode([PHOTO_PNG, value])


def test_the_limit_on_pixels() -> None:
    """`max_pixels` is judged by the header."""
    assert decode([PHOTO_PNG], max_pixels=108).shape == (1, 12, 9, 3)
    with pytest.raises(hr.MemoryLimitError, match="12 x 9 has 108 pixels, more than the 107"):
        decode([PHOTO_PNG], max_pixels=107)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([PHOTO_PNG, PHOTO_JPEG]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_damage_gives_pixels_or_an_error(value: bytes, flips: list[tuple[int, int]]) -> None:
    """Flipped bytes give an array or an error of headrace, never anything else."""
    damaged = bytearray(value)
    for place, flip in flips:
        damaged[place % len(damaged)] ^= flip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert decode([bytes(damaged)], max_pixels=10_000).dtype == np.uint8
        except (hr.SchemaError, hr.CorruptSourceError, hr.MemoryLimitError) as error:
            assert "column `x`, row 0" in str(error)


def test_skipping_images_that_cannot_be_read(tmp_path: Path) -> None:
    """With `on_error="skip"` a bad image costs its row group, which is counted."""
    ds = shards(tmp_path, pa.array([PHOTO_PNG] * 4 + [b"bad", PHOTO_PNG]), rows=2)
    loader = ds.prepare(hr.DecodeImage("x")).loader(batch_size=6, output="numpy", on_error="skip", threads=0)

    assert [batch["number"].tolist() for batch in loader] == [[0, 1, 2, 3]]
    assert loader.stats()["skipped"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "`size` must be a whole number of at least 1"),
        ({"size": (3, 3, 3)}, r"`size` must be \(height, width\)"),
        ({"size": "3"}, "`size` must be"),
        ({"mode": "BGR"}, "`mode` must be one of L, RGB, RGBA"),
        ({"max_pixels": 0}, "`max_pixels` must be"),
    ],
)
def test_image_options_that_cannot_be_right(arguments: dict[str, Any], message: str) -> None:
    """Wrong options are refused when they are written down."""
    with pytest.raises(hr.OptionError, match=message):
        hr.DecodeImage("x", **arguments)


def test_pillow_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Pillow the step cannot even be written down, and the error names the extra."""
    monkeypatch.setattr("headrace.images.find_spec", lambda name: None)

    with pytest.raises(hr.MissingDependencyError, match=r"`DecodeImage` needs `pillow`.*headrace\[image\]"):
        hr.DecodeImage("x")


def test_a_column_without_bytes_is_no_column_of_images() -> None:
    """The error names the column and its type."""
    with pytest.raises(hr.SchemaError, match="column `x` must hold the bytes of images, got String"):
        hr.from_arrays({"x": ["a"]}).prepare(hr.DecodeImage("x")).take([0])


# Tokens

DTYPES = ["uint8", "uint16", "int32", "uint32", "int64"]


def tokens(values: Any, **options: Any) -> list[Any]:
    """What the column becomes."""
    ds = hr.from_arrays({"x": values}).prepare(hr.Tokens("x", **options))
    return ds.to_arrow()["x"].to_pylist()


@settings(deadline=None)
@given(st.data(), st.sampled_from(DTYPES))
def test_bytes_are_ids_as_they_lie_in_memory(data: st.DataObject, dtype: str) -> None:
    """Raw ids of any width, empty documents and nulls, from a slice of a longer column."""
    limit = int(np.iinfo(dtype).max)
    lists = data.draw(st.lists(st.none() | st.lists(st.integers(0, limit), max_size=5), min_size=1))
    begin = data.draw(st.integers(0, len(lists) - 1))
    little = np.dtype(dtype).newbyteorder("<")
    column = pa.array(
        [None if ids is None else np.array(ids, little).tobytes() for ids in lists], pa.binary()
    )
    ds = hr.from_arrays({"x": column.slice(begin)}).prepare(hr.Tokens("x", dtype=dtype))

    assert ds.schema.field("x").type == pa.large_list(pa.from_numpy_dtype(dtype))
    assert ds.to_arrow()["x"].to_pylist() == lists[begin:]


@settings(deadline=None)
@given(st.lists(st.none() | st.text(max_size=6), min_size=1))
def test_text_is_its_bytes(texts: list[str | None]) -> None:
    """UTF-8 bytes as ids, of uint8 or the dtype asked for."""
    column = pa.array(texts, pa.string())

    for dtype in (None, "int64"):
        ds = hr.from_arrays({"x": column}).prepare(hr.Tokens("x", dtype=dtype))
        assert ds.schema.field("x").type == pa.large_list(pa.from_numpy_dtype(dtype or "uint8"))
        assert ds.to_arrow()["x"].to_pylist() == [
            None if text is None else [*text.encode()] for text in texts
        ]


def test_lists_are_ids_already() -> None:
    """Lists of whole numbers, of any and of fixed length, keep or change their dtype."""
    assert tokens(pa.array([[1, 2], None, []], pa.list_(pa.int32()))) == [[1, 2], None, []]
    assert tokens(np.array([[1, 2], [3, 4]]), dtype="uint16") == [[1, 2], [3, 4]]
    ds = hr.from_arrays({"x": pa.array([[1, 2], [3]], pa.list_(pa.int64()))})
    assert ds.prepare(hr.Tokens("x", dtype="uint16")).schema.field("x").type == pa.large_list(pa.uint16())


def test_tokens_are_packed_for_training(tmp_path: Path) -> None:
    """The way of an LLM's corpus: bytes in shards, ids in padded tensors of int64, in any order."""
    documents = [RANDOM.integers(0, 50_000, length).astype("<u2") for length in (5, 0, 9, 2, 12, 1, 7)]
    ds = shards(tmp_path, pa.array([ids.tobytes() for ids in documents]))
    ds = ds.prepare(hr.Tokens("x", dtype="uint16", vocabulary_size=50_000, into="ids"))
    packed = ds.pack(ids="ids", n="number", pad_to=8, pad_value=-100, truncate=True, dtype="int64")

    assert packed.recipe.columns == ("x", "number")
    for batch in packed.loader(batch_size=3, shuffle=True, output="numpy"):
        assert batch["ids"].dtype == np.int64
        for number, row, length in zip(batch["n"], batch["ids"], batch["ids_length"], strict=True):
            expected = documents[number][:8]
            assert length == len(expected)
            assert row.tolist() == [*expected, *[-100] * (8 - len(expected))]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([b"ab", b"abc"], {"dtype": "uint16"}, "column `x`, row 1: 3 bytes are no whole number of uint16"),
        ([b"ab"], {}, "column `x` holds bytes, so `dtype` must say"),
        ([[1, 2], [], [3, 50]], {"vocabulary_size": 50}, r"row 2: ids must lie in 0..49 by .*, got 50"),
        ([[1], [-1]], {"vocabulary_size": 50}, r"row 1: ids must lie in 0..49 .* got -1"),
        ([[1], [300]], {"dtype": "uint8"}, r'row 1: ids must lie in 0..255 by `dtype="uint8"`, got 300'),
        ([[2**64 - 1]], {"dtype": "int64"}, "got 18446744073709551615"),
        (["a", "é"], {"vocabulary_size": 128}, "row 1: ids must lie in 0..127 .* got 195"),
        ([[1, None]], {}, "column `x`: ids must not be null.*drop_nulls"),
        ([[0.5]], {}, r"column `x` must hold text, bytes or lists of whole numbers, got List\(Float64\)"),
        ([1, 2], {}, "column `x` must hold text, bytes or lists of whole numbers, got Int64"),
    ],
)
def test_tokens_that_cannot_be(values: list[Any], options: dict[str, Any], message: str) -> None:
    """Ids that do not fit are refused with row group, column and row."""
    kind = pa.list_(pa.uint64()) if values == [[2**64 - 1]] else None
    with pytest.raises(hr.SchemaError, match=rf"memory, row group 0: .*{message}"):
        tokens(pa.array(values, kind), **options)


@pytest.mark.parametrize("dtype", ["float32", "bool", ">u2", "tokens", "object"])
def test_token_dtypes_that_cannot_be(dtype: Any) -> None:
    """Only whole numbers, little-endian."""
    with pytest.raises(hr.OptionError, match="`dtype` must name little-endian whole numbers"):
        hr.Tokens("x", dtype=dtype)
    with pytest.raises(hr.OptionError, match="`vocabulary_size` must be a whole number of at least 1"):
        hr.Tokens("x", vocabulary_size=0)


# The verb


def test_prepare_takes_steps() -> None:
    """Several steps at once are the same as one after another; anything else is refused by name."""
    ds = hr.from_arrays({"x": ["ab"], "y": ["c"]})
    one, other = hr.Tokens("x"), hr.Tokens("y", dtype="int64")

    assert ds.prepare(one, other).fingerprint == ds.prepare(one).prepare(other).fingerprint
    assert ds.prepare(one).fingerprint != ds.prepare(hr.Tokens("x", dtype="int64")).fingerprint
    for wrong in ((), ("x",), (hr.Tokens,), (one, None)):
        with pytest.raises(hr.OptionError, match="`prepare`"):
            ds.prepare(*wrong)
    with pytest.raises(hr.UnknownColumnError, match="no column `z`"):
        ds.prepare(hr.Tokens("z"))
    with pytest.raises(hr.UnknownColumnError, match="no column `z`"):
        ds.map(lambda frame: frame).prepare(hr.DecodeImage("z")).take([0])
    with pytest.raises(hr.OptionError, match="`Tokens` must come before `pack`"):
        ds.pack(x="x").prepare(one)
