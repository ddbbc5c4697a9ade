"""HDF5 shards: a data set for each column, in compressed chunks with checksums."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import HeadraceError, MissingDependencyError
from headrace.sources.hdf5_header import RAGGED
from headrace.sources.written.forms import stored_schema, to_stored
from headrace.sources.written.numbers import dtype_of, to_numbers, to_rows, to_runs
from headrace.sources.written.plain import lengths_of
from headrace.writing.formats.base import FormatOptions
from headrace.writing.formats.codecs import choose_codec
from headrace.writing.formats.hdf5_chunks import CODECS, ChunkWriter, chunk_rows, filters_of
from headrace.writing.formats.hdf5_file import HdfFile

_REFERENCE_BYTES = 16  # of a text, which lies elsewhere
_VERSION = "v110"  # of the format; headers have checksums, and what is written does not depend on the library


def check_schema(schema: pa.Schema, options: FormatOptions) -> None:
    """Refuse what cannot be written.

    Raises:
        OptionError: The format has no such compression.
        SchemaError: A column's type cannot be written; the message names it.
    """
    choose_codec("HDF5", options, CODECS)
    stored_schema(schema, "hdf5")


class _Column(Protocol):
    """Takes the values of one stored column."""

    def append(self, array: pa.Array) -> None: ...

    def finish(self) -> None: ...


class Hdf5Writer:
    """Writes one shard; see `ShardWriter`."""

    def __init__(self, path: Path, schema: pa.Schema, options: FormatOptions) -> None:
        """Begin a file.

        Args:
            path: Where it comes to lie; what lies there is replaced.
            schema: The columns of the rows that will come.
            options: `compression` is `"gzip"`, the default, `"lzf"` or `"none"`.

        Raises:
            OptionError: The format has no such compression.
            SchemaError: A column's type cannot be written.
        """
        self._codec = choose_codec("HDF5", options, CODECS)
        self._schema = stored_schema(schema, "hdf5")
        self._library = _library()
        self._columns: list[_Column] | None = None
        self._beneath = HdfFile(path)
        try:
            self._file = self._library.File(self._beneath, "w", libver=(_VERSION, _VERSION))
        except BaseException:
            self._beneath.close()
            raise

    def write(self, rows: pa.RecordBatch) -> None:
        """Append one row group."""
        stored = to_stored(rows, "hdf5")
        try:
            columns = self._begin(stored)
            for column, array in zip(columns, stored.columns, strict=True):
                column.append(array)
        except HeadraceError:
            raise
        except Exception:
            self._beneath.check()
            raise
        self._beneath.check()

    def close(self) -> None:
        """Finish the file."""
        try:
            empty = pa.RecordBatch.from_pylist([], self._schema)
            for column in self._begin(empty):
                column.finish()
            self._file.close()
        except Exception:
            self._beneath.check()
            raise
        self._beneath.check()
        self._beneath.close()

    def abandon(self) -> None:
        """Let go of the file."""
        self._beneath.drop()
        with contextlib.suppress(Exception):  # the library wrote nothing, and may find what it reads odd
            self._file.close()
        self._beneath.close()

    def _begin(self, stored: pa.RecordBatch) -> list[_Column]:
        """Create the data sets, whose chunks follow from the first row group."""
        if self._columns is None:
            arrays = zip(self._schema.names, stored.columns, strict=True)
            self._columns = [self._create(name, array) for name, array in arrays]
        return self._columns

    def _create(self, name: str, array: pa.Array) -> _Column:
        kind, rows = array.type, len(array)
        if pa.types.is_string(kind):
            return _Texts(self._library, self._file, name, rows)
        if not pa.types.is_large_list(kind):
            shape = tuple(cast("Any", kind).shape) if isinstance(kind, pa.FixedShapeTensorType) else ()
            dtype = np.dtype(np.bool_) if pa.types.is_boolean(kind) else dtype_of(kind)
            return _Numbers(self._dataset(self._file, name, dtype, shape, rows))
        group = self._file.create_group(name)
        group.attrs["encoding-type"] = RAGGED
        items = len(cast("Any", array).flatten())
        values = self._dataset(group, "values", dtype_of(kind), (), items)
        return _Lists(values, self._dataset(group, "offsets", np.dtype(np.int64), (), rows + 1))

    def _dataset(
        self, group: Any, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], rows: int
    ) -> ChunkWriter:
        height = chunk_rows(dtype.itemsize * int(np.prod(shape, dtype=np.int64)), rows)
        dataset = group.create_dataset(
            name,
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=(height, *shape),
            dtype=dtype,
            track_times=False,
            **filters_of(self._codec, dtype.itemsize),
        )
        return ChunkWriter(dataset, self._codec)


class _Numbers:
    """A data set of numbers, booleans or arrays of one shape."""

    def __init__(self, chunks: ChunkWriter) -> None:
        self._chunks = chunks

    def append(self, array: pa.Array) -> None:
        if isinstance(array.type, pa.FixedShapeTensorType):
            self._chunks.append(to_rows(array)[0].reshape(len(array), *cast("Any", array.type).shape))
        else:
            self._chunks.append(to_numbers(array)[0])

    def finish(self) -> None:
        self._chunks.finish()


class _Lists:
    """A group of values, one list behind the other, and of where each list begins and the last one ends."""

    def __init__(self, values: ChunkWriter, offsets: ChunkWriter) -> None:
        self._values, self._offsets = values, offsets
        offsets.append(np.zeros(1, np.int64))

    def append(self, array: pa.Array) -> None:
        lengths = lengths_of(array)
        self._offsets.append(self._values.rows + np.cumsum(lengths))
        self._values.append(to_numbers(cast("Any", array).flatten())[0])

    def finish(self) -> None:
        self._values.finish()
        self._offsets.finish()


class _Texts:
    """A data set of variable-length UTF-8, which the library itself writes."""

    def __init__(self, library: Any, group: Any, name: str, rows: int) -> None:
        self._library = library
        self._dataset = group.create_dataset(
            name,
            shape=(0,),
            maxshape=(None,),
            chunks=(chunk_rows(_REFERENCE_BYTES, rows),),
            dtype=library.string_dtype(),
            track_times=False,
        )
        self._type = self._dataset.id.get_type()

    def append(self, array: pa.Array) -> None:
        if not len(array):
            return
        data, offsets = to_runs(array)
        starts, count = offsets[:-1] + np.arange(len(array)), self._dataset.shape[0]
        ended = np.zeros(len(data) + len(array), np.uint8)  # each text ends with a zero byte
        ended[np.arange(len(data)) + np.repeat(np.arange(len(array)), np.diff(offsets))] = data
        addresses: NDArray[np.uint64] = (ended.ctypes.data + starts).astype(np.uint64)
        self._dataset.resize(count + len(array), axis=0)
        space = self._dataset.id.get_space()
        space.select_hyperslab((count,), (len(array),))
        shape = self._library.h5s.create_simple((len(array),))
        self._dataset.id.write(shape, space, addresses, mtype=self._type)

    def finish(self) -> None:
        """Nothing waits."""


def _library() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError.from_extra("h5py", "hdf5", "writing HDF5") from error
    return h5py
