"""Lists that differ in length: ragged or padded in every output, held against loops in Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.fingerprint import digest
from headrace.prepare import kernels
from headrace.prepare.pack import Pack

KINDS = [pa.int8(), pa.int32(), pa.int64(), pa.uint16(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_()]
Lists = list[list[int]]


class Grouped:
    """A source of one column `x`, cut into row groups of these sizes, each a slice of one array."""

    def __init__(self, column: pa.Array, rows: Sequence[int]) -> None:
        assert sum(rows) == len(column)
        self._column = column
        self.manifest = hr.Manifest((hr.Shard("x", tuple(rows), tuple(8 * count for count in rows), "00"),))
        self.schema = pa.schema([pa.field("x", column.type)])

    def read(self, row_group: hr.RowGroup, columns: list[str]) -> pa.RecordBatch:
        part = self._column.slice(row_group.first, row_group.rows)
        return pa.RecordBatch.from_arrays([part for _ in columns], names=columns)


def grouped(column: pa.Array, *rows: int) -> hr.Dataset:
    return hr.Dataset.of(Grouped(column, rows or (len(column),)))


def batches(ds: hr.Dataset, output: Any = "numpy", **arguments: Any) -> list[Any]:
    with ds.loader(output=output, **{"batch_size": 3, "threads": 0} | arguments) as loader:
        return list(loader)


def padded(lists: Sequence[Sequence[Any]], width: int, value: Any) -> list[list[Any]]:
    """The oracle."""
    return [[*row[:width], *[value] * (width - len(row))] for row in lists]


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.Array, list[int]]:
    """Draw lists of any kind of number, as a slice of a longer array, and row groups of any size."""
    kind = draw(st.sampled_from(KINDS))
    values = st.booleans() if pa.types.is_boolean(kind) else st.integers(0, 100)
    lists = draw(st.lists(st.lists(values, max_size=6), min_size=1, max_size=20))
    make = draw(st.sampled_from([pa.list_, pa.large_list]))
    before = draw(st.integers(0, len(lists) - 1))
    cuts = draw(st.lists(st.integers(0, len(lists) - before), max_size=4))
    edges = sorted([0, *cuts, len(lists) - before])
    lists = [[kind.to_pandas_dtype()(value) for value in row] for row in lists]
    return pa.array(lists, make(kind)).slice(before), np.diff(edges).tolist()


# Ragged


@settings(deadline=None)
@given(columns(), st.integers(1, 5), st.booleans(), st.sampled_from([0, 2]))
def test_every_output_holds_the_lists(
    drawn: tuple[pa.Array, list[int]], size: int, shuffle: bool, threads: int
) -> None:
    """NumPy and Arrow batches hold the very lists and dtype, whatever slices they come from."""
    column, rows = drawn
    ds = grouped(column, *rows)
    lists, dtype = column.to_pylist(), np.dtype(column.type.value_type.to_pandas_dtype())
    options = {"batch_size": size, "shuffle": shuffle, "threads": threads, "with_ids": True}

    for batch in batches(ds, "numpy", **options):
        assert isinstance(batch["x"], hr.Ragged)
        assert (batch["x"].values.dtype, batch["x"].offsets.dtype) == (dtype, np.int64)
        assert [row.tolist() for row in batch["x"]] == [lists[sample] for sample in batch["sample_id"]]
    for batch in batches(ds, "arrow", **options):
        expected = [lists[row] for row in batch["sample_id"].to_pylist()]
        assert batch["x"].to_pylist() == expected
        assert batch.schema.field("x").type == column.type


@settings(deadline=None)
@given(columns(), st.integers(1, 5))
def test_tensors_are_nested(drawn: tuple[pa.Array, list[int]], size: int) -> None:
    """torch gets jagged nested tensors of the very lists and dtype."""
    torch = pytest.importorskip("torch")
    column, rows = drawn
    lists, dtype = column.to_pylist(), np.dtype(column.type.value_type.to_pandas_dtype())

    for batch in batches(grouped(column, *rows), "torch", batch_size=size, shuffle=True, with_ids=True):
        assert batch["x"].layout == torch.jagged
        assert batch["x"].dtype == torch.from_numpy(np.empty(0, dtype)).dtype
        assert [row.tolist() for row in batch["x"].unbind()] == [lists[row] for row in batch["sample_id"]]


def test_nothing_but_empty_lists() -> None:
    """Batches in which every list is empty, and no samples at all."""
    pytest.importorskip("torch")
    ds = grouped(pa.array([[]] * 4, pa.list_(pa.int16())))

    assert [len(batch["x"].values) for batch in batches(ds)] == [0, 0]
    assert [batch["x"].unbind()[0].tolist() for batch in batches(ds, "torch")] == [[], []]
    for output in ("numpy", "torch", "arrow"):
        longest = [batch["x"] for batch in batches(ds.pack(x="x", pad_to="longest"), output)]
        assert [len(array) for array in longest] == [3, 1]
    packed = ds.pack(x="x", pad_to=2)
    assert packed.take([0, 3])["x"].tolist() == [[0, 0]] * 2
    assert packed.take([0, 3])["x_length"].tolist() == [0, 0]
    assert len(packed.take([])) == 0


TENSORS = pa.ListArray.from_arrays(
    pa.array([0, 2, 2, 3], pa.int32()),
    pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(18.0).reshape(3, 2, 3)),
)
NESTED = pa.array([[[1, 2], [3, 4]], [], [[5, 6]]], pa.list_(pa.list_(pa.int16(), 2)))


@pytest.mark.parametrize("column", [TENSORS, NESTED], ids=["tensors", "fixed-size lists"])
@pytest.mark.parametrize("by_polars", [False, True])
def test_lists_of_arrays_keep_their_shape(column: pa.Array, by_polars: bool) -> None:
    """Values that are arrays of one shape stay so in every output, padded too, and through Polars."""
    pytest.importorskip("torch")
    ds = grouped(column, 2, 1)
    ds = ds.with_columns(one=pl.lit(1)) if by_polars else ds
    numbers = np.arange(18.0).reshape(3, 2, 3) if column is TENSORS else np.arange(1, 7).reshape(3, 2)
    batch, tensors = batches(ds)[0]["x"], batches(ds, "torch")[0]["x"]

    assert [row.tolist() for row in batch] == [numbers[:2].tolist(), [], numbers[2:].tolist()]
    assert tensors.values().tolist() == numbers.tolist()
    arrays = batches(ds.pack(x="x", pad_to=2, pad_value=-1))[0]["x"]
    assert arrays.shape == (3, 2, *numbers.shape[1:])
    assert np.array_equal(arrays[2], np.stack([numbers[2], np.full(numbers.shape[1:], -1)]))
    assert batches(ds.pack(x="x", pad_to="longest"), "torch")[0]["x"].shape == arrays.shape


def test_lists_of_times() -> None:
    """Lists of time stamps are datetime64 in NumPy, int64 of their unit in torch, and are not padded."""
    pytest.importorskip("torch")
    times = np.array([5, 6, 7], "datetime64[us]")
    ds = grouped(pa.ListArray.from_arrays(pa.array([0, 2, 3], pa.int32()), pa.array(times)))

    assert np.array_equal(batches(ds)[0]["x"].values, times)
    assert batches(ds, "torch")[0]["x"].values().tolist() == [5, 6, 7]
    with pytest.raises(hr.SchemaError, match=r"column `x`.*datetime64.*cannot be padded"):
        ds.pack(x="x", pad_to=2).take([0])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None, ""], pa.string()),
        ([b"\xff", b"", None], pa.binary()),
        ([["a"], [], None], pa.list_(pa.string())),
        ([[[1], [2, 3]], [], None], pa.list_(pa.list_(pa.int32()))),
    ],
    ids=str,
)
def test_what_is_no_array_comes_as_a_list(values: list[Any], kind: pa.DataType) -> None:
    """Text, bytes and lists of lists come as Python lists in torch and numpy, None for null."""
    pytest.importorskip("torch")
    ds = grouped(pa.array(values, kind), 1, 2)

    assert batches(ds, "torch")[0]["x"] == values
    assert batches(ds, "numpy")[0]["x"] == values
    assert batches(ds, "arrow")[0]["x"].to_pylist() == values


# Nulls


def test_a_null_list_is_refused_by_name() -> None:
    """A null list is not an empty one: the error names row group, column and row, and both ways out work."""
    pytest.importorskip("torch")
    ds = grouped(pa.array([[1], [2], None, [3]], pa.list_(pa.int32())), 1, 3)
    message = (
        r"row group 1, column `x`: 1 of 3 lists are null \(the first in row 1\).*fill_null.*null_mask=True"
    )

    for output in ("torch", "numpy"):
        with pytest.raises(hr.SchemaError, match=message):
            batches(ds, output)
    with pytest.raises(hr.SchemaError, match=message):
        ds.pack(x="x", pad_to=4).take([0, 2])
    assert batches(ds, "arrow", batch_size=4)[0]["x"].to_pylist() == [[1], [2], None, [3]]
    filled = ds.with_columns(pl.col("x").fill_null([]))
    assert [row.tolist() for row in batches(filled, batch_size=4)[0]["x"]] == [[1], [2], [], [3]]
    masked = batches(ds.pack(x="x", null_mask=True), batch_size=4)[0]
    assert [row.tolist() for row in masked["x"]] == [[1], [2], [], [3]]
    assert masked["x_null_mask"].tolist() == [False, False, True, False]


def test_a_null_value_is_refused_by_name() -> None:
    """A null inside a list has no place in an array, not even beside a mask."""
    ds = grouped(pa.array([[9, 9], None, [], [1, None], [2]], pa.list_(pa.int32())).slice(2), 1, 2)

    for dataset in (ds, ds.pack(x="x", null_mask=True), ds.pack(x="x", pad_to=3)):
        with pytest.raises(hr.SchemaError, match=r"row group 1, column `x`, row 0: .*null.*drop_nulls"):
            batches(dataset)
    dropped = ds.with_columns(pl.col("x").list.drop_nulls())
    assert [row.tolist() for row in batches(dropped)[0]["x"]] == [[], [1], [2]]


@pytest.mark.parametrize(
    "lists", [[[[1, 2]], [[3, 4], [5, None]]], [[[1, 2]], [[3, 4], None]]], ids=["a number", "an array"]
)
def test_a_null_inside_arrays_is_refused(lists: list[Any]) -> None:
    """Nulls are found at every depth, and the row is named."""
    ds = grouped(pa.array(lists, pa.list_(pa.list_(pa.int16(), 2))))

    with pytest.raises(hr.SchemaError, match=r"column `x`, row 1: the list holds a null"):
        batches(ds)


# Padding


@settings(deadline=None)
@given(columns(), st.integers(1, 8), st.integers(0, 1), st.integers(1, 5), st.sampled_from([0, 2]))
def test_padding_is_what_a_loop_would_do(
    drawn: tuple[pa.Array, list[int]], width: int, value: int, size: int, threads: int
) -> None:
    """Values in front, the filler behind, lengths beside, in any order."""
    column, rows = drawn
    lists, dtype = column.to_pylist(), np.dtype(column.type.value_type.to_pandas_dtype())
    options = {"batch_size": size, "threads": threads, "shuffle": True, "with_ids": True}
    fixed = grouped(column, *rows).pack(x="x", pad_to=width, pad_value=value, truncate=True)
    longest = grouped(column, *rows).pack(x="x", pad_to="longest", pad_value=value)

    for batch in batches(fixed, "numpy", **options):
        some = [lists[row] for row in batch["sample_id"]]
        assert batch["x"].dtype == dtype
        assert batch["x"].tolist() == padded(some, width, value)
        assert batch["x_length"].tolist() == [min(len(row), width) for row in some]
    for batch in batches(longest, "numpy", **options):
        some = [lists[row] for row in batch["sample_id"]]
        assert batch["x"].dtype == dtype
        assert batch["x"].tolist() == padded(some, max(map(len, some)), value)
        assert batch["x_length"].tolist() == [len(row) for row in some]


@given(st.data())
def test_kernel_equals_its_oracle(data: st.DataObject) -> None:
    """The compiled copy and the plain one fill the same, for values of any width, read-only ones too."""
    lengths = np.array(data.draw(st.lists(st.integers(0, 5), max_size=8)), np.int64)
    inner = data.draw(st.sampled_from([(), (3,), (2, 2)]))
    dtype = data.draw(st.sampled_from(["u1", "i2", "f4", "f8"]))
    values = np.arange(lengths.sum() * math.prod(inner)).astype(dtype).reshape(-1, *inner)
    values.flags.writeable = False
    begins = np.cumsum(lengths) - lengths
    taken = np.minimum(lengths, data.draw(st.integers(0, 5)))
    outputs = [np.full((len(lengths), 5, *inner), 7, dtype) for _ in range(2)]
    kernels.copy_lists(values, begins, taken, outputs[0])
    kernels.copy_lists_reference(values, begins, taken, outputs[1])

    assert np.array_equal(*outputs)


def test_a_longer_list_is_refused_by_name() -> None:
    """Without `truncate`, a list that is too long is an error that names row group, column and row."""
    ds = grouped(pa.array([[1], [2, 3], [], [4, 5, 6]]), 2, 2)

    with pytest.raises(
        hr.SchemaError, match=r"row group 1, column `x`, row 1: a list of 3 values.*pad_to=2.*truncate=True"
    ):
        batches(ds.pack(tokens="x", pad_to=2))
    cut = batches(ds.pack(tokens="x", pad_to=2, truncate=True), batch_size=4)[0]
    assert cut["tokens"].tolist() == [[1, 0], [2, 3], [0, 0], [4, 5]]
    assert cut["tokens_length"].tolist() == [1, 2, 0, 2]


def test_options_by_name() -> None:
    """Each array can have its own width and filler; others stay as they are."""
    ds = hr.from_arrays({"a": [[1], [2, 3]], "b": [[0.5], []], "c": [[1], []], "s": ["x", "y"], "n": [1, 2]})
    packed = ds.pack(
        a="a",
        b="b",
        c="c",
        s="s",
        n=["n", "n"],
        pad_to={"a": 3, "b": "longest"},
        pad_value={"b": float("nan")},
        dtype={"a": "int16", "c": "uint8"},
    )
    batch = batches(packed)[0]

    assert list(batch) == ["a", "a_length", "b", "b_length", "c", "s", "n"]
    assert (batch["a"].tolist(), batch["a"].dtype) == ([[1, 0, 0], [2, 3, 0]], np.int16)
    assert np.array_equal(batch["b"], [[0.5], [np.nan]], equal_nan=True)
    assert isinstance(batch["c"], hr.Ragged)
    assert batch["c"].values.dtype == np.uint8
    assert (batch["s"], batch["n"].tolist()) == (["x", "y"], [[1, 1], [2, 2]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pad_to": 0}, "`pad_to` must be a whole number of at least 1"),
        ({"pad_to": "max"}, "`pad_to` must be a whole number"),
        ({"pad_to": True}, "`pad_to` must be a whole number"),
        ({"pad_to": {"y": 3}}, r"`pad_to` names arrays .*\['y'\]"),
        ({"pad_to": {"x": 3}, "pad_value": {"y": 3}}, r"`pad_value` names arrays .*\['y'\]"),
        ({"pad_to": {"z": 3}, "z": ["x"]}, r"one column for `z`, got \['x'\]"),
        ({"pad_to": 3, "x_length": "x"}, "`x_length`, so no other"),
        ({"pad_to": 3, "pad_value": "0"}, "`pad_value` must be a number, got '0'"),
        ({"pad_to": "longest", "truncate": True}, "`truncate=True` needs"),
        ({"truncate": True}, "need `pad_to`"),
        ({"pad_value": 0}, "need `pad_to`"),
    ],
)
def test_options_that_cannot_be_right(arguments: dict[str, Any], message: str) -> None:
    """Wrong options are refused when they are written down."""
    with pytest.raises(hr.OptionError, match=message):
        grouped(pa.array([[1]])).pack(**{"x": "x"} | arguments)


@pytest.mark.parametrize(
    ("column", "arguments", "message"),
    [
        ([1, 2], {"pad_to": 3}, "`pad_to` needs a column of lists, but `pack` has none"),
        ([1, 2], {"pad_to": {"x": 3}}, r"column `x`: `pad_to` needs lists.*got int64 of shape \[2\]"),
        ([["a"]], {"pad_to": 3}, r"column `x`: `pad_to` needs lists of numbers.*string.*name the arrays"),
        ([[1]], {"pad_to": 3, "pad_value": 0.5}, r"column `x`: values of int64 .*`pad_value=0.5`"),
        ([[1]], {"pad_to": "longest", "pad_value": -1, "dtype": "uint16"}, r"values of uint16.*dtype="),
        ([[1]], {"pad_to": 3, "pad_value": float("inf")}, "values of int64 cannot"),
        ([[True]], {"pad_to": 3, "pad_value": 2}, "values of bool cannot"),
        ([[1.0]], {"pad_to": 3, "pad_value": 1e300, "dtype": "float32"}, "values of float32 cannot"),
        ([[300]], {"dtype": "uint8"}, "column `x`: `dtype=` asks for uint8"),
    ],
)
def test_columns_that_cannot_be_padded(column: list[Any], arguments: dict[str, Any], message: str) -> None:
    """What is no list of numbers, or has no room for the filler, is refused with the column's name."""
    with pytest.raises(hr.SchemaError, match=message):
        grouped(pa.array(column)).pack(**{"x": "x"} | arguments).take([0])


