"""Oracles of the augmentations of series: plain loops over one sample, of shape [time, channels]."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment import (
    Augmentation,
    FrequencyMask,
    Jitter,
    Permutation,
    Reverse,
    Scaling,
    Shift,
    TimeMask,
    TimeWarp,
    WindowSlice,
)
from headrace.augment.base import Spec
from headrace.augment.chain import Bound, Chain, Planned
from headrace.augment.stage import ReferenceStage
from headrace.draws import Draws, Samples
from headrace.draws.draws import reference_words
from headrace.draws.numbers import normal

Array = NDArray[Any]
Params = Mapping[str, Any]


def plan(
    op: Augmentation, columns: Mapping[str, Array], seed: int = 0, epoch: int = 0
) -> tuple[Bound, Planned]:
    """Bind one augmentation and draw for samples with the ids 100, 101..."""
    bound = Chain((op,)).bind({name: Spec.of(column) for name, column in columns.items()})
    ids = np.arange(100, 100 + len(next(iter(columns.values()))))
    return bound, bound.plan(Draws(seed, epoch), Samples(ids))


def reference(
    op: Augmentation, columns: Mapping[str, Array], seed: int = 0, xp: Any = np
) -> dict[str, Array]:
    """Change columns by the reference, on any array library."""
    bound, planned = plan(op, columns, seed)
    arrays = {name: xp.asarray(column) for name, column in columns.items()}
    changed = ReferenceStage(bound, 0, xp).run(arrays, None, planned)
    return {name: np.asarray(column) for name, column in changed.items()}


def loop(op: Augmentation, columns: Mapping[str, Array], seed: int = 0) -> dict[str, Array]:
    """Change columns sample by sample and value by value."""
    _, planned = plan(op, columns, seed)
    params, found = planned.params(next(iter(planned.records.dtype.names or ()))), {}
    for name, column in columns.items():
        key = planned.element_keys.get((0, name))
        samples: list[Array] = []
        for number, sample in enumerate(column):
            own: dict[str, Any] = {field: values[number] for field, values in params.items()}
            if key is not None:
                identity = planned.identity[number : number + 1]
                drawn = normal(reference_words(np, key, identity, sample.size)[0])
                own["noise"] = series_of(op, drawn.reshape(sample.shape))
            changed = LOOPS[type(op)](op, own, series_of(op, sample))
            samples.append(sample_of(op, changed, sample.ndim))
        found[name] = np.stack(samples)
    return found


def series_of(op: Any, sample: Array) -> Array:
    """Lay a sample out as [time, channels]."""
    return sample[:, None] if sample.ndim == 1 else sample.T if op.layout == "NCT" else sample


def sample_of(op: Any, series: Array, dimensions: int) -> Array:
    """Lay [time, channels] out as samples are."""
    return series[:, 0] if dimensions == 1 else series.T if op.layout == "NCT" else series


def between(x: Array, place: int) -> Array:
    """Read at a place in 2^-16 of a step."""
    step, rest = divmod(place, 65536)
    if rest == 0:
        return x[step]
    weight = x.dtype.type(rest) / x.dtype.type(65536)
    return np.array([a + (b - a) * weight for a, b in zip(x[step], x[step + 1], strict=True)], x.dtype)


def loop_jitter(op: Any, params: Params, x: Array) -> Array:
    if not params["applied"]:
        return x
    sigma, found = x.dtype.type(params["sigma"]), x.copy()
    for at in np.ndindex(x.shape):
        found[at] = x[at] + sigma * x.dtype.type(params["noise"][at])
    return found


def loop_scaling(op: Any, params: Params, x: Array) -> Array:
    found = x.copy()
    for _, channel in np.ndindex(x.shape):
        found[:, channel] = x[:, channel] * (x.dtype.type(params["factors"][channel]) / x.dtype.type(65536))
    return found


def loop_warp(op: Any, params: Params, x: Array) -> Array:
    if not params["applied"] or len(x) == 1:
        return x
    last, pieces, rows = len(x) - 1, op.knots + 1, []
    for time in range(len(x)):
        piece = min(time * pieces // last, op.knots)
        before, after = int(params["knots"][piece]), int(params["knots"][piece + 1])
        share = before + (after - before) * (time * pieces - piece * last) // last
        rows.append(between(x, share * last // 2**14))
    return np.array(rows)


def loop_window(op: Any, params: Params, x: Array) -> Array:
    start = int(params["start"])
    if op.size is not None:
        return x[start : start + op.size]
    if not params["applied"]:
        return x
    window = math.ceil(len(x) * op.reduce_ratio)
    places = [start * 65536 + time * (window - 1) * 65536 // max(len(x) - 1, 1) for time in range(len(x))]
    return np.array([between(x, place) for place in places])


def loop_permutation(op: Any, params: Params, x: Array) -> Array:
    pieces = np.array_split(x, params["segments"])
    return np.concatenate([pieces[piece] for piece in params["order"][: params["segments"]]])


def loop_shift(op: Any, params: Params, x: Array) -> Array:
    found = np.full_like(x, op.fill)
    for time in range(len(x)):
        moved = time + int(params["shift"])
        if op.rollover:
            found[moved % len(x)] = x[time]
        elif 0 <= moved < len(x):
            found[moved] = x[time]
    return found


def loop_reverse(op: Any, params: Params, x: Array) -> Array:
    return x[::-1] if params["reverse"] else x


def loop_mask(op: Any, params: Params, x: Array) -> Array:
    found = x.copy()
    rows = found if isinstance(op, TimeMask) else found.T
    for start, width in zip(params["start"], params["width"], strict=True):
        rows[start : start + width] = op.value
    return found


LOOPS: dict[type, Callable[[Any, Params, Array], Array]] = {
    Jitter: loop_jitter,
    Scaling: loop_scaling,
    TimeWarp: loop_warp,
    WindowSlice: loop_window,
    Permutation: loop_permutation,
    Shift: loop_shift,
    Reverse: loop_reverse,
    TimeMask: loop_mask,
    FrequencyMask: loop_mask,
}
