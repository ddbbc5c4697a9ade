"""World: ranks check themselves, divide samples evenly and are detected in one place."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from plans import worlds

from headrace.errors import OptionError
from headrace.planning.world import World


@pytest.fixture(autouse=True)
def outside_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delitem(sys.modules, "torch.distributed", raising=False)


def distributed(rank: int, size: int, is_initialized: bool = True, is_available: bool = True) -> object:
    """What torch.distributed answers."""
    return SimpleNamespace(
        is_available=lambda: is_available,
        is_initialized=lambda: is_initialized,
        get_rank=lambda: rank,
        get_world_size=lambda: size,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("count", [0, 1, 5, 64, 1111])
def test_slices_lie_end_to_end(size: int, count: int) -> None:
    """The ranks' parts cover all samples in order and differ by at most one."""
    slices = [world.slice(count) for world in worlds(size)]
    assert [index for begin, end in slices for index in range(begin, end)] == list(range(count))
    lengths = [end - begin for begin, end in slices]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("rank", "size"), [(0, 0), (-1, 2), (2, 2), (5, 3), (0, -1), (0.0, 2), (0, "2"), (None, 1)]
)
def test_impossible_worlds_are_refused(rank: object, size: object) -> None:
    """A rank is a whole number below a whole size; the message shows both."""
    with pytest.raises(OptionError, match=r"rank.*size"):
        World(rank, size)  # type: ignore[arg-type]


def test_alone_by_default() -> None:
    """Without torch.distributed and torchrun there is one rank."""
    assert World.detect() == World() == World(0, 1)


def test_torchrun_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun's variables tell rank and size."""
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert World.detect() == World(3, 8)


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE"])
def test_half_of_the_variables_is_no_world(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Other tools set one of the variables alone; that means nothing."""
    monkeypatch.setenv(name, "1")
    assert World.detect() == World()


@pytest.mark.parametrize(("rank", "size"), [("one", "2"), ("0", ""), ("2", "2"), ("-1", "2")])
def test_bad_variables_are_refused(monkeypatch: pytest.MonkeyPatch, rank: str, size: str) -> None:
    """Variables that name no world are an error that shows them, never a silent single rank."""
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(OptionError, match=r"RANK and WORLD_SIZE.*got"):
        World.detect()


def test_torch_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """An initialised torch.distributed counts more than the variables."""
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setitem(sys.modules, "torch.distributed", distributed(1, 2))
    assert World.detect() == World(1, 2)


@pytest.mark.parametrize("state", [{"is_initialized": False}, {"is_available": False}])
def test_torch_that_is_not_ready_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, state: dict[str, bool]
) -> None:
    """Before init_process_group, and in builds without it, the variables count."""
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setitem(sys.modules, "torch.distributed", distributed(1, 2, **state))
    assert World.detect() == World(3, 8)
