"""Changes of single values without arithmetic to speak of: invert, posterize, solarize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Parity, Spec
from headrace.augment.image.base import PointAugmentation, RangeAugmentation, Specs, per_sample
from headrace.augment.image.checks import Pair, read_range
from headrace.augment.image.pixels import ONE, is_uint8, working_dtype
from headrace.draws.draws import Words
from headrace.errors import OptionError


@dataclass(frozen=True)
class Invert(PointAugmentation):
    """Turn dark into bright: uint8 to 255 - x, floats to 1 - x; parity A for uint8, B for floats.

    Attributes:
        p: The probability, 0.5 as in torchvision.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.array([[[0, 55]]], np.uint8)})
        >>> loader = ds.augment(hr.augment.Invert("image", p=1)).loader(1, output="numpy")
        >>> next(iter(loader))["image"].tolist()
        [[[255, 200]]]
    """

    p: float = field(default=0.5, kw_only=True)

    parity: ClassVar[Parity] = "B"

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """Whether a sample is inverted."""
        return (("on", "i4"),)

    def words(self, specs: Specs) -> int:
        """None, the gate decides."""
        return 0

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Invert whatever the gate lets through."""
        return {"on": np.ones(len(words), np.int32)}

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Change nothing."""
        return {"on": 0}

    def change(self, xp: Any, array: Any, params: Mapping[str, Any]) -> Any:
        """Return images inverted."""
        return invert(xp, array)


@dataclass(frozen=True)
class Posterize(RangeAugmentation):
    """Keep few bits of each value; parity A for uint8, B for floats.

    uint8 keeps its upper `bits` bits. Floats become floor(x * 2^bits), clipped to 0..2^bits - 1, over
    2^bits, as by torchvision.

    Attributes:
        bits: How many bits, from 1 to 8; or a pair (low, high), both drawn.
        p: The probability, 0.5 as in torchvision.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.array([[[100, 200]]], np.uint8)})
        >>> loader = ds.augment(hr.augment.Posterize("image", bits=2, p=1)).loader(1, output="numpy")
        >>> next(iter(loader))["image"].tolist()
        [[[64, 192]]]
    """

    bits: int | tuple[int, int]
    p: float = field(default=0.5, kw_only=True)

    parameter: ClassVar[str] = "bits"
    unchanged: ClassVar[int] = 8

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the largest number of bits."""
        ends = tuple(cast("Sequence[object]", self.bits)) if isinstance(self.bits, (tuple, list)) else None
        ends = (self.bits, self.bits) if ends is None else ends
        if len(ends) == 2 and all(type(end) is int for end in ends):
            low, high = cast("tuple[int, int]", ends)
            if 1 <= low <= high <= 8:
                return low, high
        raise OptionError(
            f"{self.title}: `bits` must be a whole number from 1 to 8, or a pair (low, high) of such, "
            f"got {self.bits!r}"
        )

    def change(self, xp: Any, array: Any, params: Mapping[str, Any]) -> Any:
        """Return images of few levels."""
        bits = xp.astype(per_sample(xp, params["bits"], array), xp.int32)
        if is_uint8(xp, array):
            return xp.astype((xp.astype(array, xp.int32) >> (8 - bits)) << (8 - bits), xp.uint8)
        dtype = working_dtype(xp, array)
        levels = xp.astype(xp.ones_like(bits) << bits, dtype)
        level = xp.floor(xp.astype(array, dtype) * levels)
        level = xp.where(level > levels - 1, levels - 1, xp.where(level < 0, xp.zeros_like(level), level))
        return xp.astype(level * (1.0 / levels), array.dtype)


@dataclass(frozen=True)
class Solarize(RangeAugmentation):
    """Invert all values from a threshold on; parity A for uint8, B for floats.

    Attributes:
        threshold: Part of the full range (255 for uint8, 1 for floats), or a pair (low, high) of such. 0.5
            as in albumentations, which is Pillow's 128 for uint8. Above 1 it is a part of 255, as for uint8
            in torchvision.
        p: The probability, 0.5 as in torchvision.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.array([[[127, 128]]], np.uint8)})
        >>> loader = ds.augment(hr.augment.Solarize("image", p=1)).loader(1, output="numpy")
        >>> next(iter(loader))["image"].tolist()
        [[[127, 127]]]
    """

    threshold: Pair = 0.5
    p: float = field(default=0.5, kw_only=True)

    parameter: ClassVar[str] = "threshold"
    unchanged: ClassVar[int] = ONE

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the largest threshold in 2^-16."""
        low, high = read_range(self.title, "threshold", self.threshold, (0, 255))
        whole = 255 if high > 1 else 1
        # Rounded down, so that a float that is the threshold itself is inverted.
        return int(low / whole * ONE), int(high / whole * ONE)

    def change(self, xp: Any, array: Any, params: Mapping[str, Any]) -> Any:
        """Return images whose bright values are inverted.

        Those from t / 65536 of the full range on: uint8 if x * 65536 >= t * 255.
        """
        threshold = xp.astype(per_sample(xp, params["threshold"], array), xp.int32)
        if is_uint8(xp, array):
            is_bright = xp.astype(array, xp.int32) * ONE >= threshold * 255
        else:
            dtype = working_dtype(xp, array)
            is_bright = xp.astype(array, dtype) >= xp.astype(threshold, dtype) * (1.0 / ONE)
        return xp.where(is_bright, invert(xp, array), array)


def invert(xp: Any, array: Any) -> Any:
    """Return 255 - x for uint8, 1 - x for floats (computed in float32 where they are smaller)."""
    if is_uint8(xp, array):
        return 255 - array
    return xp.astype(1 - xp.astype(array, working_dtype(xp, array)), array.dtype)
