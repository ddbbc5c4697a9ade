"""A plain `DataLoader` over `loader.to_torch()`: the same batches in the same order, whoever makes them."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils.data import DataLoader
from torch_data import epochs, ids, loader, numbers, workers

import headrace as hr
from headrace.errors import OptionError, StateError


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_batches_are_the_loaders_own(count: int, persistent: bool) -> None:
    """Over three epochs, any number of workers gives the sequence of the loader by itself."""
    source = loader()
    batches = workers(source, count, persistent_workers=persistent)
    got = [ids(batches) for _ in range(3)]

    assert got == epochs(3)
    assert source.epoch == 3


def test_no_workers_are_the_loader_itself() -> None:
    """With `num_workers=0` the loader works in this process, and its epoch advances."""
    source = loader()
    batches = workers(source, 0)

    assert [ids(batches) for _ in range(2)] == epochs(2)
    assert source.epoch == 2
    assert len(batches) == len(source) == 15


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_started_afresh_workers_follow(context: str) -> None:
    """Workers that are no forks follow epochs, `set_epoch` and a loaded state, persistent ones too."""
    expected = epochs(4)
    source = loader()
    saver = loader()
    for _, _ in zip(range(4), saver, strict=False):
        pass
    source.load_state_dict(saver.state_dict())
    batches = workers(source, 2, context, persistent_workers=True)

    assert ids(batches) == expected[0][4:]  # the workers were made after the state was loaded
    assert ids(batches) == expected[1]
    source.set_epoch(3)
    assert ids(batches) == expected[3]
    source.load_state_dict(saver.state_dict())
    assert ids(batches) == expected[0][4:]
    assert source.epoch == 1


def test_workers_that_are_started_for_each_epoch_follow() -> None:
    """Spawned workers that end with the epoch begin the next one where it begins."""
    source = loader(batch_size=30)
    batches = workers(source, 1, "spawn")

    assert [ids(batches) for _ in range(2)] == epochs(2, batch_size=30)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("on_loader", [False, True])
def test_set_epoch_is_followed(persistent: bool, on_loader: bool) -> None:
    """`set_epoch` on the loader or on the data set holds for the next pass, forwards and back."""
    expected = epochs(6)
    source = loader()
    batches = workers(source, 2, persistent_workers=persistent)
    for epoch in (5, 2, 2, 0, 3):
        (source if on_loader else source.to_torch()).set_epoch(epoch)
        assert ids(batches) == expected[epoch]
        assert source.epoch == epoch + 1


@pytest.mark.parametrize("persistent", [False, True])
def test_a_loaded_state_is_followed(persistent: bool) -> None:
    """A state loaded between passes is where the next one begins; the epoch after it is whole."""
    expected = epochs(3)
    states = states_of(loader())
    source = loader()
    batches = workers(source, 2, persistent_workers=persistent)
    assert ids(batches) == expected[0]
    for done in (14, 3, 0, 8):
        source.load_state_dict(states[done])
        assert ids(batches) == expected[0][done:]
        assert ids(batches) == expected[1]


@pytest.mark.parametrize("count", [2, 3])
def test_epochs_of_few_batches(count: int) -> None:
    """Fewer batches than workers, or one batch left to resume: workers that finish at once mislead nobody."""
    for batch_size in (100, 60, 34):
        expected = epochs(6, batch_size=batch_size)
        source = loader(batch_size=batch_size)
        batches = workers(source, count, persistent_workers=True)
        assert [ids(batches) for _ in range(6)] == expected
    states = states_of(loader())
    expected = epochs(2)
    for _ in range(5):
        source = loader()
        source.load_state_dict(states[14])
        batches = workers(source, count)
        assert ids(batches) == expected[0][14:]
        assert ids(batches) == expected[1]


@pytest.mark.parametrize("persistent", [False, True])
def test_break_does_not_advance(persistent: bool) -> None:
    """After `break`, far from the epoch's end, the same epoch begins again."""
    source = loader()
    batches = workers(source, 2, persistent_workers=persistent)
    for _ in range(3):
        for _, _ in zip(range(2), batches, strict=False):
            pass
        assert source.epoch == 0
    assert ids(batches) == epochs(1)[0]
    assert source.epoch == 1


def test_the_main_process_does_not_guess_a_state() -> None:
    """In a pass by workers a state is refused rather than wrong; told the number, it is right."""
    expected = epochs(2)
    source = loader()
    batches = iter(workers(source, 2))
    for _ in range(5):
        next(batches)
    with pytest.raises(StateError, match="delivered"):
        source.state_dict()
    state = source.to_torch().state_dict(delivered=5)
    resumed = loader()
    resumed.load_state_dict(state)

    assert ids(resumed) == expected[0][5:]
    with pytest.raises(OptionError, match="15 batches"):
        source.to_torch().state_dict(delivered=16)
    assert ids(batches) == expected[0][5:]
    assert source.epoch == 1
    last = loader().to_torch().state_dict(delivered=15)
    assert (last["epoch"], last["cursor"]) == (1, 0)


