"""What the tests of statistics share: numbers of every kind, and partitions of them."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from headrace.prepare.statistics import Statistic


def numbers_of_every_kind(count: int = 3000) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays that are awkward to sum: far from zero, of very different sizes, with NaN, of all types."""
    draw = np.random.default_rng(7)
    with_nan = draw.normal(size=count)
    with_nan[::7], with_nan[3::11] = np.nan, -np.inf
    whole = {
        kind: draw.integers(np.iinfo(kind).min, np.iinfo(kind).max, count, dtype=kind, endpoint=True)
        for kind in ("int8", "uint8", "int32", "uint32", "int64", "uint64")
    }
    return {
        "normal": draw.normal(size=count),
        "far": draw.normal(1e8, 1, count),
        "float32": draw.normal(100, 1, count).astype(np.float32),
        "float16": draw.normal(size=count).astype(np.float16),
        "wide": np.exp(draw.normal(0, 8, count)),
        "wider": np.exp(draw.normal(0, 150, count).clip(-700, 700)),
        "any bits": draw.integers(-(2**63), 2**63 - 1, count).view(np.float64),
        "zeros": np.where(draw.random(count) < 0.9, 0.0, draw.normal(size=count)),
        "ends": np.array([5e-324, 1.7e308, -5e-324, 2.0**400, 2.0**-400, -0.0, 0.0]),
        "cancelling": np.tile([1e16, 1.0, -1e16], count // 3),
        "missing": with_nan,
        "missing float32": with_nan.astype(np.float32),
        "truth": draw.random(count) < 0.3,
        **whole,
    }


def fractions_of(values: np.ndarray[Any, Any]) -> list[Fraction]:
    """The finite ones, exactly."""
    return [Fraction(value) for value in values[np.isfinite(values)].tolist()]


def merged(statistic: Statistic, frame: pl.DataFrame, cuts: list[int], seed: int = 0) -> Any:
    """The state of a frame in parts, each written and read again, merged in any order."""
    bounds = [0, *sorted(cut % (frame.height + 1) for cut in cuts), frame.height]
    states = [statistic.of(frame[begin:end]) for begin, end in pairwise(bounds)]
    state: Any = None
    for number in np.random.default_rng(seed).permutation(len(states)).tolist():
        part = reread(statistic, states[number])
        state = part if state is None else state.merge(part)
    return state


def reread(statistic: Statistic, state: Any) -> Any:
    """The state after a way through JSON and Arrow."""
    meta, arrays = state.pack()
    return statistic.unpack((json.loads(json.dumps(meta, allow_nan=False)), arrays))
