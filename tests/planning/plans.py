"""Plans for the tests: small manifests, random recipes and the definition that they must meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from headrace.manifest import Manifest, Shard
from headrace.planning.batching import Batching
from headrace.planning.order import BlockShuffle
from headrace.planning.plan import Plan
from headrace.planning.selection import Selection
from headrace.planning.world import World

many = settings(max_examples=250, deadline=None, derandomize=True)
some = settings(max_examples=100, deadline=None, derandomize=True)


def manifest_of(*rows: int, sample_bytes: int = 8) -> Manifest:
    """One shard for every three row groups."""
    parts = [tuple(rows[first : first + 3]) for first in range(0, len(rows), 3)]
    return Manifest(
        tuple(
            Shard(f"shard-{number}", part, tuple(count * sample_bytes for count in part), f"{number:02x}")
            for number, part in enumerate(parts)
        )
    )


def plan_of(rows: Sequence[int], batch_size: int = 4, **options: Any) -> Plan:
    """A plan over row groups of these sizes; `chosen` selects ids, `tail` and `size` go to Batching."""
    manifest = manifest_of(*rows)
    chosen = options.pop("chosen", None)
    batching = Batching(batch_size, options.pop("size", None), options.pop("tail", "keep"))
    selection = Selection(manifest.total) if chosen is None else Selection.of(chosen, manifest.total)
    return Plan(manifest, selection, options.pop("shuffle", True), batching, **options)


def worlds(size: int) -> list[World]:
    """All ranks of a world."""
    return [World(rank, size) for rank in range(size)]


def sequence(plan: Plan) -> list[int]:
    """The ids of the whole epoch by position, before they are cut into batches."""
    return plan.samples.at(plan.order.indices(np.arange(plan.count))).tolist()


def global_batches(plan: Plan, size: int = 1) -> list[list[int]]:
    """The ids of every global batch in order, padding included: the ranks' batches end to end."""
    ranks = worlds(size)
    steps = {plan.steps(world) for world in ranks}
    assert len(steps) == 1, f"ranks disagree about the number of steps: {steps}"
    return [[id for world in ranks for id in plan.batch(step, world).ids.tolist()] for step in range(*steps)]


def ids_of(batches: Sequence[Sequence[int]]) -> list[int]:
    """Batches end to end."""
    return [id for batch in batches for id in batch]


def expected_batches(plan: Plan, world_size: int) -> list[list[int]]:
    """The global batches by the words of DESIGN.md, in plain Python, from the cursor on."""
    ids, lanes, batching = sequence(plan), plan.order.lanes, plan.batching
    size = batching.global_batch_size or batching.batch_size * world_size
    cuts = [range(begin, min(begin + size, len(ids))) for begin in range(plan.cursor, len(ids), size)]
    if cuts and len(cuts[-1]) < size:
        if batching.tail == "drop":
            cuts.pop()
        elif batching.tail == "keep" and len(cuts[-1]) < world_size:
            cuts[-2:] = [range(cuts[-2].start, cuts[-1].stop)]
    by_lane = [sorted(cut, key=lambda position: (position % lanes, position // lanes)) for cut in cuts]
    batches = [[ids[position] for position in cut] for cut in by_lane]
    if batching.tail == "pad" and batches:
        batches[-1] += [ids[number % len(ids)] for number in range(size - len(batches[-1]))]
    return batches


def batches_from_reads(plan: Plan, world: World, steps: range | None = None) -> dict[int, list[int]]:
    """The batches that a rank would build from its planned reads; every slot must be written once."""
    slots: dict[int, dict[int, int]] = {}
    for read in plan.reads(world, steps):
        first = int(plan.manifest.starts[read.row_group])
        for row, step, slot in zip(read.rows.tolist(), read.steps.tolist(), read.slots.tolist(), strict=True):
            assert 0 <= row < plan.manifest[read.row_group].rows
            assert slot not in slots.setdefault(step, {}), "two samples in one slot"
            slots[step][slot] = first + row
    return {step: [found[slot] for slot in range(len(found))] for step, found in slots.items()}


def fits(plan: Plan, world_size: int) -> bool:
    """Whether every rank gets a sample in every step, which `tail="keep"` asks for."""
    size = plan.batching.global_batch_size or plan.batching.batch_size * world_size
    left = plan.count - plan.cursor
    return size >= world_size and (plan.batching.tail != "keep" or left == 0 or left >= world_size)


layouts = st.lists(st.one_of(st.integers(0, 6), st.integers(0, 40)), min_size=1, max_size=14)
shuffles = st.one_of(
    st.sampled_from([True, False, "global"]),
    st.builds(BlockShuffle, st.none() | st.integers(1, 13), st.none() | st.integers(1, 13)),
)


@st.composite
def selections(draw: st.DrawFn, total: int) -> list[int] | None:
    """All samples, a sorted subset, a sorted draw with repeats, or anything in any order."""
    kind = draw(st.sampled_from(["all", "subset", "repeats", "any"]))
    if kind == "all" or total == 0:
        return None
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    count = draw(st.integers(0, total))
    chosen = generator.choice(total, count, replace=kind != "subset")
    return (chosen if kind == "any" else np.sort(chosen)).tolist()


@st.composite
def plans(draw: st.DrawFn, tails: Sequence[str] = ("keep", "drop", "pad")) -> Plan:
    """Any plan at the start of its epoch."""
    rows = draw(layouts)
    return plan_of(
        rows,
        draw(st.integers(1, 17)),
        chosen=draw(selections(sum(rows))),
        tail=draw(st.sampled_from(tails)),
        size=draw(st.none() | st.integers(12, 60)),
        shuffle=draw(shuffles),
        seed=draw(st.integers(0, 5)),
        epoch=draw(st.integers(0, 5)),
    )


world_sizes = st.integers(1, 12)


def same_samples(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether both hold the same ids equally often."""
    return Counter(first) == Counter(second)
