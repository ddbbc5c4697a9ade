"""TFRecord files, read without TensorFlow.

A file is a run of records: a length, its checksum, the bytes, their checksum. The lengths are
scanned when a file is opened, so that a row group is one run of bytes. Files compressed as a
whole (gzip, zlib) are read too; as they can only be unpacked from their beginning, each is one
row group.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import (
    CorruptSourceError,
    HeadraceError,
    MissingDependencyError,
    OptionError,
    SourceError,
    UndecodableError,
)
from headrace.fingerprint import digest
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.sources.base import check_columns, check_rows
from headrace.sources.budget import PlannedColumn, check_planned
from headrace.sources.building import value_bytes
from headrace.sources.codings import make_decoder
from headrace.sources.decoding import Coding, Decoder, Types, Values, located
from headrace.sources.files import ShardFile, Stamp
from headrace.sources.hive import partition_fields
from headrace.sources.inflate import inflate, is_gzip
from headrace.sources.schemas import conform, unify
from headrace.sources.tf_columns import Examples
from headrace.sources.verify import UNPROTECTED

_GROUP_BYTES, _GROUP_ROWS = 1 << 23, 1 << 16
_HEADER, _FOOTER = 12, 4
_OPENERS = 8
_SAMPLED = 16
_RECORD = "record"

Decode = str | Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class TfRecordOptions:
    """How TFRecord files are read.

    Attributes:
        content: `"example"` for `tf.train.Example` messages, whose features become columns, or
            `"bytes"` for one column `record`.
        features: Which features are wanted; by default those of the first records.
        decode: How the bytes of a feature (or of `record`) are decoded, by name, as in
            `LmdbOptions`; `"raw"` by default.
        dtype: NumPy dtype of `raw` values, by name.
        shape: Shape of one sample, by name, also of features that are numbers; `(-1,)` for lists
            that differ in length. By default told by the first records.
        missing: Whether a feature that a record lacks is `"null"` or an `"error"`.
        verify_checksums: Verify the checksums of lengths and bytes, which needs `google-crc32c`.

    Example:
        >>> TfRecordOptions(decode={"image": "image"}).missing
        'null'
    """

    content: Literal["example", "bytes"] = "example"
    features: Sequence[str] | None = None
    decode: Mapping[str, Decode] = field(default_factory=dict[str, Decode])
    dtype: Mapping[str, Any] = field(default_factory=dict[str, Any])
    shape: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, "tuple[int, ...]"])
    missing: Literal["null", "error"] = "null"
    verify_checksums: bool = True

    def __post_init__(self) -> None:
        if self.content not in ("example", "bytes"):
            raise OptionError(f'`content` must be "example" or "bytes", got {self.content!r}')
        if self.missing not in ("null", "error"):
            raise OptionError(f'`missing` must be "null" or "error", got {self.missing!r}')
        for given in (self.decode, self.dtype, self.shape):
            unknown: Any = given
            if not isinstance(unknown, Mapping):
                raise OptionError(f"`decode`, `dtype` and `shape` map features to values, got {given!r}")
        self.decoder()

    @property
    def codings(self) -> dict[str, Coding]:
        """How the bytes of features are encoded, where the options say so."""
        names = {*self.decode, *self.dtype} | (set(self.shape) if self.content == "bytes" else set())
        return {
            name: Coding(self.decode.get(name, "raw"), self.dtype.get(name), self.shape.get(name))
            for name in sorted(names)
        }

    def decoder(self) -> Decoder:
        """Make what decodes records."""
        made = {name: make_decoder(coding) for name, coding in self.codings.items()}
        if self.content == "bytes":
            return made.get(_RECORD) or make_decoder(Coding())
        features = None if self.features is None else tuple(self.features)
        return Examples(features, made, self.shape, self.missing == "error")


@dataclass(frozen=True, slots=True)
class RecordFile:
    """What a scan of one file's record lengths tells.

    Attributes:
        stamp: What the file system said of it.
        is_packed: Whether it is compressed as a whole.
        begins: Where each row group begins, then where the last ends.
        rows: Records of each row group.
        identity: Digest of all lengths and checksums, thus of the contents.
    """

    stamp: Stamp
    is_packed: bool
    begins: tuple[int, ...]
    rows: tuple[int, ...]
    identity: str


@dataclass(frozen=True, eq=False)
class TfRecordSource:
    """TFRecord shards of one data set.

    Thread-safe: every read opens its file anew. Picklable, if the functions that decode are.

    Attributes:
        files: The shards in order.
        scans: What their scans told.
        options: How to read them.
        memory_limit: The most bytes that decoding one row group may take.
    """

    files: tuple[ShardFile, ...]
    scans: tuple[RecordFile, ...]
    options: TfRecordOptions
    memory_limit: int

    @staticmethod
    def open(files: Iterable[ShardFile], options: TfRecordOptions, memory_limit: int) -> TfRecordSource:
        """Scan the record lengths of all files, in parallel."""
        shards = tuple(files)
        begin = partial(scan_file, verify=options.verify_checksums, limit=memory_limit)
        with ThreadPoolExecutor(_OPENERS, thread_name_prefix="headrace-open") as pool:
            scans = tuple(pool.map(begin, shards))
        source = TfRecordSource(shards, scans, options, memory_limit)
        assert source.schema is not None  # shards that do not fit together are refused here
        return source

    @cached_property
    def _decoder(self) -> Decoder:
        return self.options.decoder()

    @cached_property
    def _partitions(self) -> dict[str, pa.DataType]:
        return partition_fields(self.files)

    @cached_property
    def _types(self) -> Types:
        """The columns, by the first records of every file."""
        found: dict[str, Types] = {}
        for shard, file in enumerate(self.files):
            try:
                if self.scans[shard].rows:
                    group = self.manifest[sum(len(scan.rows) for scan in self.scans[:shard])]
                    found[file.path] = self._decoder.infer(self._records(group))
            except HeadraceError as error:
                raise located(error, file.path) from error
        named = [
            pa.schema([(name or _RECORD, kind) for name, kind in types.items()]) for types in found.values()
        ]
        schema = unify(named, list(found), "error") if named else pa.schema([])
        return dict(zip(schema.names, schema.types, strict=True))

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that lie in the files, then those that the folders' names give."""
        added = [(name, kind) for name, kind in self._partitions.items() if name not in self._types]
        return pa.schema([*self._types.items(), *added])

    @cached_property
    def manifest(self) -> Manifest:
        """Row groups of some MB of records."""
        options = self.options
        shards: list[Shard] = []
        for file, scan in zip(self.files, self.scans, strict=True):
            chosen = (options.content, options.features, options.missing, sorted(options.shape.items()))
            settings = (chosen, options.codings, sorted(file.partitions.items()))
            identity = partial(digest, scan.identity, *settings)
            sizes = tuple(np.diff(scan.begins).tolist())
            shards.append(Shard(file.path, scan.rows, sizes, identity))
        return Manifest(tuple(shards))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is less safe than it could be."""
        bare = "" if self.options.verify_checksums else "no checksum is verified, and "
        return (f"{bare}a file that was cut between two records reads as a shorter one; {UNPROTECTED}",)

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the file that a shard's samples lie in, with its stamp when it was opened."""
        return self.files[shard].stamped(self.scans[shard].stamp)

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Decode one row group.

        Raises:
            UndecodableError: Some records cannot be decoded; its `rows` says which.
        """
        return self.read_rows(row_group, np.arange(row_group.rows), columns)

    def read_rows(
        self, row_group: RowGroup, rows: NDArray[np.int64], columns: Sequence[str]
    ) -> pa.RecordBatch:
        """Decode some rows of one row group, in the order given; damage in the others is passed over.

        Raises:
            UndecodableError: Some records cannot be decoded; its `rows` are places in `rows`.
        """
        check_columns(columns, self.schema, f"the TFRecord data set of {row_group.name}")
        file, scan = self.files[row_group.shard], self.scans[row_group.shard]
        file.check(scan.stamp)
        parts = {name: kind for name, kind in self._types.items() if name in columns}
        if self.options.content == "bytes" and set(self._types) == {_RECORD}:
            parts = {"": self._types[_RECORD]} if _RECORD in columns else {}
        try:
            decoded = self._decode(row_group, parts, rows)
        except HeadraceError as error:
            file.check(scan.stamp)
            raise located(error, file.path, row_group) from error
        except Exception as error:
            file.check(scan.stamp)
            raise CorruptSourceError(f"{row_group}: cannot be decoded: {error}") from error
        file.check(scan.stamp)
        arrays = {name or _RECORD: array for name, array in decoded.items()}
        counted = replace(row_group, rows=len(rows))
        for array in arrays.values():
            check_rows(len(array), counted)
        given = {name: file.partitions.get(name) for name in self._partitions}
        wanted = pa.schema([self.schema.field(name) for name in columns])
        return conform(pa.table(arrays), wanted, counted, given)

    def _decode(self, row_group: RowGroup, parts: Types, rows: NDArray[np.int64]) -> dict[str, pa.Array]:
        widths = {name: value_bytes(kind) * row_group.rows for name, kind in parts.items()}
        planned = {"the records": row_group.nbytes}
        planned |= {f"{name}, decoded": size for name, size in widths.items()}
        limits = {name: PlannedColumn(size, size) for name, size in planned.items()}
        check_planned(limits, self.memory_limit, row_group)
        values = self._records(row_group, rows)
        decoder = self._decoder
        if isinstance(decoder, Examples) and len(parts) < len(self._types):
            heads = {name: name.split(".")[0] for name in parts}
            wanted = {head if head in decoder.decoders else name for name, head in heads.items()}
            decoder = Examples(tuple(wanted), decoder.decoders, decoder.shapes, decoder.is_strict)
        return decoder.decode(values, parts)

    def _records(self, row_group: RowGroup, rows: NDArray[np.int64] | None = None) -> Values:
        """Read some records and verify their checksums; by default the first ones, unverified."""
        file, scan = self.files[row_group.shard], self.scans[row_group.shard]
        begin, end = scan.begins[row_group.index : row_group.index + 2]
        data = inflate(file, self.memory_limit) if scan.is_packed else _read(file, begin, end - begin)
        places: list[tuple[int, int]] = []
        place, most = 0, row_group.rows + 1 if rows is not None else _SAMPLED
        while place < len(data) and len(places) < most:
            length = int.from_bytes(data[place : place + 8], "little")
            stop = place + _HEADER + length
            if stop + _FOOTER > len(data):
                raise CorruptSourceError(f"{row_group}: the records are others than when the file was opened")
            places.append((place + _HEADER, stop))
            place = stop + _FOOTER
        if rows is not None:
            check_rows(len(places), row_group)
        chosen = np.arange(len(places)) if rows is None else rows
        spans = np.array(places, np.int64).reshape(-1, 2)[chosen]
        first = row_group.first - int(self.manifest.starts[row_group.number - row_group.index])
        label = partial(_label, first + chosen)
        if rows is not None and self.options.verify_checksums:
            crc = crc32c()
            ends = enumerate(spans.tolist())
            if failed := [n for n, (a, b) in ends if masked(crc(data[a:b])) != data[b : b + _FOOTER]]:
                reason = "its bytes do not have the checksum that is stored"
                raise UndecodableError.at(failed, label(failed[0]), reason)
        return Values(np.frombuffer(data, np.uint8), spans[:, 0], spans[:, 1] - spans[:, 0], label)


def scan_file(file: ShardFile, verify: bool, limit: int) -> RecordFile:
    """Find the records of one file by their lengths.

    Raises:
        CorruptSourceError: A length is damaged, or the file ends within a record.
    """
    path, stamp = file.path, file.stamp()
    head = file.head(_HEADER)
    if not head:
        raise CorruptSourceError(
            f"{path}: the file is empty (0 bytes); its writer was stopped, so write it again"
        )
    is_packed = _is_packed(head)
    with file.local() as place, _stream(file, place, limit if is_packed else None) as stream:
        size = stream.seek(0, os.SEEK_END)
        begins, rows, identity = _scan(stream, size, path, crc32c() if verify else None, is_packed)
    file.check(stamp)
    return RecordFile(stamp, is_packed, begins, rows, identity)


def _stream(file: ShardFile, place: str, limit: int | None) -> BinaryIO:
    """Open a file at its place on the local disk; unpacked, if a limit is given."""
    return open(place, "rb", buffering=1 << 18) if limit is None else io.BytesIO(inflate(file, limit))


def _scan(
    stream: BinaryIO, size: int, path: str, crc: Callable[[bytes], int] | None, is_one_group: bool
) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    hasher = hashlib.blake2b(digest_size=16)
    begins, rows = [0], [0]
    place = count = 0
    stream.seek(0)
    head = stream.read(_HEADER)
    while place < size:
        length = int.from_bytes(head[:8], "little")
        if len(head) < _HEADER or (crc is not None and masked(crc(head[:8])) != head[8:]):
            is_short = len(head) < _HEADER
            what = "ends within the header of" if is_short else "has a damaged length (by its checksum) in"
            where = f"record {count}, at byte {place:,}"
            raise CorruptSourceError(f"{path}: the file {what} {where}; it is cut off or damaged")
        if place + _HEADER + length + _FOOTER > size:
            raise CorruptSourceError(
                f"{path}: record {count} takes {length:,} bytes from byte {place + _HEADER:,} on, but the "
                f"file ends at {size:,}; it is cut off, so copy or write it again"
            )
        if not is_one_group and (place - begins[-1] >= _GROUP_BYTES or rows[-1] >= _GROUP_ROWS):
            begins.append(place)
            rows.append(0)
        hasher.update(head)
        stream.seek(length, os.SEEK_CUR)
        tail = stream.read(_FOOTER + _HEADER)
        hasher.update(tail[:_FOOTER])
        head = tail[_FOOTER:]
        place += _HEADER + length + _FOOTER
        rows[-1] += 1
        count += 1
    return (*begins, size), tuple(rows), digest("tfrecord", size, hasher.hexdigest())


def _is_packed(head: bytes) -> bool:
    """Whether a file is compressed: zlib's first bytes may also begin a length, then followed by zeros."""
    if is_gzip(head):
        return True
    is_zlib = len(head) >= 2 and head[0] == 0x78 and int.from_bytes(head[:2], "big") % 31 == 0
    return is_zlib and head[4:8] != bytes(4)


def crc32c() -> Callable[[bytes], int]:
    """Return the checksum function.

    Raises:
        MissingDependencyError: `google-crc32c` is not installed.
    """
    try:
        import google_crc32c
    except ImportError as error:
        raise MissingDependencyError.from_extra(
            "google-crc32c",
            "tfrecord",
            "verifying TFRecord checksums (see `TfRecordOptions(verify_checksums=)`)",
        ) from error
    return google_crc32c.value


def masked(checksum: int) -> bytes:
    """Write a checksum as TFRecord files do: rotated and shifted, as they may hold one another."""
    return ((((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def _read(file: ShardFile, begin: int, length: int) -> bytes:
    try:
        with file.local() as place, open(place, "rb") as opened:
            opened.seek(begin)
            return opened.read(length)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{file.path}: cannot be read: {error.strerror}") from error


def _label(records: NDArray[np.int64], row: int) -> str:
    return f"record {records[row]}"
