"""The loader's state in the hands of torchdata's StatefulDataLoader and of distributed checkpoints."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.stateful import Stateful
from torch_data import epochs, ids, loader
from torchdata.stateful_dataloader import StatefulDataLoader

import headrace as hr
from headrace.errors import StateError

# torchdata 0.11 calls what torch 2.13 gives up, and dcp says that there is one process.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning"),
]


def stateful(source: hr.Loader, count: int, **options: Any) -> StatefulDataLoader[Any]:
    if count:
        options["multiprocessing_context"] = "fork"
    return StatefulDataLoader(source.to_torch(), batch_size=None, num_workers=count, **options)


def advance(batches: Any, count: int) -> list[list[int]]:
    """Take some batches, and drop the iterator as `break` does."""
    taken: list[Any] = []
    for batch in batches:
        taken.append(batch)
        if len(taken) == count:
            break
    return ids(taken)


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_resume_in_mid_epoch(count: int, persistent: bool) -> None:
    """Saved after any batch and loaded elsewhere, exactly the remainder follows, then the next epoch."""
    options = {"persistent_workers": persistent} if count else {}
    expected = epochs(3, batch_size=13)
    for done in range(1, 8):
        saver = stateful(loader(batch_size=13), count, **options)
        assert advance(saver, done) == expected[0][:done]
        state = pickle.loads(pickle.dumps(saver.state_dict()))
        resumed = stateful(loader(batch_size=13), count, **options)
        resumed.load_state_dict(state)

        assert ids(resumed) == expected[0][done:]
        assert ids(resumed) == expected[1]
        assert ids(resumed) == expected[2]


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_state_of_an_epochs_end(count: int, persistent: bool) -> None:
    """Saved after the loop, the next epoch follows in full."""
    options = {"persistent_workers": persistent} if count else {}
    expected = epochs(3)
    saver = stateful(loader(), count, **options)
    assert ids(saver) == expected[0]
    resumed = stateful(loader(), count, **options)
    resumed.load_state_dict(copy.deepcopy(saver.state_dict()))

    assert ids(resumed) == expected[1]
    assert ids(resumed) == expected[2]


@pytest.mark.parametrize("count", [0, 2])
def test_state_of_the_last_batch(count: int) -> None:
    """Saved at the last batch, in the loop: nothing of the epoch is left, and the next one is whole."""
    saver = stateful(loader(), count)
    advance(saver, 15)
    resumed = stateful(loader(), count)
    resumed.load_state_dict(saver.state_dict())
    passes = [ids(resumed) for _ in range(3)]

    assert [batches for batches in passes if batches][:2] == epochs(3)[1:]
    assert passes.count([]) == (1 if count else 0)  # torchdata lets workers end the pass they were in


@pytest.mark.parametrize("count", [0, 2])
def test_resume_in_a_later_epoch(count: int) -> None:
    """A state of the third epoch resumes there, and goes on to the fourth."""
    expected = epochs(4)
    saver = stateful(loader(), count)
    assert [ids(saver), ids(saver)] == expected[:2]
    assert advance(saver, 4) == expected[2][:4]
    source = loader()
    resumed = stateful(source, count)
    resumed.load_state_dict(saver.state_dict())

    assert ids(resumed) == expected[2][4:]
    assert source.epoch == 3
    assert ids(resumed) == expected[3]


@pytest.mark.parametrize("count", [0, 2])
def test_resume_twice(count: int) -> None:
    """Parts between two saves and loads add up to the epoch."""
    expected = epochs(1)[0]
    got: list[list[int]] = []
    state = None
    while len(got) < len(expected):
        batches = stateful(loader(), count)
        if state is not None:
            batches.load_state_dict(state)
        got += advance(batches, 4)
        state = batches.state_dict()

    assert got == expected


def test_break_after_a_resume_stays_in_the_epoch() -> None:
    """A resumed epoch that is broken off begins again, in the epoch of the state."""
    expected = epochs(2)
    saver = stateful(loader(), 2)
    assert ids(saver) == expected[0]
    advance(saver, 3)
    resumed = stateful(loader(), 2)
    resumed.load_state_dict(saver.state_dict())
    advance(resumed, 2)

    assert ids(resumed) == expected[1]


def test_a_workers_state_is_not_a_loaders() -> None:
    """The part of one worker is refused as a whole loader's state, with what to do instead."""
    batches = stateful(loader(), 2)
    advance(batches, 3)
    snapshot = batches.state_dict()["_snapshot"]["_worker_snapshots"]["worker_0"]
    with pytest.raises(StateError, match="StatefulDataLoader"):
        loader().to_torch().load_state_dict(snapshot["dataset_state"])


def test_a_state_of_other_data_is_refused_in_workers() -> None:
    """Workers check the state as the loader does, and the error reaches the main process."""
    saver = stateful(loader(), 2)
    advance(saver, 3)
    other = stateful(loader(seed=5), 2)
    other.load_state_dict(saver.state_dict())
    with pytest.raises(StateError, match="seed"):
        ids(other)


def test_distributed_checkpoint(tmp_path: Path) -> None:
    """`dcp.save` and `dcp.load` bring a loader's position to another loader."""
    expected = epochs(1)[0]
    saver = loader()
    assert isinstance(saver, Stateful)
    for _, _ in zip(range(6), saver, strict=False):
        pass
    dcp.save({"loader": saver}, checkpoint_id=tmp_path)
    resumed = loader()
    dcp.load({"loader": resumed}, checkpoint_id=tmp_path)

    assert resumed.state_dict() == saver.state_dict()
    assert ids(resumed) == expected[6:]


def test_a_loader_survives_pickling_and_copying() -> None:
    """A copy stands where the original stands, and moves by itself."""
    source = loader()
    iterator = iter(source)
    next(iterator)
    iterable = source.to_torch()
    for twin in (pickle.loads(pickle.dumps(source)), copy.copy(source), copy.deepcopy(source)):
        assert twin.state_dict() == source.state_dict()
        assert twin.stats()["steps"] == 0
        twin.set_epoch(1)
        assert ids(twin) == epochs(2)[1]
    assert source.epoch == 0
    assert ids(copy.deepcopy(iterable)) == epochs(1)[0]
