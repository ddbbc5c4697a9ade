"""Series that run faster and slower, and pieces of series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Parity, Spec
from headrace.augment.series.base import (
    STEP,
    SeriesAugmentation,
    per_sample,
    read_between,
    read_steps,
)
from headrace.augment.series.value import MOST_SIGMA, check_number
from headrace.draws.draws import Words
from headrace.draws.numbers import integers, normal
from headrace.errors import OptionError, check_whole

WHOLE = 30
"""Knots are places in the whole series, in 2^-30 of it."""
_SPEED = 1 << 16
_SLOWEST = _SPEED // 10


@dataclass(frozen=True)
class TimeWarp(SeriesAugmentation):
    """Let series run faster here and slower there; parity B.

    Time is cut into `knots` + 1 equal pieces. Each is played at a speed around 1, at least 0.1; all speeds
    together are scaled such that the series begins and ends where it did. All channels are warped alike.

    Attributes:
        sigma: Standard deviation of the speeds, 0.2 as in uchidalab's time_series_augmentation (which bends
            time by a cubic spline, and each channel on its own).
        knots: How many places within the series the speed changes at, 4 as there.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"x": np.arange(100, dtype=np.float32).reshape(1, 100)})
        >>> x = next(iter(ds.augment(hr.augment.TimeWarp("x")).loader(1, output="numpy")))["x"][0]
        >>> float(x[0]), float(x[-1]), bool((np.diff(x) > 0).all())
        (0.0, 99.0, True)
    """

    sigma: float = 0.2
    _: KW_ONLY
    knots: int = 4

    parity: ClassVar[Parity] = "B"

    def check(self) -> None:
        """Refuse spreads and numbers of knots that are none."""
        check_number(self.title, "sigma", self.sigma, 0, MOST_SIGMA)
        check_whole("knots", self.knots, least=1)
        if self.knots > 1000:
            raise OptionError(f"{self.title}: `knots` must be at most 1000, got {self.knots}")

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """Where in the series each knot of time is read, the ends counted, in 2^-30 of the series."""
        return (("knots", "i4", (self.knots + 2,)),)

    def words(self, specs: Mapping[str, Spec]) -> int:
        """One for each piece."""
        return self.knots + 1

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Draw speeds and add them up."""
        drawn = np.rint((1.0 + self.sigma * normal(words).astype(np.float64)) * _SPEED)
        ends = np.cumsum(np.maximum(drawn, _SLOWEST).astype(np.int64), axis=1)
        knots = np.zeros((len(words), self.knots + 2), np.int32)
        knots[:, 1:] = (ends << WHOLE) // ends[:, -1:]
        return {"knots": knots}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Read knots where they are."""
        return {"knots": [(knot << WHOLE) // (self.knots + 1) for knot in range(self.knots + 2)]}

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the columns warped."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            axis = self.time_axis(array.ndim)
            places = self._places(xp, xp.astype(params["knots"], xp.int64), array.shape[axis])
            is_on = per_sample(xp, params["applied"] != 0, array.ndim)
            found[column] = xp.where(is_on, read_between(xp, array, places, axis), array)
        return found

    def _places(self, xp: Any, knots: Any, steps: int) -> Any:
        """Find the place that each step is read at, in 2^-16 of a step."""
        last = max(steps - 1, 1)
        time = xp.arange(steps, dtype=xp.int64) * (self.knots + 1)
        piece = xp.minimum(time // last, xp.asarray(self.knots, dtype=xp.int64))
        rest = time - piece * last
        before, after = xp.take(knots, piece, axis=1), xp.take(knots, piece + 1, axis=1)
        share = before + (after - before) * rest // last
        return (share * (steps - 1)) >> (WHOLE - STEP)


@dataclass(frozen=True)
class WindowSlice(SeriesAugmentation):
    """Take a window of each series, and stretch it to the length of the series; parity B.

    With `size`, take a window of so many steps and leave it as it is, which is parity A and good for all
    numbers; of a sample that is not changed (see `p`), it takes the middle.

    Attributes:
        reduce_ratio: Length of the window as a share of the series, rounded up to steps; 0.9 as in
            uchidalab's time_series_augmentation.
        size: Steps of the window, in place of `reduce_ratio`.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"x": np.arange(20, dtype=np.int16).reshape(1, 20)})
        >>> loader = ds.augment(hr.augment.WindowSlice("x", size=3)).loader(1, output="numpy")
        >>> np.diff(next(iter(loader))["x"]).tolist()
        [[1, 1]]
    """

    reduce_ratio: float = 0.9
    _: KW_ONLY
    size: int | None = None

    parity: ClassVar[Parity] = "B"

    @property
    def needs_floats(self) -> bool:
        """Whether values are computed and not only moved."""
        return self.size is None

    def check(self) -> None:
        """Refuse windows without a length."""
        if self.size is not None:
            check_whole("size", self.size, least=1)
        check_number(self.title, "reduce_ratio", self.reduce_ratio, 0, 1)
        if self.reduce_ratio == 0:
            raise OptionError(f"{self.title}: `reduce_ratio` must be above 0, got {self.reduce_ratio!r}")

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """The first step of the window."""
        return (("start", "i4"),)

    def words(self, specs: Mapping[str, Spec]) -> int:
        """One, for the place."""
        return 1

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Return what the columns hold, `size` steps if that is given; see `Augmentation.output`."""
        found = super().output(specs)
        if self.size is None:
            return found
        changed: dict[str, Spec] = {}
        for column, spec in found.items():
            if self.steps(spec) < self.size:
                raise self.refuse(column, spec, f"series of at least `size` = {self.size} steps")
            shape = list(spec.shape)
            shape[self.time_axis(len(shape) + 1) - 1] = self.size
            changed[column] = replace(spec, shape=tuple(shape))
        return changed

    def window(self, steps: int) -> int:
        """How many steps of so many a window has."""
        return self.size if self.size is not None else max(math.ceil(self.reduce_ratio * steps), 1)

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Draw where the window begins."""
        steps = self.steps(specs[self.changed[0]])
        return {"start": integers(words[:, 0], steps - self.window(steps) + 1)}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Take the middle."""
        steps = self.steps(specs[self.changed[0]])
        return {"start": (steps - self.window(steps)) // 2}

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the windows."""
        found: dict[str, Any] = {}
        start = xp.astype(params["start"], xp.int64)[:, None]
        for column, array in columns.items():
            axis = self.time_axis(array.ndim)
            steps = array.shape[axis]
            if self.size is not None:
                window = start + xp.arange(self.size, dtype=xp.int64)[None, :]
                found[column] = read_steps(xp, array, window, axis)
                continue
            time = xp.arange(steps, dtype=xp.int64) * (self.window(steps) - 1)
            places = (start << STEP) + ((time << STEP) // max(steps - 1, 1))[None, :]
            is_on = per_sample(xp, params["applied"] != 0, array.ndim)
            found[column] = xp.where(is_on, read_between(xp, array, places, axis), array)
        return found
