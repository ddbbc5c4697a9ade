"""Noise on the values of series, and factors for their channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Parity, Spec
from headrace.augment.series.base import SeriesAugmentation, along, per_sample
from headrace.augment.series.value import MOST_SIGMA, check_number
from headrace.draws.draws import Words
from headrace.draws.numbers import normal

ONE = 1 << 16
"""Factors are whole numbers of 2^-16."""
_LARGEST = float((1 << 31) - 1)


@dataclass(frozen=True)
class Jitter(SeriesAugmentation):
    """Add normal noise to every value; parity B.

    The noise of an element is a word of its own, so it is the same whatever batch the sample is in. The value
    becomes x + sigma * z, a product and a sum, each rounded once to the column's dtype.

    Attributes:
        sigma: Standard deviation of the noise, 0.03 as in uchidalab's time_series_augmentation.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"x": np.zeros((2, 500, 3), np.float32)})
        >>> batch = next(iter(ds.augment(hr.augment.Jitter("x", sigma=0.5)).loader(2, output="numpy")))
        >>> 0.48 < float(batch["x"].std()) < 0.52
        True
    """

    sigma: float = 0.03

    parity: ClassVar[Parity] = "B"
    draws_elements: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse a spread that is none."""
        check_number(self.title, "sigma", self.sigma, 0, MOST_SIGMA)

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """The standard deviation."""
        return (("sigma", "f4"),)

    def words(self, specs: Mapping[str, Spec]) -> int:
        """None, each element has its own."""
        return 0

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Take the same spread for every sample."""
        return {"sigma": np.full(len(words), self.sigma, np.float32)}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Add nothing."""
        return {"sigma": 0}

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the columns with noise."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            size = 1
            for side in array.shape[1:]:
                size *= side
            drawn = xp.reshape(normal(noise.words(column, size)), array.shape)
            sigma = per_sample(xp, xp.astype(params["sigma"], array.dtype), array.ndim)
            is_on = per_sample(xp, params["applied"] != 0, array.ndim)
            found[column] = xp.where(is_on, array + sigma * xp.astype(drawn, array.dtype), array)
        return found


@dataclass(frozen=True)
class Scaling(SeriesAugmentation):
    """Multiply each channel by a factor around 1; parity B.

    Attributes:
        sigma: Standard deviation of the factors, 0.1 as in uchidalab's time_series_augmentation, where
            factors are drawn for each channel too. Factors are rounded to 2^-16.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"x": np.ones((1, 4, 2), np.float32)})
        >>> x = next(iter(ds.augment(hr.augment.Scaling("x")).loader(1, output="numpy")))["x"]
        >>> bool((x[0] == x[0, 0]).all() and x[0, 0, 0] != x[0, 0, 1])
        True
    """

    sigma: float = 0.1

    parity: ClassVar[Parity] = "B"

    def check(self) -> None:
        """Refuse a spread that is none."""
        check_number(self.title, "sigma", self.sigma, 0, MOST_SIGMA)

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """A factor for each channel, in 2^-16; columns with fewer channels take the first ones."""
        return (("factors", "i4", (self.words(specs),)),)

    def words(self, specs: Mapping[str, Spec]) -> int:
        """One for each channel."""
        return max(self.channels(specs[column]) for column in self.changed)

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Draw around 1."""
        factors = np.rint((1.0 + self.sigma * normal(words).astype(np.float64)) * ONE)
        return {"factors": np.clip(factors, -_LARGEST, _LARGEST).astype(np.int32)}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Take all values once."""
        return {"factors": ONE}

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the columns multiplied."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            axis = self.channel_axis()
            factors = xp.astype(params["factors"], array.dtype) * (1.0 / ONE)
            if array.ndim == 2:
                factors = factors[:, :1]
            else:
                factors = along(xp, factors[:, : array.shape[axis]], axis, 3)
            is_on = per_sample(xp, params["applied"] != 0, array.ndim)
            found[column] = xp.where(is_on, array * factors, array)
        return found
