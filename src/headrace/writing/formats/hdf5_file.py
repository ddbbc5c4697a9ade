"""The file beneath an HDF5 writer, which keeps the first error to itself.

The HDF5 library cannot let go of a file that it failed to write: it tries again when it is closed, and once
more when the process ends. So it is told that all went well, and whoever writes asks `check`.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any


class HdfFile(io.RawIOBase):
    """A file for `h5py.File`, open for reading and writing.

    Attributes:
        error: What went wrong first; from then on nothing is written.
    """

    def __init__(self, path: Path) -> None:
        """Create the file; what lies there is replaced."""
        super().__init__()
        self.error: OSError | None = None
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._place = self._size = 0

    def check(self) -> None:
        """Raise what went wrong.

        Raises:
            OSError: The disk is full, say.
        """
        if self.error is not None:
            raise OSError(self.error.errno, f"HDF5 cannot write: {self.error.strerror}") from self.error

    def drop(self) -> None:
        """Write nothing from now on."""
        self.error = self.error or OSError("the file was abandoned")

    def seekable(self) -> bool:
        """Whether places can be sought: always."""
        return True

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def writable(self) -> bool:
        """Whether it can be written: always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = begin + offset
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read from the place on; zeros, where nothing was written after an error."""
        view = memoryview(buffer).cast("B")
        done = 0
        while self.error is None and done < len(view):
            count = os.preadv(self._descriptor, [view[done:]], self._place + done)
            if count == 0:
                break
            done += count
        view[done:] = bytes(len(view) - done)
        self._place += len(view)
        return len(view)

    def write(self, buffer: Any) -> int:
        """Write at the place, or remember why that failed."""
        view = memoryview(buffer).cast("B")
        done = 0
        try:
            while self.error is None and done < len(view):
                done += os.pwrite(self._descriptor, view[done:], self._place + done)
        except OSError as error:
            self.error = error
        self._place += len(view)
        self._size = max(self._size, self._place)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Cut the file off, or make it longer."""
        self._size = self._place if size is None else size
        try:
            if self.error is None:
                os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            self.error = error
        return self._size

    def close(self) -> None:
        """Close the file; a second time is fine."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()
