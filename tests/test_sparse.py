"""Sparse rows: taking, joining and the way through Arrow and Polars, held against dense arrays."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import headrace as hr
from headrace.batch import Batch, Sparse, is_sparse, sparse_type, to_sparse
from headrace.errors import SchemaError

RANDOM = np.random.default_rng(2)
DENSE = RANDOM.integers(1, 9, (40, 12)) * (RANDOM.random((40, 12)) < 0.2)


def make_sparse(dense: np.ndarray) -> Sparse:
    rows, indices = np.nonzero(dense)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])
    return Sparse(dense[rows, indices], indices.astype(np.int32), offsets, dense.shape[1])


def test_taking_and_joining_rows() -> None:
    """Rows taken in any order, with repeats, and joined again are those of the dense array."""
    batch = Batch({"x": make_sparse(DENSE)}, np.arange(40))
    rows = RANDOM.integers(0, 40, 60)
    joined = Batch.concat([batch.take(rows), batch])["x"]

    assert isinstance(joined, Sparse)
    np.testing.assert_array_equal(joined.to_dense(), np.concatenate([DENSE[rows], DENSE]))
    assert batch["x"].nbytes == sum(part.nbytes for part in (joined.take(np.arange(60, 100)),))


def test_the_way_through_arrow_and_polars() -> None:
    """A slice, an Arrow take and a Polars frame keep rows and width."""
    array = make_sparse(DENSE).to_arrow()
    frame = pl.from_arrow(pa.table({"x": array}))
    assert isinstance(frame, pl.DataFrame)

    np.testing.assert_array_equal(to_sparse(array.slice(7, 9)).to_dense(), DENSE[7:16])
    np.testing.assert_array_equal(to_sparse(array.take(pa.array([5, 2]))).to_dense(), DENSE[[5, 2]])
    np.testing.assert_array_equal(to_sparse(frame[3:]["x"].rechunk().to_arrow()).to_dense(), DENSE[3:])


def test_canonical_rows() -> None:
    """Indices in any order and places stored twice become what SciPy and torch expect, with equal sums."""
    places = RANDOM.integers(0, 40 * 6, 300)
    order = np.argsort(places // 6, kind="stable")
    rows, indices = places[order] // 6, (places[order] % 6).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=40))])
    sparse = Sparse(RANDOM.integers(1, 9, 300), indices, offsets, 6)
    canonical = sparse.canonical()

    np.testing.assert_array_equal(canonical.to_dense(), sparse.to_dense())
    assert (canonical.values.dtype, canonical.indices.dtype) == (sparse.values.dtype, np.int32)
    for begin, end in pairwise(canonical.offsets):
        assert (np.diff(canonical.indices[begin:end]) > 0).all()
    in_order = make_sparse(DENSE)
    assert in_order.canonical() is in_order
    empty = Sparse(np.zeros(0), np.zeros(0, np.int32), np.zeros(4, np.int64), 6)
    assert empty.canonical().shape == (3, 6)


@pytest.mark.parametrize("is_sorted", [True, False])
def test_tensors_keep_the_invariants_of_csr(is_sorted: bool) -> None:
    """torch gets CSR tensors that pass its own check, from rows whose indices are in any order."""
    torch = pytest.importorskip("torch")
    sparse = make_sparse(DENSE)
    if not is_sorted:
        pairs = [(sparse.values[b:e][::-1], sparse.indices[b:e][::-1]) for b, e in pairwise(sparse.offsets)]
        values, indices = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        sparse = Sparse(values, indices, sparse.offsets, sparse.width)
    ds = hr.from_arrow(pa.table({"x": sparse.to_arrow()}))
    for dataset in (ds, ds.pack(x="x")):
        for batch in dataset.loader(batch_size=7, shuffle=True, threads=0, with_ids=True):
            x = batch["x"]
            parts = (x.crow_indices(), x.col_indices(), x.values())
            checked = torch.sparse_csr_tensor(*parts, size=x.shape, check_invariants=True)

            assert x.layout == torch.sparse_csr
            np.testing.assert_array_equal(checked.to_dense(), DENSE[batch["sample_id"]])
    for batch in ds.loader(batch_size=7, output="numpy", threads=0):
        assert isinstance(batch["x"], Sparse)


def test_cells_become_sparse_tensors() -> None:
    """The raw counts of an AnnData file reach torch as CSR rows, equal to what h5py reads."""
    torch = pytest.importorskip("torch")
    path = Path(__file__).parent / "data" / "pbmc68k" / "10x_pbmc68k_reduced.h5ad"
    with h5py.File(path) as file:
        group = file["raw.X"]
        parts = [group[name][()] for name in ("data", "indices", "indptr")]
    expected = Sparse(parts[0], parts[1], parts[2].astype(np.int64), 765).to_dense()
    cells = hr.open(path, options=hr.Hdf5Options(columns=["raw.X"]))

    for batch in cells.loader(batch_size=128, shuffle=True, with_ids=True):
        x = batch["raw.X"]
        product = (x @ torch.ones(765, 1))[:, 0].numpy()
        np.testing.assert_array_equal(x.to_dense(), expected[batch["sample_id"]])
        np.testing.assert_allclose(product, expected[batch["sample_id"]].sum(1), rtol=1e-5)


def test_null_rows_are_refused_by_name() -> None:
    """A null row is no row of zeros; the error names row group and column."""
    rows = pa.array([None, []], sparse_type(3, pa.int32(), pa.float32()))

    with pytest.raises(SchemaError, match="row group 0, column `x`: sparse rows cannot be null"):
        hr.from_arrow(pa.table({"x": rows})).take([0])


def test_what_is_not_sparse_is_refused() -> None:
    """Indices beyond the width, unequal lengths, nulls and other lists are errors."""
    offsets = np.array([0, 1])
    for values, indices in (([1.0], [3]), ([1.0], [-1]), ([1.0], [1, 2])):
        with pytest.raises(SchemaError):
            Sparse(np.array(values), np.array(indices), offsets, width=3)
    with pytest.raises(SchemaError, match="nulls"):
        to_sparse(pa.array([None], sparse_type(3, pa.int32(), pa.float32())))
    with pytest.raises(SchemaError, match="lists of an index and a value"):
        to_sparse(pa.array([[{"a": 1, "b": 2}]]))
    assert not is_sparse(pa.list_(pa.struct([("index of", pa.int32()), ("value", pa.int32())])))
    assert not is_sparse(pa.list_(pa.struct([("7", pa.int32()), ("value", pa.int32())])))
