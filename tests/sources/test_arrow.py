"""Arrow IPC files and streams: every type's values, columns by themselves, dictionaries, shards."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from arrow_files import body_of, open_arrow, read, write

import headrace as hr
from headrace.sources.base import Source
from headrace.testing import SourceTests

ROWS = 3000
RANDOM = np.random.default_rng(0)


def many_columns(rows: int) -> pa.Table:
    numbers = RANDOM.integers(-(1 << 62), 1 << 62, rows)
    maybe = [None if number % 5 == 0 else int(number) for number in numbers]
    return pa.table(
        {
            "i": pa.array(maybe, pa.int64()),
            "f": pa.array(RANDOM.standard_normal(rows), mask=numbers % 7 == 0),
            "b": pa.array([number if number is None else number % 2 == 0 for number in maybe]),
            "s": pa.array([None if number is None else "ü" * (number % 9) for number in maybe]),
            "l": pa.array([None if number is None else list(range(number % 4)) for number in maybe]),
            "d": pa.array([f"c{number % 12}" for number in numbers]).dictionary_encode(),
            "blob": pa.array([RANDOM.bytes(4096) for _ in numbers]),
            "t": pa.FixedShapeTensorArray.from_numpy_ndarray(
                RANDOM.standard_normal((rows, 2, 3), np.float32)
            ),
        }
    )


TABLE = many_columns(ROWS)


class ArrowTests(SourceTests):
    """A file or stream of several row groups."""

    kind = "file"
    compression: str | None = None

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        path = write(tmp_path / "a.arrow", TABLE, 1500, self.kind, self.compression)
        source = open_arrow(path)
        assert len(source.manifest) == 2
        return source

    @pytest.fixture
    def expected(self) -> pa.Table:
        return TABLE


class TestFile(ArrowTests): ...


class TestCompressedFile(ArrowTests):
    compression = "zstd"


class TestStream(ArrowTests):
    kind, compression = "stream", "lz4"


VALUES: dict[str, pa.Array] = {
    "null": pa.nulls(3),
    "bool": pa.array([True, None, False]),
    **{f"u{width}": pa.array([0, (1 << width) - 1, None], f"uint{width}") for width in (8, 16, 32, 64)},
    **{f"i{width}": pa.array([-1 << width - 1, None, 5], f"int{width}") for width in (8, 16, 32, 64)},
    "f2": pa.array([1.5, None, -0.0], pa.float16()),
    "f4": pa.array([1.5, None, float("inf")], pa.float32()),
    "decimal": pa.array([Decimal("1.25"), None, Decimal("-9.99")], pa.decimal128(3, 2)),
    "date": pa.array([date(2020, 2, 29), None, date(1900, 1, 1)]),
    "moment": pa.array([datetime(2020, 1, 1, 5), None, datetime(1969, 1, 1)], pa.timestamp("us", "UTC")),
    "duration": pa.array([timedelta(seconds=5), None, timedelta(-1)]),
    "binary": pa.array([b"\0\xff", None, b""]),
    "large": pa.array(["x", None, ""], pa.large_string()),
    "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "struct": pa.array([{"x": 1, "y": "a"}, None, {"x": None, "y": ""}]),
    "lists": pa.array([[[1], None, []], None, []], pa.list_(pa.list_(pa.int8()))),
    "large list": pa.array([[1], None, []], pa.large_list(pa.int8())),
    "fixed list": pa.array([[1, 2], None, [3, None]], pa.list_(pa.int16(), 2)),
    "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
    "dictionary in a list": pa.array([["a", "b", "a"], None, []], pa.list_(pa.dictionary(pa.int8(), "str"))),
    "dictionary of numbers": pa.array([7, None, 7]).dictionary_encode(),
}


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_every_type_keeps_its_values(tmp_path: Path, kind: str, compression: str | None) -> None:
    """Values, nulls and types are those that pyarrow wrote."""
    table = pa.table(VALUES)
    path = write(tmp_path / "a.arrow", table, 2, kind, compression)

    found = hr.open(path, format="arrow").to_arrow()
    assert found.schema.equals(table.schema)
    assert found.to_pydict() == table.to_pydict()


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_what_polars_writes(tmp_path: Path, compression: Any) -> None:
    """Views of text, categoricals and arrays that Polars writes have their values; views become plain."""
    frame = pl.DataFrame(
        {
            "text": ["a" * 40, None, "short"],
            "lists": [["x", None], None, []],
            "structs": [{"t": "a" * 30}, None, {"t": None}],
            "category": pl.Series(["u", "v", "u"], dtype=pl.Categorical),
            "array": pl.Series([[1, 2], None, [3, 4]], dtype=pl.Array(pl.Int8, 2)),
            "binary": [b"x" * 20, b"", None],
        }
    )
    frame.write_ipc(tmp_path / "a.arrow", compression=compression)
    found = hr.open(tmp_path / "a.arrow")

    assert found.schema.field("text").type == pa.large_string()
    assert found.to_polars().to_dict(as_series=False) == frame.to_dict(as_series=False)


def test_small_record_batches_are_read_together(tmp_path: Path) -> None:
    """A row group holds many small record batches, and never more than so many rows."""
    path = write(tmp_path / "a.arrow", {"x": np.arange(200_000)}, 1000)
    source = open_arrow(path)

    assert [group.rows for group in source.manifest] == [65_000, 65_000, 65_000, 5_000]
    assert read(path)["x"].to_pylist() == list(range(200_000))


def test_only_wanted_columns_are_read(tmp_path: Path) -> None:
    """Damage in one column is of no concern to another one."""
    path = write(tmp_path / "a.arrow", {"x": np.arange(100), "s": ["text"] * 100})
    begin, size = body_of(path)
    content = bytearray(path.read_bytes())
    content[begin + size - 450 : begin + size] = b"\xff" * 450
    path.write_bytes(content)
    source = open_arrow(path)

    assert source.read(source.manifest[0], ["x"]).column(0).to_pylist() == list(range(100))
    with pytest.raises(hr.CorruptSourceError, match=r"a\.arrow, row group 0, column `s`: cannot be decoded"):
        source.read(source.manifest[0], ["x", "s"])


@pytest.mark.parametrize("deltas", [True, False])
def test_dictionaries_may_grow_and_change(tmp_path: Path, deltas: bool) -> None:
    """Each record batch of a stream has the dictionary that stands before it."""
    batches = [
        pa.record_batch({"d": pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), words)})
        for codes, words in [([0, 1], ["a", "b"]), ([2, 0], ["a", "b", "c"]), ([0], ["z"]), ([1], ["z", "y"])]
    ]
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=deltas)
    with pa.ipc.new_stream(tmp_path / "a.arrow", batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)

    assert read(tmp_path / "a.arrow")["d"].to_pylist() == ["a", "b", "c", "a", "z", "y"]


def test_shards_of_several_schemas(tmp_path: Path) -> None:
    """Shards that differ are refused by name, with the option that unifies them; folders give columns."""
    for part, table in enumerate([{"x": [1], "y": ["a"]}, {"y": ["b"]}]):
        (tmp_path / f"k={part}").mkdir()
        write(tmp_path / f"k={part}" / "p.arrow", table)

    with pytest.raises(
        hr.SchemaError, match=r'`x` is missing in .*k=1.*ArrowOptions\(on_schema_change="fill"'
    ):
        hr.open(tmp_path)
    filled = hr.open(tmp_path, options=hr.ArrowOptions(on_schema_change="fill"))
    assert filled.to_polars().rows() == [(1, "a", 0), (None, "b", 1)]
    with pytest.raises(hr.OptionError, match="'maybe'"):
        hr.ArrowOptions(on_schema_change="maybe")  # type: ignore[arg-type]


TENSORS = pa.ExtensionArray.from_storage(
    pa.fixed_shape_tensor(pa.int8(), (1, 2)), pa.array([[1, 2]], pa.list_(pa.int8(), 2))
)


@pytest.mark.parametrize(
    ("column", "name"),
    [
        (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"x" * 16], pa.binary(16))), "arrow.uuid"),
        (pa.array([[1]], pa.list_view(pa.int64())), "list_view"),
        (pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array([5])), "run_end"),
        (pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([5])]), "union"),
        (pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([[1]])), "dictionary of list"),
        (pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), TENSORS), "tensors within"),
    ],
)
def test_types_that_are_refused(tmp_path: Path, column: Any, name: str) -> None:
    """Extension types and rare layouts are refused by name when the file is opened."""
    path = write(tmp_path / "a.arrow", {"x": [1], "odd": column})

    with pytest.raises(hr.SchemaError, match=rf"a\.arrow, column `odd`: .*{name}"):
        hr.open(path)


def test_unregistered_extension_is_refused(tmp_path: Path) -> None:
    """A type that pyarrow does not know, which may carry a pickle, is refused by its name."""
    odd = pa.field("x", pa.binary(), metadata={"ARROW:extension:name": "arrow.py_extension_type"})
    path = write(tmp_path / "a.arrow", pa.table([[b"pickled"]], schema=pa.schema([odd])))

    with pytest.raises(hr.SchemaError, match=r"arrow\.py_extension_type"):
        hr.open(path)


def test_empty_files(tmp_path: Path) -> None:
    """A file without rows, or without record batches, has its columns and no samples."""
    path = write(tmp_path / "a.arrow", pa.schema([("x", pa.int8()), ("s", pa.string())]).empty_table())
    assert (len(hr.open(path)), hr.open(path).schema.names) == (0, ["x", "s"])
    write(tmp_path / "b.arrow", {"x": pa.array([1], pa.int8()), "s": ["a"]})
    assert hr.open(tmp_path).to_arrow().to_pydict() == {"x": [1], "s": ["a"]}


def test_rewrite_is_noticed_and_is_another_data_set(tmp_path: Path) -> None:
    """A file that changes after opening is an error at the next read, and has another fingerprint."""
    path = write(tmp_path / "a.arrow", {"x": [1, 2, 3]})
    source = open_arrow(path)
    write(path, {"x": [3, 2, 1]})

    with pytest.raises(hr.ChangedSourceError, match=r"a\.arrow"):
        source.read(source.manifest[0], ["x"])
    assert open_arrow(path).manifest.fingerprint != source.manifest.fingerprint


def test_notes_say_what_is_not_protected(tmp_path: Path) -> None:
    """`explain` says that nothing protects values."""
    loader = hr.open(write(tmp_path / "a.arrow", {"x": [1]})).loader(1, output="numpy")
    assert any("no checksum protects Arrow" in note for note in loader.explain().advice)
