"""Orders: permutations of the selection, lanes, windows, what a shuffle promises, and the golden orders."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import (
    global_batches,
    layouts,
    manifest_of,
    many,
    plan_of,
    plans,
    same_samples,
    selections,
    sequence,
)

from headrace.errors import OptionError
from headrace.planning.batching import Batching
from headrace.planning.order import ORDER_VERSION, BlockShuffle, check_shuffle
from headrace.planning.plan import Plan
from headrace.planning.selection import Selection
from headrace.planning.world import World

GOLDEN = Path(__file__).parents[1] / "golden" / "order-v1.json"
EVERY_SHUFFLE = [True, False, "global", BlockShuffle(3, 6), BlockShuffle(1, 1), BlockShuffle(5, 2)]


def row_groups(plan: Plan) -> list[int]:
    """The row group of every sample of the epoch, by position."""
    return plan.manifest.locate(sequence(plan))[0].tolist()


@many
@given(plans())
def test_every_selected_sample_exactly_once(plan: Plan) -> None:
    """An epoch's sequence holds the selected ids as often as the selection does."""
    assert same_samples(sequence(plan), plan.selection.ids.tolist())


@pytest.mark.parametrize("shuffle", EVERY_SHUFFLE)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_uneven_shards_are_permuted(shuffle: Any, size: int) -> None:
    """Case 3: shards of 1 to 100 samples, seeds 0-2, epochs 0-2, 1-3 ranks: each id once."""
    rows = [1, 100, 17, 3, 64, 0, 9, 31]
    for seed in range(3):
        for epoch in range(3):
            plan = plan_of(rows, 7, shuffle=shuffle, seed=seed, epoch=epoch)
            ids = [id for batch in global_batches(plan, size) for id in batch]
            assert sorted(ids) == list(range(sum(rows)))


@pytest.mark.parametrize("shuffle", [True, "global", BlockShuffle(3, 6)])
def test_equal_inputs_give_equal_orders_and_no_others(shuffle: Any) -> None:
    """Case 1: two fresh plans agree; another seed or epoch gives another order of the same samples."""
    rows = [20, 31, 5, 44]
    orders = {
        (seed, epoch): tuple(sequence(plan_of(rows, shuffle=shuffle, seed=seed, epoch=epoch)))
        for seed in range(6)
        for epoch in range(6)
    }
    assert orders[1, 2] == tuple(sequence(plan_of(rows, shuffle=shuffle, seed=1, epoch=2)))
    assert len(set(orders.values())) == 36, "seed and epoch must be hashed, not added"
    assert {tuple(sorted(order)) for order in orders.values()} == {tuple(range(100))}


def test_seeds_of_numpy_are_the_same_numbers() -> None:
    """A seed or epoch that comes as a NumPy integer gives the order that a saved state will ask for."""
    rows = [20, 31]
    with_numpy = plan_of(rows, seed=np.int64(3), epoch=np.uint8(2))
    assert sequence(with_numpy) == sequence(plan_of(rows, seed=3, epoch=2))


@many
@given(st.data())
def test_without_shuffle_the_selection_keeps_its_order(data: st.DataObject) -> None:
    """Case 2: `shuffle=False` is the natural order, also of a selection that is not sorted."""
    rows = data.draw(layouts)
    plan = plan_of(rows, chosen=data.draw(selections(sum(rows))), shuffle=False, epoch=3)
    assert sequence(plan) == plan.selection.ids.tolist()


@many
@given(st.data())
def test_a_shuffle_does_not_depend_on_how_the_selection_lies(data: st.DataObject) -> None:
    """Shuffles start from the sorted ids, so that equal sets of ids give equal orders."""
    rows = data.draw(layouts)
    chosen = data.draw(selections(sum(rows))) or []
    shuffle = data.draw(st.sampled_from([True, "global", BlockShuffle(2, 4)]))
    given_order = plan_of(rows, chosen=chosen, shuffle=shuffle)
    assert sequence(given_order) == sequence(plan_of(rows, chosen=sorted(chosen), shuffle=shuffle))


