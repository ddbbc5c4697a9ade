"""Image hashes: those of the library, copies found, other images and pages of one colour kept apart."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pyarrow as pa
import pytest
from distance_data import cut
from numpy.typing import NDArray
from PIL import Image

import headrace as hr

DATA = Path(__file__).parents[1] / "data" / "fashion-mnist" / "t10k-images-idx3-ubyte.gz"
ALGORITHMS: Any = pytest.mark.parametrize("algorithm", ["phash", "dhash"])


def scene(seed: int, height: int = 96, width: int = 128) -> Image.Image:
    """An image with large shapes, as photographs have."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tensor(images: NDArray[np.uint8]) -> pa.Array:
    storage = pa.FixedSizeListArray.from_arrays(pa.array(images.reshape(-1)), images[0].size)
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), images.shape[1:]), storage)


def codes_of(column: pa.Array, method: hr.ImageHash) -> list[int]:
    batch = pa.RecordBatch.from_arrays([column], names=["image"])
    return method.signer(batch.schema)(batch).arrays["codes"].tolist()


def code_of(image: Image.Image, algorithm: str) -> int:
    return int(str(getattr(imagehash, algorithm)(image)), 16)


def pairs_of(images: Any, method: hr.ImageHash) -> list[tuple[int, int]]:
    report = hr.find_duplicates(cut({"image": images}, 4), "image", method)
    return [(dropped, kept) for dropped, kept, _ in report.pairs.rows()]


@pytest.fixture(scope="module")
def fashion() -> NDArray[np.uint8]:
    """300 grey images of 28 x 28."""
    content = gzip.decompress(DATA.read_bytes())
    return np.frombuffer(content, np.uint8, offset=16)[: 300 * 784].reshape(300, 28, 28)


@ALGORITHMS
def test_codes_are_those_of_the_library(fashion: NDArray[np.uint8], algorithm: Any) -> None:
    """Arrays of any layout and encoded images of any mode."""
    method = hr.ImageHash(algorithm)
    grey = [code_of(Image.fromarray(each), algorithm) for each in fashion]
    scenes = [scene(seed) for seed in range(8)]
    colours = np.stack([np.asarray(image) for image in scenes])
    opaque = np.concatenate([colours, np.full((*colours.shape[:3], 1), 90, np.uint8)], axis=3)
    coloured = [code_of(image, algorithm) for image in scenes]

    assert codes_of(tensor(fashion), method) == grey
    assert codes_of(tensor(fashion[..., None]), method) == grey
    assert codes_of(tensor(fashion[:, None]), method) == grey
    assert codes_of(tensor(colours), method) == coloured
    assert codes_of(tensor(colours.transpose(0, 3, 1, 2)), method) == coloured
    assert codes_of(tensor(opaque), method) == coloured
    assert codes_of(pa.array([encoded(image) for image in scenes]), method) == coloured
    assert codes_of(pa.array([encoded(image) for image in scenes], pa.large_binary()), method) == coloured
    for mode in ("L", "RGBA", "CMYK"):
        files = [encoded(image.convert(mode), "JPEG" if mode == "CMYK" else "PNG") for image in scenes]
        known = [code_of(Image.open(io.BytesIO(file)), algorithm) for file in files]
        assert codes_of(pa.array(files), method) == known


@ALGORITHMS
def test_copies_are_found_and_others_are_not(algorithm: Any) -> None:
    """Resized and encoded again: the same; turned, mirrored or another image: not."""
    originals = [scene(seed) for seed in range(12)]
    copies = [encoded(image.resize((256, 192), Image.Resampling.BICUBIC)) for image in originals]
    jpegs = [encoded(image, "JPEG", quality=90) for image in originals]
    turned = [encoded(image.transpose(Image.Transpose.ROTATE_90)) for image in originals]
    mirrored = [encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for image in originals]
    images = [encoded(image) for image in originals] + turned + mirrored + copies + jpegs

    exact = pairs_of(images, hr.ImageHash(algorithm))
    near = pairs_of(images, hr.ImageHash(algorithm, distance=4))

    for pairs in (exact, near):
        assert all(dropped >= 36 and kept in (dropped - 12, dropped % 12) for dropped, kept in pairs)
    assert len(near) >= max(len(exact), 22)
    assert len(exact) >= 12


def test_real_images_that_differ_are_kept(fashion: NDArray[np.uint8]) -> None:
    """At distance 0 no two of the images are duplicates but for the copy."""
    images = np.concatenate([fashion, fashion[7:8]])

    assert pairs_of(tensor(images), hr.ImageHash()) == [(300, 7)]


