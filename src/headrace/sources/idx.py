"""IDX files (MNIST and its kin): one array a file, also compressed by gzip."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, OptionError, SchemaError
from headrace.fingerprint import digest
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.sources.base import check_columns
from headrace.sources.budget import PlannedColumn, check_planned
from headrace.sources.building import tensor_array, tensor_type
from headrace.sources.files import ShardFile, Stamp
from headrace.sources.inflate import inflate, is_gzip
from headrace.sources.mapped import MappedFile
from headrace.sources.verify import UNPROTECTED

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GROUP_BYTES = 1 << 23
_LONGEST_HEADER = 4 + 4 * 255


@dataclass(frozen=True, slots=True)
class IdxOptions:
    """How IDX files form columns.

    Attributes:
        columns: Column to file name. By default a file is the column that its name tells:
            `image` for `train-images-idx3-ubyte`, `label` for `train-labels-idx1-ubyte`, else
            its name without endings. Files of one column follow each other, as shards.

    Example:
        >>> IdxOptions({"image": "t10k-images-idx3-ubyte.gz"}).name("/data/t10k-images-idx3-ubyte.gz")
        'image'
    """

    columns: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.columns is not None and not self.columns:
            raise OptionError(
                '`columns` must map columns to file names, like {"image": "t10k-images-idx3-ubyte"}'
            )

    def name(self, path: str) -> str | None:
        """Tell a file's column; None where it has none."""
        base = os.path.basename(path)
        if self.columns is not None:
            return next((name for name, file in self.columns.items() if os.path.basename(file) == base), None)
        known = re.search(r"(?:^|[-_.])(image|label)s?[-_.]idx\d", base)
        return known[1] if known else base.split(".")[0]


@dataclass(frozen=True, slots=True)
class IdxArray:
    """What the header of one file says; thread-safe."""

    file: MappedFile
    is_packed: bool
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    skip: int
    identity: str

    @staticmethod
    def open(shard: ShardFile, memory_limit: int) -> IdxArray:
        """Read a file's header, and hold the file's size against it."""
        path, file = shard.path, MappedFile(shard, shard.stamp())
        content = file.content()
        is_packed = is_gzip(content[:2].tobytes())
        head = inflate(shard, 1 << 20, _LONGEST_HEADER) if is_packed else content[:_LONGEST_HEADER].tobytes()
        skip = 4 + 4 * head[3] if len(head) >= 4 else 0
        if head[:2] != b"\0\0" or not 4 < skip <= len(head) or head[2] not in _DTYPES:
            raise CorruptSourceError(
                f"{path}: an IDX file must begin with 0, 0, a known type, a rank and as many lengths, got "
                f"{head[:8]!r} in {file.size:,} bytes; it is cut off or of another format"
            )
        shape = tuple(int(size) for size in np.frombuffer(head, ">u4", head[3], 4))
        dtype = np.dtype(_DTYPES[head[2]])
        size = skip + dtype.itemsize * math.prod(shape)
        if not is_packed and size != file.size:
            raise CorruptSourceError(
                f"{path}: {dtype} of shape {list(shape)} takes {size:,} bytes, but the file has "
                f"{file.size:,}; it is cut off or damaged"
            )
        tail = content[-8:].tobytes()
        if is_packed and tail[4:] != (size % (1 << 32)).to_bytes(4, "little"):  # cut off, or of several parts
            _unpack(shard, size, memory_limit)
        identity = digest("idx", head[:skip], file.size, tail)
        return IdxArray(file, is_packed, dtype, shape, skip, identity)

    @property
    def kind(self) -> pa.DataType:
        """The column's type."""
        return tensor_type(self.dtype, self.shape[1:])

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def rows(self, begin: int, end: int) -> NDArray[Any]:
        """Copy some samples out of the file."""
        size = self.skip + self.row_bytes * self.shape[0]
        content: Any = self.file.content()
        if self.is_packed:
            content = _unpack(self.file.file, size, size)
        part = content[self.skip + begin * self.row_bytes : self.skip + end * self.row_bytes].copy()
        self.file.check()
        return part.view(self.dtype).reshape(end - begin, *self.shape[1:])


