"""Sparse rows: taking, joining and the way through Arrow and Polars, held against dense arrays."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

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
