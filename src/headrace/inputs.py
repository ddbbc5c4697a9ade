"""Where a data set begins: shards on disk, arrays, tables and frames in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from headrace.dataset import Dataset
from headrace.errors import OptionError
from headrace.execution.mixed import MixedSource
from headrace.execution.recipe import Recipe
from headrace.planning.idset import join
from headrace.planning.mixing import Mixing, Stop
from headrace.planning.selection import Selection
from headrace.sources.budget import parse_bytes
from headrace.sources.files import Paths
from headrace.sources.memory import MemorySource
from headrace.sources.open import open_source
from headrace.sources.remote import Access
from headrace.sources.shard_cache import ShardCache

if TYPE_CHECKING:
    import polars as pl


def open_dataset(  # noqa: PLR0913 - each concern has an options class of its own already
    path: Paths,
    format: str | None = None,
    *,
    columns: Sequence[str] | None = None,
    memory_limit: int | str | None = None,
    verify: bool = False,
    retries: int = 3,
    storage_options: Mapping[str, Any] | None = None,
    shard_cache: ShardCache | None = None,
    options: Any = None,
) -> Dataset:
    """Open shards where they lie; only their footers are read, and text once for its records.

    Args:
        path: A file, a folder (also `key=value` folders, which become columns), a glob, or a
            list of those; also behind a URL, as `s3://`, `gs://`, `az://`, `https://` and
            `memory://`.
        format: `"parquet"`, `"hdf5"`, `"lmdb"`, `"arrow"`, `"tfrecord"`, `"idx"`, `"csv"` or
            `"jsonlines"`; by default told by the files' first bytes, and for text by `.csv`, `.tsv`,
            `.jsonl` and `.ndjson`. Arrow streams have no first bytes of their own, so name them.
        columns: Which columns are wanted; all by default.
        memory_limit: The most bytes that decoding one row group may take, as a number or a text
            like "2GB"; a quarter of the machine's memory by default.
        verify: Compare all bytes with the content hashes that `headrace info --hash PATH` keeps
            beside the data, which reads them once, in parallel; for local files alone.
        retries: How often in a row a request to a URL's server may fail again after its first
            failure; each goes on where the one before ended.
        storage_options: What fsspec's file system for such URLs takes, like `{"anon": True}`.
        shard_cache: Where whole shards behind URLs are kept on the local disk.
        options: How to read the format: `hr.ParquetOptions(...)`, `hr.Hdf5Options(...)`,
            `hr.LmdbOptions(...)`, `hr.ArrowOptions(...)`, `hr.TfRecordOptions(...)`,
            `hr.IdxOptions(...)`, `hr.CsvOptions(...)` or `hr.JsonLinesOptions(...)`.

    Raises:
        MissingSourceError: Nothing lies under that name, or no content hashes lie beside it.
        CorruptSourceError: A shard differs from its content hash, is missing, or was added.
        SourceError: A shard cannot be read; the message names it.
        SchemaError: The shards' columns differ.

    Example:
        >>> import headrace as hr, pyarrow as pa, pyarrow.parquet as pq, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> pq.write_table(pa.table({"x": [1, 2, 3]}), f"{folder}/part-0.parquet")
        >>> len(hr.open(folder))
        3
    """
    if verify not in (True, False):
        raise OptionError(f"`verify` must be True or False, got {verify!r}")
    access = Access({} if storage_options is None else storage_options, retries, shard_cache)
    dataset = Dataset.of(open_source(path, format, options, parse_bytes(memory_limit), verify, access))
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


def from_dask(collection: Any, *, scheduler: str | None = None) -> Dataset:
    """Make a data set of a dask dataframe, or of a list of delayed frames or tables.

    Each partition is a row group. Partitions are computed once now, to count their samples and digest their
    contents, and again whenever they are read: `persist` what takes long. They must be the same each time.
    The fingerprint depends on their contents, and not on how dask computes them.

    Args:
        collection: A `dask.dataframe`, or `dask.delayed` objects that yield pandas or Polars frames or Arrow
            tables. Levels of a pandas index that have a name become columns; NaN of pandas is null.
        scheduler: Where they are computed: `"threads"`, `"processes"`, `"synchronous"`; by default on
            the program's dask client, if it has one.

    Raises:
        OptionError: The collection is something else.
        SchemaError: Partitions differ in their columns, or hold what Arrow has no type for.
        SourceError: A partition cannot be computed.
        MissingDependencyError: The extra `dask` is not installed.

    Example:
        >>> import dask, headrace as hr, pyarrow as pa
        >>> parts = [dask.delayed(pa.table)({"x": [number, 2 * number]}) for number in range(3)]
        >>> hr.from_dask(parts, scheduler="synchronous").to_polars()["x"].to_list()
        [0, 0, 1, 2, 2, 4]
    """
    from headrace.execution.dask.partitions import open_collection

    return Dataset.of(open_collection(collection, scheduler))


def mix(
    parts: Mapping[str, Dataset],
    weights: Mapping[str, float] | None = None,
    *,
    seed: int = 0,
    stop: Stop = "first",
    column: str | None = None,
) -> Dataset:
    """Mix data sets in exact proportions; the result is a data set like any other.

    Every window of as many samples as the weights add up to, as whole numbers, holds each part's
    share exactly. Each part keeps an order of its own, which `loader(shuffle=...)` chooses.

    Args:
        parts: Name to data set; all have the same columns.
        weights: Name to a positive number; equal by default.
        seed: Where in a window each part's samples lie.
        stop: `"first"` ends an epoch when a part cannot fill its share any more, `"all"` goes on
            without such parts until all samples were delivered once, `"cycle"` begins such parts
            anew until every sample was delivered at least once.
        column: Adds a column of this name with each sample's part.

    Raises:
        OptionError: There are no parts, a part is packed, augmented or a mix, or a weight cannot be.
        SchemaError: The parts differ in their columns.

    Example:
        >>> import headrace as hr
        >>> a, b = hr.from_arrays({"x": [1] * 6}), hr.from_arrays({"x": [2] * 2})
        >>> mixed = hr.mix({"a": a, "b": b}, weights={"a": 3, "b": 1})
        >>> [sorted(batch["x"].tolist()) for batch in mixed.loader(4, shuffle=True, output="numpy")]
        [[1, 1, 1, 2], [1, 1, 1, 2]]
    """
    for given in (parts, weights):
        if given is not None and not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(
                f'`mix` takes mappings, like {{"a": ds}} and {{"a": 1}}, got a {type(given).__name__}'
            )
    names = tuple(parts)
    if not names:
        raise OptionError("`mix` needs at least one data set, got none")
    unknown = sorted(set(weights or names) ^ set(names))
    if unknown:
        raise OptionError(f"`weights` must name each part once, got {list(weights or {})} for {list(names)}")
    for name, part in parts.items():
        if part.recipe.pack is not None or part.recipe.augment is not None or part.mixing is not None:
            raise OptionError(
                f"part `{name}` of a mix must not be packed, augmented or a mix itself; do that afterwards"
            )
    source = MixedSource(names, tuple(part.recipe for part in parts.values()), column)
    assert source.schema is not None  # parts that do not fit together are refused here
    shares = Mixing.to_shares(names, [1 if weights is None else weights[name] for name in names])
    mixing = Mixing(names, source.firsts, shares, stop, seed)
    return Dataset(Recipe(source), _join(list(parts.values()), source.firsts), mixing)


def _join(parts: Sequence[Dataset], firsts: Sequence[int]) -> Selection:
    """Put selections one behind the other."""
    total = firsts[-1]
    if any(part.selection.listed is not None for part in parts):
        ids = [part.sample_ids + first for part, first in zip(parts, firsts, strict=False)]
        return Selection.of(np.concatenate(ids), total)
    sets = [part.selection.set.shifted(first, total) for part, first in zip(parts, firsts, strict=False)]
    return Selection.of_set(join(sets))
