"""Mixing: exact proportions in every window, each part in its own order, and every epoch's end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import manifest_of, some

from headrace.errors import OptionError
from headrace.planning.batching import Batching
from headrace.planning.mixing import Mixing
from headrace.planning.order import BlockShuffle, Shuffle
from headrace.planning.plan import Plan
from headrace.planning.selection import Selection
from headrace.planning.world import World

SHUFFLES: list[Shuffle] = [False, True, "global", BlockShuffle(lanes=2, window=2)]


@st.composite
def mixes(draw: st.DrawFn, stop: str | None = None) -> Plan:
    """Plans of one to four parts with any shares and row groups."""
    parts = draw(st.integers(1, 4))
    layouts = [draw(st.lists(st.integers(0, 9), min_size=1, max_size=4)) for _ in range(parts)]
    shares = [draw(st.integers(1, 4)) for _ in range(parts)]
    firsts = np.cumsum([0, *(sum(rows) for rows in layouts)]).tolist()
    chosen = Mixing.to_shares(range(parts), shares)
    kind = stop or draw(st.sampled_from(["first", "all", "cycle"]))
    mixing = Mixing(tuple("abcd"[:parts]), tuple(firsts), chosen, kind, draw(st.integers(0, 3)))
    manifest = manifest_of(*(count for rows in layouts for count in rows))
    shuffle = draw(st.sampled_from(SHUFFLES))
    batching = Batching(draw(st.integers(1, 7)))
    return Plan(
        manifest, Selection(manifest.total), shuffle, batching, seed=draw(st.integers(0, 5)), mixing=mixing
    )


def ids_of(plan: Plan) -> np.ndarray:
    return plan.samples.at(plan.order.indices(np.arange(plan.count)))


def parts_of(plan: Plan, ids: np.ndarray) -> np.ndarray:
    assert plan.mixing is not None
    return np.searchsorted(plan.mixing.firsts, ids, side="right") - 1


@some
@given(mixes("first"))
def test_every_window_holds_the_exact_shares(plan: Plan) -> None:
    """Each window of the shares' sum holds each part's share, and the epoch ends before one that cannot."""
    assert plan.mixing is not None
    shares, width = np.array(plan.mixing.shares), sum(plan.mixing.shares)
    sizes = np.diff(plan.mixing.firsts)
    assert plan.count == int((sizes // shares).min()) * width

    ids = ids_of(plan)
    for begin in range(0, plan.count, width):
        counted = np.bincount(parts_of(plan, ids[begin : begin + width]), minlength=len(shares))
        assert counted.tolist() == shares.tolist()
    assert len(set(ids.tolist())) == plan.count


@some
@given(mixes("all"))
def test_all_delivers_every_sample_once(plan: Plan) -> None:
    """With `stop="all"` nothing is lost and nothing repeated."""
    assert sorted(ids_of(plan).tolist()) == list(range(plan.manifest.total))


@some
@given(mixes("cycle"))
def test_cycle_repeats_what_ends_early(plan: Plan) -> None:
    """With `stop="cycle"` every sample comes at least once; a part repeats once all of it was used."""
    assert plan.mixing is not None
    sizes = np.diff(plan.mixing.firsts)
    if not sizes.all():
        assert plan.count == 0
        return
    ids = ids_of(plan)
    parts = parts_of(plan, ids)
    for part, size in enumerate(sizes.tolist()):
        own = ids[parts == part]
        assert len(own) >= size
        for begin in range(0, len(own), size):
            turn = own[begin : begin + size].tolist()
            assert len(set(turn)) == len(turn)


@some
@given(mixes())
def test_positions_and_places_are_inverse(plan: Plan) -> None:
    """Each position is one place of one part, in rising order, and the way back leads to it."""
    order = plan.order
    positions = np.arange(plan.count)
    parts, places = order.locate(positions)
    for part in np.unique(parts).tolist():
        own = places[parts == part]
        assert own.tolist() == list(range(len(own)))
        assert order.positions(part, own).tolist() == positions[parts == part].tolist()


@some
@given(mixes(), st.integers(1, 5))
def test_reads_build_the_planned_batches(plan: Plan, size: int) -> None:
    """What is read for each rank is what `batch` says, each wanted sample at its step and slot."""
    if plan.count < size:
        return
    for rank in range(size):
        world = World(rank, size)
        expected = {
            (step, slot): int(id)
            for step in range(plan.steps(world))
            for slot, id in enumerate(plan.batch(step, world).ids)
        }
        found: dict[tuple[int, int], int] = {}
        begun = 0
        for read in plan.reads(world):
            assert read.first_step >= begun
            assert (read.steps >= read.first_step).all()
            begun = read.first_step
            for row, step, slot in zip(
                read.rows.tolist(), read.steps.tolist(), read.slots.tolist(), strict=True
            ):
                assert (step, slot) not in found
                found[step, slot] = int(plan.manifest.starts[read.row_group]) + row
        assert found == expected


@some
@given(mixes(), st.data())
def test_resume_anywhere(plan: Plan, data: st.DataObject) -> None:
    """What follows a cursor is what an uninterrupted epoch had left, whatever the world size."""
    if plan.count < 3:
        return
    cursor = data.draw(st.integers(0, plan.count - 3))
    world = World(0, 1)
    rest = plan.at(cursor)
    ids = [int(id) for step in range(rest.steps(world)) for id in rest.batch(step, world).ids]
    assert ids == ids_of(plan)[cursor:].tolist()


def test_epochs_and_seeds_differ() -> None:
    """Another epoch or seed turns the windows otherwise, as well as the parts' own orders."""
    manifest = manifest_of(50, 50)
    mixing = Mixing(("a", "b"), (0, 50, 100), (1, 1), "all")
    plans = [
        Plan(manifest, Selection(100), True, Batching(5), seed, epoch, mixing=mixing)
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert len({tuple(ids_of(plan).tolist()) for plan in plans}) == 3


def test_parts_are_spread_evenly() -> None:
    """A rare part is never far away: a window of ten holds one of it, and runs of the others stay short."""
    manifest = manifest_of(900, 100)
    mixing = Mixing(("a", "b"), (0, 900, 1000), (9, 1), "all")
    plan = Plan(manifest, Selection(1000), True, Batching(10), mixing=mixing)
    gaps = np.diff(np.flatnonzero(parts_of(plan, ids_of(plan)) == 1))
    assert gaps.max() <= 19


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ([0.7, 0.3], (7, 3)),
        ([1, 1, 2], (1, 1, 2)),
        ([0.5, 0.25, 0.25], (2, 1, 1)),
        ([10, 5], (2, 1)),
        ([1 / 3, 2 / 3], (1, 2)),
    ],
)
def test_weights_become_shares(weights: list[float], shares: tuple[int, ...]) -> None:
    """Weights are proportions: whole numbers without a common divisor say the same."""
    assert Mixing.to_shares([str(number) for number in range(len(weights))], weights) == shares


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), True])
def test_weights_that_cannot_be(weight: float) -> None:
    """A weight that is no positive number is refused by the part's name."""
    with pytest.raises(OptionError, match="weight of `b` must be a positive number"):
        Mixing.to_shares(["a", "b"], [1, weight])


def test_weights_too_fine() -> None:
    """Proportions that need a window of more than ten thousand samples are refused."""
    with pytest.raises(OptionError, match="at most 10,000"):
        Mixing.to_shares(["a", "b"], [0.99999, 0.00001])
