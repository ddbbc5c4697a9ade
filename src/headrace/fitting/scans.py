"""Which steps a scan of the data can fit together, and which have to wait for another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError
from headrace.prepare.chain import Chain
from headrace.prepare.statistics import Statistic
from headrace.prepare.step import PrepareStep

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
    items: list[Ask | PrepareStep] = []
    ready: dict[int, PrepareStep] = {}
    waiting: list[PrepareStep] = []
    unknown: set[str] = set()  # columns whose values are not known before this scan is over
    data = frozenset(schema)
    is_open = False  # whether there are columns of which not even the names are known
    for place, step in enumerate(steps):
        if not fitted[place]:
            if is_open and step.columns is None:
                waiting.append(step)
                continue
            try:
                step = step.bound(schema)
            except HeadraceError:
                if not is_open:
                    raise
                waiting.append(step)
                continue
            asked = tuple(step.requests(schema))
            reads = {name for statistic in asked for name in statistic.reads} | set(step.names)
            if reads & unknown:
                waiting.append(step)
            elif not asked:
                step = step.with_learned(step.learn(schema, {}))
                ready[place] = step
            else:
                items.append(Ask(place, step, asked, schema))
            if asked or reads & unknown:
                foretold = step.unfitted_schema(schema)
                is_open |= foretold is None
                after = schema if foretold is None else foretold
                unknown |= set(step.names) | (set(after) - set(schema))
                schema = after
                continue
        if set(step.names) & unknown:
            unknown |= set(step.outputs(tuple(schema))) - set(schema)
            continue
        items.append(step)
        schema = Chain((step,)).apply_some(schema.to_frame(), (step,), is_last=False).schema
    return Scan(*_narrowed(items), ready, _needed_later(waiting, schema, items, data))


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


def _needed_later(
    waiting: Sequence[PrepareStep],
    schema: pl.Schema,
    items: Sequence[Ask | PrepareStep],
    data: frozenset[str],
) -> frozenset[str] | None:
    """Name the columns that the data must yield for the steps that wait; None if that cannot be told yet."""
    wanted: frozenset[str] = frozenset()
    for step in waiting:
        try:
            bound = step.bound(schema)
            wanted |= frozenset(bound.names)
            wanted |= {name for statistic in bound.requests(schema) for name in statistic.reads}
        except HeadraceError:
            return None
    for item in reversed(items):
        if not isinstance(item, Ask):
            _, wanted = item.narrowed(wanted)
    return wanted if wanted <= data else None
