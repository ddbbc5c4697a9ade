"""LMDB environments, read in place.

A sample is a key with its value, or several keys by pattern:
`fields={"image": "image-{index:09d}", "label": "label-{index:09d}"}`. An environment is a folder
with `data.mdb`, or a single file. It may be open elsewhere in the same process, be read in any
number of threads and after a fork, and needs no lock file: see `lmdb_pages` for why. LMDB keeps
no checksums, so a flipped bit within a value goes unnoticed; damage to the tree does not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, HeadraceError, OptionError
from headrace.fingerprint import digest
from headrace.manifest import Manifest, RowGroup, Shard, to_ids
from headrace.sources.base import Layout, check_columns, check_rows
from headrace.sources.budget import PlannedColumn, check_planned
from headrace.sources.building import value_bytes
from headrace.sources.codings import make_decoder
from headrace.sources.decoding import Coding, Decoder, Fixed, Types, Values, located
from headrace.sources.files import ShardFile, Stamp
from headrace.sources.hive import partition_fields
from headrace.sources.lmdb_index import Environment, KeyPattern, open_environment
from headrace.sources.schemas import conform, unify
from headrace.sources.verify import UNPROTECTED

_OPENERS = 8  # threads that open environments; opening mostly waits for the disk
_SAMPLED = 16  # samples of each environment that tell its columns
_KEY, _VALUE = "key", "value"

Decode = str | Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class LmdbOptions:
    """How LMDB environments are read.

    Attributes:
        fields: Column to key pattern, like `{"image": "image-{index:09d}"}`; samples are counted
            from 0 or 1, whichever key there is, as far as all patterns have keys, and a counter
            such as `num-samples` must agree. By default each key is a sample, with the columns
            `key` and `value`.
        decode: How values are decoded: `"raw"`, `"text"`, `"npy"`, `"json"`, `"msgpack"`,
            `"arrow"` (one row), `"image"` (JPEG, PNG), `"datum"` (Caffe), `"safetensors"`,
            `"pickle"`, a function of the bytes, or a mapping of field to these. A value that is
            a mapping becomes several columns: by their names, or as `field.name` with `fields`.
        dtype: NumPy dtype of raw values; or of each field. An Arrow type for json and the like.
        shape: Shape of one sample; or of each field. `()` is one number, `(-1,)` are lists.
        database: Name of a sub-database.
        exclude: Keys that are no samples, besides `__len__`, `__keys__`, `num-samples` and the
            like; `"prefix*"` stands for all keys that begin so.
        allow_pickle: Whether `decode="pickle"` may be used, which runs code from the data.

    Example:
        >>> LmdbOptions(decode="raw", dtype="uint8", shape=(3, 64, 64)).shape
        (3, 64, 64)
    """

    fields: Mapping[str, str] | None = None
    decode: Decode | Mapping[str, Decode] = "raw"
    dtype: Any = None
    shape: tuple[int, ...] | Mapping[str, tuple[int, ...]] | None = None
    database: str | bytes | None = None
    exclude: Sequence[str | bytes] = ()
    allow_pickle: bool = False

    def __post_init__(self) -> None:
        if self.fields is not None and not self.fields:
            raise OptionError(
                '`fields` must map columns to key patterns, like {"image": "image-{index:09d}"}'
            )
        if isinstance(self.exclude, (str, bytes)):
            raise OptionError(f"`exclude` must be a list of keys, got {self.exclude!r}")
        for name, pattern in (self.fields or {}).items():
            KeyPattern.parse(name, pattern)
        for given in (self.decode, self.dtype, self.shape):
            unknown = [name for name in given if name not in self.names] if isinstance(given, Mapping) else []
            if unknown:
                raise OptionError(f"`decode`, `dtype` and `shape` may name {self.names}, got {unknown}")
        for name in self.names:
            make_decoder(self.coding(name), self.allow_pickle)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields of a sample."""
        return (_KEY, _VALUE) if self.fields is None else tuple(self.fields)

    def coding(self, name: str) -> Coding:
        """How the values of one field are encoded."""
        is_key = self.fields is None and name == _KEY
        chosen: list[Any] = []
        for given, default in ((self.decode, "raw"), (self.dtype, None), (self.shape, None)):
            found = given.get(name, default) if isinstance(given, Mapping) else (default if is_key else given)
            chosen.append(found)
        takes_dtype = callable(chosen[0]) or chosen[0] in ("raw", "json", "msgpack")
        if not takes_dtype and not isinstance(self.dtype, Mapping):
            chosen[1] = None  # one dtype for all fields is meant for those that have none of their own
        return Coding(*chosen)