def test_the_filler_of_floats_is_rounded() -> None:
    """Floats take fillers that they hold in fewer digits, NaN and infinity."""
    ds = grouped(pa.array([[]], pa.list_(pa.float32())))

    for value in (0.1, -1, float("-inf")):
        assert ds.pack(x="x", pad_to=1, pad_value=value).take([0])["x"].tolist() == [[np.float32(value)]]


def test_padding_is_part_of_the_recipe() -> None:
    """Other paddings are other recipes; a pack without any has the fingerprint that it always had."""
    ds = grouped(pa.array([[1]]))
    options = [{}, {"pad_to": 3}, {"pad_to": 4}, {"pad_to": 3, "pad_value": 1}, {"pad_to": "longest"}]
    found = {ds.pack(x="x", **arguments).fingerprint for arguments in options}

    @dataclass(frozen=True)
    class Before:
        groups: dict[str, str] = field(default_factory=lambda: {"x": "x"})
        null_mask: bool = False
        dtype: None = None

    Before.__module__, Before.__qualname__ = "headrace.prepare.pack", "Pack"
    assert len(found) == len(options)
    assert digest(Pack({"x": "x"})) == digest(Before())


def test_states_do_not_fit_another_padding() -> None:
    """A loader takes up its own state in mid-epoch, and refuses one of another padding."""
    ds = grouped(pa.array([[row] * (row % 4) for row in range(20)]), 7, 0, 13)
    options: dict[str, Any] = {"batch_size": 3, "shuffle": True, "output": "numpy"}
    loader = ds.pack(x="x", pad_to="longest").loader(**options)
    whole = [batch["x"].tolist() for batch in loader]
    loader.set_epoch(0)
    steps = iter(loader)
    for _ in range(3):
        next(steps)
    state = loader.state_dict()
    loader.close()
    resumed = ds.pack(x="x", pad_to="longest").loader(**options | {"threads": 0})
    resumed.load_state_dict(state)

    assert [batch["x"].tolist() for batch in resumed] == whole[3:]
    with pytest.raises(hr.StateError):
        ds.pack(x="x", pad_to=4).loader(**options).load_state_dict(state)


