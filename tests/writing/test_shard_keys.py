"""Whatever changes the contents of an output is seen, by an update and by the same job run again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr
from headrace.prepare.chain import Chain


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(it.relative_to(folder)): hashlib.sha256(it.read_bytes()).hexdigest() for it in files}


def check_update(folder: Path, before: hr.Dataset, after: Callable[[], hr.Dataset], **how: Any) -> hr.Written:
    """Hold an update against a clean run, and see that the job is not taken for the one before."""
    before.write(folder / "out", executor=hr.Serial(), **how)
    ds = after()
    with pytest.raises(hr.StateError, match=r"`source`|`recipe`|`selection`"):
        ds.write(folder / "out", executor=hr.Serial(), **how)
    written = ds.write(folder / "out", update=True, executor=hr.Serial(), **how)
    ds.write(folder / "clean", executor=hr.Serial(), **how)
    assert contents(folder / "out") == contents(folder / "clean")
    return written


def _parquet(path: Path, x: np.ndarray[Any, Any]) -> None:
    pq.write_table(pa.table({"x": x, "y": np.arange(len(x))}), path, compression="none", use_dictionary=False)


def _arrow(path: Path, x: np.ndarray[Any, Any]) -> None:
    table = pa.table({"x": x})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _hdf5(path: Path, x: np.ndarray[Any, Any]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.repeat(x, 10))


def _lmdb(path: Path, x: np.ndarray[Any, Any]) -> None:
    path.unlink(missing_ok=True)
    with (
        lmdb.open(str(path), subdir=False, map_size=1 << 26, lock=False) as opened,
        opened.begin(write=True) as out,
    ):
        for row, value in enumerate(x[100:200]):
            out.put(b"%06d" % row, (b"%d" % (value % 10)) * 6000)


@pytest.mark.parametrize(
    ("suffix", "make"), [(".parquet", _parquet), (".arrow", _arrow), (".h5", _hdf5), (".lmdb", _lmdb)]
)
def test_a_value_changed_in_place_is_seen(tmp_path: Path, suffix: str, make: Callable[..., None]) -> None:
    """A file of the same size, with the same header, footer and statistics, is another one."""
    (tmp_path / "in").mkdir()
    x = np.arange(40_000)
    for number in range(2):
        make(tmp_path / "in" / f"in-{number}{suffix}", x)

    def change() -> hr.Dataset:
        x[150] = 157  # within all bounds
        make(tmp_path / "in" / f"in-1{suffix}", x)
        return hr.open(tmp_path / "in")

    written = check_update(tmp_path, hr.open(tmp_path / "in"), change)
    assert (written.kept, written.written) == (1, 1)


def test_a_column_that_another_shard_makes_text_is_seen(tmp_path: Path) -> None:
    """A step sees `7` where all shards hold numbers, and `007` where one of them does not."""

    def digits(second: str) -> hr.Dataset:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / "a.csv").write_text("a,b\n007,1\n010,2\n")
        (tmp_path / "in" / "b.csv").write_text(f"a,b\n{second},3\n")
        ds = hr.open(tmp_path / "in")
        return ds.with_columns(pl.col("a").cast(pl.String).str.len_chars().alias("n")).select(["n", "b"])

    check_update(tmp_path, digits("5"), lambda: digits("x"))
    assert hr.open(tmp_path / "out").to_polars()["n"].to_list() == [3, 3, 1]


@pytest.mark.parametrize("is_mixed", [False, True])
def test_a_value_that_a_function_closes_over_is_seen(tmp_path: Path, is_mixed: bool) -> None:
    """A function is what it is when it is called, not when the data set was made, in a part of a mix too."""
    factor = [1]
    ds = hr.from_arrays({"x": [1, 2, 3]}).map(lambda frame: frame.with_columns(pl.col("x") * factor[0]))
    if is_mixed:
        ds = hr.mix({"one": ds, "two": ds}).rows([0, 1, 4])

    def change() -> hr.Dataset:
        factor[0] = 5
        return ds

    check_update(tmp_path, ds, change)
    assert hr.open(tmp_path / "out").to_polars()["x"].to_list() == ([5, 10, 10] if is_mixed else [5, 10, 15])


def test_how_often_a_sample_came_before_is_seen(tmp_path: Path) -> None:
    """Each repeat of a sample draws by itself, so that shards of one repeated sample differ."""
    image = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), np.uint8)
    ds = hr.from_arrays({"image": image})

    def crops(ids: list[int]) -> hr.Dataset:
        return ds.rows(ids).augment(hr.augment.RandomCrop("image", size=(4, 4)))

    written = check_update(tmp_path, crops([1, 2, 2, 2, 3]), lambda: crops([2, 2, 2, 2]), rows_per_shard=1)
    assert (written.kept, written.written) == (3, 1)


def test_ids_that_move_within_a_part_of_a_mix_are_seen(tmp_path: Path) -> None:
    """What a step makes of a sample's id changes when samples come before it, in a part of a mix as well."""
    (tmp_path / "in").mkdir()

    def numbers(first: int) -> hr.Dataset:
        for number, rows in enumerate((first, 40)):
            x = np.arange(rows)
            frame = pl.DataFrame({"c": (x % 3).astype(str), "y": x * 1.5})
            frame.write_parquet(tmp_path / "in" / f"{number}.parquet")
        return hr.open(tmp_path / "in")

    before = numbers(30)
    pipe = hr.Pipeline([hr.TargetEncoder(columns="c", target="y", folds=3)]).fit(before)
    chain = Chain(tuple(step.for_training() for step in pipe.steps), pipe.dtype)

    def encoded(ds: hr.Dataset) -> hr.Dataset:
        mixed = hr.mix({"one": ds.prepare(chain)})
        return mixed.rows(np.arange(len(ds)))

    check_update(tmp_path, encoded(before), lambda: encoded(numbers(35)))


def test_shards_of_equal_contents_are_kept_however_many_there_are(tmp_path: Path) -> None:
    """One shard of the output stands for all that follow from the same."""
    (tmp_path / "in").mkdir()
    for name in "abc":
        pl.DataFrame({"x": [1, 2, 3]}).write_parquet(tmp_path / "in" / f"{name}.parquet")

    def more() -> hr.Dataset:
        pl.DataFrame({"x": [1, 2, 3]}).write_parquet(tmp_path / "in" / "d.parquet")
        pl.DataFrame({"x": [9]}).write_parquet(tmp_path / "in" / "0.parquet")
        return hr.open(tmp_path / "in")

    written = check_update(tmp_path, hr.open(tmp_path / "in"), more)
    assert (written.kept, written.written) == (4, 1)
