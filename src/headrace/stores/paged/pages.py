"""Pages: the rows of one entry as bytes, and back without a copy. Nothing in a page is believed unchecked.

A page is a prefix of 64 bytes, a header in JSON that names every column with its type, shape and place, and
behind it the columns' bytes: NumPy's as they lie in memory, Arrow's as an IPC stream. The prefix holds a
checksum (XXH3, 128 bits) of all the rest, and with a secret a MAC (BLAKE2b) of the key and all the rest, so
that whoever can write to a store but does not know the secret cannot have any bytes read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import struct
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.sources.flatbuffers import FlatTable
from headrace.stores.base import FORMAT_VERSION, Columns
from headrace.stores.checksums import Bytes, checksum

_MAGIC = b"HRpage\r\n"
_HEAD = struct.Struct("<8sIIQ")  # magic, version, bytes of the header, bytes of the page
_CHECKSUM = struct.Struct("<QQ")
_MAC_BYTES = 24
_PREFIX = _HEAD.size + _CHECKSUM.size + _MAC_BYTES
_ALIGNMENT = 64
_MOST_HEADER = 1 << 24
_ARROW = "arrow"
_BIG = 1 << 62
# Numbers, booleans and times in little-endian order; whatever else NumPy may call a type is refused.
_DTYPES = re.compile(
    r"\|b1|\|[iu]1|<[iu][248]|<f[248]|<c(8|16)|<[mM]8(\[([1-9][0-9]{0,6})?(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)


@dataclass(frozen=True, slots=True)
class _Column:
    """Where one column lies in a page, and what it is."""

    name: str
    kind: str
    shape: tuple[int, ...]
    begin: int
    nbytes: int


def to_page(columns: Columns, key: str, secret: bytes | None = None) -> Bytes:
    """Lay out the rows of an entry as one run of bytes.

    Args:
        columns: The rows by name.
        key: The entry's key, which is part of the page.
        secret: What the MAC is made with, if there is to be one.

    Returns:
        uint8 of shape [bytes].

    Raises:
        ValueError: A column is of a type that no page may hold.

    Example:
        >>> page = to_page({"x": np.arange(3)}, "0a")
        >>> from_page(page, "0a")["x"].tolist()
        [0, 1, 2]
    """
    parts = {name: _pack(name, column) for name, column in columns.items()}
    listed = [[name, kind, shape, data.nbytes] for name, (kind, shape, data) in parts.items()]
    header = json.dumps({"key": key, "columns": listed}, separators=(",", ":")).encode()
    if len(header) > _MOST_HEADER:
        raise ValueError(f"its columns take {len(header):,} bytes to name, more than {_MOST_HEADER:,}")
    places: list[int] = []
    end = _PREFIX + len(header)
    for _, _, data in parts.values():
        places.append(_aligned(end))
        end = places[-1] + data.nbytes
    page = empty_page(end)
    page[_PREFIX : _PREFIX + len(header)] = np.frombuffer(header, np.uint8)
    filled = _PREFIX + len(header)
    for place, (_, _, data) in zip(places, parts.values(), strict=True):
        page[filled:place] = 0
        filled = place + data.nbytes
        page[place:filled] = data
    head = _HEAD.pack(_MAGIC, FORMAT_VERSION, len(header), end)
    page[: len(head)] = np.frombuffer(head, np.uint8)
    mac = bytes(_MAC_BYTES) if secret is None else _mac(page, key, secret)
    page[_PREFIX - _MAC_BYTES : _PREFIX] = np.frombuffer(mac, np.uint8)
    page[len(head) : len(head) + _CHECKSUM.size] = np.frombuffer(_checksum(page), np.uint8)
    return page


def from_page(page: Any, key: str, secret: bytes | None = None, check: bool = True) -> Columns:
    """Look at the rows in a page, without a copy.

    Args:
        page: The bytes: an array, or any other object with a buffer.
        key: The entry that it must hold.
        secret: What its MAC must have been made with; None to ask for none.
        check: Whether to compute the checksum. The MAC is looked at in any case.

    Returns:
        Arrays that cannot be written to and that keep the page in memory.

    Raises:
        ValueError: It is no page of that entry, or is damaged.
    """
    data = np.frombuffer(page, np.uint8)
    header = _check_prefix(data)
    if secret is not None and not hmac.compare_digest(
        data[_PREFIX - _MAC_BYTES : _PREFIX].tobytes(), _mac(data, key, secret)
    ):
        raise ValueError("its MAC was not made with this key")
    if check and data[_HEAD.size : _HEAD.size + _CHECKSUM.size].tobytes() != _checksum(data):
        raise ValueError("its checksum is another one")
    listed = _read_header(data, header, key)
    data = data.view()
    data.flags.writeable = False
    return {column.name: _unpack(data, column) for column in listed}


def _check_prefix(data: Bytes) -> int:
    """Return where the header ends, once the sizes that the prefix names are found to be there."""
    if len(data) < _PREFIX:
        raise ValueError(f"{len(data):,} bytes are no page")
    magic, version, header, total = _HEAD.unpack(data[: _HEAD.size].tobytes())
    if magic != _MAGIC or version != FORMAT_VERSION:
        raise ValueError(f"it begins with {magic!r} and version {version}, as no page does")
    if total != len(data) or header > min(total - _PREFIX, _MOST_HEADER):
        raise ValueError(f"a page of {total:,} bytes is promised, but there are {len(data):,}")
    return _PREFIX + header


def _read_header(data: Bytes, end: int, key: str) -> list[_Column]:
    """Read what the header promises, and hold each promise against the page."""
    try:
        header: Any = json.loads(data[_PREFIX:end].tobytes())
    except (ValueError, RecursionError) as error:
        raise ValueError("its header is no JSON") from error
    match header:
        case {"key": str() as found, "columns": list() as entries} if len(header) == 2 and found == key:
            pass
        case _:
            raise ValueError("its header is that of another entry")
    columns: list[_Column] = []
    for entry in cast("list[Any]", entries):
        begin = _aligned(columns[-1].begin + columns[-1].nbytes if columns else end)
        columns.append(_read_column(entry, begin))
        if begin + columns[-1].nbytes > len(data):
            raise ValueError("a column reaches beyond the page")
    names = {column.name for column in columns}
    if len(names) != len(columns) or len({column.shape[0] for column in columns}) > 1:
        raise ValueError("its columns have one name, or differ in length")
    last = columns[-1].begin + columns[-1].nbytes if columns else end
    if last != len(data):
        raise ValueError("it goes on behind its last column")
    return columns


def _read_column(entry: Any, begin: int) -> _Column:
    match entry:
        case [str() as name, str() as kind, [int(), *_] as shape, int() as nbytes]:
            sizes = cast("list[Any]", shape)
        case _:
            raise ValueError("its header does not describe columns")
    if not all(type(size) is int and 0 <= size < _BIG for size in [*sizes, nbytes]) or len(sizes) > 32:
        raise ValueError(f"column `{name}` has sizes that cannot be")
    if kind == _ARROW:
        if len(sizes) != 1:
            raise ValueError(f"column `{name}` has a shape that Arrow does not have")
    elif not _DTYPES.fullmatch(kind):
        raise ValueError(f"column `{name}` is of type {kind!r}, which no page may hold")
    else:
        expected = np.dtype(kind).itemsize
        for size in sizes:
            expected *= size
        if expected != nbytes:
            raise ValueError(f"column `{name}` has another size than its shape")
    return _Column(name, kind, tuple(sizes), begin, nbytes)


def _pack(name: str, column: NDArray[Any] | pa.Array) -> tuple[str, list[int], Bytes]:
    """Return a column's kind, shape and bytes."""
    if isinstance(column, np.ndarray):
        if not column.ndim or not _DTYPES.fullmatch(column.dtype.str):
            raise ValueError(f"column `{name}` of type {column.dtype} cannot lie in a page")
        return column.dtype.str, list(column.shape), np.ascontiguousarray(column).reshape(-1).view(np.uint8)
    schema = pa.schema([pa.field("", column.type)])
    if pa.ipc.read_schema(schema.serialize()).field(0).type != column.type:
        raise ValueError(f"column `{name}` of type {column.type} does not come back from Arrow IPC as it was")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression=None)) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([column], schema=schema))
    return _ARROW, [len(column)], np.frombuffer(sink.getvalue(), np.uint8)


