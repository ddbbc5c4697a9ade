"""Tone: brightness, contrast and gamma."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from numpy.typing import NDArray

from headrace.augment.base import Field
from headrace.augment.image.base import PointAugmentation, Specs
from headrace.augment.image.checks import Pair, is_number, read_range
from headrace.augment.image.pixels import ONE, blend
from headrace.draws.draws import Words
from headrace.draws.numbers import integers
from headrace.errors import OptionError

MOST_FACTOR = 100.0
"""Products of a pixel and a factor up to this one fit 32 bits."""


@dataclass(frozen=True)
class BlendAugmentation(PointAugmentation):
    """Blends an image with another one by a factor, drawn uniformly in steps of 2^-16."""

    @property
    @abstractmethod
    def amount(self) -> tuple[str, Pair]:
        """Name and value of the option that says how much."""

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the largest factor in 2^-16, both drawn."""
        name, amount = self.amount
        if is_number(amount) and 0 <= cast("float", amount) < MOST_FACTOR:
            low, high = max(0.0, 1 - cast("float", amount)), 1 + cast("float", amount)
        elif isinstance(amount, (tuple, list)):
            low, high = read_range(self.title, name, amount, (0, MOST_FACTOR))
        else:
            raise OptionError(
                f"{self.title}: `{name}` must be a number a from 0 to below {MOST_FACTOR:g}, for factors "
                f"from max(0, 1 - a) to 1 + a, or a pair (low, high) of factors, got {amount!r}"
            )
        return round(low * ONE), round(high * ONE)

    @property
    def fields(self) -> Sequence[Field]:
        """The factor in 2^-16."""
        return (("factor", "i4"),)

    def check(self) -> None:
        """Refuse an amount that is none; see `Augmentation.check`."""
        _ = self.bounds

    def words(self, specs: Specs) -> int:
        """One."""
        return 1

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Draw the factors."""
        low, high = self.bounds
        return {"factor": integers(words[:, 0], high - low + 1) + low}

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Return a factor of 1."""
        return {"factor": ONE}


@dataclass(frozen=True)
class Brightness(BlendAugmentation):
    """Multiply images by a factor; parity A for uint8, B for floats.

    uint8 is rounded half up and clipped to 0..255, floats are clipped to 0..1 as by torchvision (which cuts
    uint8 down, so that its values may be one less).

    Attributes:
        brightness: A number a for factors from max(0, 1 - a) to 1 + a, or a pair of factors, as torchvision's
            ColorJitter takes it; 0.2 as in albumentations' ColorJitter.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.full((1, 1, 2), 100, np.uint8)})
        >>> loader = ds.augment(hr.augment.Brightness("image", (1.5, 1.5))).loader(1, output="numpy")
        >>> next(iter(loader))["image"].tolist()
        [[[150, 150]]]
    """

    brightness: Pair = 0.2

    @property
    def amount(self) -> tuple[str, Pair]:
        """Name and value of the option."""
        return "brightness", self.brightness

    def change(self, xp: Any, array: Any, params: Mapping[str, Any]) -> Any:
        """Return images times factors."""
        return blend(xp, array, None, params["factor"])
