"""What a fit does where its states take more memory than it may: sketches, and counts on disk."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from census import opened

import headrace as hr
from headrace.prepare.statistics import Counts, Statistic, Values
from headrace.prepare.step import Found, PrepareStep


@dataclass(frozen=True)
class Learner(PrepareStep):
    """Learns medians with their error, and how many values there are."""

    def treats(self, dtype: pl.DataType) -> bool:
        return True

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        return [Values("x"), Counts("x")]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        values, counts = found[Values("x")], found[Counts("x")]
        return {
            "medians_": values.quantiles((0.5,)),
            "rank_error_": values.rank_error,
            "distinct_": counts.table.height,
            "is_on_disk_": bool(counts.runs),
        }


def test_beyond_the_limit_quantiles_have_an_error_and_counts_none(tmp_path: Path) -> None:
    """The same pipeline, with plenty of memory and with little."""
    values = np.random.default_rng(0).permutation(200_000) / 7
    ds = opened(tmp_path, pl.DataFrame({"x": values}), shards=3, row_group=20_000)

    def fitted(**options: Any) -> PrepareStep:
        return hr.Pipeline([Learner()]).fit(ds, progress=False, **options).steps[0]

    plenty, little = fitted(), fitted(memory_limit="2MB")

    assert (plenty.medians_, plenty.rank_error_) == ([np.median(values)], 0.0)
    assert 0 < little.rank_error_ < 0.002
    rank = np.searchsorted(np.sort(values), little.medians_[0]) / len(values)
    assert abs(rank - 0.5) < 0.004
    assert (plenty.distinct_, plenty.is_on_disk_) == (200_000, False)
    assert (little.distinct_, little.is_on_disk_) == (200_000, True)


class Held:
    """A state that can be watched."""

    def merge(self, other: Held) -> Held:
        return self


@dataclass(frozen=True)
class Watched:
    """Counts, for every frame of a later scan, which states of an earlier one are still alive."""

    column: str
    scan: int
    states: list[weakref.ref[Held]] = field(default_factory=list[Any], compare=False)
    alive: list[int] = field(default_factory=list[Any], compare=False)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def of(self, frame: pl.DataFrame) -> Held:
        state = Held()
        if self.scan == 1:
            self.states.append(weakref.ref(state))
        else:
            self.alive.append(sum(it() is not None for it in self.states))
        return state


@dataclass(frozen=True)
class Rewriter(PrepareStep):
    """Asks one question, and makes floats of its columns, so that steps behind it need another scan."""

    asked: Any = None

    def treats(self, dtype: pl.DataType) -> bool:
        return True

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        return [self.asked]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        return {"done_": found[self.asked] is not None}

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame


def test_states_are_freed_before_the_next_scan() -> None:
    """What a scan has found, all values of columns perhaps, is gone once the steps have learned."""
    first = Watched("x", 1)
    second = Watched("x", 2, first.states)
    ds = hr.from_arrays({"x": np.arange(9.0)})
    steps = [Rewriter(first, columns="x"), Rewriter(second, columns="x")]
    hr.Pipeline(steps).fit(ds, executor=hr.Serial(), progress=False)

    assert len(first.states) == 1
    assert second.alive == [0]
