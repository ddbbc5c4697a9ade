"""Crops: a window of an image, at a random place or in its centre."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Spec
from headrace.augment.image.base import Columns, GeometricAugmentation, Specs
from headrace.augment.image.checks import Fill, check_fill, check_fill_fits, fill_array, read_size
from headrace.draws.draws import Words
from headrace.draws.numbers import integers
from headrace.errors import OptionError


@dataclass(frozen=True)
class _Crop(GeometricAugmentation):
    size: int | tuple[int, int]

    only_moves: ClassVar[bool] = True

    @property
    def filling(self) -> Fill:
        """What lies outside of an image."""
        return 0

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """First row and column of the window; below 0 or beyond the image lies what is filled in."""
        return (("top", "i4"), ("left", "i4"))

    def check(self) -> None:
        """Refuse a size that is none; see `Augmentation.check`."""
        read_size(self.title, self.size)
        check_fill(self, "fill", self.filling)

    def output(self, specs: Specs) -> Specs:
        """Return the columns with other heights and widths; see `Augmentation.output`."""
        sides = read_size(self.title, self.size)
        found = super().output(specs)
        for column, spec in found.items():
            check_fill_fits(self, self.filling, column, spec)
        return {column: self.resized(spec, sides) for column, spec in found.items()}

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Return the window in the centre."""
        sides, (height, width) = self.common_sides(specs), read_size(self.title, self.size)
        return {"top": find_centre(sides[0], height), "left": find_centre(sides[1], width)}

    def apply(self, xp: Any, columns: Columns, params: Mapping[str, Any], noise: Noise) -> Columns:
        """Return the windows."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            moved, is_inside = array, xp.asarray(True)
            starts = (params["top"], params["left"])
            for axis, start, count in zip(
                self.axes(array), starts, read_size(self.title, self.size), strict=True
            ):
                places = xp.astype(start, xp.int64)[:, None] + xp.arange(count, dtype=xp.int64)[None, :]
                moved, is_there = take_places(xp, moved, axis, places)
                is_inside = is_inside & is_there
            found[column] = xp.where(is_inside, moved, fill_array(xp, self, self.filling, array))
        return found


@dataclass(frozen=True)
class RandomCrop(_Crop):
    """Cut out a window at a random place; parity A.

    Where its draw is not applied (`p`), the window in the centre is cut out.

    Attributes:
        size: Height and width of the window; one number for both.
        padding: How far images are extended first: a number, a pair (left and right, top and bottom) or four
            (left, top, right, bottom). None, as in torchvision.
        pad_if_needed: Extend an image that is smaller than the window, as far as it lacks, on both sides.
            False, as in torchvision.
        fill: What extends them, one number or one for each channel; 0 as in torchvision.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.zeros((8, 64, 64, 3), np.uint8)})
        >>> loader = ds.augment(hr.augment.RandomCrop("image", size=56, padding=4)).loader(4, output="numpy")
        >>> next(iter(loader))["image"].shape
        (4, 56, 56, 3)
    """

    padding: int | tuple[int, int] | tuple[int, int, int, int] | None = None
    pad_if_needed: bool = False
    fill: Fill = 0

    @property
    def filling(self) -> Fill:
        """What lies outside of an image."""
        return self.fill

    def check(self) -> None:
        """Refuse a padding that is none; see `Augmentation.check`."""
        super().check()
        self._padding()

    def words(self, specs: Specs) -> int:
        """Row and column."""
        return 2

    def output(self, specs: Specs) -> Specs:
        """Return the columns cropped; see `Augmentation.output`."""
        found = super().output(specs)
        size = read_size(self.title, self.size)
        for column in self.changed:
            padded = [low + side for low, side in self._extended(self.sides(specs[column]))]
            if any(side < count for side, count in zip(padded, size, strict=True)):
                needed = f"images that are, padded, at least {size[0]} x {size[1]}"
                raise self.refuse(column, specs[column], f"{needed} (or set `pad_if_needed=True`)")
        return found

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Draw a place within the extended image, each equally often."""
        size, found = read_size(self.title, self.size), {}
        extended = self._extended(self.common_sides(specs))
        for number, (before, end) in enumerate(extended):
            drawn = integers(words[:, number], before + end - size[number] + 1)
            found[("top", "left")[number]] = drawn - before
        return found

    def _extended(self, sides: tuple[int, int]) -> list[tuple[int, int]]:
        """How far rows and columns extend before an image's first, and its side with what comes behind it."""
        left, top, right, bottom = self._padding()
        found: list[tuple[int, int]] = []
        size = read_size(self.title, self.size)
        for side, count, before, after in zip(sides, size, (top, left), (bottom, right), strict=True):
            lacking = max(count - side - before - after, 0) if self.pad_if_needed else 0
            found.append((before + lacking, side + after + lacking))
        return found

    def _padding(self) -> tuple[int, int, int, int]:
        given: object = 0 if self.padding is None else self.padding
        four = cast("Sequence[object]", (given,) if isinstance(given, int) else given)
        if isinstance(four, (tuple, list)) and len(four) in (1, 2, 4):
            whole = [each for each in four if type(each) is int and each >= 0]
            if len(whole) == len(four):
                left, top, right, bottom = whole * (4 // len(whole))
                return left, top, right, bottom
        raise OptionError(
            f"{self.title}: `padding` must be a whole number of at least 0, a pair (left and right, top and "
            f"bottom) or four (left, top, right, bottom), got {self.padding!r}"
        )


@dataclass(frozen=True)
class CenterCrop(_Crop):
    """Cut out the window in the centre; parity A. Nothing is random, so `p` has no part in it.

    Where the rest is odd, the window lies where torchvision puts it.

    Attributes:
        size: Height and width of the window; one number for both.
        fill: What lies around an image that is smaller; 0 as in torchvision.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.arange(16, dtype=np.uint8).reshape(1, 4, 4)})
        >>> loader = ds.augment(hr.augment.CenterCrop("image", 2)).loader(1, output="numpy")
        >>> next(iter(loader))["image"].tolist()
        [[[5, 6], [9, 10]]]
    """

    fill: Fill = 0

    @property
    def filling(self) -> Fill:
        """What lies outside of an image."""
        return self.fill

    def words(self, specs: Specs) -> int:
        """None."""
        return 0

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Return the window in the centre."""
        return self.neutral(specs)


def find_centre(side: int, count: int) -> int:
    """Return where a window in the centre begins; as torchvision, half a pixel goes to the even place."""
    return round((side - count) / 2) if side >= count else -((count - side) // 2)


def take_places(xp: Any, array: Any, axis: int, places: Any) -> tuple[Any, Any]:
    """Take what lies at some places along an axis, of each sample its own.

    Args:
        xp: The namespace of the arrays.
        array: Of shape [n, ...].
        axis: Which axis.
        places: int64 of shape [n, count]; those outside give what lies at the nearest edge.

    Returns:
        The array with `count` in place of the axis' length, and whether each place lies inside, in a shape
        that broadcasts against it.
    """
    shape = [1] * array.ndim
    shape[0], shape[axis] = places.shape
    places = xp.reshape(places, tuple(shape))
    last = array.shape[axis] - 1
    nearest = xp.clip(places, 0, last)
    return xp.take_along_axis(array, nearest, axis=axis), nearest == places
