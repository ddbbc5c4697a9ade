"""The same values in Parquet, HDF5 and LMDB give the same batches; formats are told by first bytes."""

from __future__ import annotations

from pathlib import Path

import h5py
import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr

_ROWS = 600
_VALUES = np.random.default_rng(0).integers(0, 1 << 60, _ROWS)


def write_parquet(folder: Path) -> Path:
    path = folder / "values.parquet"
    pq.write_table(pa.table({"value": _VALUES}), path)
    return path


def write_hdf5(folder: Path) -> Path:
    path = folder / "values.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("value", data=_VALUES, chunks=(128,), compression="gzip", fletcher32=True)
    return path


def write_lmdb(folder: Path) -> Path:
    path = folder / "values.lmdb"
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for place, value in enumerate(_VALUES):
            transaction.put(b"%06d" % place, value.tobytes())
    return path


def open_values(path: Path) -> hr.Dataset:
    if path.suffix != ".lmdb":
        return hr.open(path)
    return hr.open(path, options=hr.LmdbOptions(dtype="int64", shape=())).select(["value"])


@pytest.mark.parametrize("write", [write_parquet, write_hdf5, write_lmdb])
@pytest.mark.parametrize("shuffle", [False, hr.BlockShuffle(1, 99), "global"])
def test_every_format_gives_the_same_batches(tmp_path: Path, write: object, shuffle: hr.BlockShuffle) -> None:
    """Values, order and ids do not depend on the format where the whole data set is mixed."""
    path = write(tmp_path)  # type: ignore[operator]
    memory = hr.from_arrays({"value": _VALUES})

    def batches(dataset: hr.Dataset) -> list[tuple[list[int], list[int]]]:
        loader = dataset.loader(batch_size=64, shuffle=shuffle, seed=3, output="numpy", with_ids=True)
        return [(batch["value"].tolist(), batch["sample_id"].tolist()) for batch in loader]

    got, expected = batches(open_values(path)), batches(memory)
    if shuffle == "global" or shuffle is False:
        assert got == expected
    assert sorted(value for values, _ in got for value in values) == sorted(_VALUES.tolist())
    assert all(
        value == _VALUES[number] for values, ids in got for value, number in zip(values, ids, strict=True)
    )


def test_images_of_mnist_are_named(tmp_path: Path) -> None:
    """IDX files, which begin like nothing else, open by the format's name."""
    folder = Path(__file__).parent.parent / "data" / "fashion-mnist"
    labels = hr.open(sorted(folder.glob("*labels*"))[0], format="idx")
    assert len(labels) == 10_000
    batch = next(iter(labels.loader(batch_size=5, output="numpy")))
    assert next(iter(batch.values())).tolist() == [9, 2, 1, 1, 6]


def test_other_options_are_refused(tmp_path: Path) -> None:
    """Options belong to one format, and the error names both."""
    with pytest.raises(hr.OptionError, match=r"ParquetOptions.*LmdbOptions"):
        hr.open(write_parquet(tmp_path), options=hr.LmdbOptions())


def test_mixed_formats_are_refused(tmp_path: Path) -> None:
    """A folder of several formats is no data set; the error says how to name its shards."""
    write_parquet(tmp_path)
    write_hdf5(tmp_path)
    with pytest.raises(hr.SourceError, match="one format") as caught:
        hr.open(tmp_path)
    assert "folder/*" in str(caught.value)


def test_what_no_format_begins_with_is_shown(tmp_path: Path) -> None:
    """An unknown file is an error that shows its first bytes and the formats that are known."""
    (tmp_path / "notes").write_bytes(b"hello there")
    with pytest.raises(hr.SourceError, match=r"hello th.*Parquet, HDF5, LMDB"):
        hr.open(tmp_path / "notes")
