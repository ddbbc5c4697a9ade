"""What goes wrong while a data set is written: told by name, nothing lost, and the next run goes on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

import headrace as hr


def numbers(folder: Path, shards: int = 6, rows: int = 30) -> hr.Dataset:
    folder.mkdir(exist_ok=True)
    for number in range(shards):
        x = np.arange(number * rows, (number + 1) * rows)
        pq.write_table(pl.DataFrame({"x": x}).to_arrow(), folder / f"in-{number}.parquet", row_group_size=10)
    return hr.open(folder)


def refuse_if_told(frame: pl.DataFrame, switch: str, bad: int) -> pl.DataFrame:
    if Path(switch).exists() and bad in frame["x"].to_list():
        raise ZeroDivisionError(f"cannot bear {bad}")
    return frame


def refusing(ds: hr.Dataset, switch: Path, bad: int) -> hr.Dataset:
    place = str(switch)
    return ds.map(lambda frame: refuse_if_told(frame, place, bad), version="refusing")


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(it.relative_to(folder)): hashlib.sha256(it.read_bytes()).hexdigest() for it in files}


@pytest.mark.parametrize("shuffle", [None, "global"])
def test_a_function_that_raises_names_file_and_row_group_and_other_work_is_kept(
    tmp_path: Path, shuffle: str | None
) -> None:
    """The error names the place; what is done is kept, and the next run gives what a clean run gives."""
    switch = tmp_path / "switch"
    switch.touch()
    ds = refusing(numbers(tmp_path / "in"), switch, 75)
    place = r"in-2\.parquet, row group 1: .*ZeroDivisionError: cannot bear 75"
    with pytest.raises(hr.JobError, match=place) as raised:
        ds.write(tmp_path / "out", shuffle=shuffle)
    assert isinstance(raised.value.__cause__, hr.PrepareError)
    with pytest.raises(hr.UnfinishedError, match="unfinished"):
        hr.open(tmp_path / "out")
    assert list((tmp_path / "out").glob("*.parquet")) == []
    switch.unlink()
    written = ds.write(tmp_path / "out", shuffle=shuffle)
    if shuffle is None:
        assert "5 of 6 shards are written and kept" in str(raised.value)
        assert (written.written, written.kept) == (1, 5)
    ds.write(tmp_path / "clean", shuffle=shuffle)
    assert digests(tmp_path / "out") == digests(tmp_path / "clean")


def test_a_job_gives_up_after_many_failures(tmp_path: Path) -> None:
    """When everything fails, not everything is tried."""
    tried: list[int] = []

    def fail(frame: pl.DataFrame) -> pl.DataFrame:
        if frame.height:
            tried.append(1)
            raise ValueError("never")
        return frame

    ds = numbers(tmp_path / "in", shards=100, rows=1).map(fail, version="never")
    with pytest.raises(hr.JobError, match=r"0 of 100 shards are .*, but not part-00000\.parquet and"):
        ds.write(tmp_path / "out", executor=hr.Serial())
    assert len(tried) < 60


def test_a_complete_output_is_not_written_again(tmp_path: Path) -> None:
    """The same job finds everything done; another one is refused and told what differs."""
    ds = numbers(tmp_path / "in")
    ds.write(tmp_path / "out")
    before = digests(tmp_path / "out")
    again = ds.write(tmp_path / "out")
    assert (again.written, again.kept) == (0, 6)
    for other, arguments, part in (
        (ds.with_columns(y=pl.col("x") + 1), {}, "recipe"),
        (ds.rows([1, 2]), {}, "selection"),
        (ds, {"shards": 2}, "layout"),
        (ds, {"format": "arrow"}, "format"),
        (ds, {"shuffle": "global"}, "order"),
        (hr.from_arrays({"x": [1]}), {}, "source"),
    ):
        with pytest.raises(hr.StateError, match=part):
            other.write(tmp_path / "out", **arguments)
    assert digests(tmp_path / "out") == before


UPDATES: dict[str, Any] = {
    "a shard more": (lambda folder: numbers(folder, shards=7), 6),
    "a shard less": (lambda folder: (folder / "in-1.parquet").unlink() or hr.open(folder), 5),
    "a shard changed": (
        lambda folder: (
            pq.write_table(pl.DataFrame({"x": [-1, -2]}).to_arrow(), folder / "in-3.parquet")
            or hr.open(folder)
        ),
        5,
    ),
    "another recipe": (lambda folder: hr.open(folder).with_columns(x=pl.col("x") + 1), 0),
    "another selection": (lambda folder: hr.open(folder).filter(pl.col("x") >= 45), 4),
}


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_writes_what_changed_and_equals_a_clean_run(tmp_path: Path, name: str) -> None:
    """New and changed shards are written, others kept as they are, removed ones dropped."""
    numbers(tmp_path / "in").write(tmp_path / "out")
    change, kept = UPDATES[name]
    changed = change(tmp_path / "in")
    with pytest.raises(hr.StateError, match="update=True"):
        changed.write(tmp_path / "out")
    written = changed.write(tmp_path / "out", update=True)
    assert written.kept == kept
    changed.write(tmp_path / "clean")
    assert digests(tmp_path / "out") == digests(tmp_path / "clean")
    assert hr.open(tmp_path / "out").to_polars().equals(changed.to_polars())


@pytest.mark.parametrize("arguments", [{}, {"shuffle": "global", "shards": 4}, {"rows_per_shard": 7}])
def test_files_are_the_same_bytes_on_threads(tmp_path: Path, arguments: dict[str, Any]) -> None:
    """Whoever computes, the bytes are the same, those of the manifest included."""
    ds = numbers(tmp_path / "in", shards=3).with_columns(y=pl.col("x").cast(pl.String))
    ds.write(tmp_path / "threads", executor=hr.Threads(4), **arguments)
    ds.write(tmp_path / "serial", executor=hr.Serial(), **arguments)
    assert digests(tmp_path / "threads") == digests(tmp_path / "serial")


@pytest.mark.slow
def test_files_are_the_same_bytes_on_processes(tmp_path: Path) -> None:
    """The same holds for processes, in another order too."""
    ds = numbers(tmp_path / "in", shards=3)
    for name, executor in (("processes", hr.Processes(2)), ("serial", hr.Serial())):
        ds.write(tmp_path / name, executor=executor, shuffle="global", shards=4)
    assert digests(tmp_path / "processes") == digests(tmp_path / "serial")


def test_fitted_pipelines_lie_beside_what_they_prepared(tmp_path: Path) -> None:
    """The pipeline that is loaded does what the one did that wrote."""
    ds = numbers(tmp_path / "in")
    pipe = hr.Pipeline([hr.StandardScaler(columns=["x"])]).fit(ds)
    ds.prepare(pipe).write(tmp_path / "out")
    loaded = hr.Pipeline.load(tmp_path / "out" / "_pipeline-0.json")
    assert ds.prepare(loaded).to_polars().equals(hr.open(tmp_path / "out").to_polars())
    modes = {path.name: path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert modes["_pipeline-0.json"] == modes["part-00000.parquet"]


def test_an_executor_by_name_is_refused(tmp_path: Path) -> None:
    """The message shows one; nothing is begun."""
    executor: Any = "dask"
    with pytest.raises(hr.OptionError, match=r"`executor` must be an executor, .* got 'dask'"):
        hr.from_arrays({"x": [1]}).write(tmp_path / "out", executor=executor)
    assert not (tmp_path / "out").exists()


def test_a_job_does_not_replace_what_it_reads(tmp_path: Path) -> None:
    """An output is no source of its own, whatever leads there."""
    ds = numbers(tmp_path / "in")
    ds.write(tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    before = digests(tmp_path / "out")
    for source, target in (("out", "out"), ("out", "link"), ("link", "out"), ("in", ".")):
        read = hr.open(tmp_path / source).filter(pl.col("x") > 5)
        with pytest.raises(hr.OutputError, match="which the data set is read from"):
            read.write(tmp_path / target, update=True)
    assert digests(tmp_path / "out") == before


def test_what_is_no_folder_or_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL does not become a folder of this machine."""
    monkeypatch.chdir(tmp_path)
    ds = hr.from_arrays({"x": [1]})
    for path in ("s3://bucket/out", "a\0b"):
        with pytest.raises(hr.OptionError, match="`path` must be a folder of a file system"):
            ds.write(path)
    wrong: Any = [1]
    with pytest.raises(hr.OptionError, match="`bloom_filters` must name columns"):
        ds.write("out", bloom_filters=wrong)
    assert list(tmp_path.iterdir()) == []
