"""One set of values in every format: values, types, nulls, order, ids and batches are the same.

What a format cannot hold stands in `CANNOT` with the reason; everything else it must hold.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tfrecord_files

import headrace as hr

ROWS = 300
RANDOM = np.random.default_rng(7)
WORDS = [
    "",
    "plain",
    "naïve ☃ 𝄞",
    'a "quoted" word',
    "two\nlines",
    "cr\r\nlf",
    "a,b;c\td",
    " spaces ",
    "NULL",
    "1.5",
]
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def _integers(dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    values = RANDOM.integers(info.min, info.max, ROWS, dtype, endpoint=True)
    values[:2] = info.min, info.max
    return values


def _with_nulls(values: Any, kind: pa.DataType) -> pa.Array:
    return pa.array([None if row % 4 == 1 else value for row, value in enumerate(values)], kind)


def _floats(dtype: str) -> np.ndarray:
    values = RANDOM.standard_normal(ROWS).astype(dtype)
    values[:5] = np.nan, np.inf, -np.inf, -0.0, np.finfo(dtype).tiny
    return values


TENSOR = pa.fixed_shape_tensor(pa.float32(), [2, 3])
TENSOR_VALUES = pa.array(RANDOM.standard_normal(ROWS * 6).astype(np.float32))
EXPECTED = pa.table(
    {
        **{dtype: pa.array(_integers(dtype)) for dtype in INTEGERS},
        **{dtype: pa.array(_floats(dtype)) for dtype in ("float32", "float64")},
        "bool": pa.array(RANDOM.integers(0, 2, ROWS).astype(bool)),
        "text": pa.array([WORDS[row % len(WORDS)] for row in range(ROWS)]),
        "binary": pa.array([RANDOM.bytes(row % 5) for row in range(ROWS)]),
        "list": pa.array([list(range(row % 4)) for row in range(ROWS)], pa.list_(pa.int64())),
        "tensor": pa.ExtensionArray.from_storage(TENSOR, pa.FixedSizeListArray.from_arrays(TENSOR_VALUES, 6)),
        "int64 or null": _with_nulls(range(2**53 + 1, 2**53 + 1 + ROWS), pa.int64()),
        "float64 or null": _with_nulls(RANDOM.standard_normal(ROWS), pa.float64()),
        "text or null": _with_nulls([WORDS[row % len(WORDS)] for row in range(ROWS)], pa.string()),
    }
)
NULLS = [name for name in EXPECTED.schema.names if name.endswith("or null")]
NUMBERS = [*INTEGERS, "float32", "float64"]

NO_NULLS = dict.fromkeys(NULLS, "has no nulls")
CANNOT: dict[str, dict[str, str]] = {
    "memory": {},
    "parquet": {},
    "arrow": {},
    "arrow stream": {},
    "csv": {"binary": "is text", "list": "has no lists", "tensor": "has no lists"},
    "jsonlines": {"binary": "has no bytes"},
    "hdf5": {**NO_NULLS, "binary": "its strings end at a zero byte"},
    "lmdb": {**NO_NULLS, "bool": "bytes have no booleans"},
    "tfrecord": {"bool": "bytes have no booleans"},
    "idx": {
        **NO_NULLS,
        **dict.fromkeys(("int64", "uint16", "uint32", "uint64"), "has no such numbers"),
        **dict.fromkeys(("bool", "text", "binary", "list"), "has numbers alone"),
    },
}


def columns_of(format: str) -> list[str]:
    return [name for name in EXPECTED.schema.names if name not in CANNOT[format]]


def _python(name: str, row: int) -> Any:
    """One value as Python writes it, arrays as nested lists."""
    value = EXPECTED.column(name)[row]
    return np.reshape(value.as_py(), (2, 3)).tolist() if name == "tensor" else value.as_py()


def _raw(name: str, row: int) -> bytes | None:
    """One value as the bytes of its array."""
    value = EXPECTED.column(name)[row]
    if not value.is_valid:
        return None
    if name == "tensor":
        return np.array(value.as_py(), np.float32).tobytes()
    if name.startswith("text"):
        return value.as_py().encode()
    if name == "binary":
        return value.as_py()
    kind = value.type.value_type if name == "list" else value.type
    return np.array(value.as_py(), kind.to_pandas_dtype()).tobytes()


def open_memory(folder: Path) -> hr.Dataset:
    return hr.from_arrow(EXPECTED)


def open_parquet(folder: Path) -> hr.Dataset:
    pq.write_table(EXPECTED, folder / "values.parquet")
    return hr.open(folder)


def open_arrow(folder: Path) -> hr.Dataset:
    with pa.ipc.new_file(folder / "values.arrow", EXPECTED.schema) as writer:
        writer.write_table(EXPECTED, max_chunksize=77)
    return hr.open(folder)


def open_arrow_stream(folder: Path) -> hr.Dataset:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(folder / "values.arrows", EXPECTED.schema, options=options) as writer:
        writer.write_table(EXPECTED, max_chunksize=77)
    return hr.open(folder, format="arrow")


def _field(value: Any) -> str:
    """A CSV field; quotes tell text from null."""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return "" if value is None else str(value)


def open_csv(folder: Path) -> hr.Dataset:
    names = columns_of("csv")
    lines = [
        ",".join(names),
        *(",".join(_field(_python(name, row)) for name in names) for row in range(ROWS)),
    ]
    (folder / "values.csv").write_bytes(("\n".join(lines) + "\n").encode())
    with (folder / "values.csv").open(newline="") as file:
        assert sum(1 for _ in csv.reader(file)) == ROWS + 1
    types = {name: EXPECTED.schema.field(name).type for name in (*INTEGERS, "float32")}
    return hr.open(folder, options=hr.CsvOptions(types=types))


def open_jsonlines(folder: Path) -> hr.Dataset:
    names = columns_of("jsonlines")
    lines = [json.dumps({name: _python(name, row) for name in names}) for row in range(ROWS)]
    (folder / "values.jsonl").write_text("\n".join(lines) + "\n")
    types = {name: EXPECTED.schema.field(name).type for name in (*INTEGERS, "float32", "tensor")}
    return hr.open(folder, options=hr.JsonLinesOptions(types=types))


def open_hdf5(folder: Path) -> hr.Dataset:
    with h5py.File(folder / "values.h5", "w") as file:
        for name in columns_of("hdf5"):
            if name == "list":
                data = file.create_dataset(name, ROWS, h5py.vlen_dtype(np.int64))
                for row in range(ROWS):
                    data[row] = _python(name, row)
            elif name == "text":
                file.create_dataset(name, data=EXPECTED[name].to_pylist(), dtype=h5py.string_dtype())
            elif name == "tensor":
                file[name] = EXPECTED[name].combine_chunks().to_numpy_ndarray()
            else:
                file[name] = EXPECTED[name].to_numpy()
    return hr.open(folder)


def _codings(names: list[str]) -> dict[str, Any]:
    shapes: dict[str, tuple[int, ...]] = {name: () for name in names if name in NUMBERS}
    special = {"list": (-1,), "tensor": (2, 3)}
    return {
        "decode": {name: "text" for name in names if name.startswith("text")},
        "dtype": {name: name for name in names if name in NUMBERS} | {"list": "int64", "tensor": "float32"},
        "shape": shapes | special,
    }


def open_lmdb(folder: Path) -> hr.Dataset:
    names = columns_of("lmdb")
    with (
        lmdb.open(str(folder / "values.lmdb"), map_size=1 << 24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for row in range(ROWS):
            for name in names:
                transaction.put(f"{name}-{row:05d}".encode(), _raw(name, row) or b"")
    fields = {name: name + "-{index:05d}" for name in names}
    return hr.open(folder / "values.lmdb", options=hr.LmdbOptions(fields=fields, **_codings(names)))


def open_tfrecord(folder: Path) -> hr.Dataset:
    names = columns_of("tfrecord")
    raw = [name for name in names if name not in ("int64", "int64 or null", "list")]
    records: list[bytes] = []
    for row in range(ROWS):
        values = {name: _raw(name, row) if name in raw else _python(name, row) for name in names}
        features = {
            name: value if isinstance(value, list) else [value]
            for name, value in values.items()
            if value is not None
        }
        records.append(tfrecord_files.example(features))
    tfrecord_files.write(folder / "values.tfrecord", records)
    codings = _codings(names)
    codings["dtype"] = {name: kind for name, kind in codings["dtype"].items() if name in raw}
    codings["dtype"]["float64 or null"] = "float64"
    codings["shape"] |= {"float64 or null": (), "int64 or null": ()}
    return hr.open(folder, options=hr.TfRecordOptions(**codings))


def open_idx(folder: Path) -> hr.Dataset:
    codes = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}
    names = columns_of("idx")
    for name in names:
        column = EXPECTED[name].combine_chunks()
        array = column.to_numpy_ndarray() if name == "tensor" else column.to_numpy()
        head = bytes([0, 0, codes[array.dtype.name], array.ndim])
        head += b"".join(size.to_bytes(4, "big") for size in array.shape)
        (folder / f"{name}.idx").write_bytes(head + array.astype(array.dtype.newbyteorder(">")).tobytes())
    return hr.open(folder, options=hr.IdxOptions({name: f"{name}.idx" for name in names}))


@dataclass(frozen=True, slots=True)
class Opened:
    format: str
    dataset: hr.Dataset


OPENERS: dict[str, Callable[[Path], hr.Dataset]] = {
    "memory": open_memory,
    "parquet": open_parquet,
    "arrow": open_arrow,
    "arrow stream": open_arrow_stream,
    "csv": open_csv,
    "jsonlines": open_jsonlines,
    "hdf5": open_hdf5,
    "lmdb": open_lmdb,
    "tfrecord": open_tfrecord,
    "idx": open_idx,
}


@pytest.fixture(scope="module", params=OPENERS)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    format = str(request.param)
    dataset = OPENERS[format](tmp_path_factory.mktemp(format.replace(" ", "-")))
    return Opened(format, dataset.select(columns_of(format)))


def test_every_column_is_held_or_named() -> None:
    """The table names columns that exist, for every format that can be opened."""
    assert set(CANNOT) == set(OPENERS)
    assert all(name in EXPECTED.schema.names for names in CANNOT.values() for name in names)


def test_values_and_types_are_the_same(opened: Opened) -> None:
    """Every value, null and type is that of the table, to the last bit and in its order."""
    expected = EXPECTED.select(columns_of(opened.format))
    found = opened.dataset.to_arrow()

    assert found.schema.equals(expected.schema)
    for name in expected.schema.names:  # as texts, in which NaN equals NaN, and -0.0 is not 0.0
        assert repr(found[name].to_pylist()) == repr(expected[name].to_pylist()), name


def test_samples_are_found_by_id(opened: Opened) -> None:
    """The i-th sample is the i-th row, whichever are asked for."""
    ids = [ROWS - 1, 0, 7, 7, 150]
    expected = EXPECTED.select(columns_of(opened.format)).take(pa.array(ids))

    assert opened.dataset.sample_ids.tolist() == list(range(ROWS))
    assert repr(opened.dataset.rows(ids).to_arrow().to_pylist()) == repr(expected.to_pylist())


def batches_of(dataset: hr.Dataset, shuffle: Any) -> list[tuple[str, list[int]]]:
    loader = dataset.loader(32, shuffle=shuffle, seed=3, output="arrow", with_ids=True)
    found: list[tuple[str, list[int]]] = []
    for batch in loader:
        rows = pa.record_batch(batch) if isinstance(batch, dict) else batch
        ids = rows.column("sample_id").to_pylist()
        found.append((repr(rows.select([n for n in rows.schema.names if n != "sample_id"]).to_pylist()), ids))
    return found


@pytest.mark.parametrize("shuffle", [False, True, "global"])
def test_batches_are_the_same(opened: Opened, shuffle: Any) -> None:
    """Each batch of an epoch holds the same samples with the same ids, in the same order."""
    memory = hr.from_arrow(EXPECTED.select(columns_of(opened.format)))

    assert len(opened.dataset.manifest) == len(memory.manifest) == 1
    found = batches_of(opened.dataset, shuffle)
    assert found == batches_of(memory, shuffle)
    assert sorted(number for _, ids in found for number in ids) == list(range(ROWS))


def test_orders_differ_when_shuffled() -> None:
    """The comparison is not one of unshuffled batches."""
    memory = hr.from_arrow(EXPECTED)
    assert len({repr(batches_of(memory, shuffle)) for shuffle in (False, True, "global")}) == 3
