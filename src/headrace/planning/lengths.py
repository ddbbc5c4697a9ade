"""Steps by a budget of tokens: planned from a column of lengths alone, before any batch is built."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, SchemaError
from headrace.planning.order import Order
from headrace.planning.selection import Selection
from headrace.planning.world import World

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lengths:
    """How long each sample is.

    Attributes:
        column: Which column says so.
        values: By sample id, int64 of shape [total]; what is not selected may be anything.
    """

    column: str
    values: Ids


def lengths_in_order(lengths: Lengths, samples: Selection, order: Order, count: int) -> Ids:
    """Return the length of the sample at each position of an order."""
    return lengths.values[samples.at(order.indices(np.arange(count)))]


@dataclass(frozen=True, eq=False)
class TokenCut:
    """An order cut into steps by a budget of tokens, as `Cut` is by a number of samples.

    Attributes:
        starts: First position of each step, then the end; int64 of shape [steps + 1].
        before: Tokens before each position of the epoch, then the total; int64 of shape [n + 1].
        world_size: How many ranks share a step.
    """

    starts: Ids
    before: Ids
    world_size: int

    @staticmethod
    def of(before: Ids, column: str, budget: int, begin: int, world: World, tail: str) -> TokenCut:
        """Take as many samples into each step as its budget holds, in the order's own order.

        Args:
            before: Tokens before each position, then the total; int64 of shape [n + 1].
            column: What errors call the lengths.
            budget: Tokens of a step over all ranks.
            begin: The position of the first step.
            world: How many ranks there are.
            tail: `"keep"` or `"drop"`.

        Raises:
            SchemaError: A sample is longer than a rank's share of the budget.
            OptionError: A step would leave a rank without a sample.
        """
        count = len(before) - 1
        longest = int(np.diff(before).max(initial=0))
        if longest > budget // world.size:
            raise SchemaError(
                f"column `{column}`: a sample of {longest:,} tokens does not fit into a rank's share of "
                f"{budget // world.size:,}; raise `batch_size`, or leave such samples out"
            )
        starts = [begin]
        while starts[-1] < count:
            full = int(np.searchsorted(before, before[starts[-1]] + budget, side="right")) - 1
            # Samples without tokens would otherwise all go into one step.
            starts.append(min(max(full, starts[-1] + 1), count))
        if tail == "drop" and len(starts) > 1:
            starts.pop()
        while len(starts) > 1 and starts[-1] - starts[-2] < world.size:
            if len(starts) == 2:
                raise OptionError(
                    f"{starts[-1] - starts[-2]} samples cannot be divided among {world.size} ranks; "
                    "use fewer ranks"
                )
            del starts[-2]  # what is left over joins the step before
        return TokenCut(np.array(starts), before, world.size)

    @property
    def begin(self) -> int:
        """First position of step 0."""
        return int(self.starts[0])

    @property
    def end(self) -> int:
        """The position after the last one delivered."""
        return int(self.starts[-1])

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return len(self.starts) - 1

    @property
    def size(self) -> int:
        """Samples of a step on average."""
        return max((self.end - self.begin) // max(self.steps, 1), 1)

    @property
    def last_size(self) -> int:
        """Samples of the last step."""
        return self.step_size(self.steps - 1) if self.steps else 0

    @property
    def padding(self) -> int:
        """Nothing is padded."""
        return 0

    def step_size(self, step: int) -> int:
        """Samples of one step over all ranks."""
        return int(self.starts[step + 1] - self.starts[step])

    def bounds(self, step: int) -> tuple[int, int]:
        """Return the begin and end of a step's positions."""
        return int(self.starts[step]), int(self.starts[step + 1])

    def step_of(self, position: int) -> int:
        """Return the step that a position belongs to."""
        return min(int(np.searchsorted(self.starts, position, side="right")) - 1, self.steps - 1)

    @cached_property
    def _edges(self) -> Ids:
        """First slot of each rank in each step, then the step's size; int64 of shape [steps, ranks + 1]."""
        begins, ends = self.starts[:-1, None], self.starts[1:, None]
        ranks = np.arange(self.world_size + 1)
        low, high = self.before[begins], self.before[ends]
        even = np.searchsorted(self.before, low + (high - low) * ranks // self.world_size)
        even[:, 0], even[:, -1] = begins[:, 0], ends[:, 0]
        # Each rank gets a sample at least.
        return np.clip(even, begins + ranks, ends - (self.world_size - ranks)) - begins

    def slice(self, step: int, world: World) -> tuple[int, int]:
        """Return the begin and end of a rank's slots: about as many tokens as every other rank's."""
        return int(self._edges[step, world.rank]), int(self._edges[step, world.rank + 1])

    def positions(self, step: int, lanes: int, slots: Ids) -> Ids:
        """Return the positions at some slots of a step, whatever the lanes."""
        return self.starts[step] + slots

    def place(self, positions: Ids, lanes: int, world: World, wanted: range) -> tuple[Ids, Ids]:
        """Return the step of each position and its slot in this rank's batch, -1 where it has none."""
        steps = np.clip(np.searchsorted(self.starts, positions, side="right") - 1, 0, max(self.steps - 1, 0))
        slots = positions - self.starts[steps]
        low, high = self._edges[steps, world.rank], self._edges[steps, world.rank + 1]
        is_mine = (slots >= low) & (slots < high)
        is_mine &= (
            (steps >= wanted.start) & (steps < wanted.stop) & ((steps - wanted.start) % wanted.step == 0)
        )
        return steps, np.where(is_mine, slots - low, -1)

    def touches(self, lane: int, lanes: int, first: int, last: int, world: World) -> bool:
        """Every rank has positions everywhere."""
        return True

    def span(self, wanted: range) -> tuple[int, int]:
        """Return the begin and end of the positions from the first wanted step to the last."""
        if len(wanted) == 0:
            return self.begin, self.begin
        return self.bounds(wanted[0])[0], self.bounds(wanted[-1])[1]
