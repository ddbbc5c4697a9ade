"""What a pipeline does to samples, counted: values changed, and what its policies met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from headrace.prepare.chain import Chain
from headrace.prepare.step import PrepareStep

if TYPE_CHECKING:
    import polars as pl

Key = tuple[int, str, str, str]  # place and name of the step, column, event
Tally = Counter[Key]

INPUT = "input"


def count_frame(frame: pl.DataFrame, steps: Sequence[PrepareStep]) -> Tally:
    """Count, step by step, what happens to the samples of a frame.

    Events are `null`, `nan` and `infinite` of the columns that come in, those that a step names
    itself, and `changed`: values of a column that the step leaves with another value (null included).
    Steps that make new numbers of every value have none of the last kind.
    """
    tally: Tally = Counter()
    for column in frame.iter_columns():
        tally[0, INPUT, column.name, "null"] += column.null_count()
        if column.dtype.is_float():
            tally[0, INPUT, column.name, "nan"] += int(column.is_nan().sum() or 0)
            tally[0, INPUT, column.name, "infinite"] += int(column.is_infinite().sum() or 0)
    for place, step in enumerate(steps, 1):
        name = type(step).__name__
        for column, events in step.events(frame).items():
            for event, count in events.items():
                tally[place, name, column, event] += count
        after = Chain((step,)).apply_some(frame, (step,), is_last=False)
        if not step.makes_floats:
            for column in step.names:
                if column in after.columns and after.schema[column] == frame.schema[column]:
                    changed = frame[column].ne_missing(after[column]).sum()
                    tally[place, name, column, "changed"] += int(changed or 0)
        frame = after
    return tally


def to_frame(tallies: Iterable[Tally]) -> pl.DataFrame:
    """Add up tallies and lay them out: columns `step`, `column`, `event`, `count`, without zeros."""
    import polars as pl

    total: Tally = Counter()
    for tally in tallies:
        total.update(tally)
    rows = [
        (f"{key[0]}: {key[1]}" if key[0] else INPUT, *key[2:], n) for key, n in sorted(total.items()) if n
    ]
    schema = {"step": pl.String, "column": pl.String, "event": pl.String, "count": pl.Int64}
    return pl.DataFrame(rows, schema, orient="row")
