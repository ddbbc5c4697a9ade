"""The opponents of the augmentation benchmark, each an endless stream of the row counts of its batches.

All crop uint8 images of shape [3, 64, 64] to 56 x 56 at random, flip half of them left to right and
normalise them to float32. They take them from the cache's own file, or from an LMDB file of the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from image_arrays import KEY, SHAPE

Peer = Callable[[Path, Path, int], Iterator[int]]

SIZE = 56
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WORKERS = 2
BATCHES = 16  # that a thread makes without a word to the others


def map_images(folder: Path) -> np.ndarray:
    """The cache's array as anybody could open it."""
    (path,) = folder.rglob("[0-9]*-*.npy")
    return np.load(path, mmap_mode="r")


# ---- the limit


@numba.njit(nogil=True, cache=True)
def _crop_flip_normalize(images: Any, order: Any, drawn: Any, factors: Any, terms: Any, out: Any) -> None:
    _, channels, height, width = out.shape
    for place in range(order.size):
        image, top, left = images[order[place]], drawn[place, 0], drawn[place, 1]
        for channel in range(channels):
            factor, term = factors[channel], terms[channel]
            for y in range(height):
                row, target = image[channel, top + y, left : left + width], out[place, channel, y]
                if drawn[place, 2]:
                    for x in range(width):
                        target[x] = np.float32(row[width - 1 - x]) * factor + term
                else:
                    for x in range(width):
                        target[x] = np.float32(row[x]) * factor + term


def _limit(cache_folder: Path, batch: int, threads: int) -> Iterator[int]:
    images = np.asarray(map_images(cache_folder))
    factors = (1 / (255 * np.array(STD))).astype(np.float32)
    terms = (-np.array(MEAN) / np.array(STD)).astype(np.float32)
    draws = np.random.default_rng(0)
    drawn = np.stack([draws.integers(0, end, batch) for end in (9, 9, 2)], axis=1).astype(np.int32)
    buffers = [
        [np.empty((batch, SHAPE[0], SIZE, SIZE), np.float32) for _ in range(4)] for _ in range(threads)
    ]

    def work(task: tuple[int, list[np.ndarray]]) -> int:
        number, orders = task
        for place, order in enumerate(orders):
            out = buffers[number][place % 4][: len(order)]
            _crop_flip_normalize(images, order, drawn, factors, terms, out)
        return sum(len(order) for order in orders)

    with ThreadPoolExecutor(threads) as pool:
        while True:
            order = draws.permutation(len(images))
            orders = [order[begin : begin + batch] for begin in range(0, len(order), batch)]
            for begin in range(0, len(orders), threads * BATCHES):
                part = orders[begin : begin + threads * BATCHES]
                yield sum(pool.map(work, [(number, part[number::threads]) for number in range(threads)]))


def limit(cache_folder: Path, lmdb: Path, batch: int) -> Iterator[int]:
    """Two threads of a loop that is written for just this, with all that is drawn known beforehand."""
    return _limit(cache_folder, batch, 2)


def limit_one_thread(cache_folder: Path, lmdb: Path, batch: int) -> Iterator[int]:
    """The same loop on one thread."""
    return _limit(cache_folder, batch, 1)


# ---- sample by sample, in the workers of a DataLoader


class Images:
    """The images in the cache's file, one at a time; the file is opened in each worker."""

    def __init__(self, folder: Path, transform: Callable[[np.ndarray], Any]) -> None:
        self.folder, self.transform, self.images = folder, transform, None
        self.count = len(map_images(folder))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        if self.images is None:
            self.images = np.asarray(map_images(self.folder))
        return self.transform(self.images[index])


class LmdbImages:
    """The same images in LMDB."""

    def __init__(self, path: Path, count: int, transform: Callable[[np.ndarray], Any]) -> None:
        self.path, self.count, self.transform, self.transaction = path, count, transform, None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        import lmdb

        if self.transaction is None:
            self.transaction = lmdb.open(str(self.path), readonly=True, lock=False).begin(buffers=True)
        value = self.transaction.get(KEY.format(index=index).encode())
        return self.transform(np.frombuffer(value, np.uint8).reshape(SHAPE))


@cache
def _numbers() -> tuple[np.ndarray, np.ndarray]:
    shape = (3, 1, 1)
    mean, std = (np.array(each, np.float32).reshape(shape) for each in (MEAN, STD))
    return mean * 255, 1 / (std * 255)


def by_numpy(image: np.ndarray) -> Any:
    """What is written by hand with NumPy."""
    import torch

    top, left, flip = (int(torch.randint(end, ())) for end in (9, 9, 2))
    part = image[:, top : top + SIZE, left : left + SIZE]
    mean, factor = _numbers()
    return torch.from_numpy((part[:, :, ::-1] if flip else part) - mean) * torch.from_numpy(factor)


