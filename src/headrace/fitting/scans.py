"""Which steps a scan of the data can fit together, and which have to wait for another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError
from headrace.prepare.chain import Chain
from headrace.prepare.statistics import Statistic
from headrace.prepare.step import SAMPLE_ID, PrepareStep

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Ask:
    """Statistics for a step, of the frame that comes to it.

    Attributes:
        place: Which step.
        step: The step, bound to the columns that come in.
        statistics: What it asks.
        schema: What comes in.
    """

    place: int
    step: PrepareStep
    statistics: tuple[Statistic, ...]
    schema: pl.Schema

    @property
    def reads(self) -> frozenset[str]:
        """The columns that are looked at."""
        return frozenset(name for statistic in self.statistics for name in statistic.reads)


@dataclass(frozen=True, slots=True)
class Scan:
    """One pass over the data: fitted steps to apply, and what to ask in between.

    Attributes:
        items: In the order of the steps, without what no question needs.
        reads: Columns of the data that the scan needs.
        ready: Steps that need no statistics, by place, bound to their columns.
        later: Columns of the data that steps which wait will need; None where that cannot be told.
    """

    items: tuple[Ask | PrepareStep, ...]
    reads: frozenset[str]
    ready: dict[int, PrepareStep]
    later: frozenset[str] | None

    @property
    def asks(self) -> list[Ask]:
        """The statistics to collect."""
        return [item for item in self.items if isinstance(item, Ask)]


def plan_scan(steps: Sequence[PrepareStep], fitted: Sequence[bool], schema: pl.Schema) -> Scan:
    """Find what the next scan can ask: all that depends on no step which is itself not fitted yet.

    Args:
        steps: All steps; those that are fitted have learned.
        fitted: Which ones are.
        schema: What comes to the first step.
    """
    planner = _Planner(schema)
    for place, step in enumerate(steps):
        if fitted[place]:
            planner.apply(step)
        else:
            planner.bind(place, step)
    later = _needed_later(planner, frozenset(schema) | {SAMPLE_ID})
    return Scan(*_narrowed(planner.items), planner.ready, later)


class _Planner:
    """Follows the schema through the steps.

    Attributes:
        schema: What comes to the next step, as far as it can be told.
        items: What the scan does.
        ready: Steps that turned out to need no statistics, by place.
        waiting: Steps that this scan cannot fit, and what they read, as far as it can be told.
        unknown: Columns whose values are not known before this scan is over.
        is_open: Whether there are columns of which not even the names are known.
    """

    def __init__(self, schema: pl.Schema) -> None:
        self.schema = schema
        self.items: list[Ask | PrepareStep] = []
        self.ready: dict[int, PrepareStep] = {}
        self.waiting: list[tuple[PrepareStep, frozenset[str] | None]] = []
        self.unknown: set[str] = set()
        self.is_open = False

    def apply(self, step: PrepareStep) -> None:
        """Send the samples through a fitted step."""
        self.items.append(step)
        self.schema = Chain((step,)).apply_some(self.schema.to_frame(), (step,), is_last=False).schema

    def bind(self, place: int, step: PrepareStep) -> None:
        """Give a step the columns that come in, and ask what it needs to know if their values are known."""
        if self.is_open and not are_listed(step.columns):
            self.waiting.append((step, None))
            return
        try:
            bound = step.bound(self.schema)
        except HeadraceError:
            if not self.is_open:
                raise
            self.waiting.append((step, None))
            return
        asked = tuple(bound.requests(self.schema))
        reads = read_by(bound, asked)
        if not asked and not reads & self.unknown:
            self.ready[place] = bound.with_learned(bound.learn(self.schema, {}))
            self.apply(self.ready[place])
            return
        if reads & self.unknown:
            self.waiting.append((bound, reads))
        else:
            self.items.append(Ask(place, bound, asked, self.schema))
        self._foretell(bound)

    def _foretell(self, step: PrepareStep) -> None:
        after = step.unfitted_schema(self.schema)
        self.unknown |= set(step.rewrites)
        if after is None:
            self.is_open = True
            return
        self.unknown |= set(after) - set(self.schema)
        self.schema = after


def are_listed(columns: Any) -> bool:
    """Tell whether columns are named one by one, so that it does not matter which others there are."""
    listed: Any = [columns] if isinstance(columns, str) else columns
    is_list = isinstance(listed, (list, tuple))
    return is_list and all(isinstance(name, str) and not name.startswith("^") for name in listed)


def _narrowed(items: Sequence[Ask | PrepareStep]) -> tuple[tuple[Ask | PrepareStep, ...], frozenset[str]]:
    """Leave out what nobody asks about; return also the columns that must come in."""
    wanted: frozenset[str] = frozenset()
    kept: list[Ask | PrepareStep] = []
    for item in reversed(items):
        if isinstance(item, Ask):
            kept.append(item)
            wanted |= item.reads
        else:
            step, wanted = item.narrowed(wanted)
            if step is not None:
                kept.append(step)
    return tuple(reversed(kept)), wanted


def _needed_later(planner: _Planner, data: frozenset[str]) -> frozenset[str] | None:
    """Name the columns that the data must yield for the steps that wait; None if that cannot be told yet."""
    wanted: frozenset[str] = frozenset()
    for step, reads in planner.waiting:
        try:
            bound = step.bound(planner.schema) if reads is None else step
            wanted |= reads or read_by(bound, bound.requests(planner.schema))
        except HeadraceError:
            return None
    for item in reversed(planner.items):
        if not isinstance(item, Ask):
            _, wanted = item.narrowed(wanted)
    return wanted if wanted <= data else None


def read_by(step: PrepareStep, asked: Sequence[Statistic]) -> frozenset[str]:
    """Name the columns that a step looks at, in the fit and after it."""
    return frozenset(step.reads) | {name for statistic in asked for name in statistic.reads}
