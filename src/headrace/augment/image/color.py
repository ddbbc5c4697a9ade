"""Colour: saturation, and images without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Parity, Spec
from headrace.augment.image.base import PointAugmentation, Specs
from headrace.augment.image.checks import Pair
from headrace.augment.image.pixels import blend, gray_of
from headrace.augment.image.tone import BlendAugmentation
from headrace.draws.draws import Words


@dataclass(frozen=True)
class Saturation(BlendAugmentation):
    """Blend each pixel with its gray; parity A for uint8, B for floats. Images have 3 channels, red first.

    Gray is 0.299 r + 0.587 g + 0.114 b, uint8 rounded half up, as in Pillow. On tensors torchvision takes
    0.2989 for red, and cuts gray and blend of uint8: at most one level apart for factors of 0.5 to 2.

    Attributes:
        saturation: A number a for factors from max(0, 1 - a) to 1 + a, or a pair of factors, as torchvision's
            ColorJitter takes it; 0.2 as in albumentations' ColorJitter. 0 is gray, 1 the image as it is.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.array([[[[100, 100, 200]]]], np.uint8)})
        >>> loader = ds.augment(hr.augment.Saturation("image", (0.0, 0.0))).loader(1, output="numpy")
        >>> next(iter(loader))["image"].tolist()
        [[[[111, 111, 111]]]]
    """

    saturation: Pair = 0.2

    channel_counts: ClassVar[tuple[int, ...]] = (3,)

    @property
    def amount(self) -> tuple[str, Pair]:
        """Name and value of the option."""
        return "saturation", self.saturation

    def change(self, xp: Any, array: Any, params: Mapping[str, Any]) -> Any:
        """Return images blended with their grays."""
        return blend(xp, array, gray_of(xp, array, self.channel_axis(array)), params["factor"])


@dataclass(frozen=True)
class Grayscale(PointAugmentation):
    """Give all channels the brightness of the pixel; parity A for uint8, B for floats.

    Images have 3 channels, red first. Gray is that of Pillow's mode L:
    0.299 r + 0.587 g + 0.114 b, uint8 rounded half up. On tensors torchvision takes 0.2989 for red, so that
    its floats are up to 0.0001 less, and cuts uint8, which may be 1 less.

    Attributes:
        p: The probability, 0.1 as in torchvision.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.array([[[[100, 100, 200]]]], np.uint8)})
        >>> loader = ds.augment(hr.augment.Grayscale("image", p=1)).loader(1, output="numpy")
        >>> next(iter(loader))["image"].tolist()
        [[[[111, 111, 111]]]]
    """

    p: float = field(default=0.1, kw_only=True)

    parity: ClassVar[Parity] = "B"
    channel_counts: ClassVar[tuple[int, ...]] = (3,)

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """Whether a sample loses its colours."""
        return (("on", "i4"),)

    def words(self, specs: Specs) -> int:
        """None, the gate decides."""
        return 0

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Change whatever the gate lets through."""
        return {"on": np.ones(len(words), np.int32)}

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Change nothing."""
        return {"on": 0}

    def change(self, xp: Any, array: Any, params: Mapping[str, Any]) -> Any:
        """Return images without colour."""
        gray = gray_of(xp, array, self.channel_axis(array))
        return xp.broadcast_to(xp.astype(gray, array.dtype), array.shape)