def test_skipped_row_groups_leave_no_rows() -> None:
    """A row group that is refused is left out of values and lengths alike."""
    ds = grouped(pa.array([[1], [2, 3], None, [4], [5, 6, 7], []]), 2, 2, 2)
    for pad_to in (3, "longest"):
        found = batches(ds.pack(x="x", pad_to=pad_to), batch_size=2, on_error="skip")
        assert [batch["x_length"].tolist() for batch in found] == [[1, 2], [], [3, 0]]
        assert [batch["x"][:, :2].tolist() for batch in found] == [[[1, 0], [2, 3]], [], [[5, 6], [0, 0]]]


def test_explain_counts_what_padding_adds() -> None:
    """A padded sample takes its width, and its length beside it."""
    ds = grouped(pa.array([[1], [2]], pa.list_(pa.int32())))

    assert ds.pack(x="x", pad_to=100).loader(output="numpy").explain().row_bytes == 400 + 8 + 8


def test_random_access_in_torch() -> None:
    """Map-style access gives each sample by itself; padded, it is as wide as those read with it."""
    pytest.importorskip("torch")
    ds = grouped(pa.array([[1], [2, 3], []], pa.list_(pa.int32())))
    fixed, longest = (ds.pack(x="x", pad_to=pad_to).to_torch_map() for pad_to in (3, "longest"))

    assert [sample["x"].tolist() for sample in ds.to_torch_map().__getitems__([1, 2])] == [[2, 3], []]
    assert fixed[1]["x"].tolist() == [2, 3, 0]
    assert [sample["x"].tolist() for sample in longest.__getitems__([1, 0])] == [[2, 3], [1, 0]]
