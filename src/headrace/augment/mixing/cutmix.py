"""CutMix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Parity, Spec
from headrace.augment.image.base import ImageAugmentation
from headrace.augment.mixing.labels import LabelMixing
from headrace.draws import numbers
from headrace.draws.draws import Words


@dataclass(frozen=True)
class CutMix(LabelMixing, ImageAugmentation):
    """Paste a box of the partner image into an image, at the same place; parity A.

    A share lam is drawn for each sample. The box has the sides sqrt(1 - lam) of the image's, is centred at a
    random pixel and cut off at the border. The labels are mixed by the area that the box really takes.

    Attributes:
        p: The probability that a sample is mixed, 1.

    Source:
        Yun et al. 2019; names, defaults and the box as in torchvision, which draws one box for a whole batch.

    Example:
        >>> import headrace as hr
        >>> hr.augment.CutMix("image", label="label", num_classes=10, layout="NCHW").changed
        ('image', 'label')
    """

    parity: ClassVar[Parity] = "A"

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """The share of the image itself, and the box, without its bottom row and its right column."""
        return (("lam", "f4"), ("top", "i4"), ("bottom", "i4"), ("left", "i4"), ("right", "i4"))

    def words(self, specs: Mapping[str, Spec]) -> int:
        """Three: the share, and the row and the column of the centre."""
        return 3

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Draw the box."""
        height, width = self.sides(specs[self.columns[0]])
        # A square root is rounded the same way everywhere, unlike other functions.
        reach = 0.5 * np.sqrt(1.0 - self.draw_share(words[:, 0]).astype(np.float64))
        half_height, half_width = (np.floor(reach * side).astype(np.int64) for side in (height, width))
        row, place = numbers.integers(words[:, 1], height), numbers.integers(words[:, 2], width)
        top, bottom = np.maximum(row - half_height, 0), np.minimum(row + half_height, height)
        left, right = np.maximum(place - half_width, 0), np.minimum(place + half_width, width)
        area = (bottom - top) * (right - left)
        share = (1.0 - area / (height * width)).astype(np.float32)
        return {"lam": share, "top": top, "bottom": bottom, "left": left, "right": right}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Paste nothing."""
        return {"lam": 1, "top": 0, "bottom": 0, "left": 0, "right": 0}

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Check the columns; see `Augmentation.output`."""
        images = {column: specs[column] for column in self.columns}
        sides = self.check_images(images)
        first = next(iter(sides.values()))
        for column, own in sides.items():
            if own != first:
                raise self.refuse(
                    column, specs[column], f"images of {first[0]} x {first[1]} pixels, as the first"
                )
        return {**images, **self.label_output(specs)}

    def check_images(self, images: Mapping[str, Spec]) -> dict[str, tuple[int, int]]:
        """Check that columns hold images, and return height and width of each."""
        for column, spec in images.items():
            if spec.is_ragged or len(spec.shape) not in (2, 3) or spec.dtype.kind not in "iuf":
                raise self.refuse(column, spec, f"images of shape [n, {', '.join(self.layout[1:])}]")
        return {column: self.sides(spec) for column, spec in images.items()}

    def mix(
        self,
        xp: Any,
        columns: Mapping[str, Any],
        partners: Mapping[str, Any],
        params: Mapping[str, Any],
        noise: Noise,
    ) -> Mapping[str, Any]:
        """Return the images with their boxes, and the labels mixed."""
        found = self.mix_labels(xp, columns, partners, params["lam"])
        for column in self.columns:
            own = columns[column]
            inside = xp.full((), True, dtype=xp.bool)
            for axis, (first, last) in zip(
                self.axes(own), (("top", "bottom"), ("left", "right")), strict=True
            ):
                shape = [1] * own.ndim
                shape[axis] = own.shape[axis]
                places = xp.reshape(xp.arange(own.shape[axis], dtype=xp.int32), tuple(shape))
                bounds = [
                    xp.reshape(params[name], (own.shape[0],) + (1,) * (own.ndim - 1))
                    for name in (first, last)
                ]
                inside = inside & (places >= bounds[0]) & (places < bounds[1])
            found[column] = xp.where(inside, partners[column], own)
        return found
