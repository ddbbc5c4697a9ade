"""Noise of single values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Parity, Spec
from headrace.augment.image.base import Columns, ImageAugmentation, Specs, per_sample
from headrace.augment.image.checks import Pair, is_number, read_range
from headrace.augment.image.pixels import clip_floats, is_uint8, working_dtype
from headrace.draws.draws import Words
from headrace.draws.numbers import normal
from headrace.errors import OptionError


@dataclass(frozen=True)
class GaussianNoise(ImageAugmentation):
    """Add normal noise, each value its own; parity B.

    Mean and deviation are meant for 0..1: for uint8 they are multiplied by 255, and the sum is clipped to
    0..255 and rounded half up. torchvision cuts the noise of uint8 towards 0 before it adds it.

    Attributes:
        mean: Mean of the noise; 0 as in torchvision.
        sigma: Its standard deviation, or a pair (low, high) from which one is drawn for each sample; 0.1 as
            in torchvision.
        clip: Clip floats to 0..1; True as in torchvision. uint8 is always clipped.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.full((1, 64, 64), 128, np.uint8)})
        >>> loader = ds.augment(hr.augment.GaussianNoise("image")).loader(1, output="numpy")
        >>> bool(24 < next(iter(loader))["image"].std() < 27)
        True
    """

    mean: float = 0.0
    sigma: Pair = 0.1
    clip: bool = True

    parity: ClassVar[Parity] = "B"
    draws_elements: ClassVar[bool] = True

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest deviation."""
        return read_range(self.title, "sigma", self.sigma, (0, 1000))

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """The standard deviation."""
        return (("sigma", "f4"),)

    def check(self) -> None:
        """Refuse a mean or deviation that is none; see `Augmentation.check`."""
        _ = self.bounds
        if not is_number(self.mean):
            raise OptionError(f"{self.title}: `mean` must be a number, got {self.mean!r}")

    def words(self, specs: Specs) -> int:
        """One."""
        return 1

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Draw the deviations, uniformly."""
        low, high = self.bounds
        return {"sigma": (low + (high - low) * (words[:, 0] * 2.0**-32)).astype(np.float32)}

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Return no deviation."""
        return {"sigma": 0}

    def apply(self, xp: Any, columns: Columns, params: Mapping[str, Any], noise: Noise) -> Columns:
        """Return images with noise: x + (mean + z * sigma), z from one word for each value."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            count = array.size // array.shape[0] if array.shape[0] else 0
            drawn = xp.reshape(normal(noise.words(column, count)), array.shape)
            is_on = per_sample(xp, params["applied"], array) != 0
            found[column] = xp.where(is_on, self._add(xp, array, drawn, params["sigma"]), array)
        return found

    def _add(self, xp: Any, array: Any, drawn: Any, sigma: Any) -> Any:
        """Add noise; uint8 in float32, with mean * 255 and sigma * 255 rounded to float32 first."""
        dtype = working_dtype(xp, array)
        sigma, mean = xp.astype(per_sample(xp, sigma, array), dtype), float(self.mean)
        if is_uint8(xp, array):
            sigma, mean = sigma * 255, mean * 255
        mean = xp.asarray(mean, dtype=dtype)
        total = xp.astype(array, dtype) + (mean + xp.astype(drawn, dtype) * sigma)
        if is_uint8(xp, array):
            return xp.astype(xp.floor(clip_floats(xp, total, 255.0) + 0.5), xp.uint8)
        return xp.astype(clip_floats(xp, total) if self.clip else total, array.dtype)
