"""Chunks of HDF5 data sets, compressed outside of the HDF5 library and so without its global lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import MissingDependencyError

Array = NDArray[Any]

# No other filters: a file holds their names as far as the process that writes it knows them, so that its
# bytes would depend on what that process has imported.
CODECS = ("gzip", "lzf", "none")
_LEVEL = 1  # of gzip
_LEAST_BYTES, _MOST_BYTES, _MOST_ROWS = 1 << 16, 1 << 18, 1 << 16
_SUM_BYTES = 4


def chunk_rows(row_bytes: int, rows: int) -> int:
    """Choose how many rows a chunk holds: a power of two, so that those of all columns fit into each other.

    Args:
        row_bytes: Bytes of one row.
        rows: Those of the first row group.

    Example:
        >>> chunk_rows(4, 1_000_000), chunk_rows(150_528, 1_000_000), chunk_rows(8, 100)
        (65536, 1, 8192)
    """
    least, most = (
        min(max(nbytes // max(row_bytes, 1), 1), _MOST_ROWS) for nbytes in (_LEAST_BYTES, _MOST_BYTES)
    )
    return 1 << min(max(rows, least), most).bit_length() - 1


def filters_of(codec: str, itemsize: int) -> dict[str, Any]:
    """Return h5py's settings for a data set; each has a checksum (Fletcher-32)."""
    settings: dict[str, Any] = {"fletcher32": True, "shuffle": codec != "none" and itemsize > 1}
    match codec:
        case "gzip":
            settings |= {"compression": "gzip", "compression_opts": _LEVEL}
        case "lzf":
            settings |= {"compression": "lzf"}
        case _:
            pass
    return settings


class ChunkWriter:
    """Appends rows to one data set, in whole chunks.

    Attributes:
        rows: How many rows came.
    """

    def __init__(self, dataset: Any, codec: str) -> None:
        """Wrap an empty h5py data set, made with `filters_of`."""
        self.rows = 0
        self._dataset, self._dtype, self._chunk = dataset, dataset.dtype, dataset.chunks
        self._codec, self._shuffles = codec, bool(dataset.shuffle)
        self._encode, self._checksum = _codecs(codec)
        self._written = 0
        self._waiting: list[Array] = []

    def append(self, values: Array) -> None:
        """Append rows of shape [n, ...]; those that fill no chunk wait."""
        self.rows += len(values)
        self._waiting.append(values)
        height = self._chunk[0]
        if self.rows - self._written < height:
            return
        ready = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        count = len(ready) // height * height
        for begin in range(0, count, height):
            self._write(ready[begin : begin + height])
        self._waiting = [ready[count:].copy()] if count < len(ready) else []

    def finish(self) -> None:
        """Write the rows that wait."""
        if self.rows > self._written:
            rest = np.concatenate(self._waiting)
            block = np.zeros(self._chunk, rest.dtype)
            block[: len(rest)] = rest
            self._write(block)
        self._waiting = []

    def _write(self, block: Array) -> None:
        """Write one chunk."""
        place = self._written
        self._written = min(place + len(block), self.rows)
        self._dataset.resize(self._written, axis=0)
        data, mask = self._filtered(np.ascontiguousarray(block).reshape(-1).view(np.uint8))
        self._dataset.id.write_direct_chunk((place, *(0 for _ in self._chunk[1:])), data, mask)

    def _filtered(self, plain: NDArray[np.uint8]) -> tuple[bytes, int]:
        """Apply the filters; the mask tells that compression was left out, as it would not pay."""
        data, mask = plain, 0
        if self._shuffles:
            width = self._dtype.itemsize
            data = np.ascontiguousarray(data.reshape(-1, width).T).reshape(-1)
        if self._codec != "none":
            packed = np.frombuffer(self._encode(data), np.uint8)
            if len(packed) + _SUM_BYTES < len(plain):
                data = packed
            else:
                mask = 1 << int(self._shuffles)
        return data.tobytes() + int(self._checksum(data)).to_bytes(_SUM_BYTES, "little"), mask


def _codecs(codec: str) -> tuple[Callable[[Array], bytes], Callable[[Array], int]]:
    try:
        import imagecodecs as imported
    except ImportError as error:
        raise MissingDependencyError.from_extra("imagecodecs", "hdf5", "writing HDF5") from error
    imagecodecs: Any = imported
    encoders: dict[str, Callable[[Array], bytes]] = {
        "gzip": lambda data: imagecodecs.deflate_encode(data, level=_LEVEL),
        "lzf": lambda data: imagecodecs.lzf_encode(data, header=False),
        "none": lambda data: data.tobytes(),
    }
    return encoders[codec], imagecodecs.h5checksum_fletcher32
