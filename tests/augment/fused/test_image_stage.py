"""Compiled stages of images give what the references give, bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_chains import random_chain, random_images
from stage_checks import allocate, check_stage, same

import headrace as hr
import headrace.augment as aug
from headrace.augment.base import Augmentation, Spec
from headrace.augment.chain import Chain
from headrace.augment.fused.compile import find_stages
from headrace.augment.fused.image.stage import find_image_stage
from headrace.augment.stage import Picked, reference_stages, run_stages
from headrace.draws import Draws, Samples


def check_chain(ops: Sequence[Augmentation], images: Any, seed: int) -> None:
    """Hold the stages of a chain against the references, for images that are copied and that are picked."""
    bound = Chain(tuple(ops)).bind({"image": Spec.of(images)})
    samples = Samples(np.random.default_rng(seed).integers(0, 1 << 60, len(images)))
    planned = bound.plan(Draws(seed, epoch=3), samples)
    expected = run_stages(bound, reference_stages(bound), {"image": images}, planned, allocate)
    places = np.random.default_rng(seed).permutation(len(images))
    picked = Picked(images[places], np.argsort(places))
    for column in (images, picked):
        found = run_stages(bound, find_stages(bound), {"image": column}, planned, allocate)
        same(found["image"], expected["image"], ops)


@pytest.mark.parametrize("group", range(8))
def test_random_chains_give_what_their_references_give(group: int) -> None:
    """Any augmentations in any order, for images of 1 to 39 pixels a side and 1 to 4 channels."""
    for seed in range(20 * group, 20 * group + 20):
        draw = np.random.default_rng(seed)
        images, layout = random_images(draw, count=5)
        check_chain(random_chain(draw, Spec.of(images), layout), images, seed)


@pytest.mark.parametrize("to_layout", [None, "NHWC", "NCHW"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_rows_of_any_width_are_converted(layout: str, to_layout: str | None) -> None:
    """Rows of no, one and several vectors, with and without a rest, of 1 to 5 channels."""
    for seed, (width, channels) in enumerate([(15, 3), (16, 3), (17, 1), (31, 2), (33, 5), (40, 4), (56, 3)]):
        draw = np.random.default_rng(seed)
        shape = (11, width + 4, channels) if layout == "NHWC" else (channels, 11, width + 4)
        images = draw.integers(0, 256, (6, *shape), np.uint8)
        for mean, padding in ((0.485, None), (0.4, 3)):
            options: dict[str, Any] = {"layout": layout}
            ops = [
                aug.RandomCrop("image", (9, width), padding=padding, fill=7, **options),
                aug.HorizontalFlip("image", **options),
                aug.VerticalFlip("image", **options),
                aug.Normalize(
                    "image",
                    mean,
                    [0.2 + part / 9 for part in range(channels)],
                    to_layout=to_layout,
                    **options,
                ),
            ]
            check_stage(find_image_stage, ops, {"image": images}, seed)


def test_a_table_takes_the_place_of_numbers_that_round_otherwise() -> None:
    """A mean whose difference to 0.4 no product gives again is looked up; what comes out is the same."""
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for mean, std in ((1 / 3, 0.1), (0.1 + 0.2, 0.7), (5e-324, 1e300), (1e30, 1e-30)):
        with np.errstate(over="ignore"):
            check_chain([aug.Normalize("image", mean, std, layout="NCHW")], images, 0)


def test_columns_of_several_dtypes_share_a_stage() -> None:
    """An image, its mask of whole numbers and one of truth values are cropped, turned and flipped alike."""
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (9, 12, 12, 3), np.uint8)
    columns = {"image": image, "mask": image[..., 0].astype(np.int64), "valid": image[..., 1] > 99}
    names = list(columns)
    ops = [
        aug.RandomCrop(names, 8, padding=2, fill=1),
        aug.Rot90(names),
        aug.HorizontalFlip(names),
        aug.Brightness("image", 0.5),
        aug.VerticalFlip(["mask", "valid"]),
    ]
    check_stage(find_image_stage, ops, columns)


def test_a_change_before_a_move_begins_a_stage() -> None:
    """Pixels are moved before they are changed, so two stages perform a crop that comes after noise."""
    ops = [
        aug.GaussianNoise("image"),
        aug.RandomCrop("image", 3),
        aug.Resize("image", 5),
        aug.Rotate("image", 9),
    ]
    bound = Chain(tuple(ops)).bind({"image": Spec((6, 6, 3), np.dtype(np.uint8))})

    assert [list(stage.numbers) for stage in find_stages(bound)] == [[0], [1, 2], [3]]


def test_a_user_s_own_augmentation_goes_by_its_reference() -> None:
    """A class that derives from one of ours may do anything, so no compiled stage takes it for ours."""

    class Mirror(aug.HorizontalFlip):
        """Upside down, in truth."""

        _axis = 0

    images = np.arange(18, dtype=np.uint8).reshape(1, 3, 2, 3)
    check_chain([Mirror("image", p=1)], images, 0)


def test_loaders_of_all_kinds_deliver_the_same(tmp_path: Path) -> None:
    """Rows in memory, in a cache's files and in shards that are decoded, on threads or none."""
    draw = np.random.default_rng(1)
    arrays = {
        "before": np.arange(70),
        "image": draw.integers(0, 256, (70, 20, 20, 3), np.uint8),
        "label": np.arange(70) % 7,
    }
    table = pa.table({**arrays, "image": pa.FixedShapeTensorArray.from_numpy_ndarray(arrays["image"])})
    (tmp_path / "shards").mkdir()
    pq.write_table(table, tmp_path / "shards" / "part.parquet", row_group_size=16)
    shards = hr.open(tmp_path / "shards")
    mapped, held = shards.cache(tmp_path / "cache"), shards.cache(tmp_path / "held", residency="memory")
    for each in (mapped, held):
        assert len(list(each.loader(8))) == 9  # fills it
    ops = [
        aug.RandomCrop("image", 17, padding=2),
        aug.HorizontalFlip("image"),
        aug.Saturation("image"),
        aug.Normalize("image", 0.5, 0.25, to_layout="NCHW"),
    ]
    expected = None
    for each in (shards, mapped, held, hr.from_arrays(arrays)):
        for threads in (0, 2):
            loader = each.augment(*ops).loader(8, shuffle="global", seed=4, threads=threads, output="numpy")
            with loader:
                batches = [dict(batch) for batch in loader]
            assert [list(batch) for batch in batches] == [list(arrays)] * len(batches)
            expected = expected or batches
            for batch, other in zip(batches, expected, strict=True):
                for name in arrays:
                    same(batch[name], other[name], each)
