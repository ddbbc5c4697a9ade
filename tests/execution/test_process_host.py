"""`loader(host="process")`: the same batches, state and errors, and nothing left of the process."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import host_programs
import numpy as np
import polars as pl
import pytest
import torch
from host_programs import interrupt, is_alive, run, start

import headrace as hr
from headrace.execution.host import process
from headrace.testing import Fail, FaultySource, LoaderTests, Resources
from headrace.testing.contents import contents, ids_of
from headrace.testing.resources import wait_for_nothing_left
from headrace.testing.strategies import LaidSource

SOURCES = (Path(hr.__file__).parents[1], Path(__file__).parent)


@pytest.fixture(autouse=True, scope="module")
def quick_start() -> Iterator[None]:
    """Start processes in a moment: from a server that has imported everything and holds no threads."""
    server: Any = multiprocessing.forkserver._forkserver
    server._stop()
    multiprocessing.set_forkserver_preload(["warmed_up"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*map(str, SOURCES), os.environ.get("PYTHONPATH", "")]))
        multiprocessing.forkserver.ensure_running()
        patch.setattr(process, "START_METHOD", "forkserver")
        yield
    multiprocessing.set_forkserver_preload(["__main__"])


def samples(count: int = 40) -> hr.Dataset:
    number = np.arange(count)
    return hr.from_arrays(
        {
            "x": number * 1.5,
            "image": (np.arange(count * 6) % 251).astype(np.uint8).reshape(count, 2, 3),
            "text": [f"row {row}" for row in number],
            "list": [list(range(row % 4)) for row in number],
        }
    )


def large(count: int = 64, size: int = 1 << 16) -> hr.Dataset:
    """Batches of half a megabyte and more."""
    values = np.arange(count, dtype=np.uint8)[:, None] + np.zeros(size, np.uint8)
    return hr.from_arrays({"x": values})


def child_of(loader: hr.Loader) -> int:
    """The number of the process that a loader has started."""
    return loader._host._child._process.pid  # pyright: ignore  only a test wants to know


def shared_bytes() -> int:
    """How much memory of headrace's processes is mapped in this one."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in maps if "memfd:headrace" in line]
    return sum(int(end, 16) - int(begin, 16) for begin, end in spans)


