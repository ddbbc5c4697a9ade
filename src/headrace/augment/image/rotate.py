"""Rotations: by quarter turns, and by any angle about the centre."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Spec
from headrace.augment.image.base import Columns, GeometricAugmentation, Specs, per_sample
from headrace.augment.image.checks import (
    Fill,
    Pair,
    check_fill,
    check_fill_fits,
    fill_array,
    is_number,
    read_range,
)
from headrace.augment.image.pixels import ONE, is_uint8, working_dtype
from headrace.augment.image.resize import ResamplingAugmentation, read_modes
from headrace.draws.draws import Words
from headrace.draws.numbers import integers
from headrace.errors import OptionError

ANGLES = 4096
"""Into how many equal steps a range of angles is divided; both ends are drawn."""
POSITION_BITS = 17
"""Source positions are whole numbers of 2^-17 pixels."""
WEIGHT_BITS = 11
"""Weights of uint8 are the upper 11 of those bits, so that all products fit int32."""


@dataclass(frozen=True)
class Rot90(GeometricAugmentation):
    """Turn images by quarter turns; parity A.

    Attributes:
        k: From which numbers of turns one is drawn, each equally often; counter-clockwise, as in
            `numpy.rot90`. (0, 1, 2, 3), as in albumentations' RandomRotate90. Images that are not square
            take 0 and 2 only.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.array([[[1, 2], [3, 4]]], np.uint8)})
        >>> loader = ds.augment(hr.augment.Rot90("image", k=(1,))).loader(1, output="numpy")
        >>> next(iter(loader))["image"].tolist()
        [[[2, 4], [1, 3]]]
    """

    k: int | Sequence[int] = (0, 1, 2, 3)

    only_moves: ClassVar[bool] = True

    @property
    def turns(self) -> tuple[int, ...]:
        """The numbers of turns, each from 0 to 3."""
        given = (self.k,) if isinstance(self.k, int) else self.k
        if isinstance(given, (tuple, list)) and given and all(type(each) is int for each in given):
            return tuple(each % 4 for each in given)
        raise OptionError(f"{self.title}: `k` must be a whole number or several, got {self.k!r}")

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """How many quarter turns, 0 to 3."""
        return (("k", "i4"),)

    def check(self) -> None:
        """Refuse turns that are none; see `Augmentation.check`."""
        _ = self.turns

    def words(self, specs: Specs) -> int:
        """One."""
        return 1

    def output(self, specs: Specs) -> Specs:
        """Return what the columns hold; see `Augmentation.output`."""
        found = super().output(specs)
        height, width = self.common_sides(specs)
        if height != width and any(turn % 2 for turn in self.turns):
            column = self.changed[0]
            raise self.refuse(column, specs[column], "images as high as wide (or set `k=(0, 2)`)")
        return found

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Draw how many turns."""
        return {"k": np.array(self.turns, np.int32)[integers(words[:, 0], len(self.turns))]}

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Do not turn."""
        return {"k": 0}

    def apply(self, xp: Any, columns: Columns, params: Mapping[str, Any], noise: Noise) -> Columns:
        """Return images turned."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            rows, across = self.axes(array)
            k = per_sample(xp, params["k"], array)
            # A half turn flips both axes, a quarter turn swaps them and flips the rows that come out.
            turned = xp.where(k >= 2, xp.flip(xp.flip(array, axis=rows), axis=across), array)
            if array.shape[rows] == array.shape[across]:
                order = list(range(array.ndim))
                order[rows], order[across] = across, rows
                quarter = xp.flip(xp.permute_dims(turned, tuple(order)), axis=rows)
                turned = xp.where(k % 2 == 1, quarter, turned)
            found[column] = turned
        return found


@dataclass(frozen=True)
class Rotate(ResamplingAugmentation):
    """Turn images about their centre; parity A for uint8 and for "nearest", else B.

    Height and width stay. Sines and cosines are whole multiples of 2^-16, and so are the source positions of
    all pixels. Angles are drawn from 4,097 that lie evenly in the range.

    Attributes:
        degrees: A number d for angles from -d to d, or a pair (low, high); counter-clockwise, as in
            torchvision.
        interpolation: `"nearest"` (default, as in torchvision) or `"bilinear"`; or one for each column.
        fill: What comes from outside of the image, one number or one for each channel; 0 as in torchvision.
            At the border "bilinear" blends with it by how much of a pixel lies outside, as torchvision does
            with `fill=None`. Given a value, torchvision weighs the image there twice, so borders are darker.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.array([[[1, 2], [3, 4]]], np.uint8)})
        >>> loader = ds.augment(hr.augment.Rotate("image", (90, 90))).loader(1, output="numpy")
        >>> next(iter(loader))["image"].tolist()
        [[[2, 4], [1, 3]]]
    """

    degrees: Pair
    interpolation: str | Sequence[str] = "nearest"
    fill: Fill = 0

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest angle."""
        if is_number(self.degrees):
            given = abs(cast("float", self.degrees))
            return read_range(self.title, "degrees", (-given, given), (-360, 360))
        return read_range(self.title, "degrees", self.degrees, (-360, 360))

    @property
    def modes(self) -> tuple[str, ...]:
        """How each column is resampled."""
        return read_modes(self, self.interpolation)

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """Cosine and sine in 2^-16, and the angle in degrees, for people to read."""
        return (("cos", "i4"), ("sin", "i4"), ("angle", "f4"))

    def check(self) -> None:
        """Refuse angles, modes and fill values that are none; see `Augmentation.check`."""
        _ = self.bounds, self.modes
        check_fill(self, "fill", self.fill)

    def output(self, specs: Specs) -> Specs:
        """Return what the columns hold; see `Augmentation.output`."""
        found = super().output(specs)
        for column, spec in found.items():
            check_fill_fits(self, self.fill, column, spec)
        return found

    def words(self, specs: Specs) -> int:
        """One."""
        return 1

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Draw the angles."""
        angles, cosines, sines = find_angles(*self.bounds)
        step = integers(words[:, 0], ANGLES + 1)
        return {"cos": cosines[step], "sin": sines[step], "angle": angles[step]}

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Return an angle of 0."""
        return {"cos": ONE, "sin": 0, "angle": 0}

    def apply(self, xp: Any, columns: Columns, params: Mapping[str, Any], noise: Noise) -> Columns:
        """Return images rotated; see `source_positions`."""
        found: dict[str, Any] = {}
        for mode, (column, array) in zip(self.modes, columns.items(), strict=True):
            axes = self.axes(array)
            sides = array.shape[axes[0]], array.shape[axes[1]]
            positions = source_positions(xp, params["cos"], params["sin"], sides)
            fill = fill_array(xp, self, self.fill, array)
            if mode == "nearest":
                nearest = [(each + (1 << (POSITION_BITS - 1))) >> POSITION_BITS for each in positions]
                turned = _take_pixels(xp, array, axes, nearest, fill)
            else:
                turned = _blend_pixels(xp, array, axes, positions, fill)
            is_on = per_sample(xp, params["applied"], array) != 0
            found[column] = xp.where(is_on, turned, array)
        return found


@lru_cache(maxsize=16)
def find_angles(low: float, high: float) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Return the angles of a range in degrees, their cosines and sines in 2^-16, each of shape [4097]."""
    angles = [low + (high - low) * step / ANGLES for step in range(ANGLES + 1)]
    cosines, sines = (
        np.array([round(turn(math.radians(angle)) * ONE) for angle in angles], np.int32)
        for turn in (math.cos, math.sin)
    )
    return np.array(angles, np.float32), cosines, sines


