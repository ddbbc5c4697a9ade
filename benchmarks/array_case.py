"""Measure one case of the arrays benchmark in this process and print the result as a line of JSON.

`arrays.py` starts this program once for each case and round. Libraries are imported by the case that needs
them, so that no case pays for the imports of another.
"""

from __future__ import annotations

import argparse
import gc
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import measure
import numpy as np
from image_arrays import HDF5_FILES, IMAGE_BYTES, KEY, SHAPE, make_blocks

SLICE_ROWS = 64
BATCH = 256
THREADS = 2


def slices(path: Path, images: int, epochs: int) -> Iterator[int]:
    """The limit of HDF5: h5py reads slices of 64 images in order."""
    import h5py

    with h5py.File(path) as file:
        data = file["image"]
        for _ in range(epochs):
            for start in range(0, images, SLICE_ROWS):
                yield len(data[start : start + SLICE_ROWS])


def get_copy(path: Path, images: int, epochs: int, threads: int = THREADS) -> Iterator[int]:
    """The limit of LMDB: threads get values in random order and copy them into batches of their own."""
    import lmdb

    environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False)

    def work(numbers: np.ndarray) -> None:
        for start in range(0, len(numbers), BATCH):
            part = numbers[start : start + BATCH]
            batch = np.empty((len(part), IMAGE_BYTES), np.uint8)
            with environment.begin(buffers=True) as transaction:
                for row, index in enumerate(part.tolist()):
                    batch[row] = np.frombuffer(transaction.get(KEY.format(index=index).encode()), np.uint8)

    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(images)
        workers = [threading.Thread(target=work, args=(order[number::threads],)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        yield images


def mapped_gather(path: Path, images: int, epochs: int) -> Iterator[int]:
    """The limit of memory: random rows of one memory-mapped array, on one thread."""
    array = np.load(path.with_name("images.npy"), mmap_mode="r")
    batch = np.empty((BATCH, *SHAPE), np.uint8)
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(images)
        for start in range(0, images, BATCH):
            part = order[start : start + BATCH]
            np.take(array, part, axis=0, out=batch[: len(part)], mode="clip")
            yield len(part)


class Items:
    """What users write: a map-style data set that opens its file once in each process."""

    def __init__(self, path: Path, images: int) -> None:
        self.path, self.images = path, images
        self.opened: Any = None

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Any:
        import torch

        if self.path.suffix == ".h5":
            if self.opened is None:
                import h5py

                self.opened = h5py.File(self.path)["image"]
            return torch.from_numpy(self.opened[index])
        if self.opened is None:
            import lmdb

            environment = lmdb.open(str(self.path), readonly=True, lock=False, readahead=False)
            self.opened = environment.begin(buffers=True)
        value = self.opened.get(KEY.format(index=index).encode())
        return torch.from_numpy(np.frombuffer(value, np.uint8).reshape(SHAPE).copy())


def data_loader(path: Path, images: int, epochs: int, workers: int) -> Iterator[int]:
    """A torch DataLoader over single items."""
    import torch.utils.data

    loader = torch.utils.data.DataLoader(
        Items(path, images), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    for _ in range(epochs):
        for batch in loader:
            yield len(batch)


def headrace(path: Path, images: int, epochs: int) -> Iterator[int]:
    """headrace, through its public names."""
    import headrace as hr

    options = None
    if path.suffix != ".h5":
        options = hr.LmdbOptions(fields={"image": KEY}, dtype="uint8", shape=SHAPE)
    with hr.open(path, options=options).loader(BATCH, shuffle=True, seed=0) as loader:
        for epoch in range(epochs):
            loader.set_epoch(epoch)
            for batch in loader:
                yield len(batch["image"])


CASES: dict[str, Callable[[Path, int, int], Iterator[int]]] = {
    "slices": slices,
    "get_copy": get_copy,
    "mapped_gather": mapped_gather,
    "dataloader": partial(data_loader, workers=0),
    "dataloader_2": partial(data_loader, workers=2),
    "headrace": headrace,
}


def check(path: Path, images: int) -> None:
    """Make sure that headrace delivers the images that were written, each once."""
    import headrace as hr

    options = None
    if path.suffix != ".h5":
        options = hr.LmdbOptions(fields={"image": KEY}, dtype="uint8", shape=SHAPE)
    seen: list[np.ndarray] = []
    first = next(make_blocks(images))
    with hr.open(path, options=options).loader(BATCH, shuffle=True, output="numpy", with_ids=True) as loader:
        for batch in loader:
            ids = batch["sample_id"]
            known = np.flatnonzero(ids < len(first))
            if not np.array_equal(batch["image"][known], first[ids[known]]):
                raise ValueError("images must arrive as they were written")
            seen.append(batch["image"].reshape(len(ids), -1)[:, :4].copy().view("<u4")[:, 0])
    if not np.array_equal(np.sort(np.concatenate(seen)), np.arange(images)):
        raise ValueError("each image must arrive once")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one case of the arrays benchmark.")
    parser.add_argument("case", choices=[*CASES, "check"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seconds-limit", type=float, required=True, help="longest time for one epoch")
    arguments = parser.parse_args()
    if arguments.path.stem in HDF5_FILES:
        import hdf5plugin  # noqa: F401 - h5py needs it for blosc, headrace does not
    if arguments.case == "check":
        check(arguments.path, arguments.images)
        print("{}")
        return
    data = arguments.path / "data.mdb" if arguments.path.is_dir() else arguments.path
    measure.read_once([data])
    next(CASES[arguments.case](arguments.path, arguments.images, 1))  # imports, compiled code
    gc.collect()
    clock = measure.RowClock(arguments.images, arguments.seconds_limit)
    with measure.MemoryWatch() as memory:
        clock.run(lambda: CASES[arguments.case](arguments.path, arguments.images, arguments.epochs))
    result = {
        "case": arguments.case,
        "epochs": [asdict(epoch) for epoch in clock.epochs],
        "first_batch_seconds": clock.first_batch_seconds,
        "peak_memory": memory.peak_total,
        "peak_anonymous": memory.peak_anonymous,
        "peak_growth": memory.growth,
        "is_capped": clock.is_capped,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
