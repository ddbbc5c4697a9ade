"""Windows of a random area and shape, as RandomResizedCrop and RandomErasing draw them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.augment.image.checks import read_range
from headrace.draws.draws import Words
from headrace.draws.numbers import integers, log_uniform
from headrace.errors import OptionError

TRIES = 10
"""How many windows are drawn, as in torchvision; the first that fits is taken."""
WORDS = 2 * TRIES + 2
"""Area and shape of each try, then row and column of the one that is taken."""

Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shapes:
    """What areas and shapes windows may have.

    Attributes:
        scale: Least and largest part of the image's area, uniform.
        ratio: Least and largest ratio of the sides, whose logarithm is uniform.
    """

    scale: tuple[float, float]
    ratio: tuple[float, float]

    def draw(self, words: Words, sides: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw the sides of all tries.

        Args:
            words: uint32 of shape [n, `WORDS`].
            sides: Height and width of the image.

        Returns:
            sqrt(area * ratio) and sqrt(area / ratio), both rounded half to even: whole numbers of shape
            [n, `TRIES`].
        """
        low, high = self.scale
        parts = words[:, 0 : 2 * TRIES : 2] * 2.0**-32
        area = sides[0] * sides[1] * (low + (high - low) * parts)
        ratio = log_uniform(words[:, 1 : 2 * TRIES : 2], *self.ratio)
        return np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))


def read_shapes(title: str, scale: object, ratio: object) -> Shapes:
    """Return the areas and shapes that options allow.

    Raises:
        OptionError: A range is none.
    """
    for name, given in (("scale", scale), ("ratio", ratio)):
        if not isinstance(given, (tuple, list)):
            raise OptionError(f"{title}: `{name}` must be a pair (low, high), got {given!r}")
    areas, sides = read_range(title, "scale", scale, (0, 1)), read_range(title, "ratio", ratio, (0.001, 1000))
    return Shapes(areas, sides)


def first_fitting(
    heights: NDArray[np.float64], widths: NDArray[np.float64], fits: NDArray[np.bool_]
) -> Whole:
    """Return height and width of each sample's first try that fits, or zeros: int64 of shape [n, 2]."""
    first = np.argmax(fits, axis=1)[:, None]
    found = np.concatenate(
        [np.take_along_axis(heights, first, axis=1), np.take_along_axis(widths, first, axis=1)], axis=1
    )
    return np.where(np.any(fits, axis=1)[:, None], found, 0.0).astype(np.int64)


def place(words: Words, sides: tuple[int, int], windows: Whole) -> tuple[Whole, Whole]:
    """Draw row and column of windows within an image, each equally often."""
    top = integers(words[:, 2 * TRIES], sides[0] - windows[:, 0] + 1)
    left = integers(words[:, 2 * TRIES + 1], sides[1] - windows[:, 1] + 1)
    return top, left
