"""The arithmetic of pixels: fixed point for uint8, one rounding for each operation for floats.

Integers: a factor is a whole number of 2^-16, products are summed, rounded half up and clipped to 0..255.
Floats: float64 columns are computed in float64, all others in float32; factors are exact in both; values are
clipped to 0..1 by comparisons, so that NaN stays.
"""

from __future__ import annotations

from typing import Any

from headrace.augment.image.base import per_sample

ONE = 1 << 16
"""A factor of 1."""
HALF = 1 << 15
GRAY = (19595, 38470, 7471)
"""The weights 0.299, 0.587, 0.114 of red, green and blue (ITU-R 601) in 2^-16; they sum to 1."""
GRAY_FLOATS = (0.299, 0.587, 0.114)
MEAN_BITS = 24


def is_uint8(xp: Any, array: Any) -> bool:
    """Tell whether an array is uint8."""
    return bool(array.dtype == xp.uint8)


def working_dtype(xp: Any, array: Any) -> Any:
    """Return the dtype that floats are computed in."""
    return xp.float64 if array.dtype == xp.float64 else xp.float32


def clip_floats(xp: Any, array: Any, most: float = 1.0) -> Any:
    """Clip floats to 0..most: what is above becomes it, what is below 0 becomes 0, NaN and -0.0 stay."""
    above = xp.where(array > most, xp.full_like(array, most), array)
    return xp.where(array < 0, xp.zeros_like(array), above)


def blend(xp: Any, array: Any, other: Any, factor: Any) -> Any:
    """Return array * factor + other * (1 - factor), clipped.

    uint8: (x * f + other * (65536 - f) + 0x8000) >> 16, which int32 holds. Floats: (x * a) + (other * b)
    with a = f / 65536 and b = (65536 - f) / 65536, both exact.

    Args:
        xp: The namespace of the arrays.
        array: Images, of shape [n, ...].
        other: What a factor of 0 gives: int32 for uint8, else floats; it broadcasts. None for black.
        factor: int32 of shape [n], in 2^-16, up to 100.
    """
    factor = xp.astype(per_sample(xp, factor, array), xp.int32)
    if is_uint8(xp, array):
        total = xp.astype(array, xp.int32) * factor
        if other is not None:
            total = total + other * (ONE - factor)
        return xp.astype(xp.clip((total + HALF) >> 16, 0, 255), xp.uint8)
    dtype = working_dtype(xp, array)
    total = xp.astype(array, dtype) * (xp.astype(factor, dtype) * (1.0 / ONE))
    if other is not None:
        total = total + other * (xp.astype(ONE - factor, dtype) * (1.0 / ONE))
    return xp.astype(clip_floats(xp, total), array.dtype)


def gray_of(xp: Any, array: Any, axis: int | None) -> Any:
    """Return how bright each pixel is, with one channel in place of three.

    uint8: (19595 r + 38470 g + 7471 b + 0x8000) >> 16 in int32, as Pillow's mode L. Floats:
    ((r * 0.299) + (g * 0.587)) + (b * 0.114), not clipped. One channel is gray as it is.
    """
    is_whole = is_uint8(xp, array)
    dtype = xp.int32 if is_whole else working_dtype(xp, array)
    array = xp.astype(array, dtype)
    if axis is None or array.shape[axis] == 1:
        return array
    red, green, blue = (_channel(array, axis, channel) for channel in range(3))
    weights = GRAY if is_whole else GRAY_FLOATS
    total = red * weights[0] + green * weights[1] + blue * weights[2]
    return (total + HALF) >> 16 if is_whole else total


def mean_of_gray(xp: Any, array: Any, axis: int | None) -> Any:
    """Return the mean brightness of each image, in a shape that broadcasts against it.

    uint8: the mean of the whole grays, rounded half up, int32; as Pillow's ImageEnhance.Contrast. Floats:
    each gray is clipped to 0..1 (NaN is 0) and cut to a multiple of 2^-24, so that the sum is a whole
    number and its order does not matter; the mean is that sum / (pixels * 2^24) in float64, then rounded to
    float32 for all columns but float64.
    """
    gray = gray_of(xp, array, axis)
    axes = tuple(range(1, array.ndim))
    count = gray.size // gray.shape[0] if gray.shape[0] else 1
    if is_uint8(xp, array):
        total = xp.sum(gray, axis=axes, keepdims=True, dtype=xp.int64)
        return xp.astype((2 * total + count) // (2 * count), xp.int32)
    above = xp.where(gray > 0, gray, xp.zeros_like(gray))
    cut = xp.where(above < 1, above, xp.ones_like(above)) * float(1 << MEAN_BITS)
    total = xp.sum(xp.astype(cut, xp.int64), axis=axes, keepdims=True, dtype=xp.int64)
    return xp.astype(xp.astype(total, xp.float64) / float(count << MEAN_BITS), gray.dtype)


def _channel(array: Any, axis: int, channel: int) -> Any:
    """Return one channel, its axis kept."""
    where = [slice(None)] * array.ndim
    where[axis] = slice(channel, channel + 1)
    return array[tuple(where)]
