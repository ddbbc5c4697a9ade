"""Batches by a budget of tokens, and samples of like length together: planned, elastic, resumable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import manifest_of, some

from headrace.errors import OptionError, SchemaError
from headrace.planning.batching import Batching
from headrace.planning.buckets import Buckets
from headrace.planning.lengths import Lengths
from headrace.planning.mixing import Mixing
from headrace.planning.order import BlockShuffle
from headrace.planning.plan import Plan
from headrace.planning.selection import Selection
from headrace.planning.world import World

BUDGET = 40


@st.composite
def token_plans(draw: st.DrawFn) -> Plan:
    """Plans with a budget, buckets, or both; over all samples, some, or a mix."""
    rows = draw(st.lists(st.integers(0, 12), min_size=1, max_size=6))
    total = sum(rows)
    values = np.array(draw(st.lists(st.integers(0, 8), min_size=total, max_size=total)), np.int64)
    lengths = Lengths("tokens", values)
    kind = draw(st.sampled_from(["all", "some", "mix"]))
    selection = Selection(total)
    if kind == "some" and total:
        selection = Selection.of(draw(st.lists(st.integers(0, total - 1), max_size=30)), total)
    half = sum(rows[: len(rows) // 2])
    mixing = (
        Mixing(("a", "b"), (0, half, total), (2, 1), "all") if kind == "mix" and 0 < half < total else None
    )
    buckets = Buckets("tokens", draw(st.integers(1, 5)), draw(st.integers(1, 4)))
    which = draw(st.sampled_from(["budget", "buckets", "both"]))
    batching = Batching(draw(st.integers(1, 6))) if which == "buckets" else Batching(BUDGET, BUDGET)
    return Plan(
        manifest_of(*rows),
        selection,
        draw(st.sampled_from([False, True, "global", BlockShuffle(lanes=2, window=2)])),
        batching,
        seed=draw(st.integers(0, 3)),
        mixing=mixing,
        batch_by=lengths if which != "buckets" else None,
        bucket_by=(buckets, lengths) if which != "budget" else None,
    )


def batches(plan: Plan, world: World | None = None) -> list[list[int]]:
    world = world or World()
    return [plan.batch(step, world).ids.tolist() for step in range(plan.steps(world))]


@some
@given(token_plans())
def test_every_sample_comes_once(plan: Plan) -> None:
    """Budgets and buckets lose nothing and repeat nothing."""
    delivered = [id for batch in batches(plan) for id in batch]
    assert sorted(delivered) == sorted(plan.selection.ids.tolist())


@some
@given(token_plans())
def test_steps_hold_what_fits(plan: Plan) -> None:
    """A step's samples fit into the budget, and the first of the next one would not have."""
    if plan.batch_by is None:
        return
    lengths = plan.batch_by.values
    found = batches(plan)
    for number, batch in enumerate(found):
        total = int(lengths[batch].sum())
        assert total <= BUDGET
        if number + 1 < len(found):
            assert total + int(lengths[found[number + 1][0]]) > BUDGET


@some
@given(token_plans(), st.integers(2, 5))
def test_global_batches_do_not_depend_on_the_world(plan: Plan, size: int) -> None:
    """At one global budget the ranks' batches joined are the single rank's; all ranks have equal steps."""
    if plan.batch_by is None:
        return
    try:
        each = [batches(plan, World(rank, size)) for rank in range(size)]
    except OptionError:
        assert plan.count < size
        return
    assert len({len(found) for found in each}) == 1
    assert all(batch for found in each for batch in found)
    joined = [[id for batch in step for id in batch] for step in zip(*each, strict=True)]
    alone = batches(plan)
    assert joined[: len(joined) - 1] == alone[: len(joined) - 1]
    assert [id for step in joined for id in step] == [id for step in alone for id in step]


@some
@given(token_plans(), st.integers(1, 3))
def test_reads_build_the_planned_batches(plan: Plan, size: int) -> None:
    """What is read for each rank is what `batch` says."""
    for rank in range(size):
        world = World(rank, size)
        try:
            expected = {
                (step, slot): id
                for step, batch in enumerate(batches(plan, world))
                for slot, id in enumerate(batch)
            }
        except OptionError:
            assert plan.count < size
            return
        found: dict[tuple[int, int], int] = {}
        for read in plan.reads(world):
            assert (read.steps >= read.first_step).all()
            first = int(plan.manifest.starts[read.row_group])
            for row, step, slot in zip(
                read.rows.tolist(), read.steps.tolist(), read.slots.tolist(), strict=True
            ):
                assert (step, slot) not in found
                found[step, slot] = first + row
        assert found == expected


@some
@given(token_plans(), st.data())
def test_resume_after_every_step(plan: Plan, data: st.DataObject) -> None:
    """The steps that follow a cursor are those that an uninterrupted epoch had left."""
    world = World()
    whole = batches(plan)
    for step in range(len(whole) - 1):
        rest = plan.at(plan.cursor_after(step, world))
        assert batches(rest) == whole[step + 1 :]


def test_buckets_bring_like_lengths_together() -> None:
    """Batches are far more even with buckets than without, and still come in a keyed order."""
    values = np.random.default_rng(0).integers(1, 500, 8192)
    lengths = Lengths("tokens", values)
    manifest = manifest_of(*[1024] * 8)

    def spread(plan: Plan) -> float:
        return float(np.mean([np.ptp(values[batch]) for batch in batches(plan)]))

    plain = Plan(manifest, Selection(8192), True, Batching(32))
    bucketed = Plan(
        manifest, Selection(8192), True, Batching(32), bucket_by=(Buckets("tokens", 32, 64), lengths)
    )
    assert spread(bucketed) < spread(plain) / 10
    means = [float(values[batch].mean()) for batch in batches(bucketed)]
    assert np.abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.3
    other = Plan(manifest, Selection(8192), True, Batching(32), 0, 1, bucket_by=bucketed.bucket_by)
    assert batches(other) != batches(bucketed)


def test_a_sample_beyond_the_budget_is_named() -> None:
    """It could never be delivered, so the plan says so."""
    plan = Plan(
        manifest_of(3), Selection(3), False, Batching(5), batch_by=Lengths("tokens", np.array([1, 9, 2]))
    )
    with pytest.raises(SchemaError, match=r"column `tokens`: a sample of 9 tokens .* share of 5"):
        plan.steps(World())


def test_ranks_share_tokens_evenly() -> None:
    """One long sample weighs as much as many short ones."""
    values = np.array([8] + [1] * 8)
    plan = Plan(manifest_of(9), Selection(9), False, Batching(8, 16), batch_by=Lengths("tokens", values))
    assert [plan.batch(0, World(rank, 2)).ids.tolist() for rank in range(2)] == [[0], list(range(1, 9))]


@pytest.mark.parametrize("value", [0, -1, True, 1.5])
def test_buckets_that_cannot_be(value: Any) -> None:
    """Chunks and windows are whole numbers of at least 1."""
    with pytest.raises(OptionError, match="`chunk` must be a whole number"):
        Buckets("tokens", chunk=value)