def _unpack(file: ShardFile, size: int, limit: int) -> NDArray[np.uint8]:
    content = np.frombuffer(inflate(file, min(size, limit)), np.uint8)
    if len(content) != size:
        raise CorruptSourceError(
            f"{file.path}: unpacks to {len(content):,} bytes instead of {size:,}; it is damaged"
        )
    return content


@dataclass(frozen=True, eq=False)
class IdxSource:
    """Arrays of one length side by side, each in a file of its own; thread-safe and picklable.

    Attributes:
        arrays: Column to its files, shard by shard.
        memory_limit: The most bytes that decoding one row group may take.
    """

    arrays: Mapping[str, tuple[IdxArray, ...]]
    memory_limit: int

    @staticmethod
    def open(files: Iterable[ShardFile], options: IdxOptions, memory_limit: int) -> IdxSource:
        """Read the headers of all files; the i-th files of all columns form a shard."""
        found: dict[str, list[IdxArray]] = {name: [] for name in options.columns or ()}
        for file in files:
            if (name := options.name(file.path)) is not None:
                found.setdefault(name, []).append(IdxArray.open(file, memory_limit))
        counts = {name: [array.shape[0] for array in arrays] for name, arrays in found.items()}
        if len({tuple(count) for count in counts.values()}) != 1 or not all(counts.values()):
            raise SchemaError(f"all columns must have files with the same numbers of samples, got {counts}")
        for name, arrays in found.items():
            if len({array.kind for array in arrays}) > 1:
                kinds = {array.file.path: str(array.kind) for array in arrays}
                raise SchemaError(f"column `{name}` must have one type in all files, got {kinds}")
        return IdxSource({name: tuple(arrays) for name, arrays in found.items()}, memory_limit)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns and their types."""
        return pa.schema([(name, arrays[0].kind) for name, arrays in self.arrays.items()])

    @cached_property
    def manifest(self) -> Manifest:
        """Row groups of some MB; a compressed file is one, as it can only be unpacked whole."""
        shards: list[Shard] = []
        for arrays in zip(*self.arrays.values(), strict=True):
            total, row_bytes = arrays[0].shape[0], sum(array.row_bytes for array in arrays)
            is_packed = any(array.is_packed for array in arrays)
            rows = max(total if is_packed else _GROUP_BYTES // row_bytes, 1)
            counts = tuple(min(rows, total - begin) for begin in range(0, total, rows))
            sizes = tuple(count * row_bytes for count in counts)
            identity = digest("idx", [array.identity for array in arrays])
            shards.append(Shard(arrays[0].file.path, counts, sizes, identity))
        return Manifest(tuple(shards))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is less safe than it could be; gzip has a checksum."""
        plain = [name for name, arrays in self.arrays.items() if not all(array.is_packed for array in arrays)]
        named = ", ".join(f"`{name}`" for name in plain)
        return (f"no checksum protects {named}, as plain IDX has none; {UNPROTECTED}",) if plain else ()

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the files of all columns, each with its stamp when it was opened."""
        files = [arrays[shard].file for arrays in self.arrays.values()]
        return {path: stamp for file in files for path, stamp in file.file.stamped(file.stamp).items()}

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Copy one row group."""
        check_columns(columns, self.schema, f"the IDX data set of {row_group.name}")
        chosen = {name: self.arrays[name][row_group.shard] for name in columns}
        sizes = {name: row_group.rows * array.row_bytes for name, array in chosen.items()}
        planned = {name: PlannedColumn(size, size) for name, size in sizes.items()}
        check_planned(planned, self.memory_limit, row_group)
        begin = row_group.first - int(self.manifest.starts[row_group.number - row_group.index])
        parts = [tensor_array(array.rows(begin, begin + row_group.rows)) for array in chosen.values()]
        schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.RecordBatch.from_arrays(parts, schema=schema)
