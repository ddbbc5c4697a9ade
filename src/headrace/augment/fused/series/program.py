"""The program of a series stage: what becomes of the series of one column, as plain whole numbers.

The series of a sample go through passes, one after the other. Every kernel, on the CPU and on a GPU, works by
the same arrays:

- `passes`, int32 of shape [passes, 12], the same for all samples, one row a pass:

  | word | name          | meaning                                                                           |
  |------|---------------|-----------------------------------------------------------------------------------|
  | 0    | kind          | what is done, see below                                                           |
  | 1    | applied       | where in a sample's record the gate is; the pass is left out if it is 0, but for  |
  |      |               | CROP, which changes the shape                                                     |
  | 2, 3 | p0, p1        | where in the record its parameters are (the first one, of several); -1 for none   |
  | 4, 5 | before, after | steps of the series, before and after                                             |
  | 6    | channels      | of the series                                                                     |
  | 7    | apart         | 1 where a channel's steps lie side by side ([channels, time]), else 0             |
  | 8-10 | a, b, c       | options                                                                           |
  | 11   |               | 0                                                                                 |

- `records`, int32 of shape [n, fields]: `Planned.packed`, what was drawn for each sample;
- `keys`, uint32 of shape [rows, 2]: keys of element draws;
- `values`, of the column's dtype, shape [rows].

  | kind    | p0, p1          | options                               | what comes at step t               |
  |---------|-----------------|---------------------------------------|------------------------------------|
  | CROP    | start           |                                       | step start + t                     |
  | PERMUTE | segments, order |                                       | see `Permutation`                  |
  | SHIFT   | shift           | a: 1 to roll over; b: row of `values` | step t - shift                     |
  | REVERSE | reverse         |                                       | step before - 1 - t                |
  | MASK    | start, width    | a: bands; b: row of `values`;         | the value within a band            |
  |         |                 | c: 1 for bands of channels            |                                    |
  | JITTER  | sigma (float32) | a: row of `keys`                      | x + sigma * z, z of the element    |
  | SCALE   | factors         |                                       | x * (factor * 2^-16), by channel   |
  | WARP    | knots           | a: pieces of time, knots - 1          | place p, see `TimeWarp`            |
  | WINDOW  | start           | a: steps of the window                | place start * 2^16 + t * (a - 1) * |
  |         |                 |                                       | 2^16 // max(before - 1, 1)         |

A place counts 2^-16 of a step; the value is x0 + (x1 - x0) * w, and that of the step where w is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Augmentation, Spec
from headrace.augment.chain import Bound
from headrace.augment.series.base import SeriesAugmentation
from headrace.augment.series.mask import FrequencyMask, TimeMask
from headrace.augment.series.noise import Jitter, Scaling
from headrace.augment.series.order import Permutation, Reverse, Shift
from headrace.augment.series.warp import TimeWarp, WindowSlice

PASS_WORDS = 12


class Kind(IntEnum):
    """What a pass does."""

    CROP = 0
    PERMUTE = 1
    SHIFT = 2
    REVERSE = 3
    MASK = 4
    JITTER = 16
    SCALE = 17
    WARP = 18
    WINDOW = 19


class Word(IntEnum):
    """Where in a row of `passes` something is."""

    KIND = 0
    APPLIED = 1
    P0 = 2
    P1 = 3
    BEFORE = 4
    AFTER = 5
    CHANNELS = 6
    APART = 7
    A = 8
    B = 9
    C = 10


@dataclass(frozen=True, eq=False, slots=True)
class SeriesProgram:
    """What becomes of one column.

    Attributes:
        passes: int32 of shape [passes, 12].
        values: Values to write, of the column's dtype.
        keyed: Which augmentations the rows of `keys` belong to.
        before: What the column holds before.
        after: What it holds afterwards.
    """

    passes: NDArray[np.int32]
    values: NDArray[Any]
    keyed: tuple[int, ...]
    before: Spec
    after: Spec

    @property
    def longest(self) -> int:
        """Elements of the largest sample on the way."""
        sizes = self.passes[:, [Word.BEFORE, Word.AFTER]].max(axis=1) * self.passes[:, Word.CHANNELS]
        return int(sizes.max())


def is_series(op: Augmentation) -> bool:
    """Whether programs have a pass for an augmentation."""
    return type(op) in _KINDS


def write_program(bound: Bound, numbers: Sequence[int], column: str) -> SeriesProgram:
    """Write the program of one column.

    Args:
        bound: The chain.
        numbers: Neighbouring augmentations for which `is_series` holds.
        column: A column that one of them changes at least.
    """
    rows: list[list[int]] = []
    values: list[float] = []
    keyed: list[int] = []
    own = [number for number in numbers if column in bound.chain.ops[number].changed]
    for number in own:
        op: Any = bound.chain.ops[number]
        kind = _kind(op)
        options = _options(op, bound.states[number][column], len(values), len(keyed))
        if kind in (Kind.SHIFT, Kind.MASK):
            values.append(op.fill if kind is Kind.SHIFT else op.value)
        if kind is Kind.JITTER:
            keyed.append(number)
        before, after = (bound.states[state][column] for state in (number, number + 1))
        shape = [op.steps(before), op.steps(after), op.channels(before), int(_is_apart(op, before))]
        rows.append([kind, *_places(bound, number), *shape, *options, 0])
    states = bound.states[own[0]][column], bound.states[own[-1] + 1][column]
    return SeriesProgram(
        np.array(rows, np.int32), np.array(values).astype(states[0].dtype), tuple(keyed), *states
    )


_KINDS: dict[type[Augmentation], Kind] = {
    WindowSlice: Kind.WINDOW,
    Permutation: Kind.PERMUTE,
    Shift: Kind.SHIFT,
    Reverse: Kind.REVERSE,
    TimeMask: Kind.MASK,
    FrequencyMask: Kind.MASK,
    Jitter: Kind.JITTER,
    Scaling: Kind.SCALE,
    TimeWarp: Kind.WARP,
}


def _kind(op: Any) -> Kind:
    return Kind.CROP if type(op) is WindowSlice and op.size is not None else _KINDS[type(op)]


def _places(bound: Bound, number: int) -> list[int]:
    """Where in the packed record the gate and the first two parameters of an augmentation are."""
    fields: Any = bound.dtype.fields
    record, begin = fields[bound.chain.paths[number]][:2]
    places = [(begin + record.fields[name][1]) // 4 for name in record.names[:3]]
    return [*places, *[-1] * (3 - len(places))]


def _is_apart(op: SeriesAugmentation, spec: Spec) -> bool:
    """Whether the steps of a channel lie side by side."""
    return len(spec.shape) == 1 or op.layout == "NCT" or spec.shape[1] == 1


def _options(op: Any, spec: Spec, value: int, key: int) -> list[int]:
    found: dict[type[Augmentation], Callable[[], list[int]]] = {
        Shift: lambda: [int(op.rollover), value, 0],
        TimeMask: lambda: [op.masks, value, 0],
        FrequencyMask: lambda: [op.masks, value, 1],
        Jitter: lambda: [key, 0, 0],
        TimeWarp: lambda: [op.knots + 1, 0, 0],
        WindowSlice: lambda: [op.window(op.steps(spec)), 0, 0],
    }
    return found[type(op)]() if type(op) in found else [0, 0, 0]