def _unpack(data: Bytes, column: _Column) -> NDArray[Any] | pa.Array:
    part = data[column.begin : column.begin + column.nbytes]
    if column.kind != _ARROW:
        return np.ndarray(column.shape, np.dtype(column.kind), part.data)
    try:
        return _read_stream(pa.py_buffer(part), column.shape[0])
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError) as error:
        raise ValueError(f"column `{column.name}` is no sound Arrow stream: {error}") from error


def _read_stream(buffer: pa.Buffer, rows: int) -> pa.Array:
    """Read the one array of a stream; no buffer may be compressed, so that none is larger than the page."""
    for message in pa.ipc.MessageReader.open_stream(buffer):
        if message.type == "record batch":
            _refuse_compressed(FlatTable.root(message.metadata.to_pybytes()).table(2))
        elif message.type == "dictionary":
            batch = FlatTable.root(message.metadata.to_pybytes()).table(2)
            _refuse_compressed(None if batch is None else batch.table(1))
    with pa.ipc.open_stream(buffer) as reader:
        batches = list(reader)
    if len(batches) != 1 or batches[0].num_columns != 1 or batches[0].num_rows != rows:
        raise ValueError("it does not hold one array of the promised length")
    array = batches[0].column(0)
    array.validate(full=True)
    return array


def _refuse_compressed(batch: FlatTable | None) -> None:
    if batch is None or batch.table(3) is not None:
        raise ValueError("a message is compressed or empty")


def _checksum(page: Bytes) -> bytes:
    """Hash all bytes but those of the checksum itself."""
    return _CHECKSUM.pack(*checksum([page[: _HEAD.size], page[_HEAD.size + _CHECKSUM.size :]]))


def _mac(page: Bytes, key: str, secret: bytes) -> bytes:
    """Return the MAC of a page's sizes, its key and all that it holds."""
    secret = secret if len(secret) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.blake2b(secret).digest()
    hasher = hashlib.blake2b(digest_size=_MAC_BYTES, key=secret, person=b"headrace page")
    hasher.update(page[: _HEAD.size].data)
    hasher.update(len(key).to_bytes(8, "little") + key.encode())
    hasher.update(page[_PREFIX:].data)
    return hasher.digest()


def _aligned(place: int) -> int:
    return -(-place // _ALIGNMENT) * _ALIGNMENT


def empty_page(nbytes: int) -> Bytes:
    """Return room for a page; it begins at a multiple of 64 bytes and holds anything."""
    room = np.empty(nbytes + _ALIGNMENT, np.uint8)
    begin = -room.ctypes.data % _ALIGNMENT
    return room[begin : begin + nbytes]
