"""Plan: exactly once, elastic, resumable at every step, and reads that build the same batches."""

from __future__ import annotations

import sys
from dataclasses import replace
from subprocess import run
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from plans import (
    batches_from_reads,
    expected_batches,
    fits,
    global_batches,
    ids_of,
    many,
    plan_of,
    plans,
    same_samples,
    sequence,
    some,
    world_sizes,
    worlds,
)

from headrace.errors import OptionError
from headrace.planning.batching import Batching
from headrace.planning.order import BlockShuffle
from headrace.planning.plan import Plan
from headrace.planning.world import World


def with_global_size(plan: Plan, size: int) -> Plan:
    """The same plan with another number of samples in a step."""
    return replace(plan, batching=replace(plan.batching, global_batch_size=size))


# Exactly once, and the definition


@many
@given(plans(), world_sizes)
def test_batches_are_what_the_design_says(plan: Plan, size: int) -> None:
    """Global batches, in order: positions [sG, (s+1)G) by (lane, place in lane), and the three tails."""
    assume(fits(plan, size))
    assert global_batches(plan, size) == expected_batches(plan, size)


@many
@given(plans(), world_sizes)
def test_every_rank_takes_an_even_part_of_every_step(plan: Plan, size: int) -> None:
    """No rank is without a sample, batches of a step differ by at most one, `batch_size` foretells them."""
    assume(fits(plan, size))
    for step in range(plan.steps(World(0, size))):
        lengths = [len(plan.batch(step, world).ids) for world in worlds(size)]
        assert lengths == [plan.batch_size(step, world) for world in worlds(size)]
        assert min(lengths) >= 1
        assert max(lengths) - min(lengths) <= 1


@many
@given(plans(tails=["keep"]), world_sizes)
def test_keep_delivers_every_sample_once(plan: Plan, size: int) -> None:
    """With `tail="keep"` an epoch holds every selected sample exactly as often as the selection."""
    assume(fits(plan, size))
    assert same_samples(ids_of(global_batches(plan, size)), plan.selection.ids.tolist())


@many
@given(plans(tails=["drop"]), world_sizes)
def test_drop_leaves_out_less_than_a_step(plan: Plan, size: int) -> None:
    """With `tail="drop"` all steps are full and only the last samples of the order are missing."""
    assume(fits(plan, size))
    batches = global_batches(plan, size)
    full = plan.batching.global_batch_size or plan.batching.batch_size * size
    assert {len(batch) for batch in batches} <= {full}
    assert len(batches) == plan.count // full
    assert same_samples(ids_of(batches), sequence(plan)[: len(batches) * full])


@many
@given(plans(tails=["pad"]), world_sizes)
def test_pad_marks_repeats_at_the_end(plan: Plan, size: int) -> None:
    """With `tail="pad"` all steps are full; what is not marked is every sample once; marks come last."""
    assume(fits(plan, size))
    full = plan.batching.global_batch_size or plan.batching.batch_size * size
    ids: list[int] = []
    repeats: list[int] = []
    for step in range(plan.steps(World(0, size))):
        batches = [plan.batch(step, world) for world in worlds(size)]
        marks = [bool(mark) for batch in batches for mark in batch.is_padding]  # type: ignore[union-attr]
        found = [id for batch in batches for id in batch.ids.tolist()]
        assert len(found) == len(marks) == full
        assert marks == sorted(marks), "padding must come last"
        count = marks.count(False)
        ids, repeats = ids + found[:count], repeats + found[count:]
    assert same_samples(ids, plan.selection.ids.tolist())
    start = sequence(plan)
    assert repeats == [start[place % plan.count] for place in range(len(repeats))]


def test_only_padded_batches_carry_marks() -> None:
    """`is_padding` is None for the other tails, and there for every batch of `tail="pad"`."""
    for tail, expected in (("keep", False), ("drop", False), ("pad", True)):
        plan = plan_of([10], 4, tail=tail)
        marks = [plan.batch(step, World()).is_padding is not None for step in range(plan.steps(World()))]
        assert set(marks) == {expected}


