"""Batching: how an order is cut into steps, and a step into the ranks' batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.planning.world import World

Tail = Literal["keep", "drop", "pad"]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batching:
    """How many samples a step takes, and what happens to those that do not fill the last one.

    Attributes:
        batch_size: Samples of one rank's batch, unless `global_batch_size` is given.
        global_batch_size: Samples of one step over all ranks.
        tail: `"keep"` splits the last global batch as evenly as possible (fewer samples than
            ranks join the step before), `"drop"` leaves it out, `"pad"` fills it up with
            samples from the epoch's start.
    """

    batch_size: int
    global_batch_size: int | None = None
    tail: Tail = "keep"

    def __post_init__(self) -> None:
        for name in ("batch_size", "global_batch_size"):
            size = getattr(self, name)
            if size is None and name == "global_batch_size":
                continue
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise OptionError(f"`{name}` must be a whole number of at least 1, got {size!r}")
        if self.tail not in ("keep", "drop", "pad"):
            raise OptionError(f'`tail` must be "keep", "drop" or "pad", got {self.tail!r}')

    def cut(self, begin: int, end: int, world: World) -> Cut:
        """Cut the positions begin..end-1 into steps.

        Raises:
            OptionError: A step would leave a rank without a sample.
        """
        size = self.global_batch_size or self.batch_size * world.size
        if size < world.size:
            raise OptionError(
                f"`global_batch_size` must be at least the world size, got {size} for {world.size} ranks"
            )
        full, rest = divmod(end - begin, size)
        if self.tail == "drop" or rest == 0:
            return Cut(begin, begin + full * size, size, full, size)
        if self.tail == "pad":
            return Cut(begin, end, size, full + 1, size)
        if rest >= world.size:
            return Cut(begin, end, size, full + 1, rest)
        if full == 0:
            raise OptionError(
                f"{rest} samples cannot be divided among {world.size} ranks, and no step comes before that "
                'they could join; use fewer ranks, or tail="pad" to repeat samples, or "drop" to omit them'
            )
        return Cut(begin, end, size, full, size + rest)


@dataclass(frozen=True, slots=True)
class Cut:
    """An order cut into steps.

    Attributes:
        begin: First position of step 0.
        end: The position after the last one delivered, padding not counted.
        size: Samples of every step but the last.
        steps: How many steps there are.
        last_size: Samples of the last step, padding counted.
    """

    begin: int
    end: int
    size: int
    steps: int
    last_size: int

    def step_size(self, step: int) -> int:
        """Samples of one step over all ranks, padding counted."""
        return self.last_size if step == self.steps - 1 else self.size

    def bounds(self, step: int) -> tuple[int, int]:
        """Return the begin and end of a step's positions, padding not counted."""
        begin = self.begin + step * self.size
        return begin, min(begin + self.step_size(step), self.end)

    def slice(self, step: int, world: World) -> tuple[int, int]:
        """Return the begin and end of a rank's slots in one step."""
        return world.slice(self.step_size(step))

    def step_of(self, position: int) -> int:
        """Return the step that a position belongs to."""
        return min((position - self.begin) // self.size, self.steps - 1)

    @property
    def padding(self) -> int:
        """How many samples of the last step are padding."""
        if self.steps == 0:
            return 0
        return self.begin + (self.steps - 1) * self.size + self.last_size - self.end

    def positions(self, step: int, lanes: int, slots: Ids) -> Ids:
        """Return the positions at some slots of a step's global batch; padding has none.

        A global batch is sorted by (lane, place in lane), where lane = position modulo lanes.
        """
        begin, end = self.bounds(step)
        if lanes == 1:
            return begin + slots
        first = begin + (np.arange(lanes) - begin) % lanes
        lane_begins = np.zeros(lanes + 1, np.int64)
        np.cumsum((end - first + lanes - 1) // lanes, out=lane_begins[1:])
        lane = np.searchsorted(lane_begins, slots, side="right") - 1
        return first[lane] + (slots - lane_begins[lane]) * lanes

    def place(self, positions: Ids, lanes: int, world: World, wanted: range) -> tuple[Ids, Ids]:
        """Return the step of each position and its slot in this rank's batch of that step.

        The slot is -1 where a position belongs to another rank or to no step that is wanted.
        """
        from headrace.planning.kernels import place  # numba loads with the first use

        steps, slots = place(positions, np.array(self._rule(lanes, world, wanted), np.int64))
        if wanted.step > 1:
            slots[(steps - wanted.start) % wanted.step != 0] = -1
        return steps, slots

    def place_reference(self, positions: Ids, lanes: int, world: World, wanted: range) -> tuple[Ids, Ids]:
        """Do the same in plain NumPy; the oracle of the compiled kernel."""
        begin, end, origin, size, last, _, last_size, *slices = self._rule(lanes, world, wanted)
        low, high, last_low, last_high = slices
        steps = np.minimum((positions - origin) // size, last)
        is_last = steps == last
        begins = origin + steps * size
        first, lane = begins % lanes, positions % lanes
        full, rest = np.divmod(np.where(is_last, last_size, size), lanes)
        # The lanes first, first + 1, ... (modulo lanes) hold one sample more than the others.
        more = np.maximum(np.minimum(lane, first + rest) - first, 0)
        more += np.maximum(np.minimum(lane, first + rest - lanes), 0)
        slots = lane * full + more + (positions - begins) // lanes
        is_mine = (slots >= np.where(is_last, last_low, low)) & (slots < np.where(is_last, last_high, high))
        is_mine &= (positions >= begin) & (positions < end) & ((steps - wanted.start) % wanted.step == 0)
        return steps, np.where(is_mine, slots - np.where(is_last, last_low, low), -1)

    def touches(self, lane: int, lanes: int, first: int, last: int, world: World) -> bool:
        """Whether any of one lane's positions from first to last may belong to this rank."""
        last_begin = self.begin + (self.steps - 1) * self.size
        spans = [(self.size, self.size)] if first < last_begin else []
        spans += [(self.end - last_begin, self.last_size)] if last >= last_begin else []
        for count, with_padding in spans:
            full, rest = divmod(count, lanes)
            low, high = world.slice(with_padding)
            # Where the `rest` longer lanes lie changes from step to step: this is the widest range.
            begin = lane * full + max(lane + rest - lanes, 0)
            end = (lane + 1) * full + min(lane + 1, rest)
            if begin < high and end > low:
                return True
        return False

    def _rule(self, lanes: int, world: World, wanted: range) -> tuple[int, ...]:
        """Return the numbers that `place` goes by."""
        begin, end = self.span(wanted)
        last = self.steps - 1
        last_size = self.end - self.begin - last * self.size
        ranks = (*world.slice(self.size), *world.slice(self.last_size))
        return begin, end, self.begin, self.size, last, lanes, last_size, *ranks

    def span(self, wanted: range) -> tuple[int, int]:
        """Return the begin and end of the positions from the first wanted step to the last."""
        if len(wanted) == 0:
            return self.begin, self.begin
        return self.bounds(wanted[0])[0], self.bounds(wanted[-1])[1]
