"""What all augmentations of images share: layouts, checks and the gate."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Augmentation, Field, Noise, Parity, Spec
from headrace.draws.draws import Words
from headrace.draws.numbers import integers
from headrace.errors import OptionError

ImageLayout = Literal["NHWC", "NCHW"]

Specs = Mapping[str, Spec]
Columns = Mapping[str, Any]


@dataclass(frozen=True)
class ImageAugmentation(Augmentation):
    """An augmentation of images, of shape [n, height, width, channels] or [n, channels, height, width].

    A column of shape [n, height, width] is taken for images of one channel.

    Attributes:
        layout: `"NHWC"` or `"NCHW"`.
        only_moves: Whether values are moved, not computed with; then all kinds of numbers may be images.
        channel_counts: How many channels an image may have; empty for any number.
    """

    _: KW_ONLY
    layout: ImageLayout = "NHWC"

    only_moves: ClassVar[bool] = False
    channel_counts: ClassVar[tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        for option in fields(self):
            object.__setattr__(self, option.name, freeze(getattr(self, option.name)))
        super().__post_init__()
        if self.layout not in ("NHWC", "NCHW"):
            raise OptionError(f'{self.title}: `layout` must be "NHWC" or "NCHW", got {self.layout!r}')

    def moves(self, column: str) -> bool:
        """Whether the values of a column are only moved."""
        return self.only_moves

    def sides(self, spec: Spec) -> tuple[int, int]:
        """Height and width of an image."""
        top = 1 if len(spec.shape) == 3 and self.layout == "NCHW" else 0
        return spec.shape[top], spec.shape[top + 1]

    def channels(self, spec: Spec) -> int:
        """How many channels an image has."""
        if len(spec.shape) == 2:
            return 1
        return spec.shape[0] if self.layout == "NCHW" else spec.shape[2]

    def resized(self, spec: Spec, sides: tuple[int, int]) -> Spec:
        """What a column holds whose images get another height and width."""
        if len(spec.shape) == 2:
            return Spec(sides, spec.dtype)
        channels = self.channels(spec)
        return Spec((channels, *sides) if self.layout == "NCHW" else (*sides, channels), spec.dtype)

    def axes(self, array: Any) -> tuple[int, int]:
        """The axes of height and width in an array of shape [n, ...]."""
        return (2, 3) if array.ndim == 4 and self.layout == "NCHW" else (1, 2)

    def channel_axis(self, array: Any) -> int | None:
        """The axis of channels in an array of shape [n, ...]; None for [n, height, width]."""
        if array.ndim == 3:
            return None
        return 1 if self.layout == "NCHW" else 3

    def output(self, specs: Specs) -> Specs:
        """Return what the columns hold; see `Augmentation.output`."""
        for column in self.changed:
            spec = specs[column]
            is_number = spec.dtype.kind == "f" or spec.dtype.name == "uint8"
            if self.moves(column):
                is_number = spec.dtype.kind in "biuf"
            if spec.is_ragged or len(spec.shape) not in (2, 3) or 0 in spec.shape or not is_number:
                kinds = "numbers" if self.moves(column) else "uint8 or floats"
                shape = ", ".join(self.layout[1:])
                raise self.refuse(column, spec, f"images, {kinds} of shape [n, {shape}] or [n, H, W]")
            if self.channel_counts and self.channels(spec) not in self.channel_counts:
                counts = " or ".join(str(count) for count in self.channel_counts)
                raise self.refuse(column, spec, f"images of {counts} channels (`layout` is {self.layout!r})")
        return {column: specs[column] for column in self.changed}


@dataclass(frozen=True)
class GeometricAugmentation(ImageAugmentation):
    """An augmentation that moves pixels: all columns, such as an image and its mask, are moved alike."""

    def output(self, specs: Specs) -> Specs:
        """Return what the columns hold; see `Augmentation.output`."""
        found = super().output(specs)
        first = self.changed[0]
        for column in self.changed[1:]:
            if self.sides(specs[column]) != self.sides(specs[first]):
                height, width = self.sides(specs[first])
                needed = f"images of {height} x {width} as column `{first}` does"
                raise self.refuse(column, specs[column], needed)
        return found

    def common_sides(self, specs: Specs) -> tuple[int, int]:
        """Height and width of the images in all columns."""
        return self.sides(specs[self.changed[0]])


@dataclass(frozen=True)
class PointAugmentation(ImageAugmentation):
    """An augmentation that changes values where they are.

    A sample that the gate leaves alone stays as it is, bit by bit.
    """

    @abstractmethod
    def change(self, xp: Any, array: Any, params: Mapping[str, Any]) -> Any:
        """Return one column with every sample changed, by the array API alone."""

    def apply(self, xp: Any, columns: Columns, params: Mapping[str, Any], noise: Noise) -> Columns:
        """Return the columns changed where the gate is open."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            is_on = per_sample(xp, params["applied"], array) != 0
            found[column] = xp.where(is_on, self.change(xp, array, params), array)
        return found


@dataclass(frozen=True)
class RangeAugmentation(PointAugmentation):
    """An augmentation that changes values by one whole number, drawn uniformly from a range."""

    parity: ClassVar[Parity] = "B"
    parameter: ClassVar[str]
    unchanged: ClassVar[int]

    @property
    @abstractmethod
    def bounds(self) -> tuple[int, int]:
        """The least and the largest number, both drawn; refuses options that give none."""

    def fields(self, specs: Specs) -> Sequence[Field]:
        """The number."""
        return ((self.parameter, "i4"),)

    def check(self) -> None:
        """Refuse a range that is none; see `Augmentation.check`."""
        _ = self.bounds

    def words(self, specs: Specs) -> int:
        """One."""
        return 1

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Draw the numbers."""
        low, high = self.bounds
        return {self.parameter: integers(words[:, 0], high - low + 1) + low}

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Return the number that changes nothing."""
        return {self.parameter: self.unchanged}


def freeze(value: object) -> object:
    """Return lists and arrays as tuples, and NumPy's numbers as Python's."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = cast("object", value.tolist())
    if isinstance(value, (list, tuple)):
        return tuple(freeze(each) for each in cast("list[object]", value))
    return value


def per_sample(xp: Any, values: Any, array: Any) -> Any:
    """Give values of shape [n] as many axes as an array has, so that they meet its samples."""
    return xp.reshape(values, (array.shape[0],) + (1,) * (array.ndim - 1))