def test_window_shuffle_of_400_by_10() -> None:
    """Case 7: windows are permutations of themselves, unlike each other and unlike in other epochs."""
    windows = []
    for epoch in range(2):
        plan = plan_of([10] * 40, shuffle=BlockShuffle(lanes=1, window=1), epoch=epoch)
        ids = np.array(sequence(plan)).reshape(40, 10)
        assert (np.sort(ids, axis=1) == np.sort(ids, axis=1)[:, :1] + np.arange(10)).all()
        assert sorted(ids[:, 0] // 10) == list(range(40))
        windows += [tuple(row) for row in ids % 10]
        one_by_one = [int(plan.order.indices(np.array([place]))[0]) for place in range(400)]
        assert one_by_one == ids.ravel().tolist()
    assert len(set(windows)) > 75, "windows must not repeat one pattern"


def test_first_samples_come_from_many_shards() -> None:
    """Case 8: of ten shards the first ten samples of a default shuffle see at least seven."""
    for seed in range(20):
        plan = plan_of([100] * 10, shuffle=True, seed=seed)
        assert len(set(row_groups(plan)[:10])) >= 7, seed


def test_a_window_smaller_than_the_lanes_still_shuffles() -> None:
    """Case 9: each lane mixes at least one row group, however small the window."""
    plan = plan_of([50] * 8, shuffle=BlockShuffle(lanes=8, window=1))
    for lane in range(8):
        in_lane = sequence(plan)[lane::8]
        assert sorted(in_lane) != in_lane


@many
@given(st.data())
def test_lanes_are_equal_parts_of_the_row_groups(data: st.DataObject) -> None:
    """Lanes differ by at most one sample, and a row group lies in one lane or in neighbouring ones."""
    rows = data.draw(layouts)
    wanted = BlockShuffle(data.draw(st.integers(1, 9)), data.draw(st.integers(1, 12)))
    plan = plan_of(rows, shuffle=wanted, seed=data.draw(st.integers(0, 9)))
    groups, lanes = row_groups(plan), plan.order.lanes
    assert lanes == min(wanted.lanes or 0, max(plan.count, 1))
    parts = [groups[lane::lanes] for lane in range(lanes)]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for group in set(groups):
        holders = [lane for lane, part in enumerate(parts) if group in part]
        assert holders == list(range(holders[0], holders[-1] + 1))


@many
@given(st.data())
def test_windows_bound_the_open_row_groups(data: st.DataObject) -> None:
    """At no position are more than `window` row groups open: begun in a lane and not yet finished."""
    rows = data.draw(layouts)
    lanes, each = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    plan = plan_of(rows, shuffle=BlockShuffle(lanes, lanes * each), seed=data.draw(st.integers(0, 9)))
    groups, lanes = row_groups(plan), plan.order.lanes
    for lane in range(lanes):
        part = groups[lane::lanes]
        spans = [(part.index(group), len(part) - 1 - part[::-1].index(group)) for group in set(part)]
        # With fewer samples than lanes asked for, the window is divided among the lanes that are left.
        window = plan.order.window  # type: ignore[attr-defined]
        most = window // lanes if window < len([count for count in rows if count]) else len(rows)
        assert all(sum(first <= place <= last for first, last in spans) <= most for place in range(len(part)))


def test_lanes_that_align_hold_whole_row_groups() -> None:
    """With equal row groups, as many in each lane, no row group is cut between lanes."""
    plan = plan_of([10] * 24, shuffle=BlockShuffle(12, 24))
    groups = row_groups(plan)
    holders = Counter(group for lane in range(12) for group in set(groups[lane::12]))
    assert set(holders.values()) == {1}


def test_samples_are_spread_over_their_window() -> None:
    """Inside a window every place is as likely as any other: mean places of a sample agree."""
    places = [sequence(plan_of([8] * 4, shuffle=BlockShuffle(1, 4), seed=seed)) for seed in range(800)]
    counts = np.zeros((32, 32))
    for order in places:
        counts[order, np.arange(32)] += 1
    chi_square, freedom = ((counts - 25) ** 2 / 25).sum(), 31 * 31
    assert abs(chi_square - freedom) < 6 * np.sqrt(2 * freedom)


@pytest.mark.parametrize(
    ("groups", "group_bytes", "lanes", "window"),
    [
        (1, 8, 1, 1),
        (5, 8, 5, 5),
        (10, 8, 10, 10),
        (40, 8, 16, 40),
        (100, 8, 16, 48),
        (100, 32 << 20, 8, 8),
        (100, 1 << 30, 4, 4),
    ],
)
def test_defaults_follow_the_manifest(groups: int, group_bytes: int, lanes: int, window: int) -> None:
    """As many row groups as decode to 256 MiB are mixed, 4 to 48; at most one lane for each."""
    counts = np.full(groups, 1000)
    assert BlockShuffle().resolve(counts, np.full(groups, group_bytes)) == BlockShuffle(lanes, window)


def test_defaults_pass_over_empty_row_groups() -> None:
    """Row groups without a selected sample count neither as open nor by their bytes."""
    counts, nbytes = np.array([5, 0, 5, 0, 0, 5, 5]), np.array([8, 1 << 40, 8, 1 << 40, 1 << 40, 8, 8])
    assert BlockShuffle().resolve(counts, nbytes) == BlockShuffle(4, 4)
    assert BlockShuffle().resolve(np.zeros(3, np.int64), nbytes[:3]) == BlockShuffle(1, 1)


def test_given_lanes_and_windows_stay() -> None:
    """What the user gave is kept; the other follows: no more lanes than row groups or samples."""
    counts, nbytes = np.full(5, 3), np.full(5, 8)
    assert BlockShuffle(window=20).resolve(counts, nbytes) == BlockShuffle(5, 20)
    assert BlockShuffle(window=2).resolve(counts, nbytes) == BlockShuffle(2, 2)
    assert BlockShuffle(lanes=9).resolve(counts, nbytes) == BlockShuffle(9, 5)
    assert BlockShuffle(lanes=2).resolve(counts, nbytes) == BlockShuffle(2, 5)
    assert BlockShuffle(lanes=99).resolve(counts, nbytes).lanes == 15


@pytest.mark.parametrize(
    "options", [{"lanes": 0}, {"window": 0}, {"lanes": -2}, {"window": 1.5}, {"lanes": True}]
)
def test_impossible_lanes_and_windows_are_refused(options: dict[str, Any]) -> None:
    """They are whole numbers of at least 1; the message names the one that is not."""
    with pytest.raises(OptionError, match=f"`{next(iter(options))}` must be a whole number"):
        BlockShuffle(**options)


@pytest.mark.parametrize("shuffle", [None, "block", 1, 0, 2.0])
def test_what_is_no_shuffle_is_refused(shuffle: object) -> None:
    """The message lists the four shuffles."""
    with pytest.raises(OptionError, match=r'True, False, "global" or hr.BlockShuffle'):
        check_shuffle(shuffle)


@pytest.mark.parametrize("shuffle", EVERY_SHUFFLE)
def test_an_epoch_of_nothing(shuffle: Any) -> None:
    """No row groups, only empty ones, or an empty selection: an order of nothing."""
    for plan in (
        plan_of([], shuffle=shuffle),
        plan_of([0, 0], shuffle=shuffle),
        plan_of([3, 4], chosen=[], shuffle=shuffle),
    ):
        assert sequence(plan) == []
        assert global_batches(plan) == []


def golden_plans() -> dict[str, tuple[Plan, int]]:
    """The configurations whose orders are kept, each with a world size."""
    uneven = [3, 11, 1, 7, 5]
    return {
        "one sample": (plan_of([1], 4), 1),
        "two samples, global": (plan_of([2], 1, shuffle="global", seed=3), 2),
        "source order": (plan_of(uneven, 4, shuffle=False), 2),
        "defaults": (plan_of(uneven, 4), 1),
        "defaults, next epoch": (plan_of(uneven, 4, epoch=1), 1),
        "other seed, three ranks": (plan_of(uneven, 3, seed=1), 3),
        "padding": (plan_of(uneven, 5, tail="pad", seed=2), 2),
        "drop, empty row groups": (plan_of([0, 9, 0, 0, 13, 4, 0], 4, tail="drop", seed=7, epoch=4), 2),
        "three lanes, six row groups": (plan_of([10] * 12, 6, shuffle=BlockShuffle(3, 6), seed=5), 4),
        "one lane, one row group": (plan_of([16] * 6, 8, shuffle=BlockShuffle(1, 1), epoch=9), 1),
        "global, 200 samples": (plan_of([50] * 4, 16, shuffle="global", seed=1, epoch=2), 3),
        "default, 200 samples in 40 row groups": (plan_of([5] * 40, 25, seed=123456789, epoch=7), 2),
        "subset with repeats": (plan_of([20] * 5, 8, chosen=[0, 0, 5, 17, 41, 41, 42, 80, 99, 3], seed=4), 1),
        "resumed": (plan_of([17] * 5, 4, size=12, seed=8).at(24), 5),
    }


def golden_orders() -> dict[str, Any]:
    """What the golden file holds: the ids of every global batch by configuration, and the version."""
    orders = {name: global_batches(plan, size) for name, (plan, size) in golden_plans().items()}
    return {"order_version": ORDER_VERSION, "orders": orders}


def write_golden_orders() -> None:
    """Write the golden file anew. Only together with a higher ORDER_VERSION, under a new file name.

    From the folder of the repository:

        PYTHONPATH=src:tests/planning python -c "import test_order; test_order.write_golden_orders()"
    """
    found = golden_orders()
    lines = [f"  {json.dumps(name)}: {json.dumps(batches)}" for name, batches in found["orders"].items()]
    body = ",\n".join(lines)
    GOLDEN.write_text(f'{{"order_version": {ORDER_VERSION}, "orders": {{\n{body}\n}}}}\n')


def test_golden_orders() -> None:
    """Case 6: the orders of a version never change; see `write_golden_orders` for when they may."""
    kept = json.loads(GOLDEN.read_text())
    assert golden_orders() == kept


@pytest.mark.parametrize("name", golden_plans())
def test_golden_plans_hold_what_they_should(name: str) -> None:
    """The configurations behind the golden orders deliver every sample that their tails promise."""
    plan, size = golden_plans()[name]
    ids = Counter(id for batch in global_batches(plan, size) for id in batch)
    left = Counter(sequence(plan)[plan.cursor :])
    assert (ids <= left) if plan.batching.tail == "drop" else (ids >= left)


@pytest.mark.parametrize("shuffle", [True, "global", False])
def test_a_batch_of_a_trillion_samples(shuffle: Any) -> None:
    """A batch out of 10**12 samples is planned from row-group counts, with no array of all samples."""
    manifest = manifest_of(*[10**9] * 1000)
    plan = Plan(manifest, Selection(manifest.total), shuffle, Batching(4096))
    first, second = (plan.batch(30_000_000, World(rank, 8)).ids for rank in (3, 4))
    assert len(np.unique(np.concatenate([first, second]))) == 2 * 4096
    assert max(first.max(), second.max()) < 10**12
