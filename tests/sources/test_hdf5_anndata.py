"""Tables of AnnData: categories come as what their codes stand for; h5py, read by hand, is the oracle."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hdf5_files import DATA, open_file, read_all, write

from headrace.dataset import Dataset
from headrace.errors import CorruptSourceError, MemoryLimitError, SchemaError, SourceError
from headrace.testing.resources import Resources

CELLS = DATA / "pbmc68k" / "10x_pbmc68k_reduced.h5ad"
CODED = ("bulk_labels", "louvain", "phase")


def write_categories(
    group: Any, name: str, codes: np.ndarray, categories: Sequence[Any] | np.ndarray, **settings: Any
) -> None:
    """Write a column as AnnData 0.8 and later do."""
    column = group.create_group(name)
    column.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
    column.create_dataset("codes", data=codes, **settings)
    is_text = not isinstance(categories, np.ndarray)
    kind = {"dtype": h5py.string_dtype()} if is_text else {}
    column.create_dataset("categories", data=categories, **kind)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """The real table of cells, laid out anew as a group of columns; every hundredth label is missing."""
    with h5py.File(CELLS) as old, h5py.File(tmp_path / "a.h5ad", "w") as new:
        obs = new.create_group("obs")
        obs.attrs["encoding-type"] = "dataframe"
        for name in CODED:
            codes = old["obs"][name].copy()
            codes[::100] = -1 if name == "louvain" else codes[::100]
            names = [text.decode() for text in old["uns"][f"{name}_categories"][()]]
            write_categories(obs, name, codes, names, chunks=(256,), compression="gzip")
        obs["n_genes"] = old["obs"]["n_genes"]
        obs.create_dataset("index", data=old["obs"]["index"].astype(str).tolist(), dtype=h5py.string_dtype())
    return tmp_path / "a.h5ad"


def by_hand(path: Path, name: str) -> list[str | None]:
    with h5py.File(path) as file:
        names = file["obs"][name]["categories"].asstr()[()]
        return [None if code < 0 else names[code] for code in file["obs"][name]["codes"][()]]


def test_categories_of_real_cells(cells: Path) -> None:
    """Labels of 700 cells are their names, missing ones null, beside the table's other columns."""
    source = open_file(cells, group="/obs")
    table = read_all(source)

    assert sorted(source.schema.names) == sorted([*CODED, "index", "n_genes"])
    for name in CODED:
        assert source.schema.field(name).type == pa.string()
        assert table[name].to_pylist() == by_hand(cells, name)
    assert table["louvain"].null_count == 7
    assert len(set(table["bulk_labels"].to_pylist())) == 10
    assert pickle.loads(pickle.dumps(source)).manifest.fingerprint == source.manifest.fingerprint


def test_categories_reach_batches_and_expressions(cells: Path) -> None:
    """They are columns like others: chosen by name, in frames and in batches."""
    dataset = Dataset.of(open_file(cells, group="/obs", columns=["bulk_labels"]))
    loader = dataset.loader(64, shuffle=True, seed=1, output="numpy", with_ids=True)
    expected = by_hand(cells, "bulk_labels")

    assert dataset.to_polars()["bulk_labels"].to_list() == expected
    for batch in loader:
        assert list(batch["bulk_labels"]) == [expected[number] for number in batch["sample_id"]]


def test_other_categories_are_another_data_set(cells: Path) -> None:
    """The fingerprint tells what the codes stand for, also in large files."""
    before = open_file(cells, group="/obs").manifest.fingerprint
    with h5py.File(cells, "r+") as file:
        file["obs/phase/categories"][0] = "G9"

    assert open_file(cells, group="/obs").manifest.fingerprint != before


@pytest.mark.parametrize(
    "categories",
    [
        np.array([3, 1, 2]),
        np.array([0.5, 1.5, -1.0]),
        np.array([b"a", b"b", b"c"]),
        np.array([True, False, True]),
    ],
    ids=lambda categories: str(categories.dtype),
)
@pytest.mark.parametrize("dtype", ["i1", "<i4", ">i2", "u1"])
def test_categories_of_any_type(tmp_path: Path, categories: np.ndarray, dtype: str) -> None:
    """Categories may be numbers, flags or text of fixed width, and codes of any whole type."""
    codes = np.array([2, 0, 0, 1], dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_categories(file, "x", codes, categories)
    values = categories.astype(str) if categories.dtype.kind == "S" else categories

    assert read_all(open_file(tmp_path / "a.h5"))["x"].to_pylist() == values[codes].tolist()


@pytest.mark.parametrize("codes", [[0, 3], [-2, 0]])
def test_codes_without_a_category(tmp_path: Path, codes: list[int]) -> None:
    """A code that stands for nothing is an error that names the column and the bounds."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_categories(file, "x", np.array(codes, "i1"), ["a", "b", "c"])

    with pytest.raises(CorruptSourceError, match=r"column `x`: codes must lie in -1\.\.2, got"):
        read_all(open_file(tmp_path / "a.h5"))


def test_groups_that_are_no_categories(tmp_path: Path) -> None:
    """A group that claims to be categories and is not, or leads elsewhere, is refused by name."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_categories(file, "deep/flat", np.zeros((2, 2), "i1"), ["a"])
        write_categories(file, "real/x", np.array([0.5]), ["a"])
        write_categories(file, "gone/x", np.array([0]), ["a"])
        del file["gone/x/categories"]
        write_categories(file, "out/x", np.array([0]), ["a"])
        del file["out/x/categories"]
        file["out/x/categories"] = h5py.ExternalLink("b.h5", "/x")

    for group, kind, message in (
        ("/deep", SchemaError, "must have `codes` and `categories` of one axis"),
        ("/real", SchemaError, "must be named by whole numbers"),
        ("/gone", SchemaError, "is not in the file"),
        ("/out", SourceError, "link out of the file"),
    ):
        with pytest.raises(kind, match=message):
            open_file(tmp_path / "a.h5", group=group)


def test_bombs_of_categories_are_refused(tmp_path: Path) -> None:
    """Claims of many categories, and long ones that many samples repeat, are refused before allocating."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_categories(file, "x", np.zeros(100_000, "i1"), ["long " * 1000])
    with h5py.File(tmp_path / "b.h5", "w") as file:
        write_categories(file, "x", np.zeros(9, "i1"), ["a"])
        del file["x/categories"]
        huge = {"shape": (1 << 40,), "dtype": "i1", "chunks": (1 << 20,), "compression": "gzip"}
        file.create_dataset("x/categories", **huge)[0] = 1
    before = Resources.now().resident

    with pytest.raises(MemoryLimitError, match=r"\(`x`\) = [\d,]+ bytes, more than the limit of 40,000,000"):
        read_all(open_file(tmp_path / "a.h5", limit=40_000_000))
    with pytest.raises(CorruptSourceError):
        open_file(tmp_path / "b.h5")
    with pytest.raises(CorruptSourceError, match="claim to be"):
        open_file(tmp_path / "b.h5", missing="fill")
    assert Resources.now().resident - before < 64 << 20


def test_plain_groups_are_still_passed_over(tmp_path: Path) -> None:
    """A group without AnnData's mark is no column, whatever its members are called."""
    path = Path(write(tmp_path / "a.h5", x=np.arange(3)))
    with h5py.File(path, "r+") as file:
        file["g/codes"], file["g/categories"] = np.zeros(3, "i1"), np.zeros(2)

    assert open_file(path).schema.names == ["x"]
