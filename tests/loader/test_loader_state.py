"""What a saved state must look like, and what is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from loader_data import laid

import headrace as hr
from headrace.errors import OptionError, StateError
from headrace.execution.state import FIXED_PARTS
from headrace.testing.contents import ids_of


def make(**options: Any) -> hr.Loader:
    settings = {"batch_size": 4, "shuffle": True, "output": "numpy", "with_ids": True, "threads": 0}
    return laid(5, 0, 7, 3).loader(**(settings | options))


def test_a_cursor_at_the_end_begins_the_next_epoch() -> None:
    """A position after all samples, or beyond them, is the beginning of the next epoch."""
    second = make()
    second.set_epoch(3)
    expected = ids_of(second)
    for cursor in (15, 16, 1000):
        loader = make()
        loader.load_state_dict(make().state_dict() | {"epoch": 2, "cursor": cursor})

        assert loader.epoch == 3
        assert ids_of(loader) == expected


@pytest.mark.parametrize("name", list(FIXED_PARTS))
def test_every_fixed_part_is_compared(name: str) -> None:
    """A state whose part differs is refused, and the part is named with both values."""
    state = make().state_dict()
    with pytest.raises(StateError, match=f"`{name}`.*'other'"):
        make().load_state_dict(state | {name: "other"})


@pytest.mark.parametrize("name", ["version", "data", "epoch", "cursor"])
def test_a_missing_part_is_named(name: str) -> None:
    """A state that lacks a part is refused with what it must hold."""
    state = make().state_dict()
    del state[name]
    with pytest.raises(StateError, match=name):
        make().load_state_dict(state)


@pytest.mark.parametrize("name", ["epoch", "cursor"])
@pytest.mark.parametrize("value", [-1, 1.0, True, "3", None])
def test_a_position_is_a_whole_number(name: str, value: object) -> None:
    """Epoch and cursor are whole numbers of at least 0, whatever a file made of them."""
    with pytest.raises(StateError, match=f"`{name}`"):
        make().load_state_dict(make().state_dict() | {name: value})


def test_a_refused_state_changes_nothing() -> None:
    """After a state was refused, the loader goes on where it stood."""
    loader = make()
    expected = ids_of(make())
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    with pytest.raises(StateError):
        loader.load_state_dict(state | {"seed": 99})

    assert loader.state_dict() == state
    assert ids_of(iterator) == expected[4:]


def test_a_state_may_hold_more() -> None:
    """What others put beside the loader's own parts is not looked at."""
    loader = make()
    loader.load_state_dict(make().state_dict() | {"cursor": 8, "note": "from the third checkpoint"})

    assert ids_of(loader) == ids_of(make())[8:]


def test_too_few_samples_left_for_the_ranks() -> None:
    """Fewer samples left than ranks, and no step to join: the error names the tails that help."""
    state = make().state_dict() | {"cursor": 13}
    loader = make(world=hr.World(0, 4))
    loader.load_state_dict(state)
    with pytest.raises(OptionError, match=r'tail="pad".*"drop"'):
        iter(loader)

    padded = make(world=hr.World(3, 4), tail="pad")
    padded.load_state_dict(state)
    assert len(list(padded)) == 1


@pytest.mark.parametrize("epoch", [-1, 1.5, True, "2", None])
def test_an_epoch_is_a_whole_number(epoch: Any) -> None:
    """`set_epoch` refuses what is no whole number of at least 0."""
    with pytest.raises(OptionError, match="epoch"):
        make().set_epoch(epoch)


def test_a_long_lived_state_in_numbers() -> None:
    """The state says epoch and cursor in plain numbers: 2 steps of 4 samples into epoch 7."""
    loader = make()
    loader.set_epoch(7)
    for _, _ in zip(range(2), loader, strict=False):
        pass
    state = loader.state_dict()

    assert (state["epoch"], state["cursor"]) == (7, 8)
    assert loader.state_at(7, 0, delivered=2) == state
    assert (loader.state_at(7, 8, delivered=2)["epoch"], loader.state_at(7, 8, delivered=2)["cursor"]) == (
        8,
        0,
    )