def test_a_state_between_passes_is_the_next_epochs() -> None:
    """Once the workers have read an epoch to its end, the state begins the next one."""
    source = loader()
    ids(workers(source, 2))
    resumed = loader()
    resumed.load_state_dict(source.state_dict())

    assert ids(resumed) == epochs(2)[1]


def test_the_state_counts_from_where_the_pass_began() -> None:
    """After a resume, `delivered` counts the batches of the resumed pass."""
    source = loader()
    source.load_state_dict(states_of(loader())[6])
    batches = iter(workers(source, 2))
    for _ in range(3):
        next(batches)
    resumed = loader()
    resumed.load_state_dict(source.to_torch().state_dict(delivered=3))

    assert ids(resumed) == epochs(1)[0][9:]


def test_workers_and_the_loader_by_turns() -> None:
    """Epochs read by workers and by the loader itself follow each other."""
    expected = epochs(4)
    source = loader()
    batches = workers(source, 2, persistent_workers=True)

    assert [ids(batches), ids(source), ids(batches), ids(source)] == expected
    assert source.epoch == 4


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_with_workers(size: int) -> None:
    """The ranks' batches of a step, end to end, are the global batch of one rank."""
    expected = epochs(1, global_batch_size=12)[0]
    ranks = [
        ids(workers(loader(global_batch_size=12, world=hr.World(rank, size)), 2)) for rank in range(size)
    ]

    assert [[id for batch in step for id in batch] for step in zip(*ranks, strict=True)] == expected


@pytest.mark.parametrize("tail", ["keep", "drop", "pad"])
def test_tails_with_workers(tail: str) -> None:
    """Every tail gives with workers what it gives without, the mask of padding included."""
    expected = list(loader(tail=tail))
    got = list(workers(loader(tail=tail), 3))

    assert ids(got) == ids(expected)
    assert [set(batch) for batch in got] == [set(batch) for batch in expected]


def test_all_data_sets_of_a_loader_follow_it() -> None:
    """`loader.to_torch()` may be said again: what one of them was told holds for the others."""
    expected = epochs(4)
    source = loader()
    first, second = workers(source, 2), workers(source, 2)
    source.to_torch().set_epoch(2)

    assert ids(first) == expected[2]
    assert ids(second) == expected[3]
    assert source.epoch == 4


def test_a_fork_beside_running_threads() -> None:
    """Workers are forked while the parent's own loader is in mid-epoch with threads: both go on."""
    expected = epochs(1)[0]
    parent = loader(threads=4)
    iterator = iter(parent)
    head = [next(iterator), next(iterator)]
    got = ids(workers(loader(threads=2), 2))

    assert got == expected
    assert ids(head) + ids(iterator) == expected


def test_the_same_loader_forks_while_it_runs() -> None:
    """Also the loader whose threads are running may be read by forked workers, from the beginning."""
    expected = epochs(1)[0]
    source = loader(threads=4)
    iterator = iter(source)
    next(iterator)

    assert ids(workers(source, 2)) == expected
    assert ids(iterator) == expected[1:]


def test_columns_of_every_kind_come_through_workers() -> None:
    """Text arrives as lists of `str`, lists of numbers as jagged tensors, arrays as they are."""
    dataset = hr.from_arrays(
        {"text": [f"t{row}" for row in range(20)], "tokens": [list(range(row % 3)) for row in range(20)]}
    )
    plain = list(dataset.loader(6, shuffle=True, with_ids=True))
    got = list(workers(dataset.loader(6, shuffle=True, with_ids=True), 2))

    for batch, expected in zip(got, plain, strict=True):
        assert batch["text"] == expected["text"]
        assert [row.tolist() for row in batch["tokens"].unbind()] == [
            row.tolist() for row in expected["tokens"].unbind()
        ]


def test_two_loaders_of_batches_at_once() -> None:
    """Two `DataLoader`s over two loaders, read in turn, do not touch each other."""
    pairs = list(zip(workers(loader(), 2), workers(loader(numbers(), seed=9), 2), strict=True))

    assert ids(first for first, _ in pairs) == epochs(1)[0]
    assert ids(second for _, second in pairs) == epochs(1, seed=9)[0]


def states_of(source: hr.Loader) -> list[dict[str, Any]]:
    """The states before the first batch and after each."""
    return [source.state_dict(), *(source.state_dict() for _ in source)]


def test_output_as_arrays_through_workers() -> None:
    """NumPy output crosses the border to the main process as well."""
    source = loader(output="numpy")
    batches = DataLoader(
        source.to_torch(), batch_size=None, num_workers=2, multiprocessing_context="fork", collate_fn=same
    )

    assert [batch["sample_id"].tolist() for batch in batches] == epochs(1)[0]


def same(batch: Any) -> Any:
    return batch
