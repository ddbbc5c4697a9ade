"""How often a fit will read the data, told before it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError
from headrace.fitting.scans import are_listed, read_by
from headrace.prepare.step import PrepareStep

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class FitPlan:
    """What each scan of a fit finds out; prints as a line for each.

    Scans after the first one read nothing while the columns that they need fit in `memory_limit`.

    Attributes:
        scans: Which steps each scan fits, by place and name.
        is_exact: Whether the steps' columns are known; where only a fit can tell them, a step may need one
            scan more or less.
    """

    scans: tuple[tuple[str, ...], ...]
    is_exact: bool

    def __str__(self) -> str:
        """Return a line for each scan."""
        lines = [f"scan {number}  {', '.join(steps)}" for number, steps in enumerate(self.scans, 1)]
        if not lines:
            return "no scan: no step learns from data"
        return "\n".join(
            lines if self.is_exact else [*lines, "(steps whose columns only a fit can tell may wait)"]
        )


def foretell(steps: Sequence[PrepareStep], schema: pl.Schema) -> FitPlan:
    """Follow the steps without data; each waits for the scans after which the columns it reads are known.

    Raises:
        HeadraceError: A step names a column that is not there, or cannot treat it.
    """
    known_after = dict.fromkeys(schema, 0)
    scans: dict[int, list[str]] = {}
    is_open = False
    for place, step in enumerate(steps, 1):
        name = f"{place}: {type(step).__name__}"
        bound = None if is_open and not are_listed(step.columns) else _bound(step, schema, is_open)
        if bound is None:  # it takes columns that are not known yet
            scans.setdefault(max(known_after.values()) + 1, []).append(name)
            continue
        asked = tuple(bound.requests(schema))
        reads = known_after.keys() & read_by(bound, asked)
        before = max((known_after[column] for column in reads), default=0)
        after = before + 1 if asked else before
        if asked:
            scans.setdefault(after, []).append(name)
        known_after |= dict.fromkeys(bound.rewrites, after)
        foretold = bound.unfitted_schema(schema)
        is_open |= foretold is None
        schema = schema if foretold is None else foretold
        known_after |= {column: after for column in schema if column not in known_after}
    return FitPlan(tuple(tuple(scans[number]) for number in sorted(scans)), not is_open)


def _bound(step: PrepareStep, schema: pl.Schema, is_open: bool) -> PrepareStep | None:
    try:
        return step.bound(schema)
    except HeadraceError:
        if is_open:
            return None
        raise
