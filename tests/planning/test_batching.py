"""Batching and Cut: how positions are cut into steps, and the kernel that places them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import many, worlds

from headrace.errors import OptionError
from headrace.planning.batching import Batching, Tail
from headrace.planning.world import World


@pytest.mark.parametrize(
    ("tail", "count", "size", "expected"),
    [
        ("keep", 20, 2, [8, 8, 4]),
        ("keep", 16, 2, [8, 8]),
        ("keep", 17, 2, [8, 9]),  # one sample for two ranks joins the step before
        ("keep", 18, 2, [8, 8, 2]),
        ("keep", 2, 2, [2]),
        ("drop", 20, 2, [8, 8]),
        ("drop", 7, 2, []),
        ("pad", 17, 2, [8, 8, 8]),
        ("pad", 1, 2, [8]),
        ("keep", 0, 2, []),
        ("drop", 0, 2, []),
        ("pad", 0, 2, []),
    ],
)
def test_step_sizes(tail: Tail, count: int, size: int, expected: list[int]) -> None:
    """Batches of 4 on two ranks: what each tail makes of the last samples."""
    cut = Batching(4, tail=tail).cut(0, count, World(0, size))
    assert [cut.step_size(step) for step in range(cut.steps)] == expected
    assert cut.padding == max(sum(expected) - count, 0)


@many
@given(
    st.integers(0, 300),
    st.integers(0, 300),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from(["keep", "drop", "pad"]),
)
def test_steps_follow_on_each_other(begin: int, count: int, batch_size: int, size: int, tail: Tail) -> None:
    """Bounds lie end to end, every rank gets a sample in every step, and only the tail is left out."""
    end = begin + count
    if tail == "keep" and 0 < count < size:
        return
    cut = Batching(batch_size, tail=tail).cut(begin, end, World(0, size))
    at = begin
    for step in range(cut.steps):
        first, last = cut.bounds(step)
        assert first == at
        assert first < last
        lengths = [high - low for low, high in (world.slice(cut.step_size(step)) for world in worlds(size))]
        assert min(lengths) >= 1
        assert max(lengths) - min(lengths) <= 1
        at = last
    assert end - at < (size * batch_size if tail == "drop" else 1)


@many
@given(st.data())
def test_kernel_equals_reference(data: st.DataObject) -> None:
    """The compiled placing gives the same steps and slots as plain NumPy, outside of the cut too."""
    begin, count = data.draw(st.integers(0, 200)), data.draw(st.integers(1, 400))
    size, lanes = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 30))
    total = data.draw(st.none() | st.integers(size, 50))
    batching = Batching(data.draw(st.integers(1, 20)), total, data.draw(st.sampled_from(["drop", "pad"])))
    world = World(data.draw(st.integers(0, size - 1)), size)
    cut = batching.cut(begin, begin + count, world)
    first = data.draw(st.integers(0, max(cut.steps - 1, 0)))
    wanted = range(first, data.draw(st.integers(first, cut.steps)), data.draw(st.integers(1, 4)))
    positions = np.random.default_rng(0).permutation(begin + count + 60)
    steps, slots = cut.place(positions, lanes, world, wanted)
    expected_steps, expected_slots = cut.place_reference(positions, lanes, world, wanted)
    assert np.array_equal(slots, expected_slots)
    assert np.array_equal(steps[slots >= 0], expected_steps[slots >= 0])


def test_kernel_is_exact_at_huge_positions() -> None:
    """Floats divide exactly below 2**53: places near 10**15 agree with whole-number arithmetic."""
    end, world = 10**15, World(2, 7)
    for size, lanes in ((1, 1), (3, 24), (4096 * 7, 24), (999_983, 7)):
        cut = Batching(1, size * 7, "drop").cut(12_345, end, world)
        begins = cut.begin + np.arange(cut.steps - 40, cut.steps, 3) * cut.size
        positions = np.unique(np.concatenate([begins + shift for shift in (-1, 0, 1, cut.size // 3)]))
        positions = positions[positions < end]
        wanted = range(cut.steps)
        for found, expected in zip(
            cut.place(positions, lanes, world, wanted),
            cut.place_reference(positions, lanes, world, wanted),
            strict=True,
        ):
            assert np.array_equal(found, expected)


@many
@given(st.integers(0, 100), st.integers(1, 200), st.integers(1, 30), st.integers(1, 30), st.integers(1, 9))
def test_placing_is_the_inverse_of_positions(
    begin: int, count: int, global_size: int, lanes: int, size: int
) -> None:
    """`place` finds the slot that `positions` has for a position, sorted by (lane, place in lane)."""
    global_size = max(global_size, size)
    if count < size:
        return
    cut = Batching(1, global_size).cut(begin, begin + count, World(0, size))
    for step in range(cut.steps):
        first, last = cut.bounds(step)
        by_lane = sorted(range(first, last), key=lambda position: (position % lanes, position))
        assert cut.positions(step, lanes, np.arange(last - first)).tolist() == by_lane
        for world in worlds(size):
            low, high = world.slice(last - first)
            _, slots = cut.place(np.array(by_lane), lanes, world, range(cut.steps))
            assert np.flatnonzero(slots >= 0).tolist() == list(range(low, high))
            assert slots[low:high].tolist() == list(range(high - low))


@many
@given(st.integers(0, 50), st.integers(1, 150), st.integers(1, 40), st.integers(1, 20), st.integers(1, 8))
def test_lanes_that_are_passed_over_hold_nothing_wanted(
    begin: int, count: int, global_size: int, lanes: int, size: int
) -> None:
    """`touches` is false only where no position of that part of the lane belongs to the rank."""
    cut = Batching(1, max(global_size, size), "pad").cut(begin, begin + count, World(0, size))
    for world in worlds(size):
        for lane in range(lanes):
            positions = np.arange(begin, begin + count)
            positions = positions[positions % lanes == lane]
            for part in np.array_split(positions, 3):
                if part.size and not cut.touches(lane, lanes, int(part[0]), int(part[-1]), world):
                    assert (cut.place(part, lanes, world, range(cut.steps))[1] < 0).all()


def test_lanes_of_other_ranks_are_passed_over() -> None:
    """With 8 lanes, 4 ranks and batches that the lanes divide, each rank computes its own 2 lanes."""
    cut = Batching(16).cut(0, 640, World(0, 4))
    touched = [[lane for lane in range(8) if cut.touches(lane, 8, 0, 639, world)] for world in worlds(4)]
    assert touched == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "4", None])
def test_impossible_batch_sizes_are_refused(size: object) -> None:
    """A batch size is a whole number of at least 1; the message shows what was given."""
    with pytest.raises(OptionError, match=r"`batch_size`.*got"):
        Batching(size)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 2.0, False])
def test_impossible_global_batch_sizes_are_refused(size: object) -> None:
    """So is a global batch size."""
    with pytest.raises(OptionError, match=r"`global_batch_size`.*got"):
        Batching(4, size)  # type: ignore[arg-type]


def test_an_unknown_tail_is_refused() -> None:
    """The message names the three tails."""
    with pytest.raises(OptionError, match='"keep", "drop" or "pad"'):
        Batching(4, tail="last")  # type: ignore[arg-type]


def test_a_global_batch_smaller_than_the_world_is_refused() -> None:
    """Some rank would get no sample."""
    with pytest.raises(OptionError, match="at least the world size, got 3 for 4 ranks"):
        Batching(1, 3).cut(0, 100, World(0, 4))


def test_more_ranks_than_samples_names_the_ways_out() -> None:
    """Fewer samples than ranks and no step to join: the message names tail="pad" and "drop". Case 19."""
    with pytest.raises(OptionError, match=r'3 samples.*4 ranks.*tail="pad".*"drop"'):
        Batching(2).cut(0, 3, World(0, 4))
    assert Batching(2, tail="pad").cut(0, 3, World(0, 4)).steps == 1
    assert Batching(2, tail="drop").cut(0, 3, World(0, 4)).steps == 0
