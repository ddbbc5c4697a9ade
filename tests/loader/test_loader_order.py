"""The order depends on data, recipe, seed and epoch alone: not on timing, hashing or who computes it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loader_data import in_memory, laid, parquet, prepared
from loader_programs import run

import headrace as hr
from headrace.execution.build import build_batch
from headrace.planning.batching import Batching
from headrace.planning.plan import Plan
from headrace.testing import Delay, FaultySource, SlowSource
from headrace.testing.contents import contents, ids_of
from headrace.testing.strategies import LaidSource, filled_layouts, selections, shuffles, tails

HASHED = """
import hashlib, pathlib, sys
import headrace as hr
ds = hr.open(sys.argv[1])
loader = ds.loader(batch_size=6, shuffle=True, seed=1, threads=3, output="numpy", with_ids=True)
stream = [batch["sample_id"].tolist() for _ in range(2) for batch in loader]
print(hashlib.sha256(repr((stream, loader.state_dict())).encode()).hexdigest())
"""


@pytest.mark.parametrize("threads", [0, 1, 4])
@pytest.mark.parametrize("shuffle", [True, "global", False])
def test_sleeping_sources_change_nothing(threads: int, shuffle: bool) -> None:
    """Random sleeps in the source, with any number of threads, leave every batch as it is."""
    dataset = laid(*[9, 4, 0, 12, 7, 8, 3] * 2)
    expected = contents(dataset.loader(8, shuffle=shuffle, seed=2, threads=0, output="numpy", with_ids=True))
    for seed in range(3):
        slow = hr.Dataset.of(SlowSource(dataset.recipe.source, seconds=0.01, seed=seed))
        loader = slow.loader(8, shuffle=shuffle, seed=2, threads=threads, output="numpy", with_ids=True)

        assert contents(loader) == expected


def test_one_row_group_that_takes_long_changes_nothing() -> None:
    """A straggler is waited for, and the batches around it come in their order."""
    dataset = laid(*[6] * 12)
    expected = ids_of(dataset.loader(6, threads=0, output="numpy", with_ids=True))
    slow = hr.Dataset.of(FaultySource(dataset.recipe.source, {3: [Delay(0.3)], 7: [Delay(0.2)]}))

    assert ids_of(slow.loader(6, threads=4, ahead=4, output="numpy", with_ids=True)) == expected


def test_hash_seed_changes_nothing(tmp_path: Path) -> None:
    """Other PYTHONHASHSEEDs give the same stream and the same state, in fresh processes."""
    parquet(tmp_path)
    streams = {run(HASHED, tmp_path, PYTHONHASHSEED=seed) for seed in ("0", "1", "4242")}

    assert len(streams) == 1


@pytest.mark.parametrize(
    "executor", [hr.Serial(), hr.Threads(3), hr.Processes(2)], ids=lambda it: type(it).__name__
)
def test_every_executor_builds_the_same_batches(executor: hr.Executor, tmp_path: Path) -> None:
    """`build_batch` over an epoch's plan gives what the loader delivers, wherever it runs."""
    dataset = prepared(tmp_path)
    plan = Plan(dataset.manifest, dataset.selection, True, Batching(6), seed=3)
    loader = dataset.loader(6, shuffle=True, seed=3, output="numpy", with_ids=True)
    plans = [plan.batch(step, hr.World()) for step in range(len(loader))]
    built = executor.map(partial(build_batch, dataset.recipe), plans, ahead=3)

    for batch, delivered in zip(built, loader, strict=True):
        assert batch.ids.tolist() == delivered["sample_id"].tolist()
        for name, column in batch.columns.items():
            assert column.dtype == delivered[name].dtype
            assert column.tobytes() == delivered[name].tobytes()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data(), filled_layouts(), shuffles(), tails(), st.integers(1, 9), st.integers(0, 3))
def test_a_resumed_loader_goes_on_as_planned(
    data: st.DataObject, rows: list[int], shuffle: object, tail: str, batch_size: int, threads: int
) -> None:
    """For any layout, selection and settings, a state from anywhere resumes to the missing batches."""
    dataset = laid(*rows)
    chosen = data.draw(selections(sum(rows)))
    if chosen is not None:
        dataset = dataset.rows(chosen)

    def make(count: int) -> hr.Loader:
        return dataset.loader(
            batch_size, shuffle=shuffle, tail=tail, seed=7, threads=count, output="numpy", with_ids=True
        )

    expected = contents(make(0))
    done = data.draw(st.integers(0, len(expected)))
    saver = make(threads)
    for _, _ in zip(range(done), saver, strict=False):
        pass
    state = saver.state_dict() if done < len(expected) or not expected else None
    loader = make(threads)
    if state is not None:
        loader.load_state_dict(state)
        assert contents(loader) == expected[done:]
    for batch in expected:
        values = [3 * id for id in batch["sample_id"]]
        assert len(values) == batch["value"][1][0]


def test_two_loaders_on_one_data_set_do_not_touch_each_other() -> None:
    """Two live loaders, taken from in turn, each deliver what they deliver alone."""
    dataset = in_memory()
    settings_of = ({"shuffle": True, "seed": 1}, {"shuffle": "global", "seed": 9, "batch_size": 4})

    def make(number: int) -> hr.Loader:
        options = {"batch_size": 7, "threads": 2, "output": "numpy", "with_ids": True} | settings_of[number]
        return dataset.loader(**options)

    alone = [contents(make(number)) for number in range(2)]
    first, second = iter(make(0)), iter(make(1))
    got: tuple[list[object], list[object]] = ([], [])
    while len(got[0]) < len(alone[0]) or len(got[1]) < len(alone[1]):
        for iterator, batches in zip((first, second), got, strict=True):
            batches.extend(contents([batch for batch in [next(iterator, None)] if batch is not None]))

    assert list(got) == alone


def test_two_iterators_of_one_loader_deliver_the_same() -> None:
    """A second iterator begins the epoch anew; the loader's state follows the later one."""
    loader = in_memory().loader(7, shuffle=True, threads=2, output="numpy", with_ids=True)
    expected = ids_of(loader.batch(step) for step in range(len(loader)))
    first = iter(loader)
    next(first)
    next(first)
    second = iter(loader)
    next(second)
    state = loader.state_dict()
    rest = ids_of(first)

    assert rest == expected[14:]
    assert loader.state_dict() == state
    assert loader.epoch == 0
    assert ids_of(second) == expected[7:]
    assert loader.epoch == 1


def test_a_laid_out_source_is_read_as_laid_out() -> None:
    """The strategies' own source holds three times each id, so that tests may compare values."""
    assert hr.Dataset.of(LaidSource([2, 0, 3])).to_polars()["value"].to_list() == [0, 3, 6, 9, 12]
