"""Arrays as `.npy` files: allocated before they are mapped, and mapped only if they are as promised."""

from __future__ import annotations

import errno
import math
import mmap
import os
import resource
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.stores.folder.safety import Bytes, allocate, open_file, write_all

_MAGIC = b"\x93NUMPY\x01\x00"
_ALIGNMENT = 128
_KINDS = "biufcmMSU"
# Where Python can, a map does without an open file of its own.
_OPTIONS: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


@dataclass(frozen=True, slots=True)
class ArrayFormat:
    """What one sample is in an array of shape [rows, *shape].

    Attributes:
        dtype: Of any kind but Python objects and records.
        shape: Of one sample.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype.kind not in _KINDS or any(side < 0 for side in self.shape):
            raise ValueError(f"no array of dtype {self.dtype} and shape {self.shape} can be kept in a file")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape)

    def header(self, rows: int) -> bytes:
        """Return the first bytes of the `.npy` file of so many rows, a multiple of 128."""
        return array_header(self.dtype, (rows, *self.shape))

    def file_bytes(self, rows: int) -> int:
        """Return the bytes of the `.npy` file of so many rows."""
        return len(self.header(rows)) + rows * self.row_bytes


def array_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the first bytes of an `.npy` file in C order, a multiple of 128.

    They follow from dtype and shape alone, so that they are compared rather than read.

    Example:
        >>> array_header(np.dtype("<f4"), (3, 2))[10:70]
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }   "
    """
    text = f"{{'descr': {np.lib.format.dtype_to_descr(dtype)!r}, 'fortran_order': False, 'shape': {shape}, }}"
    begin = len(_MAGIC) + 2
    size = -(-(begin + len(text) + 1) // _ALIGNMENT) * _ALIGNMENT
    return _MAGIC + (size - begin).to_bytes(2, "little") + text.ljust(size - begin - 1).encode() + b"\n"


@dataclass(frozen=True, slots=True, eq=False)
class MappedArray:
    """An `.npy` file that was mapped for reading.

    Attributes:
        name: Of the file.
        array: Of shape [rows, ...], read-only; valid for as long as it is held, even once the file is gone.
        begin: Where in the file the first row begins.
        size: Bytes of the file.
        inode: Which file it was.
    """

    name: str
    array: NDArray[Any]
    begin: int
    size: int
    inode: int

    def is_cut(self, folder: int) -> bool:
        """Tell whether the file was cut off since, so that reading the array could end the process."""
        try:
            status = os.stat(self.name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return False  # it was removed, and what is mapped stays
        return status.st_ino == self.inode and status.st_size < self.size


def allocate_array(name: str, kind: ArrayFormat, rows: int, folder: int) -> None:
    """Make an `.npy` file of zeros whose bytes are all allocated, so that a mapping never lacks one.

    Raises:
        OSError: There is no room on the disk, or the file cannot be made.
    """
    with _opened(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, folder) as descriptor:
        allocate(descriptor, kind.file_bytes(rows))
        write_all(descriptor, np.frombuffer(kind.header(rows), np.uint8), 0)


def resize_array(name: str, kind: ArrayFormat, rows: int, folder: int) -> None:
    """Give an `.npy` file the size of so many rows, all of it allocated; its header stays as it is.

    Raises:
        ValueError: It is no plain file.
        OSError: There is no room on the disk, or the file cannot be written.
    """
    with _opened(name, os.O_RDWR, folder) as descriptor:
        if os.fstat(descriptor).st_size > kind.file_bytes(rows):
            os.ftruncate(descriptor, kind.file_bytes(rows))
        else:
            allocate(descriptor, kind.file_bytes(rows))


def write_header(name: str, kind: ArrayFormat, rows: int, folder: int) -> None:
    """Write the header of an `.npy` file of so many rows anew.

    Raises:
        ValueError: It is no plain file.
        OSError: It cannot be written.
    """
    with _opened(name, os.O_WRONLY, folder) as descriptor:
        write_all(descriptor, np.frombuffer(kind.header(rows), np.uint8), 0)


def check_files(count: int) -> None:
    """Hold how many arrays are to be mapped against how many files this process may open.

    Raises:
        OSError: They would leave too few for everything else.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not _OPTIONS and most != resource.RLIM_INFINITY and count > most // 2:
        raise OSError(
            errno.EMFILE, f"{count:,} arrays need as many open files, and this process may open {most:,}"
        )


def map_array(name: str, kind: ArrayFormat, rows: int, folder: int) -> MappedArray:
    """Map an `.npy` file, if it has the header and the size that it must have.

    Raises:
        ValueError: It has not.
        OSError: It cannot be opened.
    """
    with _opened(name, os.O_RDONLY, folder) as descriptor:
        status = os.fstat(descriptor)
        header, size = kind.header(rows), kind.file_bytes(rows)
        if status.st_size != size:
            raise ValueError(f"`{name}` has {status.st_size:,} bytes, not {size:,}")
        if os.pread(descriptor, len(header), 0) != header:
            raise ValueError(f"`{name}` begins with another header than that of {rows} rows of {kind}")
        memory = mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ, **_OPTIONS)
    array: NDArray[Any] = np.ndarray((rows, *kind.shape), kind.dtype, memory, len(header))
    return MappedArray(name, array, len(header), size, status.st_ino)


def write_rows(place: MappedArray, first: int, rows: Bytes, row_bytes: int, folder: int) -> None:
    """Write rows to their place in the file, and wait until the disk has them.

    Raises:
        ValueError: The file is no plain file any more.
        OSError: They cannot be written.
    """
    with _opened(place.name, os.O_WRONLY, folder) as descriptor:
        write_all(descriptor, rows, place.begin + first * row_bytes)
        os.fdatasync(descriptor)


@contextmanager
def _opened(name: str, flags: int, folder: int) -> Generator[int]:
    descriptor = open_file(name, flags, folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
