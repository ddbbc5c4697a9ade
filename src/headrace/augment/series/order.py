"""Series whose steps change places: pieces in another order, shifts and reversals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Spec
from headrace.augment.series.base import SeriesAugmentation, along, per_sample, read_steps
from headrace.augment.series.value import check_number, check_value, fill_like
from headrace.draws.draws import Words
from headrace.draws.numbers import integers
from headrace.errors import OptionError, check_whole


@dataclass(frozen=True)
class Permutation(SeriesAugmentation):
    """Cut each series into pieces of equal length and put them in another order; parity A.

    Where the length does not divide, the first pieces are one step longer.

    Attributes:
        max_segments: The most pieces. How many is drawn from 1 to this; the default of 5 is that of
            uchidalab's time_series_augmentation, which draws one less at most.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"x": np.arange(6, dtype=np.int8).reshape(1, 6)})
        >>> loader = ds.augment(hr.augment.Permutation("x")).loader(1, output="numpy")
        >>> sorted(next(iter(loader))["x"][0].tolist())
        [0, 1, 2, 3, 4, 5]
    """

    max_segments: int = 5

    def check(self) -> None:
        """Refuse numbers of pieces that are none."""
        check_whole("max_segments", self.max_segments, least=1)
        if self.max_segments > 1000:
            raise OptionError(f"{self.title}: `max_segments` must be at most 1000, got {self.max_segments}")

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """How many pieces there are, and which of them comes at each place."""
        return (("segments", "i4"), ("order", "i4", (self.max_segments,)))

    def words(self, specs: Mapping[str, Spec]) -> int:
        """One for the number and one for each piece."""
        return 1 + self.max_segments

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Draw a number of pieces and an order: that of their words, those beyond at the end."""
        segments = integers(words[:, 0], self.max_segments) + 1
        numbers = np.arange(self.max_segments, dtype=np.int64)
        keys = (words[:, 1:].astype(np.int64) << 16) | numbers
        keys |= np.where(numbers < segments[:, None], 0, 1 << 62)
        keys.sort(axis=1)  # the word decides, the number behind it is what is sorted
        order = np.where(numbers < segments[:, None], keys & 0xFFFF, numbers)
        return {"segments": segments, "order": order}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Leave the series in one piece."""
        return {"segments": 1, "order": np.arange(self.max_segments)}

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the columns in their new order."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            axis = self.time_axis(array.ndim)
            found[column] = read_steps(xp, array, self._steps(xp, params, array.shape[axis]), axis)
        return found

    def _steps(self, xp: Any, params: Mapping[str, Any], steps: int) -> Any:
        """Find which step comes at each, int64 of shape [n, steps]."""
        segments = xp.astype(params["segments"], xp.int64)[:, None]
        order = xp.astype(params["order"], xp.int64)
        time = xp.arange(steps, dtype=xp.int64)[None, :]
        length, longer = steps // segments, steps % segments
        found, end = xp.zeros((order.shape[0], steps), dtype=xp.int64), xp.zeros_like(segments)
        for place in range(self.max_segments):
            piece = order[:, place : place + 1]
            begin = end
            own = xp.where(segments > place, length + xp.astype(piece < longer, xp.int64), 0 * length)
            end = begin + own
            first = piece * length + xp.minimum(piece, longer)
            found = xp.where((time >= begin) & (time < end), time - begin + first, found)
        return found


@dataclass(frozen=True)
class Shift(SeriesAugmentation):
    """Shift each series in time; parity A.

    Attributes:
        min_shift: Least shift as a share of the series, -0.5 as in audiomentations. What is above 0 moves
            values to later steps.
        max_shift: Largest shift, 0.5 as there. All whole numbers of steps in between are drawn alike.
        rollover: Whether values that leave at one end come in at the other, True as there; else what comes in
            is `fill`.
        fill: The value of steps that nothing moves to.
        p: The probability, 0.5 as there.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"x": np.arange(4, dtype=np.int8).reshape(1, 4)})
        >>> shift = hr.augment.Shift("x", min_shift=0.25, max_shift=0.25, p=1)
        >>> next(iter(ds.augment(shift).loader(1, output="numpy")))["x"].tolist()
        [[3, 0, 1, 2]]
    """

    min_shift: float = -0.5
    max_shift: float = 0.5
    _: KW_ONLY
    rollover: bool = True
    fill: float = 0
    p: float = field(default=0.5)

    def check(self) -> None:
        """Refuse shares beyond the series."""
        for name, share in (("min_shift", self.min_shift), ("max_shift", self.max_shift)):
            check_number(self.title, name, share, -1, 1)
        if self.min_shift > self.max_shift:
            raise OptionError(
                f"{self.title}: `min_shift` must not be above `max_shift`, got {self.min_shift} and "
                f"{self.max_shift}"
            )

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """By how many steps values move to later ones."""
        return (("shift", "i4"),)

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Return what the columns hold; see `Augmentation.output`."""
        found = super().output(specs)
        if not self.rollover:
            check_value(self, "fill", self.fill, found)
        return found

    def words(self, specs: Mapping[str, Spec]) -> int:
        """One."""
        return 1

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Draw a number of steps."""
        steps = self.steps(specs[self.changed[0]])
        least, most = (math.floor(share * steps + 0.5) for share in (self.min_shift, self.max_shift))
        return {"shift": integers(words[:, 0], most - least + 1) + least}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Do not shift."""
        return {"shift": 0}

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the columns shifted."""
        found: dict[str, Any] = {}
        shift = xp.astype(params["shift"], xp.int64)[:, None]
        for column, array in columns.items():
            axis = self.time_axis(array.ndim)
            steps = array.shape[axis]
            wanted = xp.arange(steps, dtype=xp.int64)[None, :] - shift
            moved = read_steps(xp, array, wanted % steps, axis)
            if not self.rollover:
                is_there = along(xp, (wanted >= 0) & (wanted < steps), axis, array.ndim)
                moved = xp.where(is_there, moved, fill_like(xp, self.fill, array))
            found[column] = moved
        return found


@dataclass(frozen=True)
class Reverse(SeriesAugmentation):
    """Turn series around in time; parity A.

    Attributes:
        p: The probability, 0.5 as in audiomentations.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"x": np.arange(3, dtype=np.int8).reshape(1, 3)})
        >>> next(iter(ds.augment(hr.augment.Reverse("x", p=1)).loader(1, output="numpy")))["x"].tolist()
        [[2, 1, 0]]
    """

    _: KW_ONLY
    p: float = field(default=0.5)

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """Whether a sample is turned around."""
        return (("reverse", "i4"),)

    def words(self, specs: Mapping[str, Spec]) -> int:
        """None, the gate decides."""
        return 0

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Turn whatever the gate lets through."""
        return {"reverse": np.ones(len(words), np.int32)}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Do not turn."""
        return {"reverse": 0}

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the columns turned around."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            is_on = per_sample(xp, params["reverse"] != 0, array.ndim)
            found[column] = xp.where(is_on, xp.flip(array, axis=self.time_axis(array.ndim)), array)
        return found
