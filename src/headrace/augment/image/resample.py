"""Resampling: windows of images brought to one height and width, by whole numbers where images are uint8.

Bilinear, along one axis, from `length` source pixels to `count`: source pixel s (from 0 within the window)
and output pixel x lie d = |(2 s + 1) count - (2 x + 1) length| apart, in 1 / (2 count) of a source pixel.
With S = 2 max(length, count) (without antialias S = 2 count) the weight of s is max(0, S - d) over the sum of
these for all s in the window. That is the triangle filter of Pillow and of torch's `antialias=True`, exactly.

The first axis is the width, the second the height. uint8: weights are whole multiples of 2^-22, rounded half
up, as in Pillow; each axis ends in (sum + 2^21) >> 22, clipped to 0..255, which int32 holds. Floats: a
weight is the quotient in float64, rounded to the dtype that is computed in; products are added one by one
from 0, in the order of s, leaving out weights of 0.

Nearest: s = ((2 x + 1) length) // (2 count), the pixel that holds the centre, as in Pillow and torch's
"nearest-exact".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.augment.image.crop import take_places
from headrace.augment.image.pixels import is_uint8, working_dtype

WEIGHT_BITS = 22


@dataclass(frozen=True, slots=True)
class Windows:
    """Where the pixels of one axis come from, by the array API.

    Attributes:
        xp: The namespace of the arrays.
        start: First source pixel of each sample's window, int64 of shape [n, 1].
        length: How many source pixels it has, int64 of shape [n, 1].
        count: How many pixels come out.
    """

    xp: Any
    start: Any
    length: Any
    count: int

    @property
    def doubled(self) -> Any:
        """(2 x + 1) length for each output pixel: int64 of shape [n, count]."""
        return (2 * self.xp.arange(self.count, dtype=self.xp.int64)[None, :] + 1) * self.length

    def nearest(self, array: Any, axis: int) -> Any:
        """Take the nearest source pixels along an axis."""
        return take_places(self.xp, array, axis, self.start + self.doubled // (2 * self.count))[0]

    def bilinear(self, array: Any, axis: int, antialias: bool) -> Any:
        """Filter along an axis; the array is uint8 or of the dtype that floats are computed in."""
        xp, most = self.xp, array.shape[axis]
        reach = 2 * self.count
        taps = 2
        if antialias:
            reach = 2 * xp.where(self.length > self.count, self.length, xp.full_like(self.length, self.count))
            taps = -(-2 * max(most, self.count) // self.count)
        first = (self.doubled - reach - self.count) // (2 * self.count) + 1
        weights = [self._weight(first + tap, reach) for tap in range(taps)]
        total: Any = weights[0]
        for weight in weights[1:]:
            total = total + weight
        is_whole = is_uint8(xp, array)
        found = xp.asarray(
            1 << (WEIGHT_BITS - 1) if is_whole else 0, dtype=xp.int32 if is_whole else array.dtype
        )
        shape = [1] * array.ndim
        shape[0], shape[axis] = total.shape
        for tap, weight in enumerate(weights):
            places = self.start + xp.clip(first + tap, 0, None)
            if is_whole:
                part = xp.astype(((weight << (WEIGHT_BITS + 1)) + total) // (2 * total), xp.int32)
            else:
                part = xp.astype(xp.astype(weight, xp.float64) / xp.astype(total, xp.float64), array.dtype)
            part = xp.reshape(part, tuple(shape))
            product = xp.astype(take_places(xp, array, axis, places)[0], found.dtype) * part
            found = xp.where(xp.reshape(weight, tuple(shape)) > 0, found + product, found)
        return xp.astype(xp.clip(found >> WEIGHT_BITS, 0, 255), xp.uint8) if is_whole else found

    def _weight(self, source: Any, reach: Any) -> Any:
        """Weigh a source pixel for each output pixel: whole numbers, 0 outside of the window."""
        distance = self.xp.abs((2 * source + 1) * self.count - self.doubled)
        weight = self.xp.clip(reach - distance, 0, None)
        is_inside = (source >= 0) & (source < self.length)
        return self.xp.where(is_inside, weight, self.xp.zeros_like(weight))


def resample(
    xp: Any, array: Any, axes: tuple[int, int], windows: tuple[Windows, Windows], how: tuple[str, bool]
) -> Any:
    """Bring a window of each image to one height and width.

    Args:
        xp: The namespace of the arrays.
        array: Images, of shape [n, ...].
        axes: The axes of height and width.
        windows: Of the height and of the width.
        how: "bilinear" or "nearest", and whether with antialias.

    Returns:
        The same dtype.
    """
    dtype, (mode, antialias) = array.dtype, how
    if mode == "nearest":
        for axis, window in zip(reversed(axes), reversed(windows), strict=True):
            array = window.nearest(array, axis)
        return array
    if not is_uint8(xp, array):
        array = xp.astype(array, working_dtype(xp, array))
    for axis, window in zip(reversed(axes), reversed(windows), strict=True):
        array = window.bilinear(array, axis, antialias)
    return xp.astype(array, dtype)
