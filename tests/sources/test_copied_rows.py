"""Wide rows of HDF5 and LMDB go right into their batches; what arrives is what h5py and lmdb read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import lmdb
import numpy as np
import pytest

import headrace as hr
from headrace.sources.base import SupportsCopy

ROWS, SHAPE = 700, (3, 16, 16)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 7, (ROWS, *SHAPE), np.uint8)
LABELS = np.arange(ROWS) % 10
LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunk-1": {"chunks": (1, *SHAPE)},
    "chunk-7": {"chunks": (7, *SHAPE)},
    "chunk-64": {"chunks": (64, *SHAPE)},
    "lzf": {"chunks": (64, *SHAPE), "compression": "lzf"},
    "gzip": {"chunks": (10, *SHAPE), "compression": "gzip"},
    "shuffled-checked": {"chunks": (9, *SHAPE), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "blosc": {"chunks": (64, *SHAPE), **hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.SHUFFLE)},
    "single-blosc": {"chunks": (1, *SHAPE), **hdf5plugin.Blosc()},
}


def write_hdf5(path: Path, images: np.ndarray = IMAGES, **layout: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=images, **layout)
        file["label"] = LABELS[: len(images)]
    return path


def write_lmdb(path: Path, images: np.ndarray = IMAGES) -> Path:
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        for index, image in enumerate(images):
            transaction.put(f"image-{index:05d}".encode(), image.tobytes())
            transaction.put(f"label-{index:05d}".encode(), int(LABELS[index]).to_bytes(8, "little"))
    return path


def open_lmdb(path: Path, **more: Any) -> hr.Dataset:
    fields = {"image": "image-{index:05d}", "label": "label-{index:05d}"}
    options = hr.LmdbOptions(
        fields=fields, dtype={"image": "uint8", "label": "int64"}, shape={"image": SHAPE, "label": ()}
    )
    return hr.open(path, options=options, **more)


def copied(dataset: hr.Dataset) -> set[str]:
    """The columns that the source copies without decoding them as a column."""
    source = dataset.recipe.source
    assert isinstance(source, SupportsCopy)
    return set(source.layouts)


def assert_right(batch: dict[str, Any]) -> None:
    ids = np.asarray(batch["sample_id"])
    assert np.array_equal(np.asarray(batch["image"]), IMAGES[ids])
    if "label" in batch:
        assert np.array_equal(np.asarray(batch["label"]), LABELS[ids])


@pytest.fixture(params=[*LAYOUTS, "lmdb"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> hr.Dataset:
    if request.param == "lmdb":
        return open_lmdb(write_lmdb(tmp_path / "images"))
    return hr.open(write_hdf5(tmp_path / "images.h5", **LAYOUTS[request.param]))


@pytest.mark.parametrize("threads", [0, 2])
def test_every_batch_holds_its_samples(dataset: hr.Dataset, threads: int) -> None:
    """Shuffled epochs deliver each sample once, with the values that were written."""
    assert copied(dataset) == {"image"}
    loader = dataset.loader(32, shuffle=True, threads=threads, output="numpy", with_ids=True)
    for _ in range(2):
        seen = []
        for batch in loader:
            assert_right(batch)
            seen.extend(batch["sample_id"].tolist())
        assert sorted(seen) == list(range(ROWS))


def test_random_access_agrees(dataset: hr.Dataset) -> None:
    """`batch`, `take` and `rows` give what iterating gives, also for a few scattered samples."""
    loader = dataset.loader(32, shuffle=True, output="numpy", with_ids=True)
    for step in (0, 7, len(loader) - 1):
        assert_right(loader.batch(step))
    ids = [699, 0, 350, 0, 63, 64]
    assert np.array_equal(np.asarray(dataset.take(ids)["image"]), IMAGES[ids])
    chosen = dataset.rows(ids).loader(4, shuffle=False, output="numpy", with_ids=True)
    assert [batch["sample_id"].tolist() for batch in chosen] == [ids[:4], ids[4:]]


def test_names_follow_the_column(dataset: hr.Dataset) -> None:
    """A column that is renamed, packed under another name, or packed twice is still copied right."""
    renamed = dataset.rename({"image": "x"}).select(["x"]).loader(64, output="numpy", with_ids=True)
    for batch in renamed:
        assert_right({"image": batch["x"], "sample_id": batch["sample_id"]})
    packed = dataset.pack(one="image", two="image", y=["label", "label"]).loader(64, with_ids=True)
    for batch in packed:
        assert list(batch) == ["one", "two", "y", "sample_id"]
        assert_right({"image": batch["one"], "sample_id": batch["sample_id"]})
        assert_right({"image": batch["two"], "label": batch["y"][:, 1], "sample_id": batch["sample_id"]})


def test_changed_columns_are_not_copied(dataset: hr.Dataset) -> None:
    """What a step, a dtype or a mask touches goes the way of all columns, with equal values."""
    changed = dataset.pack(image="image", dtype={"image": "float32"}).loader(
        64, output="numpy", with_ids=True
    )
    for batch in changed:
        assert batch["image"].dtype == np.float32
        assert np.array_equal(batch["image"], IMAGES[batch["sample_id"]])
    masked = dataset.pack(image="image", null_mask=True).loader(64, output="numpy", with_ids=True)
    for batch in masked:
        assert_right(batch)
    table = next(iter(dataset.loader(64, output="arrow", shuffle=False)))
    assert np.array_equal(table["image"].to_numpy_ndarray(), IMAGES[:64])


def test_several_shards_and_row_groups(tmp_path: Path) -> None:
    """Shards of different layouts are one data set; rows of many row groups find their batches."""
    images = RNG.integers(0, 256, (24_000, *SHAPE), np.uint8)
    for number, (name, part) in enumerate(
        zip(("contiguous", "lzf", "chunk-7"), np.split(images, 3), strict=True)
    ):
        with h5py.File(tmp_path / f"part-{number}.h5", "w") as file:
            file.create_dataset("image", data=part, **LAYOUTS[name])
    dataset = hr.open(tmp_path)
    assert len(list(dataset.recipe.source.manifest)) > 3
    seen = []
    for batch in dataset.loader(128, shuffle=True, output="numpy", with_ids=True):
        assert np.array_equal(batch["image"], images[batch["sample_id"]])
        seen.extend(batch["sample_id"].tolist())
    assert sorted(seen) == list(range(24_000))


@pytest.mark.parametrize(
    ("images", "layout"),
    [
        (IMAGES.astype(">i4"), {}),
        (IMAGES > 3, {}),
        (IMAGES, {"chunks": (5, 3, 8, 16), "compression": "lzf"}),
        (IMAGES[:, 0, 0], {}),
    ],
    ids=["big-endian", "booleans", "chunks of parts of rows", "narrow rows"],
)
def test_other_columns_are_decoded(tmp_path: Path, images: np.ndarray, layout: dict[str, Any]) -> None:
    """What does not lie in the file as a batch holds it is decoded as a column, to equal values."""
    dataset = hr.open(write_hdf5(tmp_path / "a.h5", images, **layout))

    assert copied(dataset) == set()
    for batch in dataset.loader(64, shuffle=True, output="numpy", with_ids=True):
        assert np.array_equal(batch["image"], images[batch["sample_id"]])


def test_damage_is_named(tmp_path: Path) -> None:
    """A damaged chunk is one error which names file, row group and data set; the others are delivered."""
    path = write_hdf5(tmp_path / "a.h5", **LAYOUTS["shuffled-checked"])
    with h5py.File(path) as file:
        chunk = file["image"].id.get_chunk_info(3)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        file.write(b"\xff\xfe")
    loader = hr.open(path).loader(16, shuffle=False, output="numpy")

    with pytest.raises(
        hr.CorruptSourceError, match=r"a\.h5, row group 0, data set `/image`: the chunk that begins at \[27"
    ):
        list(loader)


@pytest.mark.parametrize("kind", ["contiguous", "chunk-64", "lzf", "lmdb"])
def test_a_file_cut_off_in_mid_epoch(tmp_path: Path, kind: str) -> None:
    """Rows that are gone are an error, not zeros and not the end of the process."""
    if kind == "lmdb":
        path = write_lmdb(tmp_path / "images") / "data.mdb"
        dataset = open_lmdb(path.parent)
    else:
        path = write_hdf5(tmp_path / "a.h5", **LAYOUTS[kind])
        dataset = hr.open(path)
    loader = dataset.loader(16, shuffle=True, threads=0, output="numpy", with_ids=True)
    assert_right(next(iter(loader)))
    os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(hr.ChangedSourceError, match="replaced or rewritten"):
        loader.batch(3)


@pytest.mark.parametrize("kind", ["contiguous", "lzf", "lmdb"])
def test_the_memory_limit_holds(tmp_path: Path, kind: str) -> None:
    """A row group beyond the limit is refused, with the sum, as it is where columns are decoded."""
    if kind == "lmdb":
        dataset = open_lmdb(write_lmdb(tmp_path / "images"), memory_limit=100_000)
    else:
        dataset = hr.open(write_hdf5(tmp_path / "a.h5", **LAYOUTS[kind]), memory_limit=100_000)

    with pytest.raises(hr.MemoryLimitError, match="more than the limit of 100,000"):
        next(iter(dataset.loader(16, output="numpy")))


def test_a_value_of_another_size_is_named(tmp_path: Path) -> None:
    """An LMDB value that is too short is an error with its key, and nothing is read beyond it."""
    path = write_lmdb(tmp_path / "images")
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"image-00600", b"short")

    with pytest.raises(hr.CorruptSourceError, match=r"key `image-00600`.*takes 768 bytes, got 5"):
        list(open_lmdb(path).loader(16, output="numpy"))


def test_padding_beside_copied_columns(tmp_path: Path) -> None:
    """Lists are padded while wide columns are copied, whatever the order of the arrays."""
    lists = [np.arange(row % 5, dtype=np.int32) for row in range(ROWS)]
    with h5py.File(write_hdf5(tmp_path / "images.h5"), "a") as file:
        file.create_dataset("tokens", data=np.array(lists, object), dtype=h5py.vlen_dtype(np.int32))
    ds = hr.open(tmp_path / "images.h5")
    for pad_to in (4, "longest", {"tokens": 4}):
        packed = ds.pack(tokens="tokens", image="image", pad_to=pad_to, pad_value=-1)
        assert set(packed.recipe.untouched) == {"image"}
        for batch in packed.loader(batch_size=64, shuffle=True, output="numpy", with_ids=True):
            assert list(batch) == ["tokens", "tokens_length", "image", "sample_id"]
            assert_right(batch)
            for sample, row, length in zip(
                batch["sample_id"], batch["tokens"], batch["tokens_length"], strict=True
            ):
                assert length == len(lists[sample])
                assert row.tolist() == [*lists[sample], *[-1] * (4 - length)]
    for pad_to in (4, {"image": 4}):
        with pytest.raises(hr.SchemaError, match="`pad_to` needs"):
            ds.pack(image="image", pad_to=pad_to).take([0])
