"""Reports of duplicates as Parquet files: plain columns, with what was looked for beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.dedup.report.deciding import EXACT
from headrace.dedup.report.search import Search
from headrace.errors import CorruptSourceError
from headrace.fingerprint import digest
from headrace.replacing import replacing

if TYPE_CHECKING:
    import polars as pl

_META = b"headrace"
_KIND = "duplicates"
_VERSION = 1
_COLUMNS = ("id", "preferred_id", "method", "score", "is_same")


def write_report(path: Path, search: Search, edges: pl.DataFrame, decided: pl.DataFrame) -> None:
    """Write links and what is decided of them, with the search as JSON.

    Raises:
        OSError: The file cannot be written.
    """
    import polars as pl
    import pyarrow.parquet as pq

    fate = decided.select(pl.col("dropped_id").alias("id"), "kept_id", pl.lit(value=True).alias("is_dropped"))
    frame = edges.join(fate, on="id", how="left", maintain_order="left")
    table = frame.with_columns(pl.col("is_dropped").fill_null(value=False)).to_arrow()
    meta = {
        "kind": _KIND,
        "version": _VERSION,
        "search": search.to_values(),
        "digest": _digest(search, edges),
    }
    # Without Arrow's own schema, every byte of the file is either looked at or of no effect.
    with (
        replacing(path) as file,
        pq.ParquetWriter(
            file, table.schema, compression="zstd", store_schema=False, write_page_checksum=True
        ) as writer,
    ):
        writer.write_table(table)
        writer.add_key_value_metadata({_META: json.dumps(meta)})


def read_report(path: Path) -> tuple[Search, pl.DataFrame]:
    """Read what was looked for, and the links.

    Raises:
        FileNotFoundError: There is no such file.
        CorruptSourceError: The file is no report, one of another version, or damaged.
    """
    import pyarrow as pa

    with path.open("rb") as file:
        content = file.read()
    try:
        search, edges = _parsed(content)
    # Damaged bytes come as errors of many kinds: of Arrow, of JSON, of text that is none.
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise CorruptSourceError(
            f"{path}: a report of duplicates is needed, as `report.save` writes it, but it cannot be read: "
            f"{error}"
        ) from error
    return search, edges


def _parsed(content: bytes) -> tuple[Search, pl.DataFrame]:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
        meta: dict[str, Any] = json.loads((file.metadata.metadata or {}).get(_META, b"{}"))
        if meta.get("kind") != _KIND:
            raise ValueError(f"it holds {meta.get('kind', 'another table')!r}")
        if meta["version"] != _VERSION:
            raise ValueError(f"its version is {meta['version']!r}, and this headrace reads {_VERSION}")
        search = Search.from_values(meta["search"])
        table = file.read(columns=list(_COLUMNS))
    table.validate(full=True)
    types = [pa.int64(), pa.int64(), pa.string(), pa.float64(), pa.bool_()]
    if table.schema.names != list(_COLUMNS) or table.schema.types != types:
        raise ValueError(f"its columns are {table.schema.to_string()}")
    edges = pl.DataFrame(table)
    if not edges["method"].is_in([EXACT, search.method]).all() or meta["digest"] != _digest(search, edges):
        raise ValueError("its contents are not what was written")
    return search, edges


def _digest(search: Search, edges: pl.DataFrame) -> str:
    return digest(_KIND, _VERSION, search.to_values(), edges.drop("method"), edges["method"] == EXACT)
