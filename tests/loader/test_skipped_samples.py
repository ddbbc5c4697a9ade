"""`on_error="skip"` leaves out single samples where the format can tell which ones are damaged."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import google_crc32c
import lmdb
import numpy as np
import polars as pl
import pytest
from PIL import Image

import headrace as hr

IMAGES = np.random.default_rng(4).integers(0, 256, (100, 8, 8, 3), np.uint8)
DAMAGED = [0, 41, 99]


def picture(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 images, of which the first, one within and the last are cut short."""
    folder = tmp_path_factory.mktemp("pictures") / "a.lmdb"
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as write:
        for place, image in enumerate(IMAGES):
            content = picture(image)
            kept = len(content) // 2 if place in DAMAGED else len(content)
            write.put(b"%05d" % place, content[:kept])
    return folder


def open_pictures(path: Path) -> hr.Dataset:
    return hr.open(path, options=hr.LmdbOptions(decode={"value": "image"}))


def loaded(dataset: hr.Dataset, **settings: Any) -> tuple[dict[int, Any], dict[str, Any], int]:
    """Go through one epoch: values by sample id, statistics, steps."""
    loader = dataset.loader(on_error="skip", output="numpy", with_ids=True, **settings)
    batches = list(loader)
    assert all(len(batch["value"]) == len(batch["sample_id"]) for batch in batches)
    pairs = [pair for batch in batches for pair in zip(batch["sample_id"], batch["value"], strict=True)]
    assert len(pairs) == len(dict(pairs)), "no sample comes twice"
    return dict(pairs), loader.stats(), len(batches)


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 32, 100])
@pytest.mark.parametrize("shuffle", [False, True, "global"])
def test_exactly_the_damaged_images_are_skipped(
    pictures: Path, shuffle: Any, batch_size: int, threads: int
) -> None:
    """Of 100 images the 3 damaged ones are left out and listed, and all others have their pixels."""
    dataset = open_pictures(pictures)
    values, stats, steps = loaded(dataset, batch_size=batch_size, shuffle=shuffle, threads=threads)

    assert sorted(values) == [place for place in range(100) if place not in DAMAGED]
    assert all(np.array_equal(value, IMAGES[place]) for place, value in values.items())
    assert (stats["skipped"], stats["skipped_ids"]) == (3, DAMAGED)
    assert steps == -(-100 // batch_size)
    assert all("data.mdb, row group 0, key `" in text for text in stats["skipped_errors"])


def test_ranks_skip_their_own_samples(pictures: Path) -> None:
    """Each rank lists those of its own, makes as many steps as the others, and nothing comes twice."""
    dataset = open_pictures(pictures)
    ranks = [loaded(dataset, batch_size=7, shuffle=True, world=hr.World(rank, 3)) for rank in range(3)]

    assert sorted(place for _, stats, _ in ranks for place in stats["skipped_ids"]) == DAMAGED
    assert sorted(place for values, _, _ in ranks for place in values) == [
        place for place in range(100) if place not in DAMAGED
    ]
    assert len({steps for _, _, steps in ranks}) == 1


def test_only_selected_samples_count(pictures: Path) -> None:
    """A damaged sample that no batch wants is neither listed nor in the way."""
    dataset = open_pictures(pictures).rows([40, 41, 42])
    values, stats, _ = loaded(dataset, batch_size=2, shuffle=False)

    assert sorted(values) == [40, 42]
    assert stats["skipped_ids"] == [41]


def test_columns_that_nobody_wants_damage_nothing(pictures: Path) -> None:
    """Whether a sample is left out depends on the columns that are read."""
    loader = open_pictures(pictures).select(["key"]).loader(16, on_error="skip", output="numpy")

    assert sum(len(batch["key"]) for batch in loader) == 100
    assert loader.stats()["skipped"] == 0


def test_steps_see_the_others(pictures: Path) -> None:
    """Expressions are computed for the samples that are left, each with its own."""
    dataset = open_pictures(pictures).with_columns(number=pl.col("key").cast(pl.String).cast(pl.Int64))
    loader = dataset.loader(16, shuffle=True, on_error="skip", output="numpy", with_ids=True)
    batches = list(loader)

    assert all(np.array_equal(batch["number"], batch["sample_id"]) for batch in batches)
    assert sum(len(batch["value"]) for batch in batches) == 97


def test_without_skipping_the_first_is_an_error(pictures: Path) -> None:
    """By default a damaged sample ends the epoch; the error says which, and how many more there are."""
    with pytest.raises(hr.UndecodableError, match=r"key `00000`: cannot be decoded.*2 more") as caught:
        list(open_pictures(pictures).loader(10, shuffle=False, output="numpy"))
    assert caught.value.rows == tuple(DAMAGED)


def test_damage_in_several_fields(tmp_path: Path) -> None:
    """A sample is left out when any of its fields is damaged."""
    with lmdb.open(str(tmp_path), map_size=1 << 24) as environment, environment.begin(write=True) as write:
        for place, image in enumerate(IMAGES[:20]):
            write.put(b"image-%d" % place, b"no picture" if place in (3, 4) else picture(image))
            write.put(b"label-%d" % place, b"\xff" if place in (4, 17) else b"%d" % place)
    options = hr.LmdbOptions(
        fields={"value": "image-{index}", "label": "label-{index}"},
        decode={"value": "image", "label": "text"},
    )
    values, stats, _ = loaded(hr.open(tmp_path, options=options), batch_size=6, shuffle=True)

    assert stats["skipped_ids"] == [3, 4, 17]
    assert len(values) == 17
    assert len(stats["skipped_errors"]) == 2


@pytest.mark.parametrize("batch_size", [1, 8, 50])
def test_records_with_wrong_checksums_are_skipped(tmp_path: Path, batch_size: int) -> None:
    """TFRecord's checksums tell the damaged records, and the others are delivered."""

    def checksum(content: bytes) -> bytes:
        crc = google_crc32c.value(content)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    def record(place: int) -> bytes:
        length, content = struct.pack("<Q", 4), struct.pack("<i", place)
        damaged = struct.pack("<i", -1) if place in (7, 8, 49) else content
        return length + checksum(length) + damaged + checksum(content)

    (tmp_path / "a.tfrecord").write_bytes(b"".join(map(record, range(50))))
    options = hr.TfRecordOptions(content="bytes", dtype={"record": "int32"}, shape={"record": ()})
    dataset = hr.open(tmp_path, "tfrecord", options=options).rename({"record": "value"})
    values, stats, _ = loaded(dataset, batch_size=batch_size, shuffle=True)

    assert stats["skipped_ids"] == [7, 8, 49]
    assert values == {place: place for place in range(50) if place not in (7, 8, 49)}
    assert all("checksum" in text for text in stats["skipped_errors"])
