"""The formats that can be opened, and what a file's first bytes tell of its format.

First bytes decide. Text has none of its own, nor has what is compressed as a whole, so there the
file's ending breaks the tie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from headrace.errors import OptionError
from headrace.sources.base import Source
from headrace.sources.files import ShardFile

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "zip",
}
_IDX_TYPES = b"\x08\x09\x0b\x0c\x0d\x0e"
_IDX_RANKS = range(1, 9)
_CRC32C = 0x82F63B78  # the polynomial, lowest bit first


def _never(head: bytes) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Format:
    """One format that can be opened.

    Attributes:
        name: What the user calls it.
        title: What errors call it.
        source: The class of its source, in the module of that name below `sources`, which loads
            when it is needed; `<source>.open(files, options, memory_limit)` opens it.
        options: The class of its options.
        suffixes: How its files usually end.
        signature: How its files begin, as errors show it.
        begins: Whether first bytes are those of the format and of no other.
        may_begin: Whether a file with such an ending may begin so.
    """

    name: str
    title: str
    source: str
    options: str
    suffixes: tuple[str, ...]
    signature: str
    begins: Callable[[bytes], bool] = _never
    may_begin: Callable[[bytes], bool] = _never

    def open(self, files: Iterable[ShardFile], options: Any, memory_limit: int) -> Source:
        """Open files of this format.

        Raises:
            OptionError: The options belong to another format.
        """
        module = import_module(f"headrace.sources.{self.name}")
        kind = getattr(module, self.options)
        if options is not None and not isinstance(options, kind):
            raise OptionError(f"{self.title} files take `{self.options}`, got {type(options).__name__}")
        return getattr(module, self.source).open(files, options or kind(), memory_limit)


def is_text(head: bytes) -> bool:
    r"""Whether first bytes are UTF-8 without zero bytes; a character may be cut off at their end.

    Example:
        >>> is_text("naïve".encode()[:3]), is_text(b"a\0b")
        (True, False)
    """
    if not head or b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def name_packing(head: bytes) -> str | None:
    """Name what a file is compressed by as a whole, if it is."""
    return next((name for begin, name in _PACKED.items() if head.startswith(begin)), None)


def _begins_hdf5(head: bytes) -> bool:
    # A user block of 512, 1024, 2048, ... bytes may lie before the signature.
    places = (0, 512, 1024, 2048)
    return any(head[place : place + 8] == b"\x89HDF\r\n\x1a\n" for place in places)


def _begins_lmdb(head: bytes) -> bool:
    return head[16:20] in (b"\xde\xc0\xef\xbe", b"\xbe\xef\xc0\xde")


def _begins_tfrecord(head: bytes) -> bool:
    """Whether the first 12 bytes are a length and its checksum."""
    if len(head) < 12:
        return False
    crc = 0xFFFFFFFF
    for byte in head[:8]:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_CRC32C * (crc & 1))
    crc ^= 0xFFFFFFFF
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return head[8:12] == masked.to_bytes(4, "little")


def _begins_idx(head: bytes) -> bool:
    return len(head) >= 8 and head[:2] == b"\0\0" and head[2] in _IDX_TYPES and head[3] in _IDX_RANKS


def _is_gzip(head: bytes) -> bool:
    return name_packing(head) == "gzip"


def _is_packed_tfrecord(head: bytes) -> bool:
    return _is_gzip(head) or head[:1] == b"\x78"  # the latter is zlib


FORMATS = (
    Format(
        "parquet",
        "Parquet",
        "ParquetSource",
        "ParquetOptions",
        (".parquet", ".parq", ".pq"),
        "b'PAR1'",
        lambda head: head.startswith(b"PAR1"),
    ),
    Format(
        "hdf5",
        "HDF5",
        "Hdf5Source",
        "Hdf5Options",
        (".h5", ".hdf5", ".hdf", ".h5ad"),
        r"b'\x89HDF\r\n'",
        _begins_hdf5,
    ),
    Format(
        "lmdb",
        "LMDB",
        "LmdbSource",
        "LmdbOptions",
        (".mdb", ".lmdb"),
        "0xBEEFC0DE at byte 16",
        _begins_lmdb,
    ),
    Format(
        "arrow",
        "Arrow IPC",
        "ArrowSource",
        "ArrowOptions",
        (".arrow", ".feather", ".ipc"),
        "b'ARROW1'",
        lambda head: head.startswith(b"ARROW1"),
    ),
    Format(
        "tfrecord",
        "TFRecord",
        "TfRecordSource",
        "TfRecordOptions",
        (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz"),
        "a length and its checksum",
        _begins_tfrecord,
        _is_packed_tfrecord,
    ),
    Format(
        "idx",
        "IDX",
        "IdxSource",
        "IdxOptions",
        ("ubyte", "ubyte.gz", ".idx", ".idx.gz"),
        "two zero bytes, a type and a rank",
        _begins_idx,
        _is_gzip,
    ),
    Format(
        "csv",
        "CSV",
        "CsvSource",
        "CsvOptions",
        (".csv", ".tsv"),
        "UTF-8 text",
        may_begin=is_text,
    ),
    Format(
        "jsonlines",
        "JSON Lines",
        "JsonLinesSource",
        "JsonLinesOptions",
        (".jsonl", ".ndjson"),
        "UTF-8 text",
        may_begin=is_text,
    ),
)


def tell_format(path: str, head: bytes) -> Format | None:
    r"""Tell a file's format by its first bytes, and by its ending where those do not decide.

    Example:
        >>> tell_format("a.csv", b"PAR1...").name, tell_format("a.csv", b"x,y\n").name
        ('parquet', 'csv')
    """
    known = next((kind for kind in FORMATS if kind.begins(head)), None)
    if known is not None:
        return known
    claimed = claimed_format(path)
    return claimed if claimed is not None and claimed.may_begin(head) else None


def claimed_format(path: str) -> Format | None:
    """Tell the format that a file's ending claims."""
    return next((kind for kind in FORMATS if path.lower().endswith(kind.suffixes)), None)


def describe_unknown(path: str, head: bytes) -> str:
    """Say what was seen where no known format was, and what to do."""
    if head.startswith(b"PARE"):
        return f"{path}: the file is encrypted, which cannot be read; decrypt it before"
    claimed, packing = claimed_format(path), name_packing(head)
    what = f"begins with {head[:8]!r}" if head else "is empty (0 bytes)"
    if packing is not None:
        what = f"is compressed by {packing} as a whole"
    if claimed is not None:
        return (
            f"{path}: a file of {claimed.title} must begin with {claimed.signature}, but this one {what}; "
            "it is cut off or of another format"
        )
    if packing is not None:
        return f"{path}: the file {what}, and can be read only from its beginning; unpack it before"
    if head.startswith(b"\xff\xff\xff\xff"):
        return f'{path}: the file {what}, as an Arrow stream does; if it is one, pass format="arrow"'
    titles = ", ".join(kind.title for kind in FORMATS if kind.begins is not _never)
    if is_text(head):
        named = " or ".join(f'format="{kind.name}"' for kind in FORMATS if kind.may_begin is is_text)
        return (
            f"{path}: the file {what}, which none of the formats with first bytes of their own does "
            f"({titles}); it is text, so pass {named} if it is that"
        )
    return (
        f"{path}: the file {what}, which none of the known formats does ({titles}); pass `format` to name it"
    )
