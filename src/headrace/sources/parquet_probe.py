"""Footers that contradict themselves, found before pyarrow ends the process over them.

Where the sizes that a footer keeps of a column do not fit its schema, `RowGroupMetaData.column` lets an
exception of C++ through, which nobody can catch. A reader meets the same contradiction as an error,
before it reads anything.
"""

from __future__ import annotations

import io
import os
import time
import weakref
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

_PATIENCE_SECONDS, _PAUSE_SECONDS = 0.5, 0.0002
_BUFFER_BYTES = 4096  # a column is read in pieces, and not as a whole when its reader is made


def check_chunks(metadata: pq.FileMetaData, index: int, leaves: Sequence[int], size: int) -> None:
    """Make readers for some columns of a row group, without reading a byte.

    Args:
        metadata: The footer.
        index: Which row group.
        leaves: Numbers of its columns.
        size: Bytes of the file.

    Raises:
        OSError: The footer contradicts itself.
    """
    error, content = _try_readers(metadata, index, leaves, size)
    # A thread of the library asks for the bytes, and may hold the file a moment longer. It needs the
    # interpreter to let go, and would end a process that is just about to end with an abort.
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while content() is not None and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    if error is not None:
        raise error
    # Asking such a column for its statistics ends the process too, and its reader may not notice.
    chunks = metadata.row_group(index)
    for leaf in leaves:
        stated, expected = chunks.column(leaf).physical_type, metadata.schema.column(leaf).physical_type
        if stated != expected:
            raise OSError(f"column {leaf} is {expected} in the schema, and {stated} in the row group")


def _try_readers(
    metadata: pq.FileMetaData, index: int, leaves: Sequence[int], size: int
) -> tuple[OSError | None, weakref.ref[_NoBytes]]:
    """Return what is wrong without a byte read, and the file that was asked, as long as anything holds it."""
    content = _NoBytes(size)
    with pq.ParquetFile(
        pa.PythonFile(content, mode="r"), metadata=metadata, buffer_size=_BUFFER_BYTES
    ) as file:
        try:
            file.reader.read_row_group(index, column_indices=list(leaves), use_threads=False)
        except OSError as error:
            if not content.is_read:  # else the footer is sound as far as bytes are needed
                return error.with_traceback(None), weakref.ref(content)
    return None, weakref.ref(content)


class _NoBytes(io.RawIOBase):
    """A file of which nothing can be read but its size.

    Attributes:
        is_read: Whether bytes were asked for. An exception would tell it too, but pyarrow keeps those for
            ever, with the frames of all callers and the tables that these hold.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size, self._place = size, 0
        self.is_read = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        self.is_read = True
        return b""