def test_padding_goes_round_where_the_epoch_is_short() -> None:
    """Two samples fill a step of ten: the epoch's start is repeated again and again."""
    plan = plan_of([2], 10, tail="pad", shuffle=False)
    batch = plan.batch(0, World())
    assert batch.ids.tolist() == [0, 1] * 5
    assert batch.is_padding is not None
    assert batch.is_padding.tolist() == [False] * 2 + [True] * 8
    assert batches_from_reads(plan, World()) == {0: [0, 1] * 5}


# Elastic


@many
@given(plans(), world_sizes, st.integers(12, 40))
def test_global_batches_do_not_depend_on_the_world(plan: Plan, size: int, global_size: int) -> None:
    """At equal G the ordered global batches are those of one rank, but for a joined last step."""
    plan = with_global_size(plan, global_size)
    assume(fits(plan, size))
    alone, together = global_batches(plan), global_batches(plan, size)
    if len(together) == len(alone):
        assert together == alone
    else:  # fewer samples left than ranks: they joined the step before
        assert plan.batching.tail == "keep"
        assert 0 < plan.count % global_size < size
        assert together[:-1] == alone[:-2]
        assert same_samples(together[-1], alone[-2] + alone[-1])


@pytest.mark.parametrize("shuffle", [True, False, "global", BlockShuffle(6, 6)])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
def test_world_sizes_over_120_rows(shuffle: Any, size: int) -> None:
    """Case 10: worlds of 1 to 12 see the same samples at each step, none twice in a step."""
    plan = plan_of([24, 6, 50, 40], size=24, shuffle=shuffle, seed=3)
    batches = global_batches(plan, size)
    assert batches == global_batches(plan)
    assert len(batches) == 5
    assert all(len(set(batch)) == 24 for batch in batches)


@pytest.mark.parametrize(("size", "workers"), [(1, 2), (1, 3), (1, 4), (2, 2), (2, 3)])
def test_workers_never_change_the_batches(size: int, workers: int) -> None:
    """Case 11: workers take every k-th step; together they build the batches of a single worker."""
    plan = plan_of([24, 6, 50, 41], 5, seed=3)
    for world in worlds(size):
        steps = plan.steps(world)
        built: dict[int, list[int]] = {}
        for worker in range(workers):
            part = batches_from_reads(plan, world, range(worker, steps, workers))
            assert set(part) == set(range(worker, steps, workers)), "every worker has work (case 20)"
            built |= part
        assert built == {step: plan.batch(step, world).ids.tolist() for step in range(steps)}


def test_resume_on_other_numbers_of_nodes() -> None:
    """Case 12: a global batch of 960 begun on 15 ranks goes on the same on 1 to 120, in order."""
    plan = plan_of([700, 1234, 66, 2000, 1000], size=960, seed=1)
    alone = global_batches(plan)
    assert len(alone) == 6
    rest = plan.at(plan.cursor_after(1, World(0, 15)))
    for size in (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 24, 30, 40, 60, 120):
        assert global_batches(rest, size) == alone[2:]


@pytest.mark.parametrize(("before", "after", "batch_size"), [(32, 16, 3), (8, 64, 2), (4, 6, 5), (4, 6, 7)])
@pytest.mark.parametrize("shuffle", [True, "global", BlockShuffle(4, 8)])
def test_hosts_change_after_seven_steps(before: int, after: int, batch_size: int, shuffle: Any) -> None:
    """Case 13: before and after a change of hosts and global batch, every sample exactly once."""
    plan = plan_of([97] * 11 + [1], 2, shuffle=shuffle)
    cursor = plan.cursor_after(6, World(0, before))
    assert cursor == 7 * 2 * before
    delivered = ids_of(global_batches(plan, before)[:7])
    rest = replace(plan.at(cursor), batching=Batching(batch_size))
    assert sorted(delivered + ids_of(global_batches(rest, after))) == list(range(plan.count))


