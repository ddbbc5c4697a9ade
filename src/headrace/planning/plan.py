"""Plan: an order cut into steps; says which samples form which batch before any byte is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from headrace.draws.draws import Draws, Samples
from headrace.errors import OptionError
from headrace.fingerprint import derive_key
from headrace.manifest import Manifest
from headrace.planning.batching import Batching, Cut
from headrace.planning.buckets import BucketOrder, Buckets
from headrace.planning.lengths import Lengths, TokenCut, lengths_in_order
from headrace.planning.mixing import MixedOrder, Mixing
from headrace.planning.order import (
    ORDER_VERSION,
    BlockOrder,
    BlockShuffle,
    GlobalOrder,
    Order,
    Run,
    Shuffle,
    SourceOrder,
)
from headrace.planning.partners import Partner, PartnerOrder
from headrace.planning.repeats import Repeats
from headrace.planning.selection import Selection
from headrace.planning.world import World

Ids = NDArray[np.int64]

_RUN_BYTES = 1 << 28  # what one run of a global shuffle may hold
_LONGEST_RUN = 1 << 20


@dataclass(frozen=True, eq=False, slots=True)
class BatchPlan:
    """Which samples form one rank's batch of one step.

    Attributes:
        step: Index of the global batch, counted from the plan's cursor.
        epoch: The epoch, which random draws are keyed by.
        ids: The samples in the batch's order, int64 of shape [n].
        is_padding: With `tail="pad"`, a boolean array of shape [n] that marks repeated samples.
        draws: The epoch's random words; None leaves samples as they are.
        samples: Who the samples are to the draws; None where there are none.
        partners: The same of the samples that these are mixed with; None where nothing is mixed.
    """

    step: int
    epoch: int
    ids: Ids
    is_padding: NDArray[np.bool_] | None = None
    draws: Draws | None = None
    samples: Samples | None = None
    partners: BatchPlan | None = None


@dataclass(frozen=True, eq=False, slots=True)
class StepSamples:
    """Which samples form one rank's batches of several steps, one step after the other.

    Attributes:
        indices: Their places in the plan's `samples`, int64 of shape [n].
        ids: Their ids, int64 of shape [n].
        ends: Where each step's samples end, int64 of shape [steps].
    """

    indices: Ids
    ids: Ids
    ends: Ids


@dataclass(frozen=True, eq=False, slots=True)
class Read:
    """One planned read of a row group, and where its samples go.

    Attributes:
        row_group: Number of the row group.
        rows: Which of its rows, int64 of shape [n], never falling.
        steps: The step that each row belongs to, int64 of shape [n].
        slots: Each row's place in this rank's batch of that step, int64 of shape [n].
        first_step: No row of this read or of a later one belongs to a step before it.
    """

    row_group: int
    rows: Ids
    steps: Ids
    slots: Ids
    first_step: int


@dataclass(frozen=True, eq=False)
class Plan:
    """The recipe of an epoch's order: pure arithmetic, equal for equal inputs on any machine.

    Attributes:
        manifest: The shards and row groups.
        selection: Which samples take part.
        shuffle: True or `BlockShuffle(...)`, `"global"`, or False for the selection's order.
        batching: Batch size and tail.
        seed: Any whole number.
        epoch: Which epoch; its key is hashed from (seed, epoch).
        cursor: How many samples of the epoch were delivered before step 0.
        mixing: In which proportions parts of the manifest take turns; None without parts.
        batch_by: Lengths that the batch size counts, instead of samples.
        bucket_by: How samples of like length come together, and their lengths.
        partner: Deliver each sample's partner of this kind in its stead; see `PartnerOrder`.

    Example:
        >>> from headrace.manifest import Shard
        >>> manifest = Manifest((Shard("a", (4, 4), (32, 32), "00"),))
        >>> plan = Plan(manifest, Selection(8), False, Batching(3))
        >>> [plan.batch(step, World()).ids.tolist() for step in range(plan.steps(World()))]
        [[0, 1, 2], [3, 4, 5], [6, 7]]
    """

    manifest: Manifest
    selection: Selection
    shuffle: Shuffle
    batching: Batching
    seed: int = 0
    epoch: int = 0
    cursor: int = 0
    mixing: Mixing | None = None
    batch_by: Lengths | None = None
    bucket_by: tuple[Buckets, Lengths] | None = None
    partner: Partner | None = None

    @cached_property
    def count(self) -> int:
        """How many samples an epoch has."""
        if self.mixing is None:
            return self.selection.count
        phases = self.mixing.phases([int(counts.sum()) for counts in self._counts_by_part])
        return phases[-1].end if phases else 0

    @cached_property
    def samples(self) -> Selection:
        """The selection that the order's indices point into; the samples of a part lie together."""
        selection = self.selection.by_id if self.shuffle else self.selection
        if self.mixing is None or selection.is_sorted:
            return selection
        ids = selection.ids
        parts = np.searchsorted(self.mixing.firsts, ids, side="right")
        return Selection.of(ids[np.argsort(parts, kind="stable")], selection.total)

    @cached_property
    def order(self) -> Order:
        """The permutation of this epoch."""
        if self.partner is None:
            return self._own_order
        own, samples = self._own_order, self.samples
        return PartnerOrder(
            own, self.count, samples, self._repeats, self.partner, self.draws, self._run_length
        )

    @cached_property
    def _own_order(self) -> Order:
        """The permutation of the samples themselves."""
        order = self._plain_order
        if self.bucket_by is None:
            return order
        buckets, lengths = self.bucket_by
        key = derive_key("buckets", ORDER_VERSION, self.seed, self.epoch) if self.shuffle else None
        return BucketOrder(order, buckets, lengths_in_order(lengths, self.samples, order, self.count), key)

    @cached_property
    def _plain_order(self) -> Order:
        """The permutation before samples are moved for their lengths."""
        key = derive_key("order", ORDER_VERSION, self.seed, self.epoch)
        if self.mixing is None:
            return self._order_of(self.samples.counts(self.manifest.starts), key)
        parts = self._counts_by_part
        counts = tuple(int(part.sum()) for part in parts)
        phases = self.mixing.phases(counts)
        orders: list[tuple[Order, ...]] = []
        for part, count in enumerate(counts):
            taken = sum(phase.windows * phase.shares[part] for phase in phases)
            keys = [derive_key("part", key, part, turn) for turn in range(max(-(-taken // max(count, 1)), 1))]
            orders.append(tuple(self._order_of(parts[part], part_key) for part_key in keys))
        firsts = tuple(np.cumsum([0, *counts[:-1]]).tolist())
        return MixedOrder(self.mixing, counts, tuple(orders), firsts, key if self.shuffle else 0)

    @cached_property
    def _counts_by_part(self) -> list[Ids]:
        """The selected samples of each row group, for each part 0 outside of it."""
        assert self.mixing is not None
        counts, begins = self.samples.counts(self.manifest.starts), self.manifest.starts[:-1]
        return [
            np.where((begins >= first) & (begins < last), counts, 0)
            for first, last in pairwise(self.mixing.firsts)
        ]

    def _order_of(self, counts: Ids, key: int) -> Order:
        """Order so many samples of each row group."""
        count = int(counts.sum())
        if self.shuffle == "global":
            return GlobalOrder(count, key, self._run_length)
        if isinstance(self.shuffle, BlockShuffle) or self.shuffle:
            wanted = self.shuffle if isinstance(self.shuffle, BlockShuffle) else BlockShuffle()
            # The parts of a mix are open at the same time, so they share the bytes of one window.
            parts = 1 if self.mixing is None else len(self.mixing.names)
            block = wanted.resolve(counts, self.manifest.nbytes * parts)
            assert block.lanes is not None
            assert block.window is not None
            return BlockOrder(counts, key, block.lanes, block.window)
        if self.samples.is_sorted:
            return SourceOrder(np.cumsum(counts))
        return SourceOrder(np.arange(self._run_length, count + self._run_length, self._run_length))

    @property
    def _run_length(self) -> int:
        """Samples of one run where the order does not follow the row groups."""
        sample_bytes = max(int(self.manifest.nbytes.sum()) // max(self.manifest.total, 1), 1)
        return max(min(_RUN_BYTES // sample_bytes, _LONGEST_RUN), 1)

    def at(self, cursor: int) -> Plan:
        """Return the plan of the same epoch that begins after `cursor` samples."""
        if not 0 <= cursor <= self.count:
            raise OptionError(f"a cursor must lie in 0..{self.count}, got {cursor}")
        return replace(self, cursor=cursor)

    def cut(self, world: World) -> Cut | TokenCut:
        """Cut the rest of the epoch into steps."""
        if self.batch_by is None:
            return self.batching.cut(self.cursor, self.count, world)
        if world.size not in self._token_cuts:
            lengths = lengths_in_order(self.batch_by, self.samples, self._own_order, self.count)
            before = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
            budget = self.batching.global_batch_size or self.batching.batch_size * world.size
            self._token_cuts[world.size] = TokenCut.of(
                before, self.batch_by.column, budget, self.cursor, world, self.batching.tail
            )
        return self._token_cuts[world.size]

    @cached_property
    def _token_cuts(self) -> dict[int, TokenCut]:
        return {}

    def steps(self, world: World) -> int:
        """How many steps follow the cursor, the same on every rank."""
        return self.cut(world).steps

    def cursor_after(self, step: int, world: World) -> int:
        """How many samples of the epoch are delivered once that step is, over all ranks."""
        return self.cut(world).bounds(step)[1]

    def partners(self, partner: Partner) -> Plan:
        """Return the plan that delivers, in each sample's place, the sample that it is mixed with."""
        plan = replace(self, partner=partner)
        for name in ("_own_order", "_repeats", "samples"):  # found once for both
            plan.__dict__[name] = getattr(self, name)
        return plan

    def batch(self, step: int, world: World, partner: Partner | None = None) -> BatchPlan:
        """Say which samples form this rank's batch of one step.

        Args:
            step: Which step.
            world: Which rank of how many.
            partner: Which partners to plan along.

        Raises:
            OptionError: There is no such step.
        """
        ids = self.samples_of(range(step, step + 1), world).ids
        samples = self.drawn_for(step, world, ids)
        partners = None if partner is None else self.partners(partner).batch(step, world)
        padding = self.padding_mask(step, world)
        return BatchPlan(step, self.epoch, ids, padding, self.draws, samples, partners)

    @cached_property
    def draws(self) -> Draws:
        """The random words of this epoch."""
        return Draws(self.seed, self.epoch)

    def drawn_for(self, step: int, world: World, ids: Ids) -> Samples:
        """Say who the samples of this rank's batch of one step are to the draws.

        Args:
            step: Which step.
            world: Which rank of how many.
            ids: Those samples of the batch that could be read, in order.
        """
        first = self.cut(world).bounds(step)[0]
        if self._repeats.are_none(self._own_order):
            return Samples(ids, None, first)
        repeats = self.repeats_at(self._positions(range(step, step + 1), world)[0])
        if repeats is None or len(repeats) == len(ids):
            return Samples(ids, repeats, first)
        # A sample that cannot be read is lost wherever it is repeated.
        is_there = np.isin(self.samples_of(range(step, step + 1), world).ids, ids)
        return Samples(ids, repeats[is_there], first)

    def repeats_at(self, positions: Ids) -> Ids | None:
        """Return the how-manieth time its sample is delivered at each position; None if each comes once."""
        order = self.order
        if not isinstance(order, PartnerOrder):
            return self._repeats.of(order, positions)
        if order.partner == "order":
            return self._repeats.of(order.order, order.positions(positions))
        return self._repeats.of_indices(order.indices(positions))

    @cached_property
    def _repeats(self) -> Repeats:
        return Repeats(self.samples)

    def samples_of(self, steps: range, world: World) -> StepSamples:
        """Say which samples form this rank's batches of several steps, cheaper than one by one.

        Raises:
            OptionError: There is no such step.
        """
        positions, sizes = self._positions(steps, world)
        indices = self.order.indices(positions)
        return StepSamples(indices, self.samples.at(indices), np.cumsum(sizes))

    def _positions(self, steps: range, world: World) -> tuple[Ids, list[int]]:
        """The places in the epoch of this rank's samples of several steps, and how many each step has."""
        cut, lanes = self.cut(world), self.order.lanes
        parts: list[Ids] = []
        sizes: list[int] = []
        for step in steps:
            if not 0 <= step < cut.steps:
                raise OptionError(f"a step must lie in 0..{cut.steps - 1}, got {step}")
            first, last = cut.slice(step, world)
            begin, end = cut.bounds(step)
            until = min(last, end - begin)
            sizes.append(last - first)
            if first < until:
                parts.append(cut.positions(step, lanes, np.arange(first, until)))
            if until < last:
                parts.append((np.arange(max(first, until), last) - (end - begin)) % max(self.count, 1))
        return np.concatenate(parts) if len(parts) != 1 else parts[0], sizes

    def padding_mask(self, step: int, world: World) -> NDArray[np.bool_] | None:
        """With `tail="pad"`, mark the samples of this rank's batch that are padding; else None."""
        if self.batching.tail != "pad":
            return None
        cut = self.cut(world)
        first, last = cut.slice(step, world)
        begin, end = cut.bounds(step)
        return np.arange(first, last) >= end - begin

    def open_samples(self, world: World) -> int:
        """About how many samples this rank must hold at a time, to read each row group once."""
        return min(self.order.open_samples // world.size, self.count) + 1

    def batch_size(self, step: int, world: World) -> int:
        """How many samples this rank's batch of one step holds, padding counted."""
        first, last = self.cut(world).slice(step, world)
        return last - first

    def reads(self, world: World, steps: range | None = None) -> Iterator[Read]:
        """Plan the reads of this rank, by the step that first needs them.

        Args:
            world: Which rank of how many.
            steps: Which steps are wanted; all of them by default.
        """
        cut = self.cut(world)
        wanted = range(cut.steps) if steps is None else steps
        begin, end = cut.span(wanted)
        touches = partial(cut.touches, world=world)
        for run in self.order.runs(begin, end, touches) if begin < end else ():
            steps_of, slots = cut.place(run.positions, self.order.lanes, world, wanted)
            yield from self._reads_of(run, steps_of, slots, cut.step_of(run.first))
        if cut.padding and cut.steps - 1 in wanted:
            low, high = world.slice(cut.last_size)
            slots = np.arange(max(low, cut.last_size - cut.padding), high)
            run = Run((slots - (cut.last_size - cut.padding)) % self.count, 0)
            yield from self._reads_of(run, np.full_like(slots, cut.steps - 1), slots - low, cut.steps - 1)

    def _reads_of(self, run: Run, steps: Ids, slots: Ids, first_step: int) -> Iterator[Read]:
        """Keep what has a slot, and divide it by row group."""
        positions, indices = run.positions, run.indices
        mine = slots >= 0
        if not mine.all():
            steps, slots, positions = steps[mine], slots[mine], positions[mine]
            indices = None if indices is None else indices[mine]
        ids = self.samples.at(self.order.indices(positions) if indices is None else indices)
        if bool(np.any(ids[1:] < ids[:-1])):
            by_id = np.argsort(ids, kind="stable")
            ids, steps, slots = ids[by_id], steps[by_id], slots[by_id]
        starts = self.manifest.starts
        while len(ids):
            number = int(np.searchsorted(starts, ids[0], side="right")) - 1
            here = int(np.searchsorted(ids, starts[number + 1]))
            yield Read(number, ids[:here] - starts[number], steps[:here], slots[:here], first_step)
            ids, steps, slots = ids[here:], steps[here:], slots[here:]