class TestProcessHost(LoaderTests):
    """The contract of loaders, with every loader's work in a process of its own."""

    @pytest.fixture(params=[True], ids=str)
    def shuffle(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    @pytest.fixture
    def dataset(self) -> hr.Dataset:
        return samples()

    def make(self, dataset: hr.Dataset, shuffle: Any, **options: Any) -> hr.Loader:
        return super().make(dataset, shuffle, **{"host": "process"} | options)


# What is delivered


def every_kind(count: int = 50) -> hr.Dataset:
    """Every kind of column, some of them prepared by Polars."""
    number = np.arange(count)
    sparse = hr.Sparse(number * 1.0, number % 7, np.arange(count + 1), width=7)
    dataset = hr.from_arrays(
        {
            "x": number * 1.5,
            "flag": number % 2 == 0,
            "day": number.astype("datetime64[D]"),
            "text": [f"row {row}" for row in number],
            "list": [list(range(row % 4)) for row in number],
            "sparse": sparse.to_arrow(),
        }
    )
    return dataset.with_columns(y=pl.col("x") * 2)


def in_bytes(value: Any) -> Any:
    """A column of any output in a form that `==` compares."""
    if isinstance(value, torch.Tensor) and value.is_nested:
        return [part.tolist() for part in value.unbind()]
    if isinstance(value, torch.Tensor):
        return value.dtype, value.to_dense().tolist()
    if isinstance(value, hr.Ragged):
        return value.values.tolist(), value.offsets.tolist()
    if isinstance(value, hr.Sparse):
        return value.to_dense().tolist()
    return (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("output", ["numpy", "torch", "arrow"])
def test_every_kind_of_column_comes_over(output: Any) -> None:
    """Numbers, text, lists, sparse rows, dates, ids and the mask of padding are those of threads."""
    options: dict[str, Any] = {"shuffle": True, "tail": "pad", "with_ids": True, "output": output}
    with every_kind().loader(8, host="process", **options) as hosted:
        batches = list(hosted)
    expected = list(every_kind().loader(8, **options))

    if output == "arrow":
        assert batches == expected
        return
    assert len(batches) == len(expected)
    for got, wanted in zip(batches, expected, strict=True):
        assert {name: in_bytes(column) for name, column in got.items()} == {
            name: in_bytes(column) for name, column in wanted.items()
        }


def test_nulls_come_over_in_arrow() -> None:
    """Arrow output keeps nulls, in numbers and in text."""
    dataset = hr.from_arrow(pl.DataFrame({"x": [1, None, 3], "t": [None, "a", "b"]}).to_arrow())
    with dataset.loader(2, output="arrow", host="process") as loader:
        rows = [row for batch in loader for row in batch.to_pylist()]

    assert rows == [{"x": 1, "t": None}, {"x": None, "t": "a"}, {"x": 3, "t": "b"}]


def test_a_batch_that_is_kept_is_never_overwritten() -> None:
    """Arrays of all kinds, some of which are kept for an epoch and beyond, keep their values."""
    kept: list[tuple[Any, np.ndarray[Any, Any]]] = []
    with large().loader(8, shuffle=True, output="numpy", host="process") as loader:
        for _ in range(6):
            for step, batch in enumerate(loader):
                if step % 3 == 0:
                    kept.append((batch["x"][1:3], batch["x"][1:3].copy()))  # a view keeps the whole
    for view, copy in kept:
        assert np.array_equal(view, copy)


def test_batches_outlive_the_process() -> None:
    """Closing the loader takes nothing away that somebody holds."""
    with large().loader(8, output="numpy", host="process") as loader:
        batches = list(loader)

    assert [int(batch["x"][0, 0]) for batch in batches] == list(range(0, 64, 8))


def test_memory_stays_bounded() -> None:
    """What is dropped is used again: epoch after epoch, and with batches of ever new sizes."""
    with large().loader(8, shuffle=True, output="numpy", host="process") as loader:
        for _ in loader:
            pass
        first = shared_bytes()
        for _ in range(20):
            for step, _ in enumerate(loader):
                if step == 5:
                    break
        assert shared_bytes() <= first + (1 << 24)
    lists = hr.from_arrays({"x": [list(range(row * 37 % 1000)) for row in range(300)]})
    with lists.loader(7, shuffle=True, output="numpy", host="process") as loader:
        for _ in loader:
            pass
        first = shared_bytes()
        for _ in range(10):
            for _ in loader:
                pass
        assert shared_bytes() <= first + (1 << 24)


def test_stats_are_those_of_both_processes() -> None:
    """Rows, rooms and the cache are counted, wherever the work was done."""
    dataset = samples().select(["x", "image"]).with_columns(y=pl.col("x") * 2).cache("memory")
    with dataset.loader(7, output="numpy", host="process") as loader:
        for _ in range(3):
            list(loader)
        stats = loader.stats()

    assert (stats["rows"], stats["steps"]) == (120, 18)
    assert stats["seconds"]["gather"] > 0
    assert stats["seconds"]["wait"] > 0
    assert stats["cache_misses"] == 1
    assert stats["cache_hits"] >= 1


# What goes wrong


def broken() -> hr.Dataset:
    source = FaultySource(LaidSource([8, 8, 8, 8]), {2: [Fail("no disk")]})
    return hr.Dataset.of(source)


def test_an_error_comes_at_the_same_batch() -> None:
    """Its type, its text and the batches before it are those of threads; the next epoch tries again."""
    outcomes: list[Any] = []
    for host in ("thread", "process"):
        loader = broken().loader(4, output="numpy", host=host, threads=1)
        got: list[Any] = []
        with pytest.raises(hr.SourceError, match="row group 2: no disk") as caught:
            got.extend(batch["value"].tolist() for batch in loader)
        state = loader.state_dict()
        with pytest.raises(hr.SourceError):
            list(loader)
        outcomes.append((type(caught.value), str(caught.value), got, state))
        loader.close()

    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][2]) == 4


def test_skipped_samples_are_listed() -> None:
    """`on_error="skip"` leaves out the same samples, and says which."""
    with broken().loader(4, output="numpy", host="process", on_error="skip", with_ids=True) as loader:
        assert ids_of(loader) == [*range(16), *range(24, 32)]
        assert loader.stats()["skipped_ids"] == list(range(16, 24))
        assert "no disk" in loader.stats()["skipped_errors"][0]


def test_warnings_come_over() -> None:
    """What a function warns of is heard by the process that trains."""
    dataset = samples().select(["x"]).map(host_programs.warn, version="1")
    with dataset.loader(40, output="numpy", host="process") as loader, pytest.warns(UserWarning, match="odd"):
        list(loader)


def test_a_function_that_cannot_be_pickled_is_refused() -> None:
    """The error names the function, the option and what to do; the loader still closes."""
    dataset = samples().select(["x"]).map(lambda frame: frame, version="1")
    loader = dataset.loader(4, output="numpy", host="process")
    with pytest.raises(hr.OptionError, match=r'host="process".*<lambda>.*top of a module'):
        next(iter(loader))
    loader.close()


