"""Rectangles that are erased: one of random area and shape, or some of random sides."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Spec
from headrace.augment.image.base import Columns, GeometricAugmentation, Specs
from headrace.augment.image.checks import Fill, check_fill, check_fill_fits, fill_array, read_range
from headrace.augment.image.windows import WORDS, Shapes, first_fitting, place, read_shapes
from headrace.draws.draws import Words
from headrace.draws.numbers import integers
from headrace.errors import OptionError

_NAMES = ("top", "left", "height", "width")


@dataclass(frozen=True)
class _Erase(GeometricAugmentation):
    only_moves: ClassVar[bool] = True

    @property
    @abstractmethod
    def filling(self) -> tuple[str, Fill]:
        """Name and value of the option that says what is put in."""

    def check(self) -> None:
        """Refuse a fill value that is none; see `Augmentation.check`."""
        check_fill(self, *self.filling)

    def output(self, specs: Specs) -> Specs:
        """Return what the columns hold; see `Augmentation.output`."""
        found = super().output(specs)
        for column, spec in found.items():
            check_fill_fits(self, self.filling[1], column, spec)
        return found

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Return rectangles without an area."""
        return dict.fromkeys(_NAMES, 0)

    def apply(self, xp: Any, columns: Columns, params: Mapping[str, Any], noise: Noise) -> Columns:
        """Return images with the rectangles filled."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            rows, across = self.axes(array)
            is_erased = _is_within(xp, params["top"], params["height"], array.shape[rows])[:, :, :, None]
            is_erased = (
                is_erased
                & _is_within(xp, params["left"], params["width"], array.shape[across])[:, :, None, :]
            )
            shape = [1] * array.ndim
            shape[0], shape[rows], shape[across] = array.shape[0], array.shape[rows], array.shape[across]
            is_erased = xp.reshape(xp.any(is_erased, axis=1), tuple(shape))
            found[column] = xp.where(is_erased, fill_array(xp, self, self.filling[1], array), array)
        return found


@dataclass(frozen=True)
class RandomErasing(_Erase):
    """Fill a rectangle of random area, shape and place; parity A.

    Ten rectangles are drawn and the first that is lower and narrower than the image is filled; if none is,
    the image stays as it is.

    Attributes:
        scale: Least and largest part of the image's area; (0.02, 0.33) as in torchvision.
        ratio: Least and largest height over width, log-uniform; (0.3, 3.3) as in torchvision.
        value: What is put in, one number or one for each channel; 0 as in torchvision.
        p: The probability, 0.5 as in torchvision.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.ones((1, 32, 32, 3), np.uint8)})
        >>> loader = ds.augment(hr.augment.RandomErasing("image", p=1)).loader(1, output="numpy")
        >>> bool(0.6 < next(iter(loader))["image"].mean() < 0.99)
        True
    """

    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: Fill = 0
    p: float = field(default=0.5, kw_only=True)

    @property
    def filling(self) -> tuple[str, Fill]:
        """Name and value of the option."""
        return "value", self.value

    @property
    def shapes(self) -> Shapes:
        """What the options say of a rectangle's shape."""
        return read_shapes(self.title, self.scale, self.ratio)

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """First row and column, height and width of the rectangle."""
        return tuple((name, "i4") for name in _NAMES)

    def check(self) -> None:
        """Refuse ranges that are none; see `Augmentation.check`."""
        super().check()
        _ = self.shapes

    def words(self, specs: Specs) -> int:
        """Area and shape of ten rectangles, row and column of one."""
        return WORDS

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Draw the rectangles."""
        sides = self.common_sides(specs)
        heights, widths = self.shapes.draw(words, sides)
        found = first_fitting(heights, widths, (heights < sides[0]) & (widths < sides[1]))
        top, left = place(words, sides, found)
        return {"top": top, "left": left, "height": found[:, 0], "width": found[:, 1]}


@dataclass(frozen=True)
class Cutout(_Erase):
    """Fill one rectangle or several; parity A. Known as CoarseDropout too.

    Attributes:
        holes: How many, a number or a pair (low, high), both drawn; (1, 2) as in albumentations.
        size: Least and largest part of the image's height and width, drawn apart for both; (0.1, 0.2) as in
            albumentations. A side is at least one pixel.
        fill: What is put in, one number or one for each channel; 0 as in albumentations.
        p: The probability, 0.5 as in albumentations.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.ones((1, 10, 10), np.uint8)})
        >>> op = hr.augment.Cutout("image", holes=1, size=0.2, p=1)
        >>> int(next(iter(ds.augment(op).loader(1, output="numpy")))["image"].sum())
        96
    """

    holes: int | tuple[int, int] = (1, 2)
    size: float | tuple[float, float] = (0.1, 0.2)
    fill: Fill = 0
    p: float = field(default=0.5, kw_only=True)

    @property
    def filling(self) -> tuple[str, Fill]:
        """Name and value of the option."""
        return "fill", self.fill

    @property
    def counts(self) -> tuple[int, int]:
        """The least and the largest number of rectangles."""
        ends = (
            (self.holes, self.holes)
            if isinstance(self.holes, int)
            else tuple(cast("Sequence[object]", self.holes))
        )
        if len(ends) == 2 and all(type(end) is int for end in ends):
            low, high = cast("tuple[int, int]", ends)
            if 1 <= low <= high <= 64:
                return low, high
        raise OptionError(
            f"{self.title}: `holes` must be a whole number from 1 to 64, or a pair (low, high) of such, "
            f"got {self.holes!r}"
        )

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """First row and column, height and width of the rectangles; height 0 for those that are not there."""
        return tuple((name, "i4", (self.counts[1],)) for name in _NAMES)

    def check(self) -> None:
        """Refuse numbers and sizes that are none; see `Augmentation.check`."""
        super().check()
        _ = self.counts
        read_range(self.title, "size", self.size, (0, 1))

    def words(self, specs: Specs) -> int:
        """How many; height, width, row and column of each."""
        return 1 + 4 * self.counts[1]

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Draw the rectangles."""
        least, most = self.counts
        low, high = read_range(self.title, "size", self.size, (0, 1))
        count = integers(words[:, 0], most - least + 1) + least
        is_there = np.arange(most)[None, :] < count[:, None]
        found: dict[str, NDArray[Any]] = {}
        for number, side in enumerate(self.common_sides(specs)):
            own = words[:, 1 + number :: 2]  # height, width, row, column, height, ...
            parts = low + (high - low) * (own[:, 0::2] * 2.0**-32)
            lengths = np.maximum(np.floor(side * parts), 1).astype(np.int64)
            start = integers(own[:, 1::2], side - lengths + 1)
            found[_NAMES[number]] = np.where(is_there, start, 0)
            found[_NAMES[2 + number]] = np.where(is_there, lengths, 0)
        return found


def _is_within(xp: Any, start: Any, length: Any, side: int) -> Any:
    """Tell which places along a side lie within each stretch: of shape [n, stretches, side]."""
    shape = (*start.shape, 1) if start.ndim == 2 else (*start.shape, 1, 1)
    start, length = (xp.reshape(xp.astype(each, xp.int64), shape) for each in (start, length))
    places = xp.arange(side, dtype=xp.int64)[None, None, :]
    return (places >= start) & (places < start + length)
