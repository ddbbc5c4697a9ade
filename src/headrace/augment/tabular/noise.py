"""Features that are dropped or disturbed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from headrace.augment.base import Noise, Parity, Spec
from headrace.augment.tabular.base import Features, TabularAugmentation, check_features, is_chosen
from headrace.draws import numbers
from headrace.errors import OptionError, SchemaError


@dataclass(frozen=True)
class FeatureDropout(TabularAugmentation):
    """Put a fixed value in the place of some features; parity A.

    Attributes:
        rate: The probability that a value is dropped, 0.1 as for dropout of tokens; one number, or one for
        each
            feature.
        fill: What takes its place: 0, or what stands for a missing value.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"x": np.ones((1000, 8), np.float32)})
        >>> loader = ds.augment(hr.augment.FeatureDropout("x", rate=0.25)).loader(1000, output="numpy")
        >>> 0.73 < float(loader.batch(0)["x"].mean()) < 0.77
        True
    """

    rate: Features = 0.1
    _: KW_ONLY
    fill: float = 0

    def check(self) -> None:
        """Refuse options that cannot be right."""
        object.__setattr__(self, "rate", check_features(self, "rate", self.rate, 1))
        if not isinstance(self.fill, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"{self.title}: `fill` must be a number, got {self.fill!r}")

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Check the columns, and that they can hold the value."""
        self.check_columns(specs, "iuf", "numbers", self.rate)
        for column in self.columns:
            dtype = specs[column].dtype
            limits = np.iinfo(dtype) if dtype.kind in "iu" else None
            if limits is not None and not (
                float(self.fill).is_integer() and limits.min <= self.fill <= limits.max
            ):
                raise SchemaError(
                    f"{self.title}: column `{column}` must hold `fill`, which is {self.fill!r}, "
                    f"but is {specs[column]}"
                )
        return super().output(specs)

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the columns with values dropped."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            words = noise.words(column, size_of(array))
            dropped = is_chosen(xp, words, self.rate, params, array.shape)
            is_whole = xp.isdtype(array.dtype, "integral")
            fill = xp.full_like(array, int(self.fill) if is_whole else float(self.fill))
            found[column] = xp.where(dropped, fill, array)
        return found


@dataclass(frozen=True)
class GaussianJitter(TabularAugmentation):
    """Add normal noise to features, or multiply them by 1 plus such; parity B.

    A value becomes x + sigma * z, or x * (1 + sigma * z), each operation rounded once to the column's dtype,
    float32 or float64; z is a float32 with a distribution as `headrace.draws.numbers.normal` has it.

    Attributes:
        sigma: The standard deviation of the noise, 0.1; one number, or one for each feature. For features
        that are
            scaled to a standard deviation of 1 it counts in standard deviations; for others give a share of
            each one's own.
        multiplicative: Multiply.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"x": np.zeros((1000, 8), np.float32)})
        >>> loader = ds.augment(hr.augment.GaussianJitter("x", sigma=2)).loader(1000, output="numpy")
        >>> 1.9 < float(loader.batch(0)["x"].std()) < 2.1
        True
    """

    sigma: Features = 0.1
    _: KW_ONLY
    multiplicative: bool = False

    parity: ClassVar[Parity] = "B"

    def check(self) -> None:
        """Refuse options that cannot be right."""
        object.__setattr__(self, "sigma", check_features(self, "sigma", self.sigma, 1e30))

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Check the columns; see `Augmentation.output`."""
        self.check_columns(specs, "f", "float32 or float64", self.sigma)
        for column in self.columns:
            if specs[column].dtype.itemsize < 4:
                raise self.refuse(column, specs[column], "float32 or float64")
        return super().output(specs)

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the columns with noise."""
        found: dict[str, Any] = {}
        each = [self.sigma] if isinstance(self.sigma, (int, float)) else self.sigma
        for column, array in columns.items():
            drawn = numbers.normal(noise.words(column, size_of(array)))
            sigma = xp.asarray(each, dtype=array.dtype)
            step = xp.reshape(xp.astype(drawn, array.dtype) * sigma, array.shape)
            changed = array * (step + 1.0) if self.multiplicative else array + step
            is_on = xp.reshape(params["applied"] != 0, (array.shape[0],) + (1,) * (array.ndim - 1))
            found[column] = xp.where(is_on, changed, array)
        return found


def size_of(array: Any) -> int:
    """How many features a column of shape [n] or [n, k] has."""
    return 1 if array.ndim == 1 else array.shape[1]
