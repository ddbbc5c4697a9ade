"""Generate the images of the arrays benchmark: the same ones in HDF5 files of several layouts and in LMDB.

An image is uint8 of shape [3, 64, 64]. Its left half is noise and its right half is one value a row, so that
lzf, gzip and blosc shrink it to about six tenths, as they do with photographs that are cropped to a frame.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (3, 64, 64)
IMAGE_BYTES = int(np.prod(SHAPE))
KEY = "image-{index:09d}"
BLOCK = 1024
# Name to the rows of a chunk and its compression.
HDF5_FILES = {
    f"hdf5_{rows}_{compression}": (rows, compression)
    for rows in (1, 64)
    for compression in ("none", "lzf", "gzip", "blosc")
}
FILES = (*HDF5_FILES, "lmdb")


def default_folder(images: int) -> Path:
    return Path(tempfile.gettempdir()) / f"image-arrays-{images}"


def ensure_data(name: str, images: int, folder: Path) -> Path:
    """Write one of `FILES` unless it is there already; it gets its name once it is complete."""
    path = folder / (name if name == "lmdb" else f"{name}.h5")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.part")
        if name == "lmdb":
            _write_lmdb(aside, images)
        else:
            _write_hdf5(aside, images, *HDF5_FILES[name])
        aside.rename(path)
    return path


def make_blocks(images: int) -> Iterator[np.ndarray]:
    """Yield the images in blocks; the first four bytes of each hold its number."""
    for start in range(0, images, BLOCK):
        rows = min(BLOCK, images - start)
        draws = np.random.Generator(np.random.Philox(key=[0, start]))
        block = np.empty((rows, *SHAPE), np.uint8)
        block[..., :32] = draws.integers(0, 256, (rows, *SHAPE[:2], 32), np.uint8)
        block[..., 32:] = draws.integers(0, 256, (rows, *SHAPE[:2], 1), np.uint8)
        block.reshape(rows, -1)[:, :4] = (
            np.arange(start, start + rows, dtype="<u4").view(np.uint8).reshape(-1, 4)
        )
        yield block


def _write_hdf5(path: Path, images: int, chunk_rows: int, compression: str) -> None:
    import h5py
    import hdf5plugin

    options: dict[str, Any] = {
        "none": {},
        "lzf": {"compression": "lzf"},
        "gzip": {"compression": "gzip", "compression_opts": 4},
        "blosc": dict(hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)),
    }[compression]
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("image", (images, *SHAPE), "u1", chunks=(chunk_rows, *SHAPE), **options)
        start = 0
        for block in make_blocks(images):
            data[start : start + len(block)] = block
            start += len(block)


def _write_lmdb(path: Path, images: int) -> None:
    import lmdb

    environment = lmdb.open(str(path), map_size=images * 2 * IMAGE_BYTES + (1 << 24), sync=False)
    index = 0
    for block in make_blocks(images):
        with environment.begin(write=True) as transaction:
            for image in block:
                transaction.put(KEY.format(index=index).encode(), image.tobytes(), append=True)
                index += 1
    environment.sync(True)
    environment.close()