def test_an_unknown_host_is_refused() -> None:
    """The names are in the error."""
    with pytest.raises(hr.OptionError, match='"thread" or "process", got \'gpu\''):
        samples().loader(4, host="gpu")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_process_is_an_error_and_replaced(after: int) -> None:
    """Killed in mid-epoch, the error says so; a saved state goes on in a fresh process, to the end."""
    expected = contents(large().loader(4, shuffle=True, output="numpy", with_ids=True))
    loader = large().loader(4, shuffle=True, output="numpy", with_ids=True, host="process", ahead=1)
    got: list[Any] = []
    with pytest.raises(hr.WorkerError, match=r"died \(code -9\)"):  # noqa: PT012  the loop is what fails
        for batch in loader:
            got += contents([batch])
            if len(got) == after:
                os.kill(child_of(loader), signal.SIGKILL)
    state = loader.state_dict()
    loader.load_state_dict(state)
    got += contents(loader)

    assert got == expected
    assert loader.epoch == 1
    loader.close()


def test_a_process_killed_between_epochs_is_replaced_in_silence() -> None:
    """Nobody waits for it then, so nothing is lost."""
    with large().loader(8, output="numpy", host="process") as loader:
        first = contents(loader)
        os.kill(child_of(loader), signal.SIGKILL)
        time.sleep(0.2)

        assert contents(loader) == first


def test_break_stops_the_work(tmp_path: Path) -> None:
    """After `break`, the process reads what is under way and no more."""
    log = tmp_path / "log"
    dataset = hr.Dataset.of(LaidSource([4] * 200)).map(host_programs.Noting(str(log)))
    loader = dataset.loader(4, output="numpy", host="process", threads=1)
    for _ in loader:
        break
    time.sleep(0.3)
    begun = len(log.read_text())
    time.sleep(0.5)

    assert len(log.read_text()) == begun < 100
    loader.close()


def test_nothing_is_left() -> None:
    """A loader that is closed or forgotten ends its process; so does an iterator that is all that is left."""
    list(samples().loader(8, output="numpy", host="process", seed=1))
    before = Resources.now()
    numbers: list[int] = []
    for close in (True, False):
        loader = samples().loader(8, output="numpy", host="process")
        iterator = iter(loader)
        next(iterator)
        numbers.append(child_of(loader))
        if close:
            loader.close()
        del loader, iterator

    assert wait_for_nothing_left(before) == []
    assert not any(is_alive(number) for number in numbers)


# Whole programs, whose processes are spawned


def test_the_process_ends_with_its_parent() -> None:
    """Killed without notice, a training leaves no process behind, also one that is busy."""
    program = start(host_programs.TRAINING, "sleep")
    assert program.stdout is not None
    number = int(program.stdout.readline())
    program.kill()
    program.communicate()
    end = time.monotonic() + 5
    while is_alive(number) and time.monotonic() < end:
        time.sleep(0.02)

    assert not is_alive(number)


def test_ctrl_c_ends_both_processes() -> None:
    """Within 5 seconds, although a function sleeps; nothing is complained of but that."""
    program = start(host_programs.TRAINING, "sleep")
    assert program.stdout is not None
    number = int(program.stdout.readline())
    seconds = interrupt(program, times=2)
    _, errors = program.communicate(timeout=10)

    assert seconds < 5
    assert program.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    assert "resource_tracker" not in errors
    assert not is_alive(number)


def test_a_program_that_forgets_its_loader_ends_quietly() -> None:
    """Nothing is printed on standard error at the end, not even by Python's own trackers."""
    output, errors = run(host_programs.TRAINING, "break")

    assert output == "done\n"
    assert errors == ""


def test_a_script_without_a_guard_is_told_so() -> None:
    """A script that would start itself again and again gets an error that says what to write."""
    program = start(host_programs.UNGUARDED)
    _, errors = program.communicate(timeout=60)

    assert program.returncode == 1
    assert 'if __name__ == "__main__":' in errors


def test_workers_of_a_dataloader_host_themselves() -> None:
    """A worker is a process already, and starts no other one."""
    loader = samples().loader(8, shuffle=True, host="process", with_ids=True)
    expected = [batch["sample_id"].tolist() for batch in samples().loader(8, shuffle=True, with_ids=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = torch.utils.data.DataLoader(
            loader.to_torch(), batch_size=None, num_workers=1, multiprocessing_context="fork"
        )
        assert [batch["sample_id"].tolist() for batch in batches] == expected
