"""Normalize: from pixels to numbers around 0, with the dtype and layout that a model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Parity, Spec
from headrace.augment.image.base import Columns, ImageAugmentation, ImageLayout, Specs
from headrace.augment.image.checks import fill_values, is_number
from headrace.augment.image.pixels import is_uint8, working_dtype
from headrace.draws.draws import Words
from headrace.errors import OptionError

FloatName = Literal["float16", "float32", "float64"]


@dataclass(frozen=True)
class Normalize(ImageAugmentation):
    """Subtract a mean and divide by a standard deviation; parity A for uint8, B for floats.

    uint8 goes through a table, computed in float64 and rounded once. Floats are `(x - mean) / std` in float32
    (float64 columns in float64), as by torchvision. Nothing is random.

    Attributes:
        mean: One number, or one for each channel.
        std: Likewise; not 0.
        dtype: What comes out: "float16", "float32" (default) or "float64".
        scale: Divide uint8 by 255 first, so that mean and std are meant for 0..1; as torchvision's
            `ToDtype(scale=True)` before its Normalize.
        to_layout: The layout that comes out, if another one is wanted; images of shape [height, width] get
            their axis of one channel then. What comes after must be told this layout.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.full((1, 1, 1, 3), 255, np.uint8)})
        >>> op = hr.augment.Normalize("image", mean=(0.5, 0.5, 0.0), std=(0.5, 0.25, 1.0), to_layout="NCHW")
        >>> batch = next(iter(ds.augment(op).loader(1, output="numpy")))
        >>> batch["image"].shape, batch["image"].ravel().tolist()
        ((1, 3, 1, 1), [1.0, 2.0, 1.0])
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]
    dtype: FloatName = "float32"
    scale: bool = True
    to_layout: ImageLayout | None = None

    parity: ClassVar[Parity] = "B"

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """None."""
        return ()

    def check(self) -> None:
        """Refuse numbers that are none, and `p`; see `Augmentation.check`."""
        for name, given in (("mean", self.mean), ("std", self.std)):
            values = fill_values(given)
            if not values or not all(is_number(value) and (name == "mean" or value) for value in values):
                other = "" if name == "mean" else " other than 0"
                raise OptionError(
                    f"{self.title}: `{name}` must be a number{other} or one for each channel, got {given!r}"
                )
        if self.dtype not in ("float16", "float32", "float64"):
            raise OptionError(
                f'{self.title}: `dtype` must be "float16", "float32" or "float64", got {self.dtype!r}'
            )
        if self.to_layout not in (None, "NHWC", "NCHW"):
            raise OptionError(
                f'{self.title}: `to_layout` must be "NHWC", "NCHW" or None, got {self.to_layout!r}'
            )
        if self.p != 1:
            raise OptionError(f"{self.title}: all samples are normalized, `p` must be 1, got {self.p!r}")

    def output(self, specs: Specs) -> Specs:
        """Return the columns as floats; see `Augmentation.output`."""
        found: dict[str, Spec] = {}
        for column, spec in super().output(specs).items():
            channels = self.channels(spec)
            for name, given in (("mean", self.mean), ("std", self.std)):
                count = len(fill_values(given))
                if count not in (1, channels):
                    raise self.refuse(
                        column, spec, f"images of {count} channels, as many as `{name}` has values"
                    )
            shape = spec.shape
            if self.to_layout is not None:
                sides = self.sides(spec)
                shape = (channels, *sides) if self.to_layout == "NCHW" else (*sides, channels)
            found[column] = Spec(shape, np.dtype(self.dtype))
        return found

    def words(self, specs: Specs) -> int:
        """None."""
        return 0

    def draw(self, words: Words, specs: Specs) -> Mapping[str, NDArray[Any]]:
        """Draw nothing."""
        return {}

    def neutral(self, specs: Specs) -> Mapping[str, Any]:
        """Return nothing."""
        return {}

    def table(self, channels: int) -> NDArray[Any]:
        """Return what each uint8 becomes in each channel: shape [channels, 256], of dtype `dtype`."""
        values = np.arange(256, dtype=np.float64)
        mean, std = self.constants(channels, np.float64)
        scaled = values / 255 if self.scale else values
        with np.errstate(over="ignore"):  # beyond the range of a small dtype lies infinity
            return ((scaled[None, :] - mean[:, None]) / std[:, None]).astype(self.dtype)

    def constants(self, channels: int, dtype: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return mean and standard deviation of each channel, rounded once to a dtype."""
        mean, std = (
            np.array(np.broadcast_to(np.array(fill_values(given), np.float64), channels)).astype(dtype)
            for given in (self.mean, self.std)
        )
        return mean, std

    def apply(self, xp: Any, columns: Columns, params: Mapping[str, Any], noise: Noise) -> Columns:
        """Return the columns normalized."""
        return {column: self._turned(xp, self._normalized(xp, array)) for column, array in columns.items()}

    def _normalized(self, xp: Any, array: Any) -> Any:
        axis = self.channel_axis(array)
        channels = 1 if axis is None else array.shape[axis]
        shape = [1] * array.ndim
        if axis is not None:
            shape[axis] = channels
        if is_uint8(xp, array):
            first = xp.reshape(xp.arange(channels, dtype=xp.int64) * 256, tuple(shape))
            index = xp.astype(array, xp.int64) + first
            table = xp.asarray(np.ravel(self.table(channels)))
            return xp.reshape(xp.take(table, xp.reshape(index, (-1,)), axis=0), array.shape)
        wide = array.dtype == xp.float64
        mean, std = (
            xp.reshape(xp.asarray(values), tuple(shape))
            for values in self.constants(channels, np.float64 if wide else np.float32)
        )
        found = (xp.astype(array, working_dtype(xp, array)) - mean) / std
        return xp.astype(found, getattr(xp, self.dtype))

    def _turned(self, xp: Any, array: Any) -> Any:
        if self.to_layout is None:
            return array
        axis = self.channel_axis(array)
        if axis is None:
            return xp.expand_dims(array, axis=1 if self.to_layout == "NCHW" else 3)
        return xp.moveaxis(array, axis, 1 if self.to_layout == "NCHW" else 3)
