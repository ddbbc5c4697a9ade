"""Where a data set begins: shards on disk, arrays, tables and frames in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headrace.dataset import Dataset
from headrace.sources.budget import parse_bytes
from headrace.sources.files import Paths
from headrace.sources.memory import MemorySource
from headrace.sources.open import open_source

if TYPE_CHECKING:
    import polars as pl


def open_dataset(
    path: Paths,
    format: str | None = None,
    *,
    columns: Sequence[str] | None = None,
    memory_limit: int | str | None = None,
    options: Any = None,
) -> Dataset:
    """Open shards where they lie; only their footers are read, and text once for its records.

    Args:
        path: A file, a folder (also `key=value` folders, which become columns), a glob, or a
            list of those.
        format: `"parquet"`, `"hdf5"`, `"lmdb"`, `"arrow"`, `"tfrecord"`, `"idx"`, `"csv"` or
            `"jsonlines"`; by default told by the files' first bytes, and for text by `.csv`, `.tsv`,
            `.jsonl` and `.ndjson`. Arrow streams have no first bytes of their own, so name them.
        columns: Which columns are wanted; all by default.
        memory_limit: The most bytes that decoding one row group may take, as a number or a text
            like "2GB"; a quarter of the machine's memory by default.
        options: How to read the format: `hr.ParquetOptions(...)`, `hr.Hdf5Options(...)`,
            `hr.LmdbOptions(...)`, `hr.ArrowOptions(...)`, `hr.TfRecordOptions(...)`,
            `hr.IdxOptions(...)`, `hr.CsvOptions(...)` or `hr.JsonLinesOptions(...)`.

    Raises:
        MissingSourceError: Nothing lies under that name.
        SourceError: A shard cannot be read; the message names it.
        SchemaError: The shards' columns differ.

    Example:
        >>> import headrace as hr, pyarrow as pa, pyarrow.parquet as pq, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> pq.write_table(pa.table({"x": [1, 2, 3]}), f"{folder}/part-0.parquet")
        >>> len(hr.open(folder))
        3
    """
    dataset = Dataset.of(open_source(path, format, options, parse_bytes(memory_limit)))
    return dataset if columns is None else dataset.select(columns)


def from_arrays(arrays: Mapping[str, Any]) -> Dataset:
    """Make a data set of NumPy arrays of shape [n, ...], lists, or anything Arrow takes; no copy.

    Example:
        >>> import headrace as hr, numpy as np
        >>> len(hr.from_arrays({"image": np.zeros((3, 8, 8), np.uint8), "label": [0, 1, 2]}))
        3
    """
    return Dataset.of(MemorySource.from_arrays(arrays))


def from_arrow(table: pa.Table | pa.RecordBatch) -> Dataset:
    """Make a data set of an Arrow table; no copy unless a column lies in several chunks.

    Example:
        >>> import headrace as hr, pyarrow as pa
        >>> hr.from_arrow(pa.table({"x": [1, 2]})).take([1])["x"].tolist()
        [2]
    """
    return Dataset.of(MemorySource.from_table(table))


def from_polars(frame: pl.DataFrame) -> Dataset:
    """Make a data set of a Polars frame; no copy for plain types.

    Example:
        >>> import headrace as hr, polars as pl
        >>> hr.from_polars(pl.DataFrame({"x": [1, 2]})).take([1])["x"].tolist()
        [2]
    """
    from headrace.prepare.base import from_frame

    return Dataset.of(MemorySource.from_table(from_frame(frame)))