def test_shrink_and_grow_again() -> None:
    """Case 14: 8 ranks, then 2, then 8: the cursor moves by what was consumed and parts are disjoint."""
    plan, cursor, delivered = plan_of([50] * 9, 3, seed=2), 0, []
    for size, steps in ((8, 3), (2, 5), (8, 4)):
        part = ids_of(global_batches(plan.at(cursor), size)[:steps])
        assert len(part) == steps * 3 * size
        cursor = plan.at(cursor).cursor_after(steps - 1, World(0, size))
        delivered += part
        assert cursor == len(delivered)
    assert len(set(delivered)) == len(delivered)
    delivered += ids_of(global_batches(plan.at(cursor), 1))
    assert sorted(delivered) == list(range(450))


@pytest.mark.parametrize("shuffle", [True, False, "global"])
def test_the_rest_of_uneven_shards_is_the_suffix(shuffle: Any) -> None:
    """Case 15: shards [3, 11, 1, 7, 5], 2 ranks, 3 workers, cursor 5: exactly what follows, unrounded."""
    plan = plan_of([3, 11, 1, 7, 5], 2, shuffle=shuffle).at(5)
    found: list[int] = []
    for world in worlds(2):
        steps = plan.steps(world)
        for worker in range(3):
            found += ids_of([*batches_from_reads(plan, world, range(worker, steps, 3)).values()])
    assert len(found) == 22
    assert same_samples(found, sequence(plan)[5:])


def test_the_cursor_at_and_past_the_end() -> None:
    """Case 16: at the end nothing is left; beyond it is an error; the next epoch is full."""
    plan = plan_of([6, 4], 4)
    assert global_batches(plan.at(10)) == []
    assert list(plan.at(10).reads(World())) == []
    for cursor in (11, -1):
        with pytest.raises(OptionError, match=rf"0\.\.10, got {cursor}"):
            plan.at(cursor)
    assert len(ids_of(global_batches(replace(plan, epoch=1)))) == 10


@pytest.mark.parametrize("count", [405, 812, 1111])
@pytest.mark.parametrize("size", [2, 3, 8, 64])
def test_counts_that_do_not_divide(count: int, size: int) -> None:
    """Case 17: 405, 812 and 1,111 samples over 2 to 64 ranks: keep, drop and pad to the letter."""
    for tail in ("keep", "drop", "pad"):
        batches = global_batches(plan_of([100] * 3 + [count - 300], 8, tail=tail), size)
        full, rest = divmod(count, 8 * size)
        kept = {"drop": full * 8 * size, "keep": count, "pad": (full + (rest > 0)) * 8 * size}[tail]
        assert len(ids_of(batches)) == kept
        assert len(set(ids_of(batches))) == min(kept, count)


def test_eleven_rows_on_four_ranks() -> None:
    """Case 17: 11 rows on 4 ranks are all covered, and lengths differ by at most one in each step."""
    plan = plan_of([11], 2)
    shares = [[len(plan.batch(step, world).ids) for step in range(plan.steps(world))] for world in worlds(4)]
    assert shares == [[2], [3], [3], [3]]
    assert sum(map(sum, shares)) == 11
    for step in range(len(shares[0])):
        column = [share[step] for share in shares]
        assert max(column) - min(column) <= 1


def test_dropping_everything_leaves_no_step() -> None:
    """Case 17: fewer samples than a step, all dropped: zero steps, no error."""
    plan = plan_of([7], 4, tail="drop")
    assert plan.steps(World(0, 2)) == 0
    assert list(plan.reads(World(1, 2))) == []


def test_ranks_of_a_replica_group_agree() -> None:
    """Case 18: processes that are given the same World get identical batches."""
    first, second = plan_of([20, 30], 4), plan_of([20, 30], 4)
    for step in range(first.steps(World(1, 2))):
        assert np.array_equal(first.batch(step, World(1, 2)).ids, second.batch(step, World(1, 2)).ids)


def test_fewer_samples_than_ranks() -> None:
    """Case 19: an error that names both ways out, on every rank alike; both ways work."""
    for world in worlds(4):
        with pytest.raises(OptionError, match=r'tail="pad".*"drop"'):
            plan_of([2, 1], 4).steps(world)
        assert len(plan_of([2, 1], 4, tail="pad").batch(0, world).ids) == 4
        assert plan_of([2, 1], 4, tail="drop").steps(world) == 0