def source_positions(xp: Any, cosines: Any, sines: Any, sides: tuple[int, int]) -> list[Any]:
    """Return from which row and column each pixel comes, in 2^-17 pixels.

    With u = 2 x - (W - 1) and v = 2 y - (H - 1), the column is (W - 1) 2^16 + cos u - sin v and the row
    (H - 1) 2^16 + sin u + cos v.

    Returns:
        Rows and columns, int64 of shape [n, height, width].
    """
    cosines, sines = (xp.astype(each, xp.int64)[:, None, None] for each in (cosines, sines))
    height, width = sides
    down = (2 * xp.arange(height, dtype=xp.int64) - (height - 1))[None, :, None]
    across = (2 * xp.arange(width, dtype=xp.int64) - (width - 1))[None, None, :]
    columns = (width - 1) * ONE + cosines * across - sines * down
    return [(height - 1) * ONE + sines * across + cosines * down, columns]


def _take_pixels(xp: Any, array: Any, axes: tuple[int, int], places: Sequence[Any], fill: Any) -> Any:
    """Take the pixels at rows and columns of shape [n, height, width], the fill value outside."""
    rows, across = axes
    height, width = array.shape[rows], array.shape[across]
    is_inside = (places[0] >= 0) & (places[0] < height) & (places[1] >= 0) & (places[1] < width)
    index = xp.clip(places[0], 0, height - 1) * width + xp.clip(places[1], 0, width - 1)
    shape = [1] * array.ndim
    shape[0], shape[rows], shape[across] = array.shape[0], height, width
    flat = list(array.shape)
    del flat[across]
    flat[rows] = height * width
    merged = list(shape)
    del merged[across]
    merged[rows] = height * width
    taken = xp.take_along_axis(xp.reshape(array, tuple(flat)), xp.reshape(index, tuple(merged)), axis=rows)
    return xp.where(xp.reshape(is_inside, tuple(shape)), xp.reshape(taken, array.shape), fill)


def _blend_pixels(xp: Any, array: Any, axes: tuple[int, int], positions: Sequence[Any], fill: Any) -> Any:
    """Blend the four pixels around each position, a b over c d, with the way e across and f down.

    uint8: e and f in 2^-11, ((a (1 - e) + b e) (1 - f) + (c (1 - e) + d e) f + 2^21) >> 22. Floats: e and f
    are exact, top = a + (b - a) e, bottom = c + (d - c) e, then top + (bottom - top) f.
    """
    first = [each >> POSITION_BITS for each in positions]
    ways = [each & ((1 << POSITION_BITS) - 1) for each in positions]
    shape = [1] * array.ndim
    shape[0], shape[axes[0]], shape[axes[1]] = (array.shape[axis] for axis in (0, *axes))
    down, across = (xp.reshape(way, tuple(shape)) for way in ways)
    is_whole = is_uint8(xp, array)
    dtype = xp.int32 if is_whole else working_dtype(xp, array)
    near = [
        xp.astype(_take_pixels(xp, array, axes, (first[0] + row, first[1] + column), fill), dtype)
        for row in (0, 1)
        for column in (0, 1)
    ]
    if is_whole:
        one = 1 << WEIGHT_BITS
        down, across = (xp.astype(way >> (POSITION_BITS - WEIGHT_BITS), xp.int32) for way in (down, across))
        top, bottom = (near[at] * (one - across) + near[at + 1] * across for at in (0, 2))
        total = top * (one - down) + bottom * down
        return xp.astype((total + (1 << (2 * WEIGHT_BITS - 1))) >> (2 * WEIGHT_BITS), xp.uint8)
    down, across = (xp.astype(way, dtype) * 2.0**-POSITION_BITS for way in (down, across))
    top, bottom = (near[at] + (near[at + 1] - near[at]) * across for at in (0, 2))
    return xp.astype(top + (bottom - top) * down, array.dtype)
