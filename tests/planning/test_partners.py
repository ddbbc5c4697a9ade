"""Partners and repeats: who a sample is mixed with, and the how-manieth time it comes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.manifest import Manifest, Shard
from headrace.planning.batching import Batching
from headrace.planning.mixing import Mixing
from headrace.planning.order import BlockShuffle, Shuffle
from headrace.planning.partners import Partner
from headrace.planning.plan import Plan
from headrace.planning.selection import Selection
from headrace.planning.world import World

GROUPS = (5, 7, 1, 9, 8)
TOTAL = sum(GROUPS)
MANIFEST = Manifest((Shard("a", GROUPS, tuple(8 * rows for rows in GROUPS), "00"),))
SHUFFLES: list[Shuffle] = [False, True, "global", BlockShuffle(lanes=3, window=3)]
PARTNERS: list[Partner] = ["order", "id"]


def plan_of(shuffle: Shuffle, batch_size: int, selection: Selection | None = None, **more: Any) -> Plan:
    return Plan(MANIFEST, selection or Selection(TOTAL), shuffle, Batching(batch_size), seed=5, **more)


def deliveries(plan: Plan, world_size: int, kind: str) -> list[tuple[int, int]]:
    """The (sample, partner) or (sample, repeat) pairs of an epoch, over all ranks."""
    found: list[tuple[int, int]] = []
    for rank in range(world_size):
        world = World(rank, world_size)
        for step in range(plan.steps(world)):
            own = plan.batch(step, world)
            if kind == "repeats":
                assert own.samples is not None
                repeats = own.samples.repeats
                others = np.zeros(len(own.ids), np.int64) if repeats is None else repeats
            else:
                others = plan.partners("id" if kind == "id" else "order").batch(step, world).ids
            found += zip(own.ids.tolist(), others.tolist(), strict=True)
    return found


@pytest.mark.parametrize("shuffle", SHUFFLES, ids=str)
@pytest.mark.parametrize("partner", PARTNERS)
def test_partners_do_not_depend_on_batches_or_ranks(shuffle: Shuffle, partner: Partner) -> None:
    """Each sample has one other partner in an epoch, at any batch size, world size and cursor."""
    wanted = dict(deliveries(plan_of(shuffle, TOTAL), 1, partner))
    assert set(wanted) == set(range(TOTAL))
    assert all(own != other for own, other in wanted.items())
    for batch_size, world_size in ((1, 1), (4, 1), (3, 2), (2, 3)):
        assert dict(deliveries(plan_of(shuffle, batch_size), world_size, partner)) == wanted
    rest = deliveries(plan_of(shuffle, 4).at(12), 1, partner)
    assert len(rest) == TOTAL - 12
    assert dict(rest).items() <= wanted.items()


@pytest.mark.parametrize("shuffle", SHUFFLES, ids=str)
def test_partners_in_order_are_a_permutation(shuffle: Shuffle) -> None:
    """Everybody is the partner of one sample."""
    others = [other for _, other in deliveries(plan_of(shuffle, 6), 1, "order")]

    assert sorted(others) == list(range(TOTAL))


def test_drawn_partners_change_with_the_epoch_and_are_even() -> None:
    """Over many epochs each other sample is drawn about as often."""
    counts: Counter[tuple[int, int]] = Counter()
    epochs = 600
    for epoch in range(epochs):
        counts.update(deliveries(plan_of(False, TOTAL, epoch=epoch), 1, "id"))
    drawn = np.array([counts[one, two] for one in range(TOTAL) for two in range(TOTAL) if one != two])
    expected = epochs / (TOTAL - 1)

    # Of a chi-square with so many degrees of freedom, the mean and its deviation.
    freedom = TOTAL * (TOTAL - 2)
    assert abs(((drawn - expected) ** 2 / expected).sum() - freedom) < 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("shuffle", [False, True, "global"])
def test_planned_reads_deliver_the_partners(partner: Partner, shuffle: Shuffle) -> None:
    """What is read for the partners of a batch are the ids that its plan names."""
    plan, world = plan_of(shuffle, 4).partners(partner), World(1, 2)
    batches = [np.full(plan.batch_size(step, world), -1) for step in range(plan.steps(world))]
    for read in plan.reads(world):
        for row, step, slot in zip(read.rows, read.steps, read.slots, strict=True):
            batches[step][slot] = row + MANIFEST.starts[read.row_group]

    for step, ids in enumerate(batches):
        assert ids.tolist() == plan.batch(step, world).ids.tolist()


def test_a_single_sample_is_its_own_partner() -> None:
    """Where there is nobody else."""
    plan = plan_of(False, 4, Selection.of([7], TOTAL))

    assert deliveries(plan, 1, "order") == deliveries(plan, 1, "id") == [(7, 7)]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 7), st.sampled_from([1, 2]))
def test_copies_of_a_sample_are_numbered(ids: list[int], batch_size: int, world_size: int) -> None:
    """The copies of each sample have the numbers from 0 on, wherever the batches are cut."""
    for shuffle in (False, True):
        plan = plan_of(shuffle, batch_size, Selection.of(ids, TOTAL))
        if world_size > len(ids):
            continue
        found = deliveries(plan, world_size, "repeats")
        assert len(set(found)) == len(ids)
        assert Counter(own for own, _ in found) == Counter(ids)
        assert all(repeat < Counter(ids)[own] for own, repeat in found)
        if not shuffle and world_size == 1:
            assert [repeat for _, repeat in found] == [
                ids[:place].count(own) for place, own in enumerate(ids)
            ]


def test_a_part_of_a_mix_that_begins_anew_counts_on() -> None:
    """With `stop="cycle"` a small part comes several times, each time with another number."""
    mixing = Mixing(("a", "b"), (0, 5, TOTAL), (1, 1), "cycle")
    found = deliveries(plan_of(True, 4, mixing=mixing), 1, "repeats")

    assert len(set(found)) == len(found) == 2 * (TOTAL - 5)
    assert {repeat for own, repeat in found if own < 5} == set(range(5))
    assert {repeat for own, repeat in found if own >= 5} == {0}


def test_padding_repeats_a_sample_as_it_is() -> None:
    """What `tail="pad"` delivers again has the same number."""
    plan = Plan(MANIFEST, Selection(3), False, Batching(4, tail="pad"), seed=5)
    samples = plan.batch(0, World()).samples

    assert samples is not None
    assert samples.ids.tolist() == [0, 1, 2, 0]
    assert samples.repeats is None


@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("shuffle", SHUFFLES, ids=str)
@given(
    batch_size=st.integers(1, TOTAL + 1),
    size=st.integers(1, 3),
    cursor=st.integers(0, TOTAL - 3),
    data=st.data(),
)
def test_partners_are_read_as_they_are_planned(
    shuffle: Shuffle, partner: Partner, batch_size: int, size: int, cursor: int, data: st.DataObject
) -> None:
    """The reads of a rank's partners put each into its slot, once, and none comes before it is announced."""
    plan = plan_of(shuffle, batch_size).at(cursor).partners(partner)
    world = World(data.draw(st.integers(0, size - 1)), size)
    steps = plan.steps(world)
    begin = data.draw(st.integers(0, steps - 1))
    wanted = range(begin, data.draw(st.integers(begin + 1, steps)))
    found: dict[tuple[int, int], int] = {}
    announced = 0
    for read in plan.reads(world, wanted):
        announced = max(announced, read.first_step)
        assert read.steps.min() >= announced
        ids = read.rows + int(MANIFEST.starts[read.row_group])
        slots = list(zip(read.steps.tolist(), read.slots.tolist(), strict=True))
        assert not found.keys() & set(slots)
        found |= dict(zip(slots, ids.tolist(), strict=True))

    assert found == {
        (step, slot): sample
        for step in wanted
        for slot, sample in enumerate(plan.batch(step, world).ids.tolist())
    }


def test_partners_in_order_are_read_as_the_samples_are() -> None:
    """A partner's read waits for its window, and does not fetch the whole epoch at the first step."""
    counts = (10,) * 40
    manifest = Manifest((Shard("a", counts, tuple(8 * rows for rows in counts), "00"),))
    plan = Plan(manifest, Selection(400), BlockShuffle(lanes=2, window=4), Batching(10))
    others = plan.partners("order")
    early = [read for read in others.reads(World()) if read.first_step == 0]

    assert len(early) <= 8
    assert others.open_samples(World()) == plan.open_samples(World())
