"""Every type comes back as it was written, bit by bit, or is refused by name before anything is written."""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from arrays import contents, elsewhere, tables
from hypothesis import given, settings
from written_folders import batch, write_folder, write_shard

import headrace as hr
from headrace.sources.open import open_source
from headrace.writing.formats.base import FormatOptions
from headrace.writing.formats.opening import FORMATS, check_format, open_writer

NATURAL = ("parquet", "arrow")
LISTS = pa.list_(pa.int8())


def read(path: Path) -> pa.RecordBatch:
    source = open_source(path, None, None, 1 << 30)
    found = [source.read(row_group, source.schema.names) for row_group in source.manifest]
    return pa.concat_batches(found) if len(found) > 1 else found[0]


@pytest.mark.parametrize("format", NATURAL)
@settings(max_examples=25, deadline=None)
@given(table=tables())
def test_all_values_come_back(format: str, table: tuple[pa.Schema, list[pa.RecordBatch]]) -> None:
    """Types, values, nulls and the order of columns are those that were written, row group by row group."""
    schema, groups = table
    with tempfile.TemporaryDirectory() as place:
        folder = write_folder(Path(place), format, [groups, groups[:1]], schema)
        source = open_source(folder, None, None, 1 << 30, verify=True)
        assert source.schema.names == schema.names
        assert source.schema.types == schema.types
        for row_group in source.manifest:
            found = source.read(row_group, schema.names[::-1])
            found.validate(full=True)
            shard = [groups, groups[:1]][row_group.shard]
            first = sum(len(rows) for rows in shard[: row_group.index]) if format == "parquet" else 0
            rows = pa.Table.from_batches(shard).slice(first, row_group.rows).combine_chunks()
            for name in schema.names:
                assert contents(found.column(name)) == contents(rows.column(name).combine_chunks()), name


@pytest.mark.parametrize("format", NATURAL)
@settings(max_examples=15, deadline=None)
@given(table=tables())
def test_equal_values_give_equal_bytes(format: str, table: tuple[pa.Schema, list[pa.RecordBatch]]) -> None:
    """The bytes of a shard do not tell how its values lay in memory."""
    schema, groups = table
    moved = [
        pa.RecordBatch.from_arrays([elsewhere(column) for column in rows.columns], schema=schema)
        for rows in groups
    ]
    with tempfile.TemporaryDirectory() as place:
        one = write_shard(Path(place) / "one", format, groups, schema).read_bytes()
        other = write_shard(Path(place) / "other", format, moved, schema).read_bytes()
    assert one == other


def test_what_lies_under_nulls_is_not_written(tmp_path: Path) -> None:
    """Values that nulls hide, in a column, in lists and in structs, leave no trace in an Arrow file."""

    def hidden(secret: int) -> pa.RecordBatch:
        data = pa.py_buffer(np.array([1, secret, 3], np.int64))
        flat = pa.Array.from_buffers(pa.int64(), 3, [pa.py_buffer(b"\x05"), data])
        plain = pa.Array.from_buffers(pa.int64(), 3, [None, data])
        bits = pa.py_buffer(bytes([0b101 | (secret & 0b1111_1000)]))
        odd = pa.Array.from_buffers(pa.bool_(), 3, [None, bits])
        mask = pa.array([False, True, False])
        struct = pa.StructArray.from_arrays([plain], ["v"], mask=mask)
        lists = pa.Array.from_buffers(
            pa.list_(pa.int64()),
            3,
            [pa.py_buffer(b"\x05"), pa.py_buffer(np.arange(4, dtype=np.int32))],
            children=[plain],
        )
        fixed = pa.FixedSizeListArray.from_arrays(plain, 1, mask=mask)
        return batch({"flat": flat, "odd": odd, "struct": struct, "lists": lists, "fixed": fixed})

    for format in NATURAL:
        files = [
            write_shard(tmp_path / f"{format}-{secret}", format, [hidden(secret)], hidden(0).schema)
            for secret in (0, 248, 2**60)
        ]
        assert len({file.read_bytes() for file in files}) == 1


