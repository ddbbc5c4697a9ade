"""Resizing: the whole image, or a window of random area, shape and place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Parity, Spec
from headrace.augment.image.base import Columns, GeometricAugmentation, Specs
from headrace.augment.image.checks import read_size
from headrace.augment.image.resample import Windows, resample
from headrace.augment.image.windows import WORDS, Shapes, first_fitting, place, read_shapes
from headrace.draws.draws import Words
from headrace.errors import OptionError

MODES = ("bilinear", "nearest")
_NAMES = ("top", "left", "height", "width")


@dataclass(frozen=True)
class ResamplingAugmentation(GeometricAugmentation):
    """An augmentation that makes new pixels from several old ones, or takes the nearest."""

    parity: ClassVar[Parity] = "B"

    @property
    def modes(self) -> tuple[str, ...]:
        """How each column is resampled: "bilinear" or "nearest"."""
        raise NotImplementedError

    def moves(self, column: str) -> bool:
        """Whether the values of a column are only moved."""
        return self.modes[self.changed.index(column)] == "nearest"


@dataclass(frozen=True)
class _Resize(ResamplingAugmentation):
    size: int | tuple[int, int]

    @property
    def how(self) -> tuple[object, bool]:
        """The options `interpolation` and `antialias`."""
        raise NotImplementedError

    @property
    def modes(self) -> tuple[str, ...]:
        """How each column is resampled."""
        return read_modes(self, self.how[0])

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """First row and column, height and width of the window that is resized."""
        return tuple((name, "i4") for name in _NAMES)

    def check(self) -> None:
        """Refuse a size and modes that are none; see `Augmentation.check`."""
        read_size(self.title, self.size)
        _ = self.modes

    def output(self, specs: Specs) -> Specs:
        """Return the columns with other heights and widths; see `Augmentation.output`."""
        sides = read_size(self.title, self.size)
        return {column: self.resized(spec, sides) for column, spec in super().output(specs).items()}

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Return the whole image."""
        height, width = self.common_sides(specs)
        return {"top": 0, "left": 0, "height": height, "width": width}

    def apply(self, xp: Any, columns: Columns, params: Mapping[str, Any], noise: Noise) -> Columns:
        """Return the windows resized."""
        top, left, height, width = (xp.astype(params[name], xp.int64)[:, None] for name in _NAMES)
        sides = read_size(self.title, self.size)
        windows = Windows(xp, top, height, sides[0]), Windows(xp, left, width, sides[1])
        found: dict[str, Any] = {}
        for mode, (column, array) in zip(self.modes, columns.items(), strict=True):
            found[column] = resample(xp, array, self.axes(array), windows, (mode, self.how[1]))
        return found


@dataclass(frozen=True)
class Resize(_Resize):
    """Bring images to a height and width; parity A for uint8, B for floats. Nothing is random.

    uint8 is what Pillow's `resize` gives, but for rare values that are one off.

    Attributes:
        size: Height and width; one number for both (not, as in torchvision, for the shorter side).
        interpolation: `"bilinear"` (default, as in torchvision) or `"nearest"`; or one for each column, such
            as `("bilinear", "nearest")` for an image and its mask. Nearest takes the pixel at the centre, as
            Pillow and torchvision's `NEAREST_EXACT` do; `NEAREST` takes one further up and left.
        antialias: Take as many pixels as an output pixel covers where images shrink; True as in torchvision.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.array([[[0, 100, 200, 200]]], np.uint8)})
        >>> batch = next(iter(ds.augment(hr.augment.Resize("image", (1, 2))).loader(1, output="numpy")))
        >>> batch["image"].tolist()
        [[[71, 186]]]
    """

    interpolation: str | Sequence[str] = "bilinear"
    antialias: bool = True

    @property
    def how(self) -> tuple[object, bool]:
        """The options."""
        return self.interpolation, self.antialias

    def words(self, specs: Specs) -> int:
        """None."""
        return 0

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Return the whole image."""
        return self.neutral(specs)


@dataclass(frozen=True)
class RandomResizedCrop(_Resize):
    """Cut out a window of random area and shape and resize it; parity A for uint8, B for floats.

    Ten windows are drawn and the first that lies within the image is taken; if none does, the largest window
    in the centre whose ratio is allowed. Where the draw is not applied (`p`), the whole image is resized.

    Attributes:
        size: Height and width that come out; one number for both.
        scale: Least and largest part of the image's area; (0.08, 1.0) as in torchvision.
        ratio: Least and largest width over height, log-uniform; (3/4, 4/3) as in torchvision.
        interpolation: See `Resize`.
        antialias: See `Resize`.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.zeros((8, 3, 64, 64), np.uint8)})
        >>> op = hr.augment.RandomResizedCrop("image", 32, layout="NCHW")
        >>> next(iter(ds.augment(op).loader(4, output="numpy")))["image"].shape
        (4, 3, 32, 32)
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str | Sequence[str] = "bilinear"
    antialias: bool = True

    @property
    def how(self) -> tuple[object, bool]:
        """The options."""
        return self.interpolation, self.antialias

    @property
    def shapes(self) -> Shapes:
        """What the options say of a window's shape."""
        return read_shapes(self.title, self.scale, self.ratio)

    def check(self) -> None:
        """Refuse ranges that are none; see `Augmentation.check`."""
        super().check()
        _ = self.shapes

    def words(self, specs: Specs) -> int:
        """Area and shape of ten windows, row and column of one."""
        return WORDS

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Draw the windows."""
        sides = self.common_sides(specs)
        widths, heights = self.shapes.draw(words, sides)
        fits = (heights > 0) & (widths > 0) & (heights <= sides[0]) & (widths <= sides[1])
        found = first_fitting(heights, widths, fits)
        top, left = place(words, sides, found)
        if not fits.any(axis=1).all():
            is_none, centre = found[:, 0] == 0, self._centre(sides)
            found[is_none] = centre
            top[is_none], left[is_none] = ((side - own) // 2 for side, own in zip(sides, centre, strict=True))
        return {"top": top, "left": left, "height": found[:, 0], "width": found[:, 1]}

    def _centre(self, sides: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the largest window whose ratio is allowed."""
        (height, width), (low, high) = sides, self.shapes.ratio
        if width / height < low:
            height = max(round(width / low), 1)
        elif width / height > high:
            width = max(round(height * high), 1)
        return height, width


def read_modes(op: GeometricAugmentation, given: object) -> tuple[str, ...]:
    """Return how each column is resampled, from one mode or one for each.

    Raises:
        OptionError: A mode is unknown, or there are not as many as columns.
    """
    modes = (given,) * len(op.changed) if isinstance(given, str) else given
    if isinstance(modes, (tuple, list)):
        several = tuple(cast("Sequence[object]", modes))
        if len(several) == len(op.changed) and all(mode in MODES for mode in several):
            return cast("tuple[str, ...]", several)
    raise OptionError(
        f'{op.title}: `interpolation` must be "bilinear" or "nearest", or one of them for each of '
        f"{len(op.changed)} columns, got {given!r}"
    )