def test_fewer_row_groups_than_ranks() -> None:
    """Case 19: ranks outnumber row groups: still equal steps and every sample once."""
    plan = plan_of([40, 41], 2)
    assert sorted(ids_of(global_batches(plan, 12))) == list(range(81))


def test_a_joined_last_step_splits_evenly() -> None:
    """17 samples in steps of 8 on 2 ranks: the last sample joins the second step, 4 and 5."""
    plan = plan_of([17], 4)
    assert [[len(plan.batch(step, world).ids) for world in worlds(2)] for step in range(2)] == [
        [4, 4],
        [4, 5],
    ]
    assert plan.cursor_after(1, World(0, 2)) == 17
    for world in worlds(2):
        expected = {step: plan.batch(step, world).ids.tolist() for step in range(2)}
        assert batches_from_reads(plan, world) == expected


@many
@given(plans(tails=["keep"]), world_sizes, st.integers(0, 60), st.booleans())
def test_part_of_a_selection_is_a_partition_again(plan: Plan, size: int, count: int, is_head: bool) -> None:
    """Case 20: taking or skipping samples before dividing them among ranks loses and repeats none."""
    chosen = plan.selection.ids
    part = chosen[:count] if is_head else chosen[count:]
    plan = replace(plan, selection=type(plan.selection).of(part, plan.manifest.total))
    assume(fits(plan, size))
    assert same_samples(ids_of(global_batches(plan, size)), part.tolist())


def test_shuffling_keeps_every_worker_busy() -> None:
    """Case 20: six shards, four workers, shuffled: every worker yields batches."""
    plan = plan_of([10] * 6, 5)
    steps = plan.steps(World())
    assert all(len(batches_from_reads(plan, World(), range(worker, steps, 4))) == 3 for worker in range(4))


# Resume


@some
@given(plans(), world_sizes)
def test_resume_at_every_step(plan: Plan, size: int) -> None:
    """A plan at the cursor after any step gives the identical remainder, marks of padding included."""
    assume(fits(plan, size))
    batches = global_batches(plan, size)
    for step in range(len(batches)):
        rest = plan.at(plan.cursor_after(step, World(0, size)))
        assert global_batches(rest, size) == batches[step + 1 :]


@some
@given(plans(), world_sizes, world_sizes, st.integers(1, 20), st.data())
def test_resume_elsewhere(plan: Plan, before: int, after: int, batch_size: int, data: st.DataObject) -> None:
    """With another world and batch size, what follows is exactly what was not yet delivered."""
    plan = replace(plan, batching=Batching(plan.batching.batch_size, plan.batching.global_batch_size))
    assume(fits(plan, before) and plan.steps(World(0, before)) > 0)
    step = data.draw(st.integers(0, plan.steps(World(0, before)) - 1))
    delivered = ids_of(global_batches(plan, before)[: step + 1])
    rest = replace(plan.at(plan.cursor_after(step, World(0, before))), batching=Batching(batch_size))
    assume(fits(rest, after))
    remaining = ids_of(global_batches(rest, after))
    assert same_samples(remaining, sequence(plan)[rest.cursor :])
    assert same_samples(delivered + remaining, plan.selection.ids.tolist())


@some
@given(plans(tails=["drop", "pad"]), world_sizes, world_sizes, st.integers(12, 30), st.data())
def test_resume_in_order_where_the_global_batch_is_equal(
    plan: Plan, before: int, after: int, global_size: int, data: st.DataObject
) -> None:
    """At equal G another world goes on with the very batches that the first one had left, in order."""
    plan = with_global_size(plan, global_size)
    batches = global_batches(plan, before)
    assume(batches)
    step = data.draw(st.integers(0, len(batches) - 1))
    rest = plan.at(plan.cursor_after(step, World(0, before)))
    assert global_batches(rest, after) == batches[step + 1 :]


def test_a_step_that_is_not_there() -> None:
    """Asking for a batch beyond the epoch is an error that shows the range."""
    plan = plan_of([10], 4)
    for step in (-1, 3):
        with pytest.raises(OptionError, match=rf"0\.\.2, got {step}"):
            plan.batch(step, World())