@pytest.mark.parametrize(
    ("format", "kind", "reason"),
    [
        ("parquet", pa.month_day_nano_interval(), r'intervals; .*format="arrow"'),
        ("parquet", pa.decimal128(9, -2), r'negative scales; .*format="arrow"'),
        ("parquet", pa.binary(0), "zero bytes"),
        ("parquet", pa.list_(pa.int8(), 0), "zero values"),
        ("parquet", pa.fixed_shape_tensor(pa.int8(), (0, 2)), "zero values"),
        ("parquet", pa.struct([]), "without fields"),
        ("parquet", pa.list_(pa.struct([])), "without fields"),
        ("parquet", pa.dictionary(pa.int8(), pa.int64(), ordered=True), "order of categories"),
        *((format, pa.dense_union([pa.field("a", pa.int8())]), "unions") for format in NATURAL),
        *(
            (format, pa.dictionary(pa.int8(), pa.list_(pa.int8())), "a dictionary of such")
            for format in NATURAL
        ),
        *((format, pa.list_(pa.run_end_encoded(pa.int32(), pa.int8())), "runs within") for format in NATURAL),
    ],
)
def test_what_a_format_cannot_hold_is_refused(format: str, kind: Any, reason: str) -> None:
    """Column, type and what to do are named before a file is made."""
    schema = pa.schema([("fine", pa.int8()), ("odd", kind)])
    with pytest.raises(hr.SchemaError, match=rf"column `odd` of type .*{reason}"):
        check_format(format, schema, FormatOptions())


