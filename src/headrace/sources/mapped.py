"""A file in memory, for the formats whose values are found by offset."""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, SourceError
from headrace.sources.files import ShardFile, Stamp

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]


def windows(buffer: Bytes, width: int) -> Bytes:
    """View a buffer as all of its runs of so many bytes, of shape [places, width].

    To index it by places copies those runs, in native code and without the GIL; a place outside
    raises. NumPy's `sliding_window_view` does the same and takes twenty times as long to begin.

    Example:
        >>> windows(np.arange(5, dtype=np.uint8), 2)[[3, 0]].tolist()
        [[3, 4], [0, 1]]
    """
    return np.ndarray((max(len(buffer) - width + 1, 0), width), np.uint8, buffer.data, strides=(1, 1))


class MappedFile:
    """A file mapped for reading, from the first use on.

    Thread-safe, since no page of it is ever written. Survives a fork; a pickled one maps the file
    anew. Reading beyond the end of a file that was cut off meanwhile would end the process, so
    `content` looks at the file each time before it hands out its bytes. A remote file stays mapped
    only while its bytes are in use, so that the shard cache can remove it.

    Attributes:
        file: Which one.
        stamp: What it must still be.
    """

    def __init__(self, file: ShardFile, stamp: Stamp) -> None:
        """Remember the file; nothing is mapped yet."""
        self.file = file
        self.stamp = stamp
        self._map: mmap.mmap | None = None

    def __getstate__(self) -> tuple[ShardFile, Stamp]:
        """Leave the mapping behind."""
        return self.file, self.stamp

    def __setstate__(self, state: tuple[ShardFile, Stamp]) -> None:
        """Begin without a mapping."""
        self.__init__(*state)

    @property
    def path(self) -> str:
        """Where the file lies, for errors."""
        return self.file.path

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.stamp.size

    def content(self) -> Bytes:
        """Return all bytes, without a copy; valid as long as the file is not cut off.

        Raises:
            ChangedSourceError: The file is no longer the one that was stamped.
            SourceError: It cannot be opened or mapped.
        """
        self.check()
        if self.size == 0:
            raise CorruptSourceError(
                f"{self.path}: the file is empty (0 bytes); its writer was stopped, so write it again"
            )
        # Two threads may both map it; one mapping is then dropped with the arrays that use it.
        mapping = self._map or self._open()
        if self.file.remote is None:
            self._map = mapping
        return np.frombuffer(mapping, np.uint8)

    def check(self) -> None:
        """Raise `ChangedSourceError` if the file is no longer the one that was stamped."""
        self.file.check(self.stamp)

    def _open(self) -> mmap.mmap:
        try:
            with self.file.local() as place:
                descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if Stamp.of(place).size == os.fstat(descriptor).st_size == self.size:
                        return mmap.mmap(descriptor, self.size, mmap.MAP_SHARED, mmap.PROT_READ)
                finally:
                    os.close(descriptor)
        except SourceError:
            raise
        except (OSError, ValueError) as error:
            reason: Any = getattr(error, "strerror", None) or error
            raise SourceError(f"{self.path}: cannot be mapped into memory: {reason}") from error
        self.check()
        raise SourceError(f"{self.path}: cannot be mapped, as its size changes")
