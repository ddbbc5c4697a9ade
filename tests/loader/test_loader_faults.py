"""What goes wrong is raised once, in the main thread, and says where; or it is skipped and counted."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from loader_data import laid, parquet, table_of, write_shards

import headrace as hr
from headrace.errors import ChangedSourceError, HeadraceError, PrepareError, SourceError
from headrace.testing import Fail, FaultySource, Resources, Truncate
from headrace.testing.contents import ids_of
from headrace.testing.resources import wait_for_nothing_left


class Panic(BaseException):
    """What a library in Rust raises: no `Exception`."""


def refuse_ten(frame: pl.DataFrame) -> pl.DataFrame:
    if 10 in frame["y"]:
        raise ZeroDivisionError("ten is too many")
    return frame


def panic(frame: pl.DataFrame) -> pl.DataFrame:
    raise Panic("a panic of the library underneath")


def shorten(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.head(1)


def error_of(dataset: hr.Dataset, **options: object) -> BaseException:
    """The error that ends an epoch, with the thread that saw it being this one."""
    settings = {"batch_size": 4, "output": "numpy", "with_ids": True} | options
    loader = dataset.loader(**settings)
    with pytest.raises(HeadraceError) as caught:
        list(loader)
    return caught.value


def test_an_error_in_map_says_where(tmp_path: Path) -> None:
    """The function, its file and line, the shard and the row group are named; the cause is kept."""
    found = error_of(parquet(tmp_path).map(refuse_ten), threads=4)

    assert isinstance(found, PrepareError)
    line = refuse_ten.__code__.co_firstlineno
    for part in ("refuse_ten", __file__, f"line {line}", "part-0.parquet", "row group 2", "ten is too many"):
        assert part in str(found)
    assert isinstance(found.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("shuffle", [False, True])
def test_errors_are_the_same_with_and_without_threads(tmp_path: Path, shuffle: bool) -> None:
    """Text and class do not depend on the number of threads."""
    dataset = parquet(tmp_path).map(refuse_ten)
    found = [error_of(dataset, threads=threads, shuffle=shuffle) for threads in (0, 1, 4)]

    assert len({(type(error), str(error), type(error.__cause__)) for error in found}) == 1


def test_an_error_is_raised_once_and_nothing_is_left(tmp_path: Path) -> None:
    """After the error the iterator is at its end, and its threads are gone."""
    loader = parquet(tmp_path).map(refuse_ten).loader(4, threads=4, output="numpy")
    before = Resources.now()
    iterator = iter(loader)
    with pytest.raises(PrepareError):
        list(iterator)

    assert list(iterator) == []
    assert threading.current_thread() is threading.main_thread()
    assert wait_for_nothing_left(before) == []


def test_batches_before_the_error_are_delivered(tmp_path: Path) -> None:
    """In source order, what lies in the row groups before the broken one arrives."""
    loader = parquet(tmp_path).map(refuse_ten).loader(3, threads=4, output="numpy", with_ids=True)
    iterator = iter(loader)
    got = ids_of(next(iterator) for _ in range(2))

    assert got == list(range(6))
    with pytest.raises(PrepareError):
        next(iterator)


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize(("function", "text"), [(panic, "panic"), (shorten, "number of rows")])
def test_every_failure_of_a_function_is_one_of_ours(
    tmp_path: Path, function: object, text: str, threads: int
) -> None:
    """A panic that passes `except Exception`, and a function that drops rows, become named errors."""
    found = error_of(parquet(tmp_path).map(function, version="1"), threads=threads)

    assert text in str(found)
    assert function.__name__ in str(found)


@pytest.mark.parametrize("shuffle", [False, True, "global"])
@pytest.mark.parametrize("threads", [0, 3])
def test_skipping_counts_exactly_what_was_planted(shuffle: bool, threads: int) -> None:
    """With `on_error="skip"` count and list equal the faults, and all else is delivered."""
    rows = [5, 3, 8, 2, 7, 4]
    source = laid(*rows).recipe.source
    faulty = hr.Dataset.of(FaultySource(source, {1: [Fail("first")], 4: [Truncate(2)]}))
    loader = faulty.loader(
        4, shuffle=shuffle, on_error="skip", threads=threads, output="numpy", with_ids=True
    )
    got = ids_of(loader)
    planted = [*range(5, 8), *range(18, 25)]
    stats = loader.stats()

    assert sorted(got) == [id for id in range(sum(rows)) if id not in planted]
    assert stats["skipped"] == len(planted)
    assert stats["skipped_ids"] == planted
    assert any("first" in text for text in stats["skipped_errors"])
    assert any("promises 7 rows" in text for text in stats["skipped_errors"])


def test_ranks_make_the_same_steps_though_samples_are_skipped() -> None:
    """Skipping on some ranks leaves every rank with as many batches, and states that are equal."""
    source = laid(5, 3, 8, 2, 7, 4, 6, 6).recipe.source
    faulty = FaultySource(source, {2: [Fail()], 3: [Fail()]})
    loaders = [
        hr.Dataset.of(faulty).loader(
            3, world=hr.World(rank, 3), shuffle=True, on_error="skip", output="numpy", with_ids=True
        )
        for rank in range(3)
    ]
    batches = [list(loader) for loader in loaders]

    assert len({len(found) for found in batches}) == 1
    assert len({str(loader.state_dict()) for loader in loaders}) == 1
    assert sum(loader.stats()["skipped"] for loader in loaders) == 10
    assert sum(len(ids_of(found)) for found in batches) == 31


def test_a_skipping_loader_resumes_exactly() -> None:
    """The cursor counts planned samples, so skipped ones move nothing after a resume."""
    faulty = hr.Dataset.of(FaultySource(laid(5, 3, 8, 2, 7, 4).recipe.source, {2: [Fail()]}))

    def make() -> hr.Loader:
        return faulty.loader(4, shuffle=True, on_error="skip", output="numpy", with_ids=True)

    expected = [ids_of([batch]) for batch in make()]
    for done in range(1, len(expected)):
        saver, loader = make(), make()
        for _, _ in zip(range(done), saver, strict=False):
            pass
        loader.load_state_dict(saver.state_dict())
        assert [ids_of([batch]) for batch in loader] == expected[done:]


def test_a_fault_that_passes_is_gone_in_the_next_epoch() -> None:
    """An error ends the epoch and not the loader: the same epoch can be begun again."""
    faulty = hr.Dataset.of(FaultySource(laid(5, 5).recipe.source, {1: [Fail("once"), Truncate(5)]}))
    loader = faulty.loader(5, threads=0, output="numpy", with_ids=True)
    with pytest.raises(SourceError, match="once"):
        list(loader)

    assert loader.epoch == 0
    assert ids_of(loader) == list(range(10))


def test_a_source_that_breaks_its_promise_is_refused() -> None:
    """A source that delivers fewer rows than promised, and does not notice, is still caught."""
    source = FaultySource(laid(5, 5).recipe.source, {1: [Truncate(3, checked=False)]})
    found = error_of(hr.Dataset.of(source), threads=2)

    assert "row group 1" in str(found)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_shard_replaced_in_mid_epoch_is_one_error(tmp_path: Path, threads: int) -> None:
    """A shard that is replaced while the epoch runs raises its name, and its new rows are not served."""
    paths = write_shards(tmp_path, ([5, 5], [5, 5], [5, 5]))
    loader = hr.open(tmp_path).loader(5, threads=threads, ahead=0, output="numpy", with_ids=True)
    iterator = iter(loader)
    next(iterator)
    stamp = paths[2].stat()
    pq.write_table(table_of(1000, 10), tmp_path / "_new", row_group_size=5)
    os.replace(tmp_path / "_new", paths[2])
    os.utime(paths[2], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    with pytest.raises(ChangedSourceError, match=r"part-2\.parquet"):
        list(iterator)
    assert list(iterator) == []


def test_a_shard_deleted_in_mid_epoch_is_one_error(tmp_path: Path) -> None:
    """A shard that is deleted while the epoch runs raises its name."""
    paths = write_shards(tmp_path, ([5, 5], [5, 5], [5, 5]))
    iterator = iter(hr.open(tmp_path).loader(5, threads=0, output="numpy"))
    next(iterator)
    paths[2].unlink()

    with pytest.raises(SourceError, match=r"part-2\.parquet"):
        list(iterator)