PLAIN = {
    "black": np.zeros((40, 40, 3), np.uint8),
    "white": np.full((40, 40, 3), 255, np.uint8),
    "red": np.full((40, 40, 3), (200, 0, 0), np.uint8),
    "nearly white": 255 - np.eye(40, dtype=np.uint8)[..., None].repeat(3, axis=2) * 5,
    "stripes": np.repeat(np.arange(40, dtype=np.uint8) // 8 % 2 * 200, 120).reshape(40, 40, 3),
    "other stripes": np.repeat(np.arange(40, dtype=np.uint8) // 5 % 2 * 200, 120).reshape(40, 40, 3),
    "gradient": (np.add.outer(np.arange(40), np.arange(40)) * 3)
    .astype(np.uint8)[..., None]
    .repeat(3, axis=2),
    "weaker gradient": (np.add.outer(np.arange(40), np.arange(40)) * 2)
    .astype(np.uint8)[..., None]
    .repeat(3, 2),
}


@ALGORITHMS
@pytest.mark.parametrize("distance", [0, 10])
def test_pages_that_show_nothing_are_told_by_their_pixels(algorithm: Any, distance: int) -> None:
    """One colour, stripes: no two are duplicates but equal ones, a grey one of one channel among them."""
    names = [name for name in PLAIN if algorithm == "dhash" or "gradient" not in name]
    images = [encoded(Image.fromarray(PLAIN[name])) for name in names]
    images += [encoded(Image.fromarray(PLAIN["red"])), encoded(Image.new("L", (40, 40), 255)), None, None]
    ds = cut({"image": images})

    report = hr.find_duplicates(ds, "image", hr.ImageHash(algorithm, distance))

    found = [(dropped, kept) for dropped, kept, _ in report.pairs.rows()]
    assert found == [(len(names), names.index("red")), (len(names) + 1, names.index("white"))]
    assert report.methods.rows() == [("exact", 2)]


def test_one_colour_of_another_size_is_no_duplicate() -> None:
    assert pairs_of([encoded(Image.new("L", (40, width))) for width in (10, 20, 10)], hr.ImageHash()) == [
        (2, 0)
    ]


@pytest.mark.parametrize("executor", [hr.Serial(), hr.Processes(1)], ids=["serial", "processes"])
def test_every_executor_finds_the_same(executor: hr.Executor) -> None:
    images = [encoded(scene(seed % 9)) for seed in range(20)]
    ds = cut({"image": images}, 4)

    report = hr.find_duplicates(ds, method=hr.ImageHash(), executor=executor)

    assert report.pairs.rows() == [
        (place, place - 9 if place < 18 else place - 18, 1.0) for place in range(9, 20)
    ]


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (b"no image", "no JPEG or PNG"),
        (encoded(scene(0))[:200], "cut off"),
        (encoded(scene(0), "JPEG")[:400], "damaged or cut off"),
        (b"", "no JPEG or PNG"),
    ],
)
@pytest.mark.parametrize("chosen", [None, [2, 9, 10]])
def test_an_image_that_cannot_be_decoded_is_named(
    damaged: bytes, reason: str, chosen: list[int] | None
) -> None:
    """By its row group and its row there, also where only some rows of it take part."""
    ds = cut({"image": [encoded(scene(seed)) for seed in range(10)] + [damaged]}, 8)
    ds = ds if chosen is None else ds.rows(chosen)

    with pytest.raises(hr.UndecodableError, match=rf"row group 1.*row 2: column `image`.*{reason}"):
        hr.find_duplicates(ds, "image", hr.ImageHash())


def test_columns_that_cannot_be_compared_are_refused() -> None:
    """One column of bytes or of pixels; the message says which shapes are such."""
    wide = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((2, 8, 8, 5), np.uint8))
    table = pa.table(
        {"a": [b"x"] * 2, "wide": wide, "f": wide.storage.cast(pa.list_(pa.float32(), 320)), "n": [1, 2]}
    )
    ds = hr.from_arrow(table)

    for name in ("wide", "f", "n"):
        with pytest.raises(
            hr.SchemaError, match=f"column `{name}` must hold encoded images or arrays of uint8"
        ):
            hr.find_duplicates(ds, name, hr.ImageHash())
    with pytest.raises(hr.OptionError, match="compares one column"):
        hr.find_duplicates(ds, ["a", "n"], hr.ImageHash())
    with pytest.raises(hr.OptionError, match=r"column of images to compare, .*: none"):
        hr.find_duplicates(ds.select(["n"]), method=hr.ImageHash())
    with pytest.raises(hr.OptionError, match="algorithm"):
        hr.ImageHash("ahash")  # type: ignore[arg-type]


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "imagehash", None)

    with pytest.raises(hr.MissingDependencyError, match=r"pip install headrace\[imagehash\]"):
        hr.ImageHash()
