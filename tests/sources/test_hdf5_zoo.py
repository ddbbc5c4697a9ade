"""Real HDF5 files of every layout: right values, or one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_files import DATA, assert_same, open_file, oracle_columns, read_all

from headrace.batch import to_sparse
from headrace.errors import HeadraceError

GOLDEN = Path(__file__).parents[1] / "golden" / "hdf5-zoo.json"
FILES = sorted(
    path
    for folder in ("hdf5-zoo", "pbmc68k")
    for path in (DATA / folder).iterdir()
    if path.suffix.startswith((".h5", ".hdf5"))
)


def find_groups(path: Path) -> dict[str, list[str]]:
    """List every group of a file with the data sets directly in it."""
    groups: dict[str, list[str]] = {}

    def visit(name: str, found: object) -> None:
        if isinstance(found, h5py.Group):
            groups[f"/{name}".replace("//", "/")] = [
                member for member in found if isinstance(found.get(member), h5py.Dataset)
            ]

    with h5py.File(path) as file:
        visit("", file)
        file.visititems(visit)
    return groups


def outcome(path: Path, group: str, columns: list[str] | None) -> str:
    """Tell rows and columns, or the class of the one error that comes instead."""
    try:
        source = open_file(path, group=group, columns=columns)
        table = read_all(source)
    except HeadraceError as error:
        return type(error).__name__ if str(path) in str(error) else f"an error without the path: {error}"
    columns_text = ", ".join(f"{field.name}: {field.type}" for field in source.schema)
    return f"{table.num_rows} rows of {columns_text}"


def outcomes(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for group, names in find_groups(path).items():
        found[group] = outcome(path, group, None)
        for name in names:
            found[f"{group.rstrip('/')}/{name}"] = outcome(path, group, [name])
    return found


def test_every_file_is_there() -> None:
    """The table of outcomes covers the zoo and the file with cells, and no other."""
    assert set(json.loads(GOLDEN.read_text())) == {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_outcomes_are_the_golden_ones(path: Path) -> None:
    """Every group and data set opens as it did, or is refused by the same class of error."""
    assert outcomes(path) == json.loads(GOLDEN.read_text())[path.name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_values_are_those_of_h5py(path: Path) -> None:
    """What opens holds the values that h5py reads."""
    golden = json.loads(GOLDEN.read_text())[path.name]
    if "lz4" in path.name:
        pytest.importorskip("hdf5plugin")
    for group, names in find_groups(path).items():
        for name in names:
            if " rows of " not in golden[f"{group.rstrip('/')}/{name}"]:
                continue
            with h5py.File(path) as file:
                expected = oracle_columns(file[group][name], name)

            assert_same(read_all(open_file(path, group=group, columns=[name])), expected)


def test_cells_and_their_genes() -> None:
    """AnnData: a dense matrix, a sparse one, and the table that describes the cells, in one data set."""
    path = DATA / "pbmc68k" / "10x_pbmc68k_reduced.h5ad"
    source = open_file(path, columns=["X", "raw.X", "obs.louvain", "obs.n_genes", "obsm.X_pca"])
    table = read_all(source)
    with h5py.File(path) as file:
        raw, shape = file["raw.X"], tuple(file["raw.X"].attrs["h5sparse_shape"])
        parts = [raw[name][()] for name in ("data", "indices", "indptr")]
        louvain, dense = file["obs"]["louvain"], file["X"][()]

    sparse = to_sparse(table.column("raw.X").combine_chunks())

    assert source.schema.names == ["X", "raw.X", "obs.n_genes", "obs.louvain", "obsm.X_pca"]
    assert sparse.shape == shape == (700, 765)
    for found, expected in zip((sparse.values, sparse.indices, sparse.offsets), parts, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(table.column("obs.louvain").to_numpy(), louvain)
    np.testing.assert_array_equal(table.column("X").combine_chunks().to_numpy_ndarray(), dense)


if __name__ == "__main__":  # writes the table anew; look at the difference before you keep it
    GOLDEN.write_text(json.dumps({path.name: outcomes(path) for path in FILES}, indent=1) + "\n")