@dataclass(frozen=True, eq=False)
class LmdbSource:
    """Environments of one data set.

    Thread-safe, also after a fork: each data file is mapped for reading, and no state is kept
    beside that. Picklable, if the function that decodes is.

    Attributes:
        files: The environments' data files, in order.
        environments: What was learned from them.
        options: How to read them.
        memory_limit: The most bytes that decoding one row group may take.
    """

    files: tuple[ShardFile, ...]
    environments: tuple[Environment, ...]
    options: LmdbOptions
    memory_limit: int
    _partitions: dict[str, pa.DataType] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_partitions", partition_fields(self.files))

    @staticmethod
    def open(files: Iterable[ShardFile], options: LmdbOptions, memory_limit: int) -> LmdbSource:
        """Read the trees of all environments, but no large values, in parallel."""
        shards = tuple(replace(file, path=_data_file(file.path)) for file in files)
        patterns = tuple(KeyPattern.parse(name, text) for name, text in (options.fields or {}).items())

        def begin(shard: ShardFile) -> Environment:
            with shard.local():  # a remote one stays where it is while it is looked at
                return open_environment(shard, patterns, options.database, tuple(options.exclude))

        with ThreadPoolExecutor(_OPENERS, thread_name_prefix="headrace-open") as pool:
            environments = tuple(pool.map(begin, shards))
        source = LmdbSource(shards, environments, options, memory_limit)
        assert source.schema is not None  # environments that do not fit together are refused here
        return source

    @cached_property
    def _decoders(self) -> dict[str, Decoder]:
        make = partial(make_decoder, allow_pickle=self.options.allow_pickle)
        return {name: make(self.options.coding(name)) for name in self.options.names}

    @cached_property
    def _types(self) -> dict[str, Types]:
        """The columns that each field becomes, by the first samples of every environment."""
        found: list[dict[str, Types]] = []
        names: list[str] = []
        for file, environment in zip(self.files, self.environments, strict=True):
            if environment.samples or (file is self.files[-1] and not found):
                found.append(self._infer(file.path, environment))
                names.append(file.path)
        types: dict[str, Types] = {}
        for name in self.options.names:
            schemas = [pa.schema(list(each[name].items())) for each in found]
            schema = unify(schemas, names, "error")
            types[name] = dict(zip(schema.names, schema.types, strict=True))
        return types

    def _infer(self, path: str, environment: Environment) -> dict[str, Types]:
        samples = np.arange(min(environment.samples, _SAMPLED))
        try:
            with environment.file.file.local():
                return {
                    name: decoder.infer(self._values(environment, name, samples, None))
                    for name, decoder in self._decoders.items()
                }
        except HeadraceError as error:
            raise located(error, path) from error

    @cached_property
    def _layout(self) -> dict[str, tuple[str, str]]:
        """Column to its field and its name among that field's columns."""
        layout: dict[str, tuple[str, str]] = {}
        for name, types in self._types.items():
            for part in types:
                column = name if not part else (part if self.options.fields is None else f"{name}.{part}")
                if column in layout:
                    raise OptionError(
                        f"the values hold `{column}`, which is the name of another column too; give the "
                        "field "
                        "another name by `fields`"
                    )
                layout[column] = (name, part)
        return layout

    @cached_property
    def stored_schema(self) -> pa.Schema:
        """The columns that lie in the environments."""
        kinds = [(column, self._types[name][part]) for column, (name, part) in self._layout.items()]
        return pa.schema(kinds)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that lie in the environments, then those that the folders' names give."""
        schema = self.stored_schema
        for name, kind in self._partitions.items():
            if name not in schema.names:
                schema = schema.append(pa.field(name, kind))
        return schema

    @cached_property
    def manifest(self) -> Manifest:
        """Row groups of a few MB each, in the order of keys or of the patterns' numbers."""
        fixed = sum(value_bytes(kind) for kind in self.stored_schema.types)
        pairs = zip(self.files, self.environments, strict=True)
        return Manifest(tuple(self._shard(file, environment, fixed) for file, environment in pairs))

    def _shard(self, file: ShardFile, environment: Environment, fixed: int) -> Shard:
        rows = tuple(np.diff(environment.cuts).tolist())
        sizes = tuple(max(count * fixed, size) for count, size in zip(rows, environment.nbytes, strict=True))
        codings = [self.options.coding(name) for name in self.options.names]
        keys = (self.options.fields, self.options.database, sorted(map(str, self.options.exclude)))
        identity = partial(digest, environment.identity, keys, codings, sorted(file.partitions.items()))
        return Shard(file.path, rows, sizes, identity)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is less safe than it could be."""
        return (f"LMDB keeps no checksums of values; {UNPROTECTED}",)

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the file that a shard's samples lie in, with its stamp when it was opened."""
        environment = self.environments[shard]
        environment.check()
        return self.files[shard].stamped(environment.file.stamp)

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Decode one row group.

        Raises:
            UndecodableError: Some samples cannot be decoded; its `rows` says which.
        """
        return self.read_rows(row_group, np.arange(row_group.rows), columns)

    def read_rows(
        self, row_group: RowGroup, rows: NDArray[np.int64], columns: Sequence[str]
    ) -> pa.RecordBatch:
        """Decode some rows of one row group, in the order given.

        Raises:
            UndecodableError: Some samples cannot be decoded; its `rows` are places in `rows`.
        """
        environment = self.environments[row_group.shard]
        samples = int(environment.cuts[row_group.index]) + rows
        decoded = self._decode(row_group, row_group.shard, samples, columns)
        check_rows(decoded.num_rows + row_group.rows - len(rows), row_group)
        return decoded

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """The columns of wide raw values, which can be copied right from the pages into a batch."""
        # A row group beyond the memory limit is left to `read`, which says so.
        if max((max(each.nbytes, default=0) for each in self.environments), default=0) > self.memory_limit:
            return {}
        decoders = {column: self._decoders[name] for column, (name, _) in self._layout.items()}
        return {
            column: (decoder.dtype, decoder.shape)
            for column, decoder in decoders.items()
            if isinstance(decoder, Fixed) and decoder.is_copyable
        }

    def copy_rows(
        self, row_group: RowGroup, column: str, rows: NDArray[np.int64], targets: NDArray[np.uint64]
    ) -> None:
        """Copy the values of one column of one row group to memory.

        Raises:
            UndecodableError: Some of them have another size; its `rows` are places in `rows`.
        """
        from headrace.copying import copy_rows

        file, environment = self.files[row_group.shard], self.environments[row_group.shard]
        name = self._layout[column][0]
        decoder = self._decoders[name]
        assert isinstance(decoder, Fixed)
        try:
            with file.local():
                samples = int(environment.cuts[row_group.index]) + rows
                nodes = environment.tree.locate(environment.file, environment.records_of(name, samples))
                values = environment.tree.values(environment.file, nodes)
                decoder.check(values)
                copy_rows(values.buffer, values.offsets, decoder.width, targets)
                environment.check()
        except HeadraceError as error:
            raise located(error, file.path, row_group) from error
        except Exception as error:
            raise CorruptSourceError(f"{row_group}: cannot be decoded: {error}") from error

    def take(self, ids: NDArray[np.int64] | Sequence[int], columns: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Copy the samples with these ids, in this order, into fresh arrays of shape [n, ...]."""
        wanted = to_ids(ids)
        numbers, rows = self.manifest.locate(wanted)
        parts: list[pa.RecordBatch] = []
        places: list[NDArray[np.int64]] = []
        first_groups = np.cumsum([0] + [len(environment.cuts) - 1 for environment in self.environments])
        shards = np.searchsorted(first_groups, numbers, side="right") - 1
        for shard in np.unique(shards).tolist():
            here = np.flatnonzero(shards == shard)
            samples = self.environments[shard].cuts[numbers[here] - first_groups[shard]] + rows[here]
            where = self.manifest[int(numbers[here[0]])]
            parts.append(self._decode(where, shard, samples, columns))
            places.append(here)
        if not parts:
            empty = pa.schema([self.schema.field(name) for name in columns])
            return {
                name: _to_array(pa.nulls(0, kind))
                for name, kind in zip(empty.names, empty.types, strict=True)
            }
        order = np.argsort(np.concatenate(places))
        return {
            name: np.concatenate([_to_array(part.column(name)) for part in parts])[order] for name in columns
        }

    def _decode(
        self, where: RowGroup, shard: int, samples: NDArray[np.int64], columns: Sequence[str]
    ) -> pa.RecordBatch:
        check_columns(columns, self.schema, f"the LMDB data set of {where.name}")
        file, environment = self.files[shard], self.environments[shard]
        stored = [name for name in columns if name in self._layout]
        arrays: dict[str, pa.Array] = {}
        try:
            with file.local():
                for name in dict.fromkeys(self._layout[column][0] for column in stored):
                    values = self._values(environment, name, samples, where)
                    decoded = self._decoders[name].decode(values, self._types[name])
                    wanted = [column for column in stored if self._layout[column][0] == name]
                    arrays |= {column: decoded[self._layout[column][1]] for column in wanted}
                environment.check()
        except HeadraceError as error:
            raise located(error, file.path, where) from error
        except Exception as error:
            raise CorruptSourceError(f"{where}: cannot be decoded: {error}") from error
        given = {name: self.files[shard].partitions.get(name) for name in self._partitions}
        wanted = pa.schema([self.schema.field(name) for name in columns])
        counted = where if where.rows == len(samples) else _resized(where, len(samples))
        return conform(pa.table(arrays), wanted, counted, given)

    def _values(
        self, environment: Environment, name: str, samples: NDArray[np.int64], where: RowGroup | None
    ) -> Values:
        """Find the values of one field, within the memory limit."""
        is_key = self.options.fields is None and name == _KEY
        nodes = environment.tree.locate(environment.file, environment.records_of(name, samples))
        if is_key:
            return Values(nodes.buffer, nodes.keys, nodes.key_lengths, partial(environment.name_of, nodes))
        stored = int(nodes.sizes.sum())
        planned = {name: stored}
        if where is not None:
            for part, kind in self._types[name].items():
                planned[f"{name}.{part}" if part else f"{name}, decoded"] = max(value_bytes(kind), 0) * len(
                    samples
                )
        limits = {label: PlannedColumn(size, size) for label, size in planned.items()}
        check_planned(
            limits,
            self.memory_limit,
            where or RowGroup(0, 0, 0, 0, len(samples), stored, environment.file.path),
        )
        return environment.tree.values(environment.file, nodes)


def _data_file(path: str) -> str:
    return os.path.join(path, "data.mdb") if os.path.isdir(path) else path


def _resized(where: RowGroup, rows: int) -> RowGroup:
    return RowGroup(where.number, where.shard, where.index, where.first, rows, where.nbytes, where.name)


def _to_array(column: pa.Array) -> NDArray[Any]:
    if isinstance(column.type, pa.FixedShapeTensorType):
        shape = tuple(column.type.shape)
        return column.to_numpy_ndarray() if len(column) else np.empty((0, *shape))
    return column.to_numpy(zero_copy_only=False)