def by_torch(image: np.ndarray) -> Any:
    """What is written by hand with torch: the steps of torchvision's transforms, without their checks."""
    import torch

    top, left, flip = (int(torch.randint(end, ())) for end in (9, 9, 2))
    part = torch.from_numpy(image)[:, top : top + SIZE, left : left + SIZE]
    mean, std = _tensors()
    return (part.flip(2) if flip else part).float().div_(255).sub_(mean).div_(std)


@cache
def _tensors() -> tuple[Any, Any]:
    import torch

    return torch.tensor(MEAN).reshape(3, 1, 1), torch.tensor(STD).reshape(3, 1, 1)


def by_torchvision() -> Callable[[np.ndarray], Any]:
    """The transforms of torchvision, version 2."""
    import torch
    from torchvision.transforms import v2

    parts = [v2.RandomCrop(SIZE), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)]
    chain = v2.Compose([*parts, v2.Normalize(MEAN, STD)])
    return lambda image: chain(torch.from_numpy(np.array(image)))


def by_albumentations() -> Callable[[np.ndarray], Any]:
    """The transforms of albumentations, which wants the channels last."""
    import albumentations
    from albumentations.pytorch import ToTensorV2

    parts = [albumentations.RandomCrop(SIZE, SIZE), albumentations.HorizontalFlip(p=0.5)]
    chain = albumentations.Compose([*parts, albumentations.Normalize(MEAN, STD), ToTensorV2()])
    return lambda image: chain(image=image.transpose(1, 2, 0))["image"]


def _data_loader(data: Any, batch: int) -> Iterator[int]:
    from torch.utils.data import DataLoader

    loader = DataLoader(data, batch, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    while True:
        for images in loader:
            yield len(images)


def numpy_loader(cache_folder: Path, lmdb: Path, batch: int) -> Iterator[int]:
    """Code by hand for each sample."""
    return _data_loader(Images(cache_folder, by_numpy), batch)


def lmdb_loader(cache_folder: Path, lmdb: Path, batch: int) -> Iterator[int]:
    """Code by hand for each sample, which comes from LMDB."""
    return _data_loader(LmdbImages(lmdb, len(map_images(cache_folder)), by_numpy), batch)


def torch_loader(cache_folder: Path, lmdb: Path, batch: int) -> Iterator[int]:
    """Code by hand for each sample, with torch."""
    return _data_loader(Images(cache_folder, by_torch), batch)


def torchvision_loader(cache_folder: Path, lmdb: Path, batch: int) -> Iterator[int]:
    """Each sample by torchvision."""
    return _data_loader(Images(cache_folder, by_torchvision()), batch)


def albumentations_loader(cache_folder: Path, lmdb: Path, batch: int) -> Iterator[int]:
    """Each sample by albumentations."""
    return _data_loader(Images(cache_folder, by_albumentations()), batch)


# ---- whole batches


def kornia(cache_folder: Path, lmdb: Path, batch: int) -> Iterator[int]:
    """Whole batches by kornia, gathered by torch from a tensor in memory."""
    import torch
    from kornia import augmentation

    torch.set_num_threads(2)
    images = torch.from_numpy(np.array(map_images(cache_folder)))
    parts = [
        augmentation.RandomCrop((SIZE, SIZE), cropping_mode="slice"),
        augmentation.RandomHorizontalFlip(),
    ]
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    chain = augmentation.AugmentationSequential(*parts, augmentation.Normalize(mean, std))
    while True:
        for order in torch.randperm(len(images)).split(batch):
            yield len(chain(images.index_select(0, order).float() / 255))


PEERS: dict[str, Peer] = {
    "numpy_loader": numpy_loader,
    "torch_loader": torch_loader,
    "lmdb_loader": lmdb_loader,
    "torchvision_loader": torchvision_loader,
    "albumentations_loader": albumentations_loader,
    "limit": limit,
    "limit_one_thread": limit_one_thread,
    "kornia": kornia,
}
"""Loaders with worker processes come first, so that they start before there are threads."""

# In the order of the table; what must be installed for each.
NEEDS = {
    "limit": "numba",
    "limit_one_thread": "numba",
    "headrace": "headrace",
    "headrace_one_thread": "headrace",
    "numpy_loader": "torch",
    "torch_loader": "torch",
    "lmdb_loader": "lmdb",
    "torchvision_loader": "torchvision",
    "albumentations_loader": "albumentations",
    "kornia": "kornia",
}
PER_SAMPLE = ("numpy_loader", "torch_loader", "lmdb_loader", "torchvision_loader", "albumentations_loader")