def test_values_that_cannot_be_stored_are_named(tmp_path: Path) -> None:
    """An error of a value names its column and row."""
    odd = pa.array([0, 86_400_000, 86_400_001], pa.int64()).view(pa.date64())
    late = pa.array([0, 1, None, 2**62], pa.timestamp("s"))
    for rows, where in ((batch({"day": odd}), "`day`, row 2"), (batch({"time": late}), "`time`, row 3")):
        with pytest.raises(hr.SchemaError, match=where):
            write_shard(tmp_path / "x", "parquet", [rows], rows.schema)
    needed = pa.schema([pa.field("x", pa.int8(), nullable=False)])
    for format in NATURAL:
        rows = pa.RecordBatch.from_arrays([pa.array([1, None], pa.int8())], schema=needed)
        with pytest.raises(hr.SchemaError, match=r"`x` must hold no nulls, but row 1"):
            write_shard(tmp_path / "x", format, [rows], needed)
        with pytest.raises(hr.SchemaError, match=r"`x` \(int8\) cannot take rows of `y` \(int8\)"):
            write_shard(tmp_path / "x", format, [batch({"y": pa.array([1], pa.int8())})], needed)
    offsets = pa.py_buffer(np.array([0, 1], np.int32))
    broken = batch({"text": pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff")])})
    with pytest.raises(hr.SchemaError, match="`text`"):  # or no reader could open it
        write_shard(tmp_path / "x", "arrow", [broken], broken.schema)


def test_dictionaries_of_many_row_groups(tmp_path: Path) -> None:
    """Categories differ from row group to row group; a file has one dictionary, of which none is lost."""
    words = [["b", "a", "b"], ["c", "a", None], ["a", "c", "d"], [None, None, None]]
    groups = [batch({"word": pa.array(some, pa.string()).dictionary_encode()}) for some in words]
    for format in NATURAL:
        folder = write_folder(tmp_path / format, format, [groups], groups[0].schema)
        assert read(folder).column("word").to_pylist() == [word for some in words for word in some]
    with pa.ipc.open_file(tmp_path / "arrow" / "part-00000.arrow") as file:
        assert file.read_all().column("word").chunk(1).dictionary.to_pylist()[:3] == ["b", "a", "c"]

    many = [
        batch(
            {
                "n": pa.DictionaryArray.from_arrays(
                    pa.array(range(100), pa.int8()), pa.array(range(at, at + 100))
                )
            }
        )
        for at in (0, 100)
    ]
    with pytest.raises(hr.SchemaError, match=r"`n` .*200 categories together, more than int8 counts"):
        write_shard(tmp_path / "x", "arrow", many, many[0].schema)
    ordered = [
        batch(
            {"n": pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(some), ordered=True)}
        )
        for some in (["low", "high"], ["high", "low"])
    ]
    with pytest.raises(hr.SchemaError, match="the order of categories"):
        write_shard(tmp_path / "x", "arrow", ordered, ordered[0].schema)
    found = read(write_folder(tmp_path / "o", "parquet", [ordered[:1], ordered[1:]], ordered[0].schema))
    assert found.column("n").to_pylist() == ["low", "high", "high", "low"]


def test_a_large_ordered_dictionary_keeps_its_order(tmp_path: Path) -> None:
    """Categories whose order counts stay a dictionary, however large."""
    words = pa.array([f"{number:07}" * 20 for number in range(20_000)][::-1])
    codes = pa.array(np.arange(20_000) % 19_990, pa.int32())
    column = pa.DictionaryArray.from_arrays(codes, words, ordered=True)
    folder = write_folder(tmp_path, "parquet", [[batch({"w": column})]], batch({"w": column}).schema)
    found = read(folder).column("w")
    assert found.type == column.type
    assert found.dictionary.slice(0, 19_990).equals(words.slice(0, 19_990))


def test_what_a_parquet_file_holds(tmp_path: Path) -> None:
    """Checksums, statistics, zstd, one row group a call; dictionaries for repeated values; Bloom filters."""
    number = np.arange(4000)
    rows = batch({"id": number, "few": number % 7, "x": number / 3, "word": [f"w{n % 50}" for n in number]})
    lists = pa.ListArray.from_arrays(pa.array(range(4001), pa.int32()), pa.array(number % 3))
    rows = rows.append_column("lists", lists)
    path = write_shard(
        tmp_path / "a", "parquet", [rows, rows.slice(0, 10)], rows.schema, bloom_filters=("id",)
    )
    footer = pq.ParquetFile(path, page_checksum_verification=True).metadata
    assert [footer.row_group(place).num_rows for place in (0, 1)] == [4000, 10]
    chunks = {
        footer.row_group(0).column(place).path_in_schema: footer.row_group(0).column(place)
        for place in range(5)
    }
    dictionaries = {name for name, chunk in chunks.items() if "RLE_DICTIONARY" in chunk.encodings}
    assert dictionaries == {"few", "word", "lists.list.element"}
    assert {chunk.compression for chunk in chunks.values()} == {"ZSTD"}
    assert (chunks["id"].statistics.min, chunks["id"].statistics.max) == (0, 3999)
    assert {name for name, chunk in chunks.items() if chunk.bloom_filter_offset is not None} == {"id"}
    source = open_source(path, "parquet", None, 1 << 30)
    assert source.notes == ()  # of pages without checksums, say
    lacking = [
        value for value in range(10_000, 10_400) if source.lacks(source.manifest[0], "id", pa.array([value]))
    ]
    assert len(lacking) > 380
    assert not any(source.lacks(source.manifest[0], "id", pa.array([value])) for value in range(0, 4000, 97))


def test_options_that_cannot_be(tmp_path: Path) -> None:
    """Unknown formats and codecs list those that are known; Bloom filters are Parquet's alone."""
    schema = pa.schema([("x", pa.int64()), ("y", pa.float64())])
    with pytest.raises(hr.OptionError, match="parquet, arrow, hdf5, lmdb, tfrecord, got 'csv'"):
        check_format("csv", schema, FormatOptions())
    with pytest.raises(hr.OptionError, match=r"'lz4', 'zstd', 'none' for Arrow IPC files, got 'gzip'"):
        check_format("arrow", schema, FormatOptions(compression="gzip"))
    with pytest.raises(hr.OptionError, match=r'no Bloom filters; pass format="parquet"'):
        check_format("arrow", schema, FormatOptions(bloom_filters=("x",)))
    with pytest.raises(hr.OptionError, match=r"column `y` has the type double"):
        check_format("parquet", schema, FormatOptions(bloom_filters=("y",)))
    with pytest.raises(hr.UnknownColumnError, match="`z`"):
        check_format("parquet", schema, FormatOptions(bloom_filters=("z",)))
    with pytest.raises(hr.SchemaError, match="at least one column"):
        check_format("parquet", pa.schema([]), FormatOptions())
    rows = batch({"x": [1, 2, 3]})
    for format in NATURAL:
        for codec in (*FORMATS[format].compressions, "none"):
            folder = write_folder(tmp_path / format / codec, format, [[rows]], rows.schema, compression=codec)
            assert read(folder).column("x").to_pylist() == [1, 2, 3]


@pytest.mark.parametrize("format", NATURAL)
def test_a_full_disk_is_an_error_of_the_system(format: str) -> None:
    """What cannot be written raises OSError, and the writer can be let go of."""
    rows = batch({"x": np.random.default_rng(0).random(1 << 17)})
    writer = open_writer(format, Path("/dev/full"), rows.schema, FormatOptions())
    with pytest.raises(OSError, match="No space"):
        deque((writer.write(rows) for _ in range(3)), maxlen=0)
    writer.abandon()


@pytest.mark.parametrize(
    "arguments", [{"rows_per_shard": 10, "row_group_rows": 1}, {"shuffle": "global", "seed": 3}]
)
def test_matrices_of_columns_that_are_no_tensors_keep_their_rows(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    """Slices of fixed-size lists in such lists keep their rows, which `take` of Arrow alone gets wrong."""
    kind = pa.list_(pa.list_(pa.int16(), 2), 3)
    rows = [[[row, row + 1]] * 3 for row in range(40)]
    ds = hr.from_arrow(pa.table({"x": pa.array(rows, kind), "row": list(range(40))})).rows(list(range(5, 38)))
    ds.write(tmp_path / "out", **arguments)
    found = hr.open(tmp_path / "out").to_arrow()
    assert found.schema.field("x").type == kind
    assert found["x"].to_pylist() == [rows[row] for row in found["row"].to_pylist()]
    assert sorted(found["row"].to_pylist()) == list(range(5, 38))
