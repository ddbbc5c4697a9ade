"""Tone: brightness, contrast and gamma."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Parity, Spec
from headrace.augment.image.base import PointAugmentation, RangeAugmentation, Specs, per_sample
from headrace.augment.image.checks import Pair, is_number, read_range
from headrace.augment.image.pixels import ONE, blend, clip_floats, is_uint8, mean_of_gray, working_dtype
from headrace.draws.draws import Words
from headrace.draws.numbers import integers
from headrace.draws.tables import exp, log
from headrace.errors import OptionError

MOST_FACTOR = 100.0
"""Products of a pixel and a factor up to this one fit 32 bits."""
GAMMAS = 256
"""How many gammas a range has; 0 is its lower end, 255 its upper one."""
GAMMA_CELLS = 1024
"""How many straight pieces make the curve of one gamma."""


@dataclass(frozen=True)
class BlendAugmentation(RangeAugmentation):
    """Blends an image with another one by a factor, drawn uniformly in steps of 2^-16."""

    parameter: ClassVar[str] = "factor"
    unchanged: ClassVar[int] = ONE

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


@dataclass(frozen=True)
class Contrast(BlendAugmentation):
    """Blend images with their mean brightness; parity A for uint8, B for floats.

    The mean of uint8 is that of Pillow's ImageEnhance.Contrast, rounded half up; that of floats is a sum of
    multiples of 2^-24, so that it depends on no order. Images have 1 channel or 3. On tensors torchvision's
    gray is a little darker (see `Grayscale`), and cuts uint8: at most a level apart for factors of 0.5 to 2.

    Attributes:
        contrast: A number a for factors from max(0, 1 - a) to 1 + a, or a pair of factors, as torchvision's
            ColorJitter takes it; 0.2 as in albumentations' ColorJitter. 0 is all gray, 1 the image as it is.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.array([[[90, 110]]], np.uint8)})
        >>> loader = ds.augment(hr.augment.Contrast("image", (2.0, 2.0))).loader(1, output="numpy")
        >>> next(iter(loader))["image"].tolist()
        [[[80, 120]]]
    """

    contrast: Pair = 0.2

    channel_counts: ClassVar[tuple[int, ...]] = (1, 3)

    @property
    def amount(self) -> tuple[str, Pair]:
        """Name and value of the option."""
        return "contrast", self.contrast

    def change(self, xp: Any, array: Any, params: Mapping[str, Any]) -> Any:
        """Return images blended with their means."""
        return blend(xp, array, mean_of_gray(xp, array, self.channel_axis(array)), params["factor"])


@dataclass(frozen=True)
class Gamma(PointAugmentation):
    """Raise brightness to a power: 0..1 to x^gamma; parity A for uint8, B for floats.

    Gammas are drawn from 256 that lie evenly in the range. Floats are clipped to 0..1 and read from a table
    of 1,024 straight pieces over sqrt(x), within 2e-5 of the power for gammas from 0.5 to 2. uint8 is rounded
    half up, where torchvision cuts 255.999 x^gamma down: one level apart at most.

    Attributes:
        gamma: A range (low, high) within 0.1..10, or one number; (0.8, 1.2) as in albumentations'
            RandomGamma.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.array([[[0, 64, 255]]], np.uint8)})
        >>> loader = ds.augment(hr.augment.Gamma("image", 0.5)).loader(1, output="numpy")
        >>> next(iter(loader))["image"].tolist()
        [[[0, 128, 255]]]
    """

    gamma: Pair = (0.8, 1.2)

    parity: ClassVar[Parity] = "B"

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest gamma."""
        return read_range(self.title, "gamma", self.gamma, (0.1, 10))

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """Which of the gammas, and the gamma itself, for people to read."""
        return (("step", "i4"), ("gamma", "f4"))

    def check(self) -> None:
        """Refuse a range that is none; see `Augmentation.check`."""
        _ = self.bounds

    def words(self, specs: Specs) -> int:
        """One."""
        return 1

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Draw one of the gammas."""
        step = integers(words[:, 0], GAMMAS)
        return {"step": step, "gamma": find_gammas(*self.bounds)[step]}

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Return a gamma of 1."""
        return {"step": 0, "gamma": 1}

    def change(self, xp: Any, array: Any, params: Mapping[str, Any]) -> Any:
        """Return images with another gamma."""
        step = xp.astype(per_sample(xp, params["step"], array), xp.int64)
        if is_uint8(xp, array):
            return _read(xp, byte_gammas(*self.bounds), step, xp.astype(array, xp.int64))
        dtype = working_dtype(xp, array)
        table = float_gammas(*self.bounds)
        table = table if dtype == xp.float64 else table.astype(np.float32)
        clipped = clip_floats(xp, xp.astype(array, dtype))
        is_nan = xp.isnan(clipped)  # which has no cell, and comes out as it is
        cells = xp.sqrt(xp.where(is_nan, xp.zeros_like(clipped), clipped)) * float(GAMMA_CELLS)
        cell = xp.clip(xp.astype(cells, xp.int64), 0, GAMMA_CELLS - 1)
        low, high = (_read(xp, table, step, cell + more) for more in (0, 1))
        found = low + (high - low) * (cells - xp.astype(cell, dtype))
        return xp.astype(xp.where(is_nan, clipped, found), array.dtype)


@lru_cache(maxsize=16)
def find_gammas(low: float, high: float) -> NDArray[np.float64]:
    """Return the gammas of a range, of shape [256]."""
    return low + (high - low) * (np.arange(GAMMAS) / (GAMMAS - 1))


@lru_cache(maxsize=16)
def byte_gammas(low: float, high: float) -> NDArray[np.uint8]:
    """Return what each uint8 becomes by each gamma, rounded half up: of shape [256, 256]."""
    return np.floor(255 * _powers(np.arange(256) / 255, low, high) + 0.5).astype(np.uint8)


@lru_cache(maxsize=16)
def float_gammas(low: float, high: float) -> NDArray[np.float64]:
    """Return (k / 1024)^(2 gamma) for k from 0 to 1024 and each gamma: of shape [256, 1025].

    A float x becomes T[i] + (T[i + 1] - T[i]) * (s - i) with s = sqrt(x) * 1024 and i = min(floor(s), 1023);
    for columns other than float64 all of it in float32, the table rounded once.
    """
    return _powers((np.arange(GAMMA_CELLS + 1) / GAMMA_CELLS) ** 2, low, high)


def _powers(x: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Raise numbers from 0 to 1 to each gamma, with the same bits on every machine."""
    found = np.zeros((GAMMAS, len(x)))
    found[:, 1:] = exp(find_gammas(low, high)[:, None] * log(x[1:])[None, :])
    return found


def _read(xp: Any, table: NDArray[Any], row: Any, cell: Any) -> Any:
    """Read a table at rows and cells that broadcast."""
    index = xp.reshape(row * table.shape[1] + cell, (-1,))
    return xp.reshape(xp.take(xp.asarray(np.ravel(table)), index, axis=0), cell.shape)
