"""One pass over a text file: where its row groups begin, and how many records each one holds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, MemoryLimitError, SourceError
from headrace.fingerprint import digest
from headrace.sources.files import ShardFile, Stamp
from headrace.sources.formats import name_packing

GROUP_BYTES, GROUP_ROWS = 1 << 23, 1 << 17
_MOST_BYTES = 1 << 30  # of one record, as parsers count in 32 bits
_BOM = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff")

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sample:
    """The first records of one file, by which types are told."""

    path: str
    names: tuple[str, ...]
    data: bytes
    line: int


class Grammar(Protocol):
    """What a text format adds to files of records. Deterministic, thread-safe and picklable."""

    @property
    def title(self) -> str:
        """What errors call the format."""
        ...

    @property
    def options(self) -> str:
        """The class of its options."""
        ...

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Types that the user gave, by column."""
        ...

    @property
    def is_final_newline_needed(self) -> bool:
        """Whether a file without one is refused."""
        ...

    @property
    def reads_all(self) -> bool:
        """Whether all columns must be parsed, whichever are wanted."""
        ...

    def header(self, data: bytes) -> tuple[tuple[str, ...], int]:
        """Read the columns' names from a file's beginning, and tell where its records begin.

        Raises:
            EOFError: The header does not end within these bytes.
            ValueError: There is none, or it cannot be right.
        """
        ...

    def find(self, data: NDArray[np.uint8], columns: int, found: Places) -> tuple[int, int]:
        """Find records as `text_kernels.find_csv` does."""
        ...

    def infer(self, samples: Sequence[Sample]) -> dict[str, pa.DataType]:
        """Tell all columns and their types by the first records of all files."""
        ...

    def parse(self, data: bytes, names: tuple[str, ...], wanted: pa.Schema) -> pa.Table:
        """Parse records to the wanted columns; any exception says that they cannot be."""
        ...

    def explain(self, record: bytes, names: tuple[str, ...], wanted: pa.Schema) -> str:
        """Say why one record cannot be parsed, with the column if it is about one."""
        ...


@dataclass(frozen=True, slots=True)
class TextFile:
    """What the scan of one file tells.

    Attributes:
        stamp: What the file system said of it.
        names: Its columns, if a header names them.
        begins: Where each row group begins, then where the last ends.
        rows: Records of each row group.
        lines: Number of the line on which each row group begins, from 1 on.
        identity: Digest of all of its bytes.
    """

    stamp: Stamp
    names: tuple[str, ...]
    begins: tuple[int, ...]
    rows: tuple[int, ...]
    lines: tuple[int, ...]
    identity: str


def scan_text(file: ShardFile, grammar: Grammar, memory_limit: int) -> TextFile:
    """Find the records of one file.

    Raises:
        CorruptSourceError: It is empty, compressed, no UTF-8 text, or ends within a record.
        MemoryLimitError: One record takes more than the limit.
    """
    path, stamp = file.path, file.stamp()
    try:
        with file.local() as place, open(place, "rb", buffering=0) as opened:
            found = _Scan(opened, path, stamp, grammar, min(memory_limit, _MOST_BYTES)).run()
    except (SourceError, MemoryLimitError):
        raise
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    file.check(stamp)
    return found


def count_lines(data: bytes) -> int:
    """Count the ends of lines, in whatever of the three ways they are written."""
    return data.count(b"\n") or data.count(b"\r")


class _Scan:
    """The scan of one file, a buffer of some MB at a time."""

    def __init__(self, file: BinaryIO, path: str, stamp: Stamp, grammar: Grammar, limit: int) -> None:
        self.file, self.path, self.stamp, self.grammar, self.limit = file, path, stamp, grammar, limit
        self.hasher = hashlib.blake2b(digest_size=16)
        self.data = b""
        self.place = 0  # of the buffer's first byte
        self.line = 1
        self.has_ended = False

    def run(self) -> TextFile:
        names = self._read_header()
        begins: list[int] = []
        rows: list[int] = []
        lines: list[int] = []
        found: Any = np.empty((GROUP_ROWS, 2), np.int64)
        size = GROUP_BYTES
        while self._fill(size):
            buffer = np.frombuffer(self.data, np.uint8)
            count, consumed = self.grammar.find(buffer, len(names), found)
            if not consumed:
                size = self._grow(size)
                continue
            if count:
                begins.append(self.place)
                rows.append(count)
                lines.append(self.line)
            self._drop(consumed)
            size = GROUP_BYTES
        begins.append(self.stamp.size)
        identity = digest(self.grammar.title, self.stamp.size, self.hasher.hexdigest())
        return TextFile(self.stamp, names, tuple(begins), tuple(rows), tuple(lines), identity)

    def _read_header(self) -> tuple[str, ...]:
        self._check_encoding(self.file.read(8))
        self.file.seek(0)
        self._fill(GROUP_BYTES)
        if self.data.startswith(_BOM):
            self.data, self.place = self.data[len(_BOM) :], len(_BOM)
        try:
            names, begin = self.grammar.header(self.data)
        except EOFError as error:
            raise CorruptSourceError(
                f"{self.path}: no header ends within {len(self.data):,} bytes; the file is cut off or no "
                f"{self.grammar.title} file"
            ) from error
        except ValueError as error:
            raise CorruptSourceError(f"{self.path}: {error}") from error
        self._drop(begin)
        return names

    def _check_encoding(self, head: bytes) -> None:
        if not head:
            raise CorruptSourceError(
                f"{self.path}: the file is empty (0 bytes); its writer was stopped, so write it again"
            )
        packed = name_packing(head)
        if packed is not None:
            raise CorruptSourceError(
                f"{self.path}: is compressed by {packed}, and compressed text can only be read from its "
                "beginning; unpack it, or write it as Parquet"
            )
        if head.startswith(_WIDE):
            raise CorruptSourceError(f"{self.path}: is text in UTF-16, and must be UTF-8; convert it")

    def _fill(self, size: int) -> bool:
        """Have so many bytes in the buffer, or all that are left; False if there are none."""
        parts = [self.data]
        missing = size - len(self.data)
        while missing > 0 and not self.has_ended:
            more = self.file.read(missing)
            if not more:
                self.has_ended = True
                parts.append(self._end(b"".join(parts)))
            self.hasher.update(more)
            parts.append(more)
            missing -= len(more)
        self.data = b"".join(parts)
        return bool(self.data)

    def _end(self, rest: bytes) -> bytes:
        """Return what is put behind the file's end, so that it ends with a newline."""
        if not rest or rest.endswith(b"\n"):
            return b""
        if self.grammar.is_final_newline_needed and not rest.endswith(b"\r"):
            raise CorruptSourceError(
                f"{self.path}: the file does not end with a newline, so its last record may be cut off; "
                f"write it again, or pass `{self.grammar.options}(require_final_newline=False)` if not"
            )
        return b"\n"

    def _drop(self, count: int) -> None:
        self.line += count_lines(self.data[:count])
        self.data = self.data[count:]
        self.place += count

    def _grow(self, size: int) -> int:
        """Return a larger size for a record that is larger than the buffer."""
        if self.has_ended:
            raise CorruptSourceError(
                f"{self.path}, line {self.line}: a quote in the record that begins here is never closed; the "
                "file is cut off or damaged"
            )
        if size >= self.limit:
            raise MemoryLimitError(
                f"{self.path}, line {self.line}: the record that begins here takes more than the limit of "
                f"{self.limit:,} bytes; a quote may not be closed"
            )
        return min(2 * size, self.limit)
