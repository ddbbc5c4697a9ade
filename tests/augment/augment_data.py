"""Samples and chains of every kind for the tests of augmented loaders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import headrace as hr
from headrace.testing.contents import ID

COUNT = 46
PARTNERS = ("order", "id")

Rendered = dict[int, list[tuple[bytes, ...]]]
"""What an epoch delivers of each sample: the bytes of its columns, once for each time."""


def arrays(count: int = COUNT) -> dict[str, Any]:
    """An image, a series, numbers and a label for each sample."""
    draw = np.random.default_rng(7)
    return {
        "image": draw.integers(0, 256, (count, 7, 5, 3), np.uint8),
        "series": draw.standard_normal((count, 9, 2)).astype(np.float32),
        "features": draw.standard_normal((count, 4)).astype(np.float32),
        "label": np.arange(count) % 3,
    }


def in_memory() -> hr.Dataset:
    """Rows in arrays, which batches are gathered from."""
    return hr.from_arrays(arrays())


def in_files(folder: Path) -> hr.Dataset:
    """Row groups of uneven sizes, which are decoded."""
    table = pa.table({name: _to_arrow(array) for name, array in arrays().items()})
    with pq.ParquetWriter(folder / "part.parquet", table.schema) as writer:
        for begin, end in ((0, 7), (7, 8), (8, 20), (20, 25), (25, COUNT)):
            writer.write_table(table.slice(begin, end - begin))
    return hr.open(folder)


def _to_arrow(array: Any) -> pa.Array:
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def plain_chain() -> list[hr.augment.Augmentation]:
    """Crops, flips, tones and noise: gates, parameters and elements are drawn."""
    augment = hr.augment
    return [
        augment.RandomCrop("image", size=(5, 4), padding=1),
        augment.HorizontalFlip("image"),
        augment.Brightness("image", p=0.7),
        augment.GaussianNoise("image", p=0.6),
        augment.Jitter("series", sigma=0.5),
        augment.Reverse("series", p=0.5),
    ]


def mixing_chain(partner: Any) -> list[hr.augment.Augmentation]:
    """Plain ones, a mix of images and labels, and features of others."""
    augment = hr.augment
    return [
        augment.HorizontalFlip("image"),
        augment.MixUp("image", label="label", num_classes=3, alpha=0.5, p=0.8, partner=partner),
        augment.SwapNoise("features", rate=0.5, partner=partner),
        augment.Jitter("features", sigma=0.1),
    ]


def rendered(batches: Iterable[dict[str, Any]]) -> Rendered:
    """What was delivered of each sample."""
    found: Rendered = {}
    for batch in batches:
        padding = batch.get("is_padding", np.zeros(len(batch[ID]), np.bool_))
        names = sorted(batch.keys() - {ID, "is_padding"})
        for row in np.flatnonzero(~padding).tolist():
            found.setdefault(int(batch[ID][row]), []).append(
                tuple(np.asarray(batch[name][row]).tobytes() for name in names)
            )
    return {sample: sorted(copies) for sample, copies in found.items()}


def epoch_of(dataset: hr.Dataset, epoch: int = 0, **options: Any) -> Rendered:
    """What one epoch of a loader delivers, over all ranks if there are several."""
    size = options.pop("world_size", 1)
    options = {"batch_size": 6, "shuffle": True, "seed": 3, "threads": 0} | options
    found: Rendered = {}
    for rank in range(size):
        with dataset.loader(output="numpy", with_ids=True, world=hr.World(rank, size), **options) as loader:
            loader.set_epoch(epoch)
            for sample, copies in rendered(loader).items():
                found[sample] = sorted(found.get(sample, []) + copies)
    return found