def test_order_does_not_depend_on_the_hash_seed() -> None:
    """Other processes with other PYTHONHASHSEED plan the same batches."""
    code = (
        "from plans import plan_of, global_batches; "
        "print(global_batches(plan_of([3, 11, 1, 7, 5], 4, seed=3, epoch=2), 2))"
    )
    expected = f"{global_batches(plan_of([3, 11, 1, 7, 5], 4, seed=3, epoch=2), 2)}\n"
    for seed in ("0", "4711"):
        found = run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout == expected


# Reads


@many
@given(plans(), world_sizes, st.data())
def test_reads_build_the_same_batches(plan: Plan, size: int, data: st.DataObject) -> None:
    """Planned reads fill every slot of every wanted batch once, with the id that `batch` names."""
    plan = plan.at(data.draw(st.integers(0, plan.count)))
    assume(fits(plan, size))
    for world in worlds(size):
        expected = {step: plan.batch(step, world).ids.tolist() for step in range(plan.steps(world))}
        assert batches_from_reads(plan, world) == expected


@many
@given(plans(), world_sizes, st.data())
def test_reads_of_some_steps(plan: Plan, size: int, data: st.DataObject) -> None:
    """`steps=range(a, b, k)` builds exactly these batches and reads nothing for others."""
    assume(fits(plan, size))
    world = World(data.draw(st.integers(0, size - 1)), size)
    count = plan.steps(world)
    first = data.draw(st.integers(0, count))
    wanted = range(first, data.draw(st.integers(first, count)), data.draw(st.integers(1, 5)))
    expected = {step: plan.batch(step, world).ids.tolist() for step in wanted}
    assert batches_from_reads(plan, world, wanted) == expected


@many
@given(plans(), world_sizes, st.data())
def test_reads_come_in_the_order_of_need(plan: Plan, size: int, data: st.DataObject) -> None:
    """`first_step` never falls and is a true bound; rows of a read never fall and lie in its row group."""
    plan = plan.at(data.draw(st.integers(0, plan.count)))
    assume(fits(plan, size))
    for world in worlds(size):
        reads = list(plan.reads(world))
        bounds = [read.first_step for read in reads]
        assert bounds == sorted(bounds)
        for read in reads:
            assert len(read.rows) == len(read.steps) == len(read.slots) > 0
            assert read.steps.min() >= read.first_step
            assert (np.diff(read.rows) >= 0).all()
            assert read.rows[-1] < plan.manifest[read.row_group].rows


@many
@given(plans(), st.data())
def test_a_row_group_is_read_once_for_each_window(plan: Plan, data: st.DataObject) -> None:
    """Alone, sorted source order and block shuffle read a row group once, or once more for every lane cut."""
    plan = replace(plan, batching=Batching(data.draw(st.integers(1, 20))))
    assume(plan.shuffle != "global" and plan.samples.is_sorted)
    reads = [read.row_group for read in plan.reads(World())]
    held = int(np.count_nonzero(plan.samples.counts(plan.manifest.starts)))
    assert len(set(reads)) == held
    assert len(reads) <= held + plan.order.lanes - 1


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
def test_ranks_read_disjoint_row_groups(size: int) -> None:
    """12 lanes of whole row groups and steps that they divide: no row group is read by two ranks."""
    plan = plan_of([50] * 24, 24, shuffle=BlockShuffle(12, 24))
    groups = [{read.row_group for read in plan.reads(world)} for world in worlds(size)]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 24


@pytest.mark.parametrize("each", [1, 2, 3])
def test_reads_keep_few_row_groups_open(each: int) -> None:
    """Read no sooner than needed, at most two windows of row groups wait for their steps at a time."""
    plan = plan_of([30] * 48, 4, shuffle=BlockShuffle(4, 4 * each))
    reads = list(plan.reads(World()))
    for step in range(plan.steps(World())):
        open_now = {r.row_group for r in reads if r.first_step <= step <= int(r.steps.max())}
        assert len(open_now) <= 2 * 4 * each


def test_planning_arrays_are_no_longer_than_a_window() -> None:
    """No read holds more rows than its row group, however long the epoch is."""
    plan = plan_of([1000] * 64, 128, shuffle=BlockShuffle(4, 8))
    assert max(len(read.rows) for read in plan.reads(World())) <= 1000
